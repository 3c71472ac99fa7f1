"""What is no HTTP, or only half of it, on the socket of the running server: it is refused or dropped, and the next
client is served."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BODY = b'{"model":"auto","messages":[{"role":"user","content":"Hi"}]}'
CHUNKED = CHAT + b"transfer-encoding: chunked\r\n\r\n"
GOOD = CHAT + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
HTTP_2 = b"\x00\x00"  # its frames begin with their length, and there is little to say
PATIENCE = 1.0  # seconds to wait for an answer to what may not get one
LONGEST = 5.0  # seconds a good call may take after all this

RUBBISH = {
    "nothing": b"",
    "a line end": b"\r\n\r\n",
    "zeros": b"\x00" * 4096,
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"\xa5" * 160,
    "HTTP/2 without a settings frame": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    "no version": b"GET /healthz\r\n\r\n",
    "a version of the future": b"GET /healthz HTTP/9.9\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n",
    "two hosts": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
    "a bad host": b"POST /v1/chat/completions HTTP/1.1\r\nhost: a b:[\xff\r\nconnection: close\r\n\r\n",
    "a long path": b"GET /%s HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % (b"a" * 100_000),
    "a path that is not UTF-8": b"GET /v1/models/%ff%fe HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "a path with a zero": b"GET /files/%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "a path of raw bytes": b"GET /files/\xff\xfe\x80 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "a whole address": b"GET http://elsewhere.test/v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "a tunnel": b"CONNECT elsewhere.test:443 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "an unknown method": b"BREW /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "a large header": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: %s\r\nconnection: close\r\n\r\n" % (b"a" * 1_000_000),
    "many headers": b"GET /v1/models HTTP/1.1\r\nhost: a\r\n%s\r\n" % b"".join(b"x%d: y\r\n" % n for n in range(5000)),
    "a header of raw bytes": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: \xff\xfe\r\nconnection: close\r\n\r\n",
    "a key of raw bytes": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: \xff\xfe\r\nconnection: close\r\n\r\n",
    "a header without a name": b"GET /v1/models HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n",
    "a folded header": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\nconnection: close\r\n\r\n",
    "a length that is none": CHAT + b"content-length: ten\r\n\r\n" + BODY,
    "a length below nothing": CHAT + b"content-length: -1\r\n\r\n" + BODY,
    "a length beyond all": CHAT + b"content-length: 99999999999999999999\r\n\r\n" + BODY,
    "a length too large": CHAT + b"content-length: 99999999999\r\n\r\n" + BODY,
    "two lengths": CHAT + b"content-length: 5\r\ncontent-length: 60\r\n\r\n" + BODY,
    "a length and chunks": CHAT + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "less than promised": CHAT + b"content-length: 100000\r\n\r\n" + BODY,
    "more than promised": CHAT + b"content-length: 5\r\n\r\n" + BODY * 3,
    "chunks that are none": CHUNKED + b"zz\r\n" + BODY,
    "a chunk of a huge size": CHUNKED + b"ffffffffffffffff\r\n" + BODY,
    "a chunk of a size without an end": CHUNKED + b"f" * 5000,
    "a chunk that is cut": CHUNKED + b"ff\r\nabc",
    "chunks without a last one": CHUNKED + b"3c\r\n" + BODY + b"\r\n",
    "trailers of rubbish": CHUNKED + b"3c\r\n" + BODY + b"\r\n0\r\n\xff\xfe\r\n\r\n",
    "a coding nobody knows": CHAT + b"transfer-encoding: brew\r\n\r\n" + BODY,
    "a body that claims to be packed": CHAT
    + b"content-encoding: gzip\r\nconnection: close\r\ncontent-length: 60\r\n\r\n"
    + BODY,
    "a request within a request": CHAT + b"content-length: 0\r\n\r\n" + GOOD + b"rubbish\r\n\r\n",
    "half a head": CHAT[:40],
    "an upgrade": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
}


class Wire:
    """Where the server listens."""

    def __init__(self, running: Any) -> None:
        host, port = running.base_url.removeprefix("http://").split(":")
        self.running, self._address = running, (host, int(port))

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address, LONGEST)

    def send(self, rubbish: bytes, patience: float = PATIENCE, *, hang_up: bool = False) -> bytes:
        """Send these bytes and then nothing more; what comes back until the server closes or `patience` is over.
        `hang_up` says to the server that nothing more will come."""
        answer, until = b"", time.monotonic() + patience
        with self.connect() as wire, contextlib.suppress(OSError):
            wire.sendall(rubbish)
            if hang_up:
                wire.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                wire.settimeout(left)
                piece = wire.recv(65536)
                if not piece:
                    break
                answer += piece
        return answer

    def assert_serves(self) -> None:
        """A good call is answered, in good time, and nothing unforeseen was logged."""
        answer = httpx.get(f"{self.running.base_url}/healthz", trust_env=False, timeout=LONGEST)
        assert answer.json()["status"] == "ok"
        assert "unexpected failure" not in self.running.log
        assert "Traceback" not in self.running.log


@pytest.fixture(scope="module")
def wire(start_gateway: Callable[..., Any], shared_standin: Any) -> Iterator[Wire]:
    """A gateway of these tests' own, so that its log is theirs too."""
    wire = Wire(start_gateway(CHATGPT_BASE_URL=shared_standin.base_url))
    yield wire
    assert wire.send(GOOD, LONGEST).startswith(b"HTTP/1.1 200 ")


def assert_refused(answer: bytes) -> None:
    """HTTP or nothing at all, and nothing that is a mistake of the server."""
    assert answer == b"" or answer.startswith((b"HTTP/1.", HTTP_2))
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:500]


def test_what_is_spoiled_here_is_good(wire: Wire) -> None:
    assert wire.send(GOOD, LONGEST).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("hang_up", [False, True])
@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_refused(wire: Wire, name: str, hang_up: bool) -> None:
    assert_refused(wire.send(RUBBISH[name], hang_up=hang_up))
    wire.assert_serves()


@settings(settings.get_profile("fuzz"), max_examples=60)
@given(data=st.data(), times=st.integers(1, 3))
def test_broken_requests_are_refused_or_answered(
    data: st.DataObject, times: int, wire: Wire, break_bytes: Callable[..., bytes]
) -> None:
    rubbish = GOOD
    for _ in range(times):
        rubbish = break_bytes(data.draw, rubbish)
    assert_refused(wire.send(rubbish, 0.2, hang_up=data.draw(st.booleans())))
    wire.assert_serves()


@pytest.mark.parametrize("held", [b"", CHAT, CHAT + b"content-length: 60\r\n\r\n" + BODY[:30], CHUNKED + b"3c\r\n"])
def test_slow_clients_hold_up_nobody(wire: Wire, held: bytes) -> None:
    """Twenty that send a byte now and then, while one that does not dawdle is served."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(wire.connect()) for _ in range(20)]
        for one in slow:
            one.sendall(held)
        began = time.monotonic()
        for _ in range(3):
            for one in slow:
                with contextlib.suppress(OSError):  # the server may have lost its patience
                    one.sendall(b"a")
            assert wire.send(GOOD, LONGEST).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - began < 3 * LONGEST
    wire.assert_serves()
