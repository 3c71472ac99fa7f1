"""The Arkose client against a real server on the loopback interface (protocol.md 3)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from arkose import ArkoseClient, ArkoseError
from arkose.client import MAX_ANSWER_BYTES

BLOB = "blob-that-is-secret"
TOKEN = "token-that-is-secret|r=eu-west-1"
FAILED = "Failed to get Arkose token"


class TokenService:
    """An HTTP server that gives every request the same answer and remembers it."""

    def __init__(self) -> None:
        self.answer = http_answer(json.dumps({"token": TOKEN, "solved": True}).encode())
        self.silent = False
        self.heads: list[str] = []
        self.bodies: list[object] = []
        self.client_gone = asyncio.Event()
        self.asked = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.client_gone.set()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            self.heads.append(head)
            self.bodies.append(json.loads(await reader.readexactly(length)))
            self.asked.set()
            if not self.silent:
                writer.write(self.answer)
                await writer.drain()


@asynccontextmanager
async def loopback(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve on a free port of the loopback interface, yield the URL, and leave no task or socket behind."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()


def http_answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def service() -> AsyncIterator[TokenService]:
    service = TokenService()
    async with loopback(service.serve) as url:
        service.url = f"{url}solve?key=secret-key"
        yield service


@pytest.fixture
async def make_client() -> AsyncIterator[Callable[..., ArkoseClient]]:
    made: list[ArkoseClient] = []

    def make(url: str | None, *, timeout: float = 10.0) -> ArkoseClient:
        made.append(ArkoseClient(url, timeout=timeout))
        return made[-1]

    yield make
    for client in made:
        await client.close()


async def failure(client: ArkoseClient) -> ArkoseError:
    with pytest.raises(ArkoseError) as caught:
        await client.fetch(blob=BLOB, method="chat4")
    return caught.value


async def test_posts_blob_and_method_and_returns_the_token(service, make_client):
    assert await make_client(service.url).fetch(blob=BLOB, method="chat35") == TOKEN
    assert service.bodies == [{"blob": BLOB, "method": "chat35"}]
    assert service.heads[0].startswith("post /solve?key=secret-key http/1.1\r\n")
    assert "content-type: application/json\r\n" in service.heads[0]


async def test_a_missing_blob_is_sent_as_null(service, make_client):
    await make_client(service.url).fetch(blob=None, method="chat4")
    assert service.bodies == [{"blob": None, "method": "chat4"}]


async def test_solved_missing_counts_as_true_and_unknown_fields_are_ignored(service, make_client):
    service.answer = http_answer(json.dumps({"token": TOKEN, "version": 3}).encode())
    assert await make_client(service.url).fetch(blob=BLOB, method="chat4") == TOKEN


async def test_many_at_once_share_one_session(service, make_client):
    client = make_client(service.url)
    tokens = await asyncio.gather(*(client.fetch(blob=str(n), method="chat4") for n in range(30)))
    assert tokens == [TOKEN] * 30
    assert sorted(body["blob"] for body in service.bodies) == sorted(map(str, range(30)))


@pytest.mark.parametrize("url", [None, ""])
async def test_without_a_url_the_service_is_required(make_client, url):
    error = await failure(make_client(url))
    assert str(error) == error.message == "Arkose service required"
    assert error.reason == "no token service is configured"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http_answer(json.dumps({"token": TOKEN, "solved": False}).encode()), "the service says it is not solved"),
        (http_answer(b'{"solved": true}'), "the answer has no token"),
        (http_answer(b'{"token": ""}'), "the answer has no token"),
        (http_answer(b'{"token": null}'), "the answer has no token"),
        (http_answer(b'{"token": "a\\r\\nb: c"}'), "the token cannot be sent in a header"),
        (http_answer(b'{"token": "caf\xc3\xa9"}'), "the token cannot be sent in a header"),
        (http_answer(b'{"token": 7}'), "the answer is not the JSON object it should be"),
        (http_answer(b'["token"]'), "the answer is not the JSON object it should be"),
        (http_answer(b""), "the answer is not the JSON object it should be"),
        (http_answer(b"<html>" + TOKEN.encode()), "the answer is not the JSON object it should be"),
        (http_answer(b'{"token": "\xff"}'), "the answer is not the JSON object it should be"),
        (http_answer(b'{"x":' + b"[" * 100_000), "the answer is not the JSON object it should be"),
        (http_answer(TOKEN.encode(), status="502 Bad Gateway"), "the service answered 502"),
        (http_answer(b'{"token": "t"}', status="201 Created"), "the service answered 201"),
        (http_answer(b"", status="302 Found", headers="location: /other\r\n"), "the service answered 302"),
        (http_answer(b'{"token": "%s"}' % (b"x" * MAX_ANSWER_BYTES)), "the answer is too large"),
    ],
)
async def test_every_answer_without_a_usable_token_is_an_error(service, make_client, answer, reason):
    service.answer = answer
    error = await failure(make_client(service.url))
    assert (str(error), error.reason) == (FAILED, reason)
    assert len(service.bodies) == 1  # not asked again, nor elsewhere


async def test_an_answer_at_the_size_limit_is_read(service, make_client):
    token = "x" * (MAX_ANSWER_BYTES - len('{"token":""}'))
    service.answer = http_answer(b'{"token":"%s"}' % token.encode())
    assert await make_client(service.url).fetch(blob=None, method="chat4") == token


async def test_an_endless_answer_is_cut_off(service, make_client):
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"10000\r\n%s\r\n" % (b" " * 65536) * 64
    service.answer = endless
    error = await failure(make_client(service.url))
    assert error.reason == "the answer is too large"


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", b"rubbish\r\n\r\n"])
async def test_a_broken_connection_is_an_error(make_client, cut):
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(cut)

    async with loopback(hang_up) as url:
        assert str(await failure(make_client(url))) == FAILED


async def test_a_refused_connection_is_an_error(make_client):
    async with loopback(TokenService().serve) as url:
        pass
    error = await failure(make_client(url))
    assert str(error) == FAILED
    assert "ConnectionError" in error.reason


@pytest.mark.parametrize("url", ["no scheme", "http://[half/secret-key", "http://127.0.0.1:99999/", "nope://x/"])
async def test_a_url_that_cannot_be_called_is_an_error(make_client, url):
    error = await failure(make_client(url))
    assert str(error) == FAILED
    assert "secret-key" not in error.reason


async def test_a_silent_service_is_left_after_the_timeout(service, make_client):
    service.silent = True
    error = await failure(make_client(service.url, timeout=0.2))
    assert (str(error), error.reason) == (FAILED, "no answer within 0.2 s")
    await asyncio.wait_for(service.client_gone.wait(), 10)


async def test_a_trickling_service_does_not_stretch_the_timeout(make_client):
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async with loopback(trickle) as url:
        error = await failure(make_client(url, timeout=0.3))
    assert error.reason == "no answer within 0.3 s"


async def test_cancelling_a_fetch_ends_its_transfer(service, make_client):
    service.silent = True
    client = make_client(service.url, timeout=60)
    fetch = asyncio.create_task(client.fetch(blob=BLOB, method="chat4"))
    await asyncio.wait_for(service.asked.wait(), 10)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await asyncio.wait_for(service.client_gone.wait(), 10)

    service.silent = False
    assert await client.fetch(blob=BLOB, method="chat4") == TOKEN


async def test_close_may_be_repeated_and_a_later_fetch_opens_a_new_session(service, make_client):
    client = make_client(service.url)
    await client.close()
    await client.fetch(blob=BLOB, method="chat4")
    await client.close()
    await client.close()
    assert await client.fetch(blob=BLOB, method="chat4") == TOKEN


async def test_no_secret_in_any_error_or_log(service, make_client, caplog):
    caplog.set_level(0)
    for answer in (b'{"token": ["%s"]}' % TOKEN.encode(), b'"%s' % TOKEN.encode()):
        service.answer = http_answer(answer)
        error = await failure(make_client(service.url))
        said = f"{error!r} {error} {error.reason} {error.__cause__} {caplog.text}"
        assert "secret" not in said
