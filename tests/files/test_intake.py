"""The files of a request, from its bytes to the stand-in upstream that holds them."""

import asyncio
import base64
import json

import pytest

from pow import ClientProfile
from shim.apis.chat.read import read
from shim.errors import CredentialError, GatewayError, LimitError, RequestError, UpstreamError
from shim.files.intake import Files
from shim.protocol.commands import HttpReply
from shim.protocol.turn.uploads import UploadedFile
from shim.protocol.upstream import Identity, Upstream
from shim.settings import Settings
from shim.transport.base import ConnectionKey, Deadlines
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver

CONNECTION = ConnectionKey("someone")
PROFILE = ClientProfile(user_agent="Test/1.0")
ACCOUNT = Upstream("https://upstream.test", Identity("device", "token"), PROFILE)


class Answer:
    """A whole answer as a transport's response."""

    def __init__(self, status, body):
        self.status, self.headers, self._body = status, {"content-type": "application/json"}, body

    async def chunk(self):
        body, self._body = self._body, b""
        return body

    def close(self):
        pass


class Store:
    """An upstream that takes every file, or says `refusal` to each new one. `go` holds the answers back."""

    def __init__(self, refusal=None):
        self.requests = []
        self.refusal = refusal
        self.go = asyncio.Event()
        self.go.set()

    @property
    def names(self):
        return [json.loads(one.body)["file_name"] for one in self.requests if one.url.endswith("/files")]

    async def send(self, request, connection):
        self.requests.append(request)
        assert connection == CONNECTION
        await self.go.wait()
        if request.method == "PUT":
            return Answer(201, b"")
        if not request.url.endswith("/files"):
            return Answer(200, b'{"status": "success", "retrieval_index_status": "success"}')
        if self.refusal is not None:
            return Answer(self.refusal.status, self.refusal.body)
        id = f"file-{len(self.names)}"
        body = {"status": "success", "file_id": id, "upload_url": f"https://store.test/{id}"}
        return Answer(200, json.dumps(body).encode())


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def files(store=None, clock=None, resolve=None, **settings):
    driver = Driver(store or Store(), None, None)
    return Files(Settings(**settings), driver, clock=clock or Clock(), resolve=resolve)


def request(*contents):
    messages = [{"role": "user", "content": content} for content in contents]
    return read(json.dumps({"model": "auto", "messages": messages}).encode()).prompt


def data_url(content, mime_type="image/png"):
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(data, name=None):
    return {"type": "file", "file": {"file_data": data} | ({"filename": name} if name else {})}


TEXT = {"type": "text", "text": "look"}


async def test_without_files_nothing_is_done():
    made = files(Store())
    prompt = request("hello", [TEXT])
    gathered = await made.gather(prompt)
    assert (gathered.files, gathered.tokens) == ({}, 0)
    assert await made.upload(prompt, gathered, ACCOUNT, CONNECTION, "key") == {}


async def test_files_of_every_form(png, listen, answering):
    async with listen(answering(png(4, 4), "content-type: image/png")) as listener:
        made = files(allow_private_urls=(f"127.0.0.1:{listener.port}",))
        asked = request(
            [TEXT, image(data_url(png(1024, 1024)), detail="high"), image(f"{listener.url}/a/dot.png?sig=1")],
            [file(base64.b64encode(b"%PDF-1.4").decode(), "x.pdf"), file("data:text/markdown,%23 hi")],
        )
        gathered = await made.gather(asked)
    found = [(file.name, file.mime_type, part.param) for part, file in gathered.files.items()]
    assert found == [
        ("file.png", "image/png", "messages[0].content[1].image_url.url"),
        ("dot.png", "image/png", "messages[0].content[2].image_url.url"),
        ("x.pdf", "application/pdf", "messages[1].content[0].file.file_data"),
        ("file.md", "text/markdown", "messages[1].content[1].file.file_data"),
    ]
    assert gathered.tokens == 765 + 255
    store = Store()
    placed = await files(store).upload(asked, gathered, ACCOUNT, CONNECTION, "key")
    assert set(placed) == set(asked.attached)
    picture, _, document, _ = (placed[part] for part in asked.attached)
    assert document.name == "x.pdf"
    assert (picture.width, picture.height) == (1024, 1024)
    assert sorted(store.names) == ["dot.png", "file.md", "file.png", "x.pdf"]


async def test_the_same_url_is_fetched_once(png, listen, answering):
    async with listen(answering(png())) as listener:
        made = files(allow_private_urls=(f"127.0.0.1:{listener.port}",))
        gathered = await made.gather(request([image(listener.url)], [image(listener.url), TEXT]))
        assert (len(gathered.files), listener.connections) == (2, 1)


@pytest.mark.parametrize(
    ("part", "field", "code"),
    [
        (image("data:image/png;base64,!"), "image_url.url", "invalid_data_url"),
        (image(data_url(b"hello")), "image_url.url", "unsupported_file_type"),
        (image(data_url(b"<svg/>", "image/svg+xml")), "image_url.url", "unsupported_file_type"),
        (image(data_url(b"\x89PNG\r\n\x1a\n")), "image_url.url", "unsupported_file_type"),
        (image("http://localhost/?key=hidden"), "image_url.url", "file_url_not_allowed"),
        (image("aGVsbG8="), "image_url.url", "file_url_not_allowed"),
        (image(""), "image_url.url", "file_url_not_allowed"),
        (image("http://nowhere.test/?key=hidden"), "image_url.url", "file_unreachable"),
        (file(data_url(b"x" * 2000)), "file.file_data", "file_too_large"),
        ({"type": "file", "file": {"file_url": "http://10.0.0.1/x"}}, "file.file_url", "file_url_not_allowed"),
    ],
)
async def test_what_is_wrong_is_named(part, field, code, names):
    localhost = names(localhost=[["127.0.0.1"]])
    with pytest.raises(RequestError) as raised:
        await files(max_file_bytes=1024, resolve=localhost).gather(request("hi", [TEXT, part]))
    assert (raised.value.http_status, raised.value.code) == (400, code)
    assert raised.value.param == f"messages[1].content[1].{field}"
    assert "hidden" not in raised.value.message


async def test_what_is_fetched_must_be_what_was_asked_for(listen, answering):
    async with listen(answering(b"<html>", "content-type: image/png")) as page, listen(answering(b"")) as empty:
        made = files(allow_private_urls=(f"127.0.0.1:{page.port}", f"127.0.0.1:{empty.port}"))
        for url in (page.url, empty.url):
            with pytest.raises(RequestError) as raised:
                await made.gather(request([image(url)]))
            assert raised.value.code == "unsupported_file_type"


async def test_all_files_together_are_bounded():
    parts = [file(data_url(bytes([number]) * 1000, "x/y")) for number in range(6)]
    with pytest.raises(RequestError) as raised:
        await files(max_file_bytes=1024).gather(request(parts))
    assert (raised.value.code, raised.value.param) == ("file_too_large", "messages[0].content[4].file.file_data")


async def test_one_failure_ends_the_other_fetches(listen):
    async def never(_head, _writer):
        await asyncio.sleep(30)

    async with listen(never) as listener:
        made = files(allow_private_urls=(f"127.0.0.1:{listener.port}",))
        with pytest.raises(RequestError):
            await asyncio.wait_for(made.gather(request([image(listener.url), image("http://10.0.0.1/")])), 5)
        if listener.connections:
            await asyncio.wait_for(listener.left.wait(), 5)


# --- upstream ---------------------------------------------------------------------------------------------------------


async def test_the_same_content_goes_up_once_for_each_account(png):
    store, clock = Store(), Clock()
    made = files(store, clock)
    prompt = request([image(data_url(png())), image(f" {data_url(png())}")], [file(data_url(png()))])
    gathered = await made.gather(prompt)
    first = await made.upload(prompt, gathered, ACCOUNT, CONNECTION, "one")
    assert len({one.id for one in first.values()}) == 1
    assert await made.upload(prompt, gathered, ACCOUNT, CONNECTION, "one") == first
    assert len(store.names) == 1
    await made.upload(prompt, gathered, ACCOUNT, CONNECTION, "two")
    assert len(store.names) == 2
    clock.now += 3600
    await made.upload(prompt, gathered, ACCOUNT, CONNECTION, "one")
    assert len(store.names) == 3


async def test_one_requests_name_is_not_anothers(png):
    made = files(Store())
    placed = []
    for name in ("one.png", "two.png"):
        prompt = request([file(data_url(png()), name)])
        placed += (await made.upload(prompt, await made.gather(prompt), ACCOUNT, CONNECTION, "key")).values()
    assert len(placed) == 2
    assert placed[0].id == placed[1].id
    assert [each.name for each in placed] == ["one.png", "two.png"]


async def test_a_client_that_leaves_breaks_no_other(png):
    store = Store()
    store.go.clear()
    made = files(store)
    prompt = request([image(data_url(png()))])
    gathered = await made.gather(prompt)
    leaving, staying = (
        asyncio.create_task(made.upload(prompt, gathered, ACCOUNT, CONNECTION, "key")) for _ in range(2)
    )
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    store.go.set()
    assert isinstance((await staying)[prompt.attached[0]], UploadedFile)
    assert len(store.names) == 1


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (413, RequestError, "file_too_large"),
        (422, RequestError, "file_too_large"),
        (429, LimitError, "rate_limit_exceeded"),
        (401, CredentialError, "invalid_api_key"),
        (500, UpstreamError, "upstream_500"),
    ],
)
async def test_refusals_are_told_apart(status, kind, code, png):
    made = files(Store(HttpReply(status, {}, b"{}")))
    prompt = request([TEXT, image(data_url(png()))])
    gathered = await made.gather(prompt)
    with pytest.raises(GatewayError) as raised:
        await made.upload(prompt, gathered, ACCOUNT, CONNECTION, "key")
    assert (type(raised.value), raised.value.code) == (kind, code)
    if kind is RequestError:
        assert (raised.value.http_status, raised.value.param) == (400, "messages[0].content[1].image_url.url")


async def test_guests_have_no_files(png):
    made = files()
    prompt = request([image(data_url(png()))])
    gathered = await made.gather(prompt)
    with pytest.raises(RequestError) as raised:
        await made.upload(prompt, gathered, Upstream("https://x.test", Identity("device"), PROFILE), CONNECTION, "key")
    assert (raised.value.code, raised.value.param) == ("files_need_account", "messages[0].content[0].image_url.url")


# --- on the stand-in --------------------------------------------------------------------------------------------------


@pytest.fixture
async def transport():
    made = CurlTransport(Deadlines())
    yield made
    await made.close()


def stats(upstream):
    return upstream.get("/standin/stats").json()["files"]


async def test_the_stand_in_takes_files(upstream, make_account, transport, png):
    token = make_account("files", index_polls=1)
    account = Upstream(upstream.base_url, Identity("00000000-0000-4000-8000-000000000001", token), PROFILE)
    made = files(transport)
    prompt = request(
        [image(data_url(png())), file(data_url(b"# hi", "text/markdown"), "a.md"), file("data:text/csv,a%2Cb")]
    )
    gathered = await made.gather(prompt)
    before = stats(upstream)
    placed = await made.upload(prompt, gathered, account, CONNECTION, "key")
    after = stats(upstream)
    gained = {name: after[name] - before.get(name, 0) for name in ("announced", "stored", "confirmed")}
    assert gained == {"announced": 3, "stored": 3, "confirmed": 3}
    assert after.get("sent_with_authorization", 0) == 0
    assert len({one.id for one in placed.values()}) == 3


@pytest.mark.parametrize(
    ("switches", "kind", "code"),
    [
        ({"file_limit": 10}, RequestError, "file_too_large"),
        ({"uploads": 0}, LimitError, None),
        ({"index": "failed"}, RequestError, "file_processing_failed"),
    ],
)
async def test_the_stand_in_refuses_files(switches, kind, code, upstream, make_account, transport):
    token = make_account("refused-files", **switches)
    account = Upstream(upstream.base_url, Identity("00000000-0000-4000-8000-000000000001", token), PROFILE)
    made = files(transport)
    prompt = request([file(data_url(b"# a document", "text/markdown"))])
    gathered = await made.gather(prompt)
    with pytest.raises(kind) as raised:
        await made.upload(prompt, gathered, account, CONNECTION, "key")
    assert code is None or raised.value.code == code
