"""How the bytes of a stream leave: in which pieces, and how fast.

Rule: the bytes are the same whatever the pieces are; a reader must not assume one event per network chunk
(protocol.md 5.0).
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from random import Random
from typing import Literal

from shim.standin.steps import Pause

Chunking = Literal["event", "whole", "split", "bytes"]

LONGEST_SPLIT = 97
GZIP = 31  # zlib: the largest window, in a gzip frame
# A pause is slept in slices, so that a closing server is noticed within one.
SLICE = 0.05
# Granian's send() stops waiting once the client is gone, so an unpaced stream would hold the loop until its end and
# never hear of it. Every so many pieces the loop gets a turn; and now and then it really rests, because Granian's own
# thread needs the interpreter to tell us. Measured: without the rest some streams ran on for 0.7 s, with it 0.03 s.
PIECES_PER_TURN = 32
PIECES_PER_REST = 1024
REST = 0.001


def split(parts: Iterable[bytes | Pause], rng: Random) -> Iterator[bytes | Pause]:
    """Pieces of 1 to 97 bytes that ignore lines, events and characters."""
    held = b""
    for part in parts:
        if isinstance(part, Pause):
            yield part
            continue
        held += part
        while len(held) > LONGEST_SPLIT:
            size = rng.randint(1, LONGEST_SPLIT)
            yield held[:size]
            held = held[size:]
    if held:
        yield held


def single_bytes(parts: Iterable[bytes | Pause], _: Random) -> Iterator[bytes | Pause]:
    """One byte at a time."""
    for part in parts:
        if isinstance(part, Pause):
            yield part
        else:
            yield from (bytes((byte,)) for byte in part)


def whole(parts: Iterable[bytes | Pause], _: Random) -> Iterator[bytes | Pause]:
    """Everything up to a pause in one piece."""
    held: list[bytes] = []
    for part in parts:
        if isinstance(part, Pause):
            yield b"".join(held)
            yield part
            held = []
        else:
            held.append(part)
    yield b"".join(held)


def per_event(parts: Iterable[bytes | Pause], _: Random) -> Iterator[bytes | Pause]:
    """One event at a time."""
    return iter(parts)


CHUNKINGS: dict[Chunking, Callable[[Iterable[bytes | Pause], Random], Iterator[bytes | Pause]]] = {
    "event": per_event,
    "whole": whole,
    "split": split,
    "bytes": single_bytes,
}


def with_pace(events: Iterable[bytes | Pause], delay: float) -> Iterator[bytes | Pause]:
    """The same events with a pause after each; delay in seconds."""
    for event in events:
        yield event
        if isinstance(event, bytes):
            yield Pause(delay)


def compressed(events: Iterable[bytes | Pause]) -> Iterator[bytes | Pause]:
    """The same events as gzip, flushed after each, so that none waits for the next."""
    packer = zlib.compressobj(wbits=GZIP)
    for event in events:
        yield event if isinstance(event, Pause) else packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


async def emit(parts: Iterable[bytes | Pause], closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Hand the pieces over and sleep where a pause says so; stops early when the server is closing."""
    for count, part in enumerate(parts, start=1):
        if isinstance(part, Pause):
            await _sleep(part.seconds, closing)
        elif part:
            yield part
        if count % PIECES_PER_TURN == 0:
            await asyncio.sleep(0 if count % PIECES_PER_REST else REST)
        if closing():
            return


async def _sleep(seconds: float, closing: Callable[[], bool]) -> None:
    while seconds > 0 and not closing():
        await asyncio.sleep(min(seconds, SLICE))
        seconds -= SLICE
