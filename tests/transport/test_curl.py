"""The curl driver against real sockets: streaming, cancelling, deadlines, the bound, failures."""

import asyncio
import contextlib
import gzip
import socket
import sys
import time

import pytest
from curl_cffi.const import CurlECode
from curl_cffi.requests.exceptions import CODE2ERROR

from shim.errors import About, DeadlineError, Sent, UpstreamError
from shim.protocol.commands import HttpRequest
from shim.transport import ConnectionKey, Deadlines
from shim.transport.base import read_reply
from shim.transport.curl import CurlTransport
from shim.transport.failures import failure_of_curl
from shim.transport.handles import Multi

CONNECTION = ConnectionKey("someone")
QUICK = Deadlines(connect=2, first_byte=0.3, idle=0.3, total=1.0)


@pytest.fixture
async def transport():
    made = CurlTransport(Deadlines())
    yield made
    await made.close()


@pytest.fixture
async def made_with():
    """`made_with(deadlines)`: a transport that is closed with the test."""
    made = []

    def make(deadlines):
        made.append(CurlTransport(deadlines))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def hasty(made_with):
    return made_with(QUICK)


def post(url, body=b"{}", **headers):
    return HttpRequest("POST", url, {"content-type": "application/json", **headers}, body)


async def hello(connection):
    await connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Two: a: b\r\ncontent-length: 5\r\n\r\nhello"
    )


async def test_what_was_asked_and_what_was_answered(raw_upstream, transport):
    async with raw_upstream(hello) as upstream:
        request = HttpRequest("POST", f"{upstream.base_url}/p?q=1", {"x-a": "ä b", "authorization": "Bearer t"}, b"{1}")
        reply = await read_reply(await transport.send(request, CONNECTION))
        assert (reply.status, reply.body) == (200, b"hello")
        assert reply.headers["content-type"] == "text/plain"
        assert reply.headers["x-two"] == "a: b"
        seen = upstream.requests[0]
        assert seen.head.startswith(b"POST /p?q=1 HTTP/1.1\r\n")
        assert b"x-a: \xc3\xa4 b\r\n" in seen.head
        assert b"expect" not in seen.head.lower()
        assert seen.body == b"{1}"


async def test_a_get_has_no_body(raw_upstream, transport):
    async with raw_upstream(hello) as upstream:
        await read_reply(await transport.send(HttpRequest("GET", upstream.base_url + "/m", {}), CONNECTION))
        assert upstream.requests[0].head.startswith(b"GET /m ")
        assert b"content-length" not in upstream.requests[0].head.lower()


async def test_one_lane_keeps_its_connection_and_another_has_its_own(raw_upstream, transport):
    async with raw_upstream(hello) as upstream:
        for _ in range(5):
            await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        assert upstream.connections == 1
        await read_reply(await transport.send(post(upstream.base_url), ConnectionKey("someone else")))
        assert upstream.connections == 2


async def test_a_chunk_arrives_before_the_next_one_is_sent(raw_upstream, transport):
    read_first = asyncio.Event()

    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"one")
        await read_first.wait()
        await connection.send_chunk(b"two")
        await connection.send_end()

    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        assert await response.chunk() == b"one"
        read_first.set()
        assert await response.chunk() == b"two"
        assert await response.chunk() == b""
        assert await response.chunk() == b""
        response.close()


async def test_what_arrives_together_is_read_together(raw_upstream, transport):
    sent = asyncio.Event()

    async def script(connection):
        await connection.send_head()
        for _ in range(100):
            await connection.send_chunk(b"x" * 10)
        sent.set()
        await connection.send_end()

    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        await sent.wait()
        await asyncio.sleep(0.05)
        assert await response.chunk() == b"x" * 1000
        response.close()


async def test_closing_early_closes_upstream_at_once(raw_upstream, transport):
    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"one")
        await asyncio.sleep(30)

    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        await response.chunk()
        closed_at = time.monotonic()
        response.close()
        response.close()
        await asyncio.wait_for(upstream.gone.wait(), 1)
        assert upstream.gone_at - closed_at < 0.1


async def test_cancelling_a_reader_and_closing_closes_upstream(raw_upstream, transport):
    async def script(connection):
        await connection.send_head()
        await asyncio.sleep(30)

    async def read(url):
        response = await transport.send(post(url), CONNECTION)
        try:
            await response.chunk()
        finally:
            response.close()

    async with raw_upstream(script) as upstream:
        task = asyncio.create_task(read(upstream.base_url))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(upstream.gone.wait(), 1)


async def test_cancelling_while_the_head_is_awaited_closes_upstream(raw_upstream, transport):
    async with raw_upstream(lambda connection: asyncio.sleep(30)) as upstream:
        task = asyncio.create_task(transport.send(post(upstream.base_url), CONNECTION))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(upstream.gone.wait(), 1)


async def test_a_handle_is_clean_after_a_cancelled_call(raw_upstream, transport):
    """The next call must not inherit the body, the headers or the callbacks of one that was given up."""

    async def script(connection):
        if b"secret" in connection.head:
            await connection.send_head()
            await connection.send_chunk(b"old")
            await asyncio.sleep(30)
        await hello(connection)

    async with raw_upstream(script) as upstream:
        first = await transport.send(post(upstream.base_url, b"old body", authorization="secret"), CONNECTION)
        await first.chunk()
        first.close()
        reply = await read_reply(await transport.send(HttpRequest("GET", upstream.base_url, {}), CONNECTION))
        assert reply.body == b"hello"
        assert b"secret" not in upstream.requests[1].head
        assert upstream.requests[1].body == b""


async def test_deadline_for_the_first_byte(raw_upstream, hasty):
    async with raw_upstream(lambda connection: asyncio.sleep(30)) as upstream:
        began = time.monotonic()
        with pytest.raises(DeadlineError, match="did not begin to answer"):
            await hasty.send(post(upstream.base_url), CONNECTION)
        assert 0.25 < time.monotonic() - began < 2
        await asyncio.wait_for(upstream.gone.wait(), 1)


async def test_deadline_for_silence_is_counted_from_the_last_bytes(raw_upstream, made_with):
    # The other deadlines come much later, so that it is this one, and in its own time, whatever the machine is doing.
    patient = made_with(Deadlines(connect=300, first_byte=300, idle=1.0, total=600))

    async def script(connection):
        await connection.send_head()
        for _ in range(4):
            await asyncio.sleep(0.3)
            await connection.send_chunk(b"x")
        await asyncio.sleep(30)

    async with raw_upstream(script) as upstream:
        response = await patient.send(post(upstream.base_url), CONNECTION)
        received = 0
        with pytest.raises(DeadlineError, match="fell silent"):
            while True:
                received += len(await response.chunk())
        assert received == 4
        await asyncio.wait_for(upstream.gone.wait(), 1)


async def test_deadline_for_the_whole_answer(raw_upstream, hasty):
    async def script(connection):
        await connection.send_head()
        for _ in range(100):
            await connection.send_chunk(b"x")
            await asyncio.sleep(0.05)

    async with raw_upstream(script) as upstream:
        response = await hasty.send(post(upstream.base_url), CONNECTION)
        with pytest.raises(DeadlineError, match="did not finish"):
            while await response.chunk():
                pass


async def test_a_slow_client_is_not_upstreams_silence(raw_upstream, hasty):
    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"x")
        await asyncio.sleep(0.6)
        await connection.send_chunk(b"y")
        await connection.send_end()

    async with raw_upstream(script) as upstream:
        response = await hasty.send(post(upstream.base_url), CONNECTION)
        await asyncio.sleep(0.65)  # longer than the idle deadline, with nobody waiting
        async with asyncio.timeout(30):
            while response._size < 2:  # noqa: ASYNC110  nobody waits for it
                await asyncio.sleep(0.01)
        assert (await response.chunk()) == b"xy"
        response.close()


async def test_a_client_that_does_not_read_makes_upstream_wait(raw_upstream):
    """Backpressure: what is held stays near the bound, and nothing is lost once reading goes on."""
    bound, total = 64 * 1024, 32 * 1024 * 1024
    written = 0
    block = bytes(range(256)) * 256

    async def script(connection):
        nonlocal written
        await connection.send_head()
        while written < total:
            await connection.send_chunk(block)
            written += len(block)
        await connection.send_end()

    transport = CurlTransport(Deadlines(), max_buffered=bound)
    try:
        async with raw_upstream(script) as upstream:
            response = await transport.send(post(upstream.base_url), CONNECTION)
            await asyncio.sleep(0.5)
            assert written < total  # the rest is held back: sockets' own buffers take a few MB
            received = bytearray()
            while chunk := await response.chunk():
                assert len(chunk) < bound + 1024 * 1024
                received += chunk
            response.close()
            assert len(received) == total
            assert bytes(received[: len(block)]) == block
            assert bytes(received[-len(block) :]) == block
    finally:
        await transport.close()


async def test_gzip_is_inflated_as_it_comes(raw_upstream, transport):
    async def script(connection):
        await connection.send_head("200 OK", "content-encoding: gzip")
        await connection.send_chunk(gzip.compress(b"data: hello\n\n"))
        await connection.send_end()

    async with raw_upstream(script) as upstream:
        assert (await read_reply(await transport.send(post(upstream.base_url), CONNECTION))).body == b"data: hello\n\n"


async def test_a_body_that_expands_a_thousandfold_leaves_the_others_their_turns(raw_upstream, transport):
    async def script(connection):
        await connection.send_head("200 OK", "content-encoding: gzip")
        await connection.send_chunk(gzip.compress(b"\n" * 50_000_000))
        await connection.send_end()

    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        spinning = asyncio.create_task(others())
        received, without, before = 0, 0, turns
        while chunk := await response.chunk():
            assert len(chunk) < 300_000
            received += len(chunk)
            without += turns == before
            before = turns
        spinning.cancel()
    assert received == 50_000_000
    assert without <= 2  # the first ones, before anybody had to wait


async def test_an_interim_answer_is_not_the_answer(raw_upstream, transport):
    async def script(connection):
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await hello(connection)

    async with raw_upstream(script) as upstream:
        reply = await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        assert (reply.status, reply.headers.get("link")) == (200, None)


async def test_a_body_cut_short_is_an_error(raw_upstream, transport):
    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"one")
        connection.writer.close()

    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        assert await response.chunk() == b"one"
        with pytest.raises(UpstreamError) as caught:
            await response.chunk()
        assert caught.value.code == "upstream_connection"
        response.close()


async def test_a_reply_longer_than_the_limit_is_refused(raw_upstream, transport):
    async def script(connection):
        await connection.send_head()
        for _ in range(100):
            await connection.send_chunk(b"x" * 1000)
        await connection.send_end()

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await read_reply(await transport.send(post(upstream.base_url), CONNECTION), limit=5000)
        assert caught.value.code == "upstream_too_large"


async def test_endless_headers_are_refused(raw_upstream, transport):
    async def script(connection):
        await connection.send(b"HTTP/1.1 200 OK\r\n")
        for number in range(2000):
            await connection.send(b"x-%d: %s\r\n" % (number, b"y" * 100))

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamError):
            await transport.send(post(upstream.base_url), CONNECTION)


async def test_nobody_listens(transport):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(UpstreamError) as caught:
            await transport.send(post(url), CONNECTION)
    assert caught.value.code == "upstream_unreachable"
    assert "127.0.0.1" not in caught.value.message


async def test_a_dead_proxy(transport):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://user:password@127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UpstreamError) as caught:
            await transport.send(post("http://127.0.0.1:9/"), ConnectionKey("someone", proxy))
    assert "password" not in caught.value.message
    assert (caught.value.code, caught.value.about, caught.value.sent) == ("upstream_proxy", About.PROXY, Sent.NEVER)
    assert "PROXY_URL" in caught.value.message


@contextlib.asynccontextmanager
async def tcp(answer):
    """A port that reads something and answers with these bytes; the address, and what it was told."""
    heard = []

    async def handle(reader, writer):
        heard.append(await reader.read(65536))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


PROXY_ANSWERS = {
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
    "SOCKS": b"\x05\xff",
    "rubbish": b"\x05\xff rubbish\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize(
    ("answer", "upstream", "scheme", "said", "sent"),
    [
        ("407", "https", "http", "other credentials (407)", Sent.NEVER),
        ("407", "http", "http", "other credentials (407)", Sent.DECLINED),
        ("502", "https", "http", "answered 502", Sent.NEVER),
        ("SOCKS", "https", "http", "check PROXY_URL and its scheme", Sent.NEVER),
        ("rubbish", "https", "http", "does not speak HTTP", Sent.NEVER),
        ("SOCKS", "http", "http", "does not speak HTTP", Sent.MAYBE_TAKEN),
        ("nothing", "https", "http", "closed the connection", Sent.NEVER),
        ("407", "https", "https", "No TLS connection to the proxy", Sent.NEVER),
        ("407", "https", "socks5", "The proxy refused the connection", Sent.NEVER),
    ],
)
async def test_a_failing_proxy_is_blamed(transport, answer, upstream, scheme, said, sent):
    async with tcp(PROXY_ANSWERS[answer]) as (address, _):
        with pytest.raises(UpstreamError) as caught:
            await transport.send(post(f"{upstream}://127.0.0.1:9/"), ConnectionKey("someone", f"{scheme}://{address}"))
    assert said in caught.value.message
    assert (caught.value.code, caught.value.about, caught.value.sent) == ("upstream_proxy", About.PROXY, sent)
    assert "CHATGPT_BASE_URL" not in caught.value.message


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
async def test_the_environment_sends_no_call_past_the_proxy(raw_upstream, transport, monkeypatch, name):
    monkeypatch.setenv(name, "127.0.0.1,*")
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    async with tcp(answer) as (proxy, heard), tcp(answer) as (upstream, directly):
        await transport.send(post(f"http://{upstream}/"), ConnectionKey("someone", f"http://{proxy}"))
    assert heard
    assert not directly


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"<html>HTTP/0.9</html>", b"\x00\x01rubbish\r\n\r\n"])
async def test_an_upstream_that_does_not_speak_http_may_have_taken_the_call(transport, answer):
    async with tcp(answer) as (address, _):
        with pytest.raises(UpstreamError) as caught:
            await transport.send(post(f"http://{address}/"), CONNECTION)
    assert "did not speak HTTP" in caught.value.message
    assert (caught.value.code, caught.value.sent) == ("upstream_connection", Sent.MAYBE_TAKEN)


async def test_closing_the_transport_fails_what_is_under_way(raw_upstream):
    async def script(connection):
        await connection.send_head()
        await asyncio.sleep(30)

    transport = CurlTransport(Deadlines())
    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        reading = asyncio.create_task(response.chunk())
        await asyncio.sleep(0.05)
        await transport.close()
        with pytest.raises(UpstreamError, match="shutting down"):
            await reading


async def test_200_streams_at_once_are_not_mixed_up(raw_upstream, transport):
    async def script(connection):
        mine = connection.body
        await connection.send_head()
        for number in range(20):
            await connection.send_chunk(b"%s:%d " % (mine, number))
            await asyncio.sleep(0)
        await connection.send_end()

    async def one(url, number):
        body = b"%d" % number
        reply = await read_reply(await transport.send(post(url, body), CONNECTION))
        assert reply.body == b"".join(b"%s:%d " % (body, place) for place in range(20))

    async with raw_upstream(script) as upstream:
        await asyncio.gather(*(one(upstream.base_url, number) for number in range(200)))


@pytest.mark.parametrize("code", [code for code in CurlECode if code != CurlECode.OK])
def test_every_curl_code_becomes_an_error_a_client_can_be_told(code):
    from curl_cffi import CurlError

    error = failure_of_curl(CurlError("said of https://user:secret@host/?q=1", code))
    assert error.http_status in {502, 504}
    assert error.code
    assert "secret" not in error.message


def test_every_code_the_library_tells_apart_has_its_own_sentence():
    """Fails when curl_cffi learns to tell a failure apart that nobody here has thought about."""
    from shim.transport import failures

    generic = {
        0,
        CurlECode.WEIRD_SERVER_REPLY,
        CurlECode.REMOTE_ACCESS_DENIED,
        CurlECode.HTTP2,
        CurlECode.HTTP2_STREAM,
        CurlECode.HTTP3,
        CurlECode.HTTP_RETURNED_ERROR,
        CurlECode.QUIC_CONNECT_ERROR,
        CurlECode.WRITE_ERROR,
        CurlECode.READ_ERROR,
        CurlECode.OUT_OF_MEMORY,
        CurlECode.INTERFACE_FAILED,
        CurlECode.TOO_MANY_REDIRECTS,
        CurlECode.UNKNOWN_OPTION,
        CurlECode.SETOPT_OPTION_SYNTAX,
        CurlECode.SSL_ENGINE_NOTFOUND,
        CurlECode.SSL_ENGINE_SETFAILED,
        CurlECode.SSL_ENGINE_INITFAILED,
        CurlECode.SSL_CRL_BADFILE,
        CurlECode.SEND_FAIL_REWIND,
        CurlECode.ECH_REQUIRED,
    }
    timeouts = {CurlECode.OPERATION_TIMEDOUT}
    assert set(CODE2ERROR) - generic - timeouts - set(failures._CODES) == set()


async def test_a_released_call_keeps_its_connection(raw_upstream, transport):
    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"data: [DONE]\n\n")
        await asyncio.sleep(0.05)
        await connection.send_chunk(b"trailing noise")
        await connection.send_end()

    async with raw_upstream(script) as upstream:
        for _ in range(3):
            response = await transport.send(post(upstream.base_url), CONNECTION)
            assert await response.chunk() == b"data: [DONE]\n\n"
            ended = asyncio.Event()
            response.release(ended.set)
            assert not ended.is_set()
            await asyncio.wait_for(ended.wait(), 1)
        assert upstream.connections == 1
        assert not upstream.gone.is_set()


async def test_a_released_call_that_does_not_end_is_closed_after_a_moment(raw_upstream, transport):
    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"data: [DONE]\n\n")
        await asyncio.sleep(30)

    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        await response.chunk()
        ended = asyncio.Event()
        response.release(ended.set)
        await asyncio.wait_for(upstream.gone.wait(), 3)
        assert ended.is_set()


async def test_releasing_what_has_ended_is_at_once(raw_upstream, transport):
    async with raw_upstream(hello) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        while await response.chunk():
            pass
        ended = asyncio.Event()
        response.release(ended.set)
        assert ended.is_set()
        response.close()


async def test_connections_of_a_burst_are_there_for_the_next_one(raw_upstream, transport):
    async def slow_hello(connection):
        await asyncio.sleep(0.05)
        await hello(connection)

    async def ask(url):
        await read_reply(await transport.send(post(url), CONNECTION))

    async with raw_upstream(slow_hello) as upstream:
        for _ in range(3):
            await asyncio.gather(*(ask(upstream.base_url) for _ in range(40)))
            await ask(upstream.base_url)
        assert upstream.connections == 40


async def test_every_cookie_that_is_set_arrives(raw_upstream, transport):
    async def script(connection):
        cookies = [b"Set-Cookie: a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT", b"x-a: 1", b"set-cookie: b=2", b"x-a: 2"]
        await connection.send(b"\r\n".join([b"HTTP/1.1 200 OK", *cookies, b"content-length: 0", b"", b""]))

    async with raw_upstream(script) as upstream:
        reply = await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        assert reply.headers["set-cookie"] == "a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT\nb=2"
        assert reply.headers["x-a"] == "2"


async def test_a_head_without_end_is_a_failure_and_the_next_call_has_nothing_of_it(raw_upstream, transport):
    async def script(connection):
        if b"endless" in connection.head:
            await connection.send(b"HTTP/1.1 200 OK\r\n" + b"x-a: %s\r\n" % (b"a" * 1000) * 100)
        await hello(connection)

    async with raw_upstream(script) as upstream:
        for _ in range(2):  # with a new handle, and with one that was used before
            with pytest.raises(UpstreamError) as caught:
                await transport.send(post(upstream.base_url, endless="1"), CONNECTION)
            assert (caught.value.code, caught.value.sent) == ("upstream_connection", Sent.MAYBE_TAKEN)
            reply = await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
            assert (reply.body, reply.headers["x-two"], "x-a" in reply.headers) == (b"hello", "a: b", False)


async def test_heads_before_the_answers_own_and_lines_behind_the_body(raw_upstream, transport):
    async def script(connection):
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-a: 1\r\n\r\n")
        await connection.send_head("201 Created", "x-a: 2")
        await connection.send_chunk(b"hello")
        await connection.send(b"0\r\nx-after: 3\r\n\r\n")

    async with raw_upstream(script) as upstream:
        response = await transport.send(post(upstream.base_url), CONNECTION)
        assert (response.status, response.headers["x-a"], "link" in response.headers) == (201, "2", False)
        assert (await read_reply(response)).body == b"hello"
        assert response.headers["x-after"] == "3"


async def test_one_more_identity_than_there_may_be_sessions_is_served_while_all_are_busy(
    raw_upstream, transport, monkeypatch
):
    monkeypatch.setattr("shim.transport.curl._MAX_SESSIONS", 2)

    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"begun")
        await asyncio.sleep(30)

    async with raw_upstream(script) as upstream:
        streams = []
        for number in range(4):
            streams.append(await transport.send(post(upstream.base_url), ConnectionKey(f"caller {number}")))
            assert await streams[-1].chunk() == b"begun"
        assert len(transport._sessions) == 4
        for stream in streams:
            stream.close()
        last = await transport.send(post(upstream.base_url), ConnectionKey("one more"))
        assert len(transport._sessions) == 2  # those that were longest unused have gone
        last.close()


async def test_a_session_that_only_keeps_its_connection_is_not_looked_after(raw_upstream, transport, monkeypatch):
    looks = []
    look = Multi._on_time
    monkeypatch.setattr(Multi, "_on_time", lambda multi: looks.append(multi) or look(multi))

    async def slow_hello(connection):
        async with asyncio.timeout(60):
            while not looks:  # noqa: ASYNC110  libcurl is looked after while a call is under way, and tells nobody
                await asyncio.sleep(0.01)
        await hello(connection)

    async with raw_upstream(slow_hello) as upstream:
        for _ in range(2):
            assert (await read_reply(await transport.send(post(upstream.base_url), CONNECTION))).body == b"hello"
            multi = transport._sessions[CONNECTION].multi
            async with asyncio.timeout(60):
                while multi._timer is not None:  # noqa: ASYNC110  nothing tells of it
                    await asyncio.sleep(0.01)
            looks.clear()
            await asyncio.sleep(0.25)
            assert looks == []
        assert upstream.connections == 1


async def test_a_loop_that_begins_tasks_at_once_as_mitmproxys_does(raw_upstream, transport):
    if sys.version_info < (3, 12):
        pytest.skip("asyncio has eager tasks since Python 3.12")
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    try:
        async with raw_upstream(hello) as upstream:
            assert (await read_reply(await transport.send(post(upstream.base_url), CONNECTION))).body == b"hello"
    finally:
        asyncio.get_running_loop().set_task_factory(None)


async def test_an_identity_upstream_refuses_leaves_nothing_open(raw_upstream, transport):
    """Anybody can invent identities; each would keep a connection, and what a session costs."""

    async def refuse(connection):
        await connection.send(b"HTTP/1.1 401 X\r\ncontent-length: 2\r\n\r\n{}")

    async with raw_upstream(refuse) as upstream:
        for number in range(20):
            reply = await read_reply(await transport.send(post(upstream.base_url), ConnectionKey(f"stranger {number}")))
            assert reply.status == 401
        await asyncio.sleep(0.1)
        assert not transport._sessions


async def test_an_identity_upstream_has_taken_keeps_its_connection(raw_upstream, transport):
    statuses = iter((b"200 OK", b"401 X", b"200 OK"))

    async def script(connection):
        await connection.send(b"HTTP/1.1 %s\r\ncontent-length: 2\r\n\r\n{}" % next(statuses))

    async with raw_upstream(script) as upstream:
        for _ in range(3):
            await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        assert upstream.connections == 1


async def test_an_upstream_whose_ends_never_come_keeps_few_calls(raw_upstream, transport, monkeypatch):
    monkeypatch.setattr("shim.transport.curl._MAX_LINGERING", 3)

    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"all of it")
        await asyncio.sleep(30)

    left = []
    async with raw_upstream(script) as upstream:
        for number in range(10):
            response = await transport.send(post(upstream.base_url), CONNECTION)
            assert await response.chunk() == b"all of it"
            response.release(lambda number=number: left.append(number))
        assert left == [3, 4, 5, 6, 7, 8, 9]
        await asyncio.sleep(1.2)
        assert sorted(left) == list(range(10))
