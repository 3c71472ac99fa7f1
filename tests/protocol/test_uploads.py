"""An upload as a narrated conversation, and what a message says of the files it has."""

import json
import time

import pytest

from pow import ClientProfile
from shim.chatgpt.conversation import Attachment, ImagePointer, SentContent
from shim.chatgpt.files import use_case_of
from shim.errors import CredentialError, GatewayError, LimitError, RefusedError, RequestError, UpstreamError
from shim.protocol.commands import HttpReply, HttpRequest, Send, StreamedBody, Wait
from shim.protocol.turn.uploads import LocalFile, UploadedFile, content_of, upload_file, uploaded
from shim.protocol.upstream import Identity, Upstream

TOKEN = "eyJhbGciOi.access.token"
ORIGIN = "https://upstream.test"
STORE = "https://files.store.test/file-1?sig=s"
UPSTREAM = Upstream(ORIGIN, Identity("device", TOKEN, "team"), ClientProfile(user_agent="Test/1.0"))
PICTURE = LocalFile("x.png", "image/png", b"picture", "d1", 3, 2)
DOCUMENT = LocalFile("x.pdf", "application/pdf", b"document", "d2")
TABLE = LocalFile("x.csv", "text/csv", b"a,b", "d3")

CREATED = {"status": "success", "upload_url": STORE, "file_id": "file-1", "library_file_id": None}
CONFIRMED = {"status": "success", "download_url": "https://x.test", "metadata": None, "file_name": "x.png"}


def reply(body=None, status=200):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, {"content-type": "application/json"}, raw)


class Play:
    """Steps through an upload: `asks` compares the call at hand, `told` goes on."""

    def __init__(self, file, upstream=UPSTREAM):
        self._steps = upload_file(upstream, file)
        self.error = self.id = self.command = None
        self._go(None)

    def _go(self, answer):
        try:
            self.command = self._steps.send(answer)
        except StopIteration as end:
            self.command, self.id = None, end.value
        except GatewayError as error:
            self.command, self.error = None, error

    def asks(self, method, path, body=...):
        assert isinstance(self.command, Send), (self.command, self.error)
        request = self.command.request
        assert (request.method, request.url) == (method, path)
        if body is not ...:
            assert json.loads(request.body) == body
        return self

    def waits(self):
        assert self.command == Wait(1.0)
        return self.told(None)

    def told(self, answer):
        assert self.command is not None
        self._go(answer)
        return self

    def created(self, **changes):
        return self.asks("POST", f"{ORIGIN}/backend-api/files").told(reply(CREATED | changes))

    def stored(self):
        return self.asks("PUT", STORE).told(reply(b"", 201))

    def confirmed(self):
        return self.asks("POST", f"{ORIGIN}/backend-api/files/file-1/uploaded", {}).told(reply(CONFIRMED))

    def state(self, status):
        body = {"id": "file-1", "state": "ready", "retrieval_index_status": status}
        return self.asks("GET", f"{ORIGIN}/backend-api/files/file-1").told(reply(body))

    def fails(self, kind, code):
        assert self.command is None
        assert type(self.error) is kind, self.error
        assert self.error.code == code
        return self.error


def test_a_picture_goes_upstream():
    play = Play(PICTURE)
    play.asks(
        "POST",
        f"{ORIGIN}/backend-api/files",
        {
            "file_name": "x.png",
            "file_size": 7,
            "use_case": "multimodal",
            "timezone_offset_min": 0,
            "reset_rate_limits": False,
        },
    )
    assert play.command.request.headers["authorization"] == f"Bearer {TOKEN}"
    play.created().stored().confirmed()
    assert play.id == "file-1"


def test_nothing_of_the_account_goes_to_the_store():
    request = Play(PICTURE).created().command.request
    assert request == HttpRequest(
        "PUT",
        STORE,
        {
            "accept": "application/json, text/plain, */*",
            "content-type": "image/png",
            "origin": ORIGIN,
            "user-agent": "Test/1.0",
            "x-ms-blob-type": "BlockBlob",
            "x-ms-version": "2020-04-08",
        },
        b"picture",
    )


def test_a_file_that_is_streamed_goes_upstream_as_it_is():
    async def pieces():
        yield b"never read here"

    body = StreamedBody(pieces, 100_000_000)
    play = Play(LocalFile("x.csv", "text/csv", body, "d4"))
    assert json.loads(play.command.request.body)["file_size"] == 100_000_000
    assert play.created().command.request.body is body
    assert uploaded(LocalFile("x.csv", "text/csv", body, "d4"), "file-1").size == 100_000_000


def test_a_streamed_file_needs_its_length():
    with pytest.raises(ValueError, match="length"):
        LocalFile("x.csv", "text/csv", StreamedBody(lambda: None), "d4")


def test_a_document_is_waited_for():
    play = Play(DOCUMENT).created().stored().confirmed()
    play.state("pending").waits().state(None).waits().state("success")
    assert play.id == "file-1"


def test_an_index_that_can_not_be_looked_at_now_is_looked_at_again():
    play = Play(DOCUMENT).created().stored().confirmed()
    play.told(reply(b"<html>", 502)).waits().state("success")
    assert play.id == "file-1"


def test_a_document_is_not_waited_for_without_end():
    play = Play(DOCUMENT).created().stored().confirmed()
    for attempt in range(30):
        if attempt:
            play.waits()
        play.state("pending")
    assert play.id == "file-1"


def test_a_document_upstream_can_not_read():
    Play(DOCUMENT).created().stored().confirmed().state("failed").fails(RequestError, "file_processing_failed")


def test_what_the_sandbox_gets_is_not_waited_for():
    play = Play(TABLE)
    assert json.loads(play.command.request.body)["use_case"] == "ace_upload"
    assert play.created().stored().confirmed().id == "file-1"


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (413, {"detail": "too big"}, RequestError, "file_too_large"),
        (422, {"detail": [{"loc": ["body", "file_size"], "msg": "too big"}]}, RequestError, "file_too_large"),
        (429, {"detail": {"code": "upload_quota", "message": "Wait.", "clears_in": 60}}, LimitError, "upload_quota"),
        (401, {"detail": "Unauthorized"}, CredentialError, "invalid_api_key"),
        (403, {"detail": "no"}, RefusedError, "upstream_forbidden"),
        (500, b"oops", UpstreamError, "upstream_500"),
        (200, b"oops", UpstreamError, "upload_failed"),
        (200, {"status": "success"}, UpstreamError, "upload_failed"),
        (200, CREATED | {"status": "error"}, UpstreamError, "upload_failed"),
        (200, CREATED | {"file_id": ""}, UpstreamError, "upload_failed"),
        (200, CREATED | {"file_id": "../me?"}, UpstreamError, "upload_failed"),
    ],
)
def test_a_file_that_is_not_created(status, body, kind, code):
    error = Play(PICTURE).told(reply(body, status)).fails(kind, code)
    assert kind is not RequestError or error.http_status == 400
    assert kind is not LimitError or error.retry_after == 60


@pytest.mark.parametrize(
    "url",
    [
        "http://files.store.test/x",
        "http://upstream.test/x",
        "file:///etc/passwd",
        "https://x.test/a\r\nb: c",
        "https://x.test/a b",
        "//x.test/a",
        "",
    ],
)
def test_bytes_go_nowhere_but_by_https(url):
    Play(PICTURE).created(upload_url=url).fails(UpstreamError, "upload_failed")


def test_bytes_may_go_to_the_configured_origin_itself():
    local = Upstream("http://127.0.0.1:80", UPSTREAM.identity, UPSTREAM.profile)
    for url, may in (("http://127.0.0.1:80/put", True), ("http://127.0.0.1:80@evil.test/put", False)):
        play = Play(PICTURE, local).told(reply(CREATED | {"upload_url": url}))
        assert (play.error is None) is may


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (403, UpstreamError, "upload_failed"),
        (413, RequestError, "file_too_large"),
        (302, UpstreamError, "upload_failed"),
    ],
)
def test_a_store_that_refuses(status, kind, code):
    error = Play(PICTURE).created().told(reply(b"<Error><Sig>s</Sig></Error>", status)).fails(kind, code)
    assert "sig" not in error.message.lower()


def test_a_file_that_is_not_confirmed():
    Play(PICTURE).created().stored().told(reply({"status": "error"})).fails(UpstreamError, "upload_failed")
    Play(PICTURE).created().stored().told(reply({"detail": "no"}, 404)).fails(UpstreamError, "upstream_404")


def test_files_need_an_account():
    guest = Upstream(ORIGIN, Identity("device"), UPSTREAM.profile)
    Play(PICTURE, guest).fails(RequestError, "files_need_account")


@pytest.mark.parametrize(
    ("mime_type", "expected"),
    [
        ("image/png", "multimodal"),
        ("image/webp", "multimodal"),
        ("image/tiff", "ace_upload"),
        ("application/pdf", "my_files"),
        ("text/plain", "my_files"),
        ("text/markdown", "my_files"),
        ("application/json", "my_files"),
        ("text/csv", "ace_upload"),
        ("application/zip", "ace_upload"),
        ("audio/mpeg", "ace_upload"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "my_files"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "ace_upload"),
    ],
)
def test_what_files_are_for(mime_type, expected):
    assert use_case_of(mime_type) == expected


# --- in the message ---------------------------------------------------------------------------------------------------

SHOWN = uploaded(PICTURE, "file-1")
NEWER = UploadedFile("file_00000000abc", "y.jpg", "image/jpeg", 9, 5, 4)
READ = uploaded(DOCUMENT, "file-2")


def test_text_alone_is_plain_text():
    assert content_of(["one", "two"]) == (SentContent(["one\ntwo"]), {})
    assert content_of([]) == (SentContent([""]), {})


def test_the_time_for_texts_side_by_side_grows_with_their_number():
    """Joined one by one, 400,000 took more than a minute of the event loop."""
    began = time.thread_time()
    content, _ = content_of(["a piece of text"] * 400_000)
    assert time.thread_time() - began < 2
    assert content.parts[0].count("\n") == 399_999


def test_pictures_stand_where_they_stood_and_every_file_is_attached():
    content, metadata = content_of(["a", "b", SHOWN, READ, "c", NEWER])
    assert content == SentContent(
        [
            "a\nb",
            ImagePointer("file-service://file-1", 7, 3, 2),
            "c",
            ImagePointer("sediment://file_00000000abc", 9, 5, 4),
        ],
        "multimodal_text",
    )
    assert metadata == {
        "attachments": [
            Attachment("file-1", 7, "x.png", "image/png", width=3, height=2),
            Attachment("file-2", 8, "x.pdf", "application/pdf"),
            Attachment("file_00000000abc", 9, "y.jpg", "image/jpeg", width=5, height=4),
        ]
    }


def test_a_document_between_texts_leaves_one_text():
    content, _ = content_of(["a", READ, "b"])
    assert content == SentContent(["a\nb"], "multimodal_text")


def test_a_message_of_a_document_alone_still_has_a_part():
    content, metadata = content_of([READ])
    assert content == SentContent([""], "multimodal_text")
    assert len(metadata["attachments"]) == 1
