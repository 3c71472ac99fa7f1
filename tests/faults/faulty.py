"""An upstream that cuts, resets, stalls, drips, bombs and lies: a raw TCP server, and the table of its faults.

Each `Fault` says what a client of the gateway is told, whole and streamed, and how often upstream is asked. The tests
run the table once; `scripts/faults` runs it hundreds of times and looks at what is left of it.
"""

import contextlib
import gzip
import socket
import socketserver
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.upstream_says import DONE, ENDED, V1, added, append, frame, snapshot

TEXT = V1 + added() + append("Hello") + append(" there, élan.")
ANSWER = TEXT + ENDED + DONE
ONCE, EVERY_TRY = 1, 0


class Wire:
    """One accepted connection whose request has been read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def head(self, status: str = "200 OK", kind: str = "text/event-stream", *more: str) -> None:
        lines = [f"HTTP/1.1 {status}", *([f"content-type: {kind}"] if kind else []), *more]
        if not any(line.startswith(("content-length", "transfer-encoding")) for line in more):
            lines.append("transfer-encoding: chunked")
        self.send("\r\n".join([*lines, "", ""]).encode())

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        """Break the connection off with a RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def stall(self, seconds: float = 60.0) -> None:
        """Say nothing until the other side is gone."""
        self._sock.settimeout(seconds)
        with contextlib.suppress(OSError):
            self._sock.recv(1)

    def answer(self, body: bytes, status: str = "200 OK", kind: str = "text/event-stream", *more: str) -> None:
        """All of it, in order."""
        self.head(status, kind, *more, f"content-length: {len(body)}")
        self.send(body)


Act = Callable[[Wire], None]


class FaultyUpstream:
    """Does to every call what `act` says, and counts them; where there is a healthy upstream `behind`, only to those
    whose path holds `stage`, and the others are that one's."""

    def __init__(self, behind: str | None = None) -> None:
        self.act: Act = good
        self.stage = ""
        self.asked = 0
        upstream = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    asked = _read_request(self.request)
                    if asked is None:
                        return
                    if behind is not None and upstream.stage not in asked.partition(b"\r\n")[0].decode():
                        _pass_on(asked, self.request, behind)
                        return
                    upstream.asked += 1
                    upstream.act(Wire(self.request))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, request_queue_size, block_on_close = True, 1024, False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["FaultyUpstream"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def _read_request(sock: socket.socket) -> bytes | None:
    """The whole of it."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = sock.recv(65536)
        if not piece:
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    left = int(lengths[0]) - len(body) if lengths else 0
    pieces = [received]
    while left > 0 and (piece := sock.recv(1 << 20)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _pass_on(asked: bytes, sock: socket.socket, behind: str) -> None:
    """One call by the healthy upstream, which closes its connection behind the answer, as does this one."""
    host, _, port = behind.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as healthy:
        healthy.sendall(asked.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        while piece := healthy.recv(65536):
            sock.sendall(piece)


# --- what it does -----------------------------------------------------------------------------------------------------


def good(wire: Wire) -> None:
    wire.answer(ANSWER)


def chunked(*pieces: bytes, then: Act = Wire.end) -> Act:
    """A head, these chunks, and then something."""

    def act(wire: Wire) -> None:
        wire.head()
        for piece in pieces:
            wire.chunk(piece)
        then(wire)

    return act


def raw(data: bytes, then: Act = lambda _wire: None) -> Act:
    """These bytes, and then something."""

    def act(wire: Wire) -> None:
        wire.send(data)
        then(wire)

    return act


def replied(status: str, body: bytes = b"{}", kind: str = "application/json", *more: str) -> Act:
    return lambda wire: wire.answer(body, status, kind, *more)


def dripped(wire: Wire) -> None:
    for byte in b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + ANSWER:
        wire.send(bytes([byte]))
        time.sleep(0.0002)


def pinging(wire: Wire) -> None:
    wire.head()
    wire.chunk(TEXT)
    while True:
        wire.chunk(b"event: ping\ndata: 1\n\n")
        time.sleep(0.1)


def endless(piece: bytes) -> Act:
    def act(wire: Wire) -> None:
        wire.head()
        wire.chunk(TEXT)
        while True:
            wire.chunk(piece)

    return act


def bombed(wire: Wire) -> None:
    """One event of 256 MB in 256 KB of gzip."""
    packer = zlib.compressobj(9, wbits=31)
    wire.head(
        "200 OK", "text/event-stream", "content-encoding: gzip", "connection: close", "transfer-encoding: chunked"
    )
    wire.chunk(packer.compress(V1 + b"data: "))
    block = b"x" * (1 << 20)
    for _ in range(256):
        if piece := packer.compress(block):
            wire.chunk(piece)
    wire.chunk(packer.flush())
    wire.end()


def newlines(wire: Wire) -> None:
    """Blank lines without an end, a thousand in each byte of gzip."""
    packer = zlib.compressobj(9, wbits=31)
    wire.head(
        "200 OK", "text/event-stream", "content-encoding: gzip", "connection: close", "transfer-encoding: chunked"
    )
    wire.chunk(packer.compress(TEXT) + packer.flush(zlib.Z_SYNC_FLUSH))
    block = b"\n" * (1 << 20)
    while True:
        if piece := packer.compress(block):
            wire.chunk(piece)
        time.sleep(0.001)


def messages(wire: Wire) -> None:
    """One small message after the other."""
    wire.head()
    wire.chunk(TEXT)
    number = 0
    while True:
        number += 1
        wire.chunk(snapshot(f"number {number}", id=f"m{number}"))


def repeated(piece: bytes) -> Act:
    """The same without an end, outside of any framing."""

    def act(wire: Wire) -> None:
        while True:
            wire.send(piece)

    return act


def slow_head(wire: Wire) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x-y: z\r\n" * 1000:
        wire.send(bytes([byte]))
        time.sleep(0.05)


def lie(length: int) -> Act:
    def act(wire: Wire) -> None:
        wire.head("200 OK", "text/event-stream", f"content-length: {length}")
        wire.send(ANSWER)

    return act


@dataclass(frozen=True)
class Fault:
    """What upstream does, and what has to come of it.

    `whole` and `stream` are (status, code); a stream whose head is out is 200 with the code of its last line, or None
    where it is whole. `asked` is how often upstream may be asked, or EVERY_TRY. `seconds` is how long it may take.
    """

    act: Act
    whole: tuple[int, str | None]
    stream: tuple[int, str | None]
    asked: int = ONCE
    seconds: float = 3.0


GOOD = (200, None)


def both(status: int, code: str | None) -> tuple[tuple[int, str | None], tuple[int, str | None]]:
    """The same whole and streamed, because it comes before the answer's head."""
    return (status, code), (status, code)


def late(status: int, code: str) -> tuple[tuple[int, str | None], tuple[int, str | None]]:
    """A status for the whole answer, an in-band error for the stream."""
    return (status, code), (200, code)


def _resetting(wire: Wire) -> None:
    wire.reset()


_BROKEN, _CUT = both(502, "upstream_connection"), late(502, "upstream_connection")
_MANY_HEADS = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50
_PLAIN_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
_HALF_A_CHARACTER = TEXT[: TEXT.rindex(b"\\u00e9") + 3] if b"\\u00e9" in TEXT else TEXT[:-9]

FAULTS: dict[str, Fault] = {
    # connection and framing
    "good": Fault(good, GOOD, GOOD),
    "reset before the head": Fault(_resetting, *_BROKEN),
    "end before the head": Fault(raw(b""), *_BROKEN),
    "half a head": Fault(raw(b"HTTP/1.1 200 OK\r\ncontent-ty"), *_BROKEN),
    "no HTTP": Fault(raw(b"SSH-2.0-OpenSSH_9.6\r\n"), *_BROKEN),
    "reset after the head": Fault(chunked(then=_resetting), *_BROKEN),
    "end after the head": Fault(chunked(then=lambda _: None), *_BROKEN),
    "reset in the middle": Fault(chunked(TEXT, then=_resetting), *_CUT),
    "end in the middle": Fault(chunked(TEXT, then=lambda _: None), *_CUT),
    "end within a character": Fault(chunked(_HALF_A_CHARACTER, then=lambda _: None), *_CUT),
    "a chunk of a bad size": Fault(chunked(TEXT, then=raw(b"zz\r\nx\r\n")), *_CUT),
    "a proper end within a character": Fault(chunked(_HALF_A_CHARACTER), *late(502, "upstream_cut")),
    "trailers": Fault(chunked(ANSWER, then=raw(b"0\r\nx-trailer: y\r\nx-other: z\r\n\r\n")), GOOD, GOOD),
    "a length too large": Fault(lie(len(ANSWER) + 10), GOOD, GOOD),
    "a length too small": Fault(lie(len(TEXT)), *late(502, "upstream_cut")),
    "gzip that is none": Fault(
        raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n" + ANSWER), *_BROKEN
    ),
    "gzip": Fault(
        lambda wire: wire.answer(gzip.compress(ANSWER), "200 OK", "text/event-stream", "content-encoding: gzip"),
        GOOD,
        GOOD,
    ),
    "fifty early heads": Fault(raw(_MANY_HEADS + _PLAIN_HEAD + b"\r\n" + ANSWER), GOOD, GOOD),
    "a head of 50 KB": Fault(raw(_PLAIN_HEAD + b"x: %s\r\n\r\n" % (b"y" * 50_000) + ANSWER), GOOD, GOOD),
    "a head of 300 KB": Fault(raw(_PLAIN_HEAD + b"x: y\r\n" * 50_000 + b"\r\n" + ANSWER), *_BROKEN),
    "2,000 early heads": Fault(
        raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000 + _PLAIN_HEAD + b"\r\n" + ANSWER), GOOD, GOOD
    ),
    "endless early heads": Fault(repeated(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100), *_BROKEN),
    "another protocol (101)": Fault(
        raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Wire.stall),
        *both(504, "timeout"),
    ),
    "20,000 headers": Fault(raw(_PLAIN_HEAD + b"x-y: z\r\n" * 20_000 + b"\r\n" + ANSWER), *_BROKEN),
    "an endless head": Fault(raw(_PLAIN_HEAD, repeated(b"x: y\r\n" * 1000)), *_BROKEN),
    "br that is none": Fault(raw(_PLAIN_HEAD + b"content-encoding: br\r\n\r\n" + b"\xff" * 100 + ANSWER), *_BROKEN),
    "zstd, which was not asked for": Fault(raw(_PLAIN_HEAD + b"content-encoding: zstd\r\n\r\n" + ANSWER), *_BROKEN),
    # time
    "a head byte by byte": Fault(slow_head, *both(504, "timeout")),
    "silence before the head": Fault(Wire.stall, *both(504, "timeout")),
    "silence after the head": Fault(chunked(then=Wire.stall), *both(504, "timeout")),
    "silence in the middle": Fault(chunked(TEXT, then=Wire.stall), *late(504, "timeout")),
    "silence after the end of the answer": Fault(chunked(TEXT + ENDED, then=Wire.stall), GOOD, GOOD, seconds=5),
    "silence after [DONE]": Fault(chunked(ANSWER, then=Wire.stall), GOOD, GOOD),
    "pings for ever": Fault(pinging, *late(504, "timeout"), seconds=5),
    "byte by byte": Fault(dripped, GOOD, GOOD, seconds=5),
    # statuses and kinds
    **{
        f"status {status}": Fault(replied(f"{status} X"), *both(502, f"upstream_{status}"), asked=EVERY_TRY)
        for status in (500, 502, 503, 520, 529)
    },
    "status 500 of 9 MB": Fault(
        replied("500 X", b"x" * 9_000_000, "text/html"), (502, None), (502, None), EVERY_TRY, 5.0
    ),
    "status 500, 100,000 deep": Fault(replied("500 X", b"[" * 100_000), *both(502, "upstream_500"), asked=EVERY_TRY),
    **{
        f"status {status}": Fault(
            replied(f"{status} X", b"", "application/json", "location: http://127.0.0.1:9/"),
            *both(502, f"upstream_{status}"),
        )
        for status in (301, 302, 307, 418, 600, 999)
    },
    "status 400": Fault(replied("400 X", b'{"detail": "bad"}'), *both(400, None)),
    "status 422": Fault(replied("422 X", b'{"detail": "bad"}'), *both(400, None)),
    "status 413": Fault(replied("413 X"), *both(400, "context_length_exceeded")),
    "status 204": Fault(raw(b"HTTP/1.1 204 X\r\n\r\n"), *both(502, "upstream_204")),
    "status 404": Fault(replied("404 X"), *both(502, "upstream_404")),
    "status 405": Fault(replied("405 X"), *both(502, "upstream_405")),
    "status 401": Fault(replied("401 X"), *both(401, None)),
    "status 403": Fault(replied("403 X"), *both(403, "upstream_forbidden")),
    "a block page": Fault(replied("403 X", b"<p>Hi", "text/html"), *both(403, None)),
    "status 429 without a time": Fault(replied("429 X"), (429, None), (429, None)),
    **{
        f"status 429, Retry-After {value}": Fault(
            replied("429 X", b"{}", "application/json", f"retry-after: {value}"), (429, None), (429, None)
        )
        for value in ("-5", "0", "Fri, 01 Jan 2100 00:00:00 GMT", "9" * 400)
    },
    **{
        f"status 429, {limit}": Fault(
            replied("429 X", b'{"detail": {"code": "model_cap_exceeded", %s}}' % limit.encode()),
            (429, None),
            (429, None),
        )
        for limit in (
            '"clears_in": 1800',
            '"clears_in": -5',
            '"clears_in": 1e308',
            '"clears_in": null',
            '"clears_in": "12"',
            '"clears_in": {}',
            '"clears_in": true',
            '"clears_in": 12345678901234567890',
            '"resets_at": 1e308',
            '"resets_at": 4102444800000',
            '"resets_at": 1',
        )
    },
    "status 429": Fault(replied("429 X", b"{}", "application/json", "retry-after: 7"), (429, None), (429, None)),
    "HTML": Fault(replied("200 OK", b"<p>Hi", "text/html"), *both(502, "upstream_content_type")),
    "JSON": Fault(replied("200 OK", b"{}", "application/json"), *both(502, "upstream_content_type")),
    "no kind": Fault(replied("200 OK", ANSWER, ""), *both(502, "upstream_content_type")),
    # what is said
    "HTML that says it is a stream": Fault(replied("200 OK", b"<p>Hi\n\n", "text/event-stream"), *both(502, None)),
    "nothing": Fault(chunked(), *both(502, "empty_stream")),
    "zeros": Fault(chunked(b"\0" * 100_000), *both(502, "empty_stream")),
    "[DONE] first": Fault(chunked(DONE, TEXT), *both(502, "empty_stream")),
    "no [DONE]": Fault(chunked(TEXT + ENDED), GOOD, GOOD),
    "[DONE] in the middle": Fault(chunked(TEXT, DONE, ENDED), (200, None), (200, None)),
    "an event of 5 MB": Fault(chunked(TEXT, b": ", *[b"x" * (1 << 20)] * 5, b"\n\n", ENDED, DONE), GOOD, GOOD),
    "headers that are not for clients": Fault(
        lambda wire: wire.answer(
            ANSWER,
            "200 OK",
            "text/event-stream",
            "set-cookie: a=b",
            "location: /x",
            "x-request-id: theirs",
            "access-control-allow-origin: *",
        ),
        GOOD,
        GOOD,
    ),
    "no end": Fault(chunked(TEXT), *late(502, "upstream_cut")),
    "no UTF-8": Fault(chunked(TEXT, b"data: \xff\xfe\n\n"), *late(502, "upstream_json")),
    "100,000 levels": Fault(chunked(TEXT, b"data: " + b"[" * 100_000 + b"\n\n"), *late(502, "upstream_json")),
    "half a surrogate pair": Fault(chunked(TEXT, append("\ud83d"), ENDED, DONE), GOOD, GOOD),
    "wrong types everywhere": Fault(
        chunked(V1, frame([1]), frame({"message": 3}), frame({"type": []}), TEXT, ENDED, DONE), GOOD, GOOD
    ),
    "an error in the stream": Fault(chunked(TEXT, frame({"error": "Something broke"})), *late(502, "upstream_error")),
    # too much
    "one event of 40 MB": Fault(
        chunked(TEXT, b"data: ", *[b"x" * (1 << 20)] * 40), *late(502, "upstream_too_large"), seconds=10
    ),
    "a bomb of one event": Fault(bombed, (502, "upstream_too_large"), (502, "upstream_too_large"), seconds=10),
    "an endless text": Fault(endless(append("0123456789" * 800)), *late(502, "upstream_too_large"), seconds=10),
    "an endless text in snapshots": Fault(
        endless(snapshot("0123456789" * 30_000, id="a2") + snapshot("9876543210" * 30_000, id="a3")),
        *late(504, "timeout"),
        seconds=10,
    ),
    "endless messages": Fault(messages, *late(504, "timeout"), seconds=10),
    "a bomb of newlines": Fault(newlines, *late(504, "timeout"), seconds=10),
    "endless pings": Fault(endless(b"event: ping\ndata: 1\n\n" * 1000), *late(504, "timeout"), seconds=10),
    "endless blank lines": Fault(endless(b"\n" * 60_000), *late(504, "timeout"), seconds=10),
}
