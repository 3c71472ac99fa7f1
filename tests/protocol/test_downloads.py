"""Where upstream keeps a file: which calls are made, and to whom the bearer goes (protocol.md 6.5)."""

import json

import pytest

from pow import ClientProfile
from shim.errors import GatewayError, RequestError, UpstreamError
from shim.protocol.commands import HttpReply, HttpRequest, Send
from shim.protocol.events import FileRef
from shim.protocol.turn.downloads import locate
from shim.protocol.upstream import Identity, Upstream

ORIGIN = "https://chatgpt.test"
UPSTREAM = Upstream(ORIGIN, Identity("device", "secret-token"), ClientProfile(user_agent="UA/1.0"))
API = f"{ORIGIN}/backend-api"
OLD = FileRef(conversation_id="c1", file_id="file-abc")
NEW = FileRef(conversation_id="c1", file_id="file_0000abc")
SANDBOX = FileRef(conversation_id="c1", message_id="m1", sandbox_path="/mnt/data/a b.csv")


def found(url: str) -> HttpReply:
    return HttpReply(200, {}, json.dumps({"status": "success", "download_url": url}).encode())


MISSING = HttpReply(404, {}, b'{"detail":"Not Found"}')


def asked(file: FileRef, *replies: HttpReply) -> tuple[list[str], HttpRequest | GatewayError]:
    """The calls made, and what came of them."""
    handshake, calls, left = locate(UPSTREAM, file), [], list(replies)
    try:
        command = next(handshake)
        while True:
            assert isinstance(command, Send)
            calls.append(command.request.url.removeprefix(API))
            assert command.request.headers["authorization"] == "Bearer secret-token"
            command = handshake.send(left.pop(0))
    except StopIteration as done:
        assert not left
        result: HttpRequest = done.value
        return calls, result
    except GatewayError as error:
        return calls, error


def test_a_picture_of_the_old_kind() -> None:
    calls, request = asked(OLD, found("https://files.test/x?sig=1"))
    assert calls == ["/files/file-abc/download"]
    assert isinstance(request, HttpRequest)
    assert request.url == "https://files.test/x?sig=1"


def test_a_picture_of_the_new_kind_belongs_to_its_conversation() -> None:
    assert asked(NEW, found("https://files.test/x"))[0] == ["/conversation/c1/attachment/file_0000abc/download"]


def test_a_file_of_the_sandbox() -> None:
    calls, _ = asked(SANDBOX, found("https://files.test/x"))
    assert calls == ["/conversation/c1/interpreter/download?message_id=m1&sandbox_path=%2Fmnt%2Fdata%2Fa+b.csv"]


def test_the_other_spellings_are_tried_on_404() -> None:
    calls, request = asked(OLD, MISSING, MISSING, found("https://files.test/x"))
    assert calls == [
        "/files/file-abc/download",
        "/files/download/file-abc?conversation_id=c1&inline=false",
        "/conversation/c1/attachment/file-abc/download",
    ]
    assert isinstance(request, HttpRequest)


def test_the_bearer_goes_to_upstreams_own_api_only() -> None:
    for url in (f"{ORIGIN}/backend-api/estuary/content?id=x", "/backend-api/estuary/content?id=x"):
        _, own = asked(OLD, found(url))
        assert isinstance(own, HttpRequest)
        assert own.url == f"{ORIGIN}/backend-api/estuary/content?id=x"
        assert own.headers["authorization"] == "Bearer secret-token"
    for url in (
        f"{ORIGIN}/blobs/x",
        "https://files.test/x",
        "https://chatgpt.test.evil.test/x",
        "https://chatgpt.test:444/x",
    ):
        _, other = asked(OLD, found(url))
        assert isinstance(other, HttpRequest)
        assert "authorization" not in other.headers
        assert "cookie" not in other.headers
        assert "secret-token" not in str(other)


@pytest.mark.parametrize(
    "url", ["http://files.test/x", "ftp://files.test/x", "file:///etc/passwd", "http://127.0.0.1/"]
)
def test_an_address_that_is_not_https_is_not_called(url: str) -> None:
    assert isinstance(asked(OLD, found(url))[1], UpstreamError)


@pytest.mark.parametrize("url", ["https://[", "https://[x]y/", "https://\u2100.test/"])
def test_an_address_that_cannot_be_read_is_upstreams_failure(url: str) -> None:
    error = asked(OLD, found(url))[1]
    assert isinstance(error, UpstreamError)
    assert error.code == "upstream_file"


def body(text: str) -> HttpReply:
    return HttpReply(200, {}, text.encode())


@pytest.mark.parametrize(
    "text",
    ['{"status":"error","error_code":"file_not_found"}', '{"status":"retry","download_url":"https://x.test"}', "{}"],
)
def test_a_file_that_is_gone_is_a_404(text: str) -> None:
    error = asked(OLD, body(text))[1]
    assert isinstance(error, RequestError)
    assert (error.http_status, error.code) == (404, "file_not_found")


@pytest.mark.parametrize("text", ["", "<html>", "[1]", '{"download_url":5}'])
def test_an_answer_that_can_not_be_read_is_upstreams_fault(text: str) -> None:
    assert isinstance(asked(OLD, body(text))[1], UpstreamError)


def test_where_all_say_404_the_file_is_gone() -> None:
    error = asked(NEW, MISSING, MISSING, MISSING)[1]
    assert isinstance(error, RequestError)
    assert error.http_status == 404


def test_another_refusal_is_told() -> None:
    error = asked(OLD, HttpReply(401, {}, b'{"detail":"Unauthorized"}'), MISSING, MISSING)[1]
    assert isinstance(error, GatewayError)
    assert error.http_status == 401


def test_names_can_not_leave_their_place_in_the_path() -> None:
    calls, _ = asked(FileRef(conversation_id="../x", file_id="../../me?a#b"), found("https://files.test/x"))
    assert calls == ["/files/..%2F..%2Fme%3Fa%23b/download"]
