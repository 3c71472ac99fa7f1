"""One list of steps, two encodings: whole messages (protocol.md 5.1) or operations (5.2), as lines of SSE (5.0).

Rule: both encodings leave a reader with the same messages. What varies (padding, escapes, comments, how much is
inherited) is decided by the seed alone.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal, Protocol

import msgspec

from shim.standin.steps import Change, Cut, Json, Op, Pause, Start, Step, StreamError, Typed

Encoding = Literal["snapshot", "v1"]
Escapes = Literal["ascii", "mixed", "raw"]
Inherited = tuple[int, str, str]

DONE = "[DONE]"
MAX_PADDING = 8


class Frame(msgspec.Struct, frozen=True):
    """One SSE event before it becomes bytes: the name (None = none) and what the data line holds."""

    value: Any
    name: str | None = None


class Encoder(Protocol):
    """Turns steps that carry a message or an error into frames."""

    def first(self) -> Iterable[Frame]:
        """Frames before all others."""

    def start(self, step: Start) -> Frame:
        """A new message."""

    def change(self, step: Change) -> Frame:
        """A change to a message."""

    def error(self, step: StreamError) -> Frame:
        """An error of form root or patched."""


class Snapshots:
    """Protocol.md 5.1: every event carries the whole message so far."""

    def __init__(self, conversation_id: str) -> None:
        self._conversation_id = conversation_id
        self._roots: dict[int, Json] = {}

    def first(self) -> Iterable[Frame]:
        """Nothing announces snapshots."""
        return ()

    def start(self, step: Start) -> Frame:
        """The new message."""
        self._roots[step.channel] = _root(step.message, self._conversation_id)
        return Frame(self._roots[step.channel])

    def change(self, step: Change) -> Frame:
        """The whole message after the change."""
        root = self._roots[step.channel]
        for op in step.ops:
            apply(root, op)
        return Frame(root)

    def error(self, step: StreamError) -> Frame:
        """No message, only the error."""
        return Frame(_root(None, self._conversation_id) | {"error": step.error, "error_code": step.code})


class Deltas:
    """Protocol.md 5.2: operations, which leave out what equals the event before (rule 1)."""

    def __init__(self, conversation_id: str, rng: Random) -> None:
        self._conversation_id = conversation_id
        self._rng = rng
        self._last: Inherited | None = None
        self._highest = -1

    def first(self) -> Iterable[Frame]:
        """The event that says which encoding follows."""
        return (Frame("v1", "delta_encoding"),)

    def start(self, step: Start) -> Frame:
        """A root add on the message's channel."""
        self._highest = step.channel
        return self._delta(step.channel, "", "add", _root(step.message, self._conversation_id))

    def change(self, step: Change) -> Frame:
        """One operation, or a batch of several; now and then a batch of one."""
        if len(step.ops) == 1 and self._rng.random() > 0.05:
            op = step.ops[0]
            return self._delta(step.channel, op.p, op.o, op.v)
        return self._delta(step.channel, "", "patch", [_operation(op) for op in step.ops])

    def error(self, step: StreamError) -> Frame:
        """A root with nothing but the error, or the error set in the root that is there (protocol.md 9.4)."""
        if step.form == "patched" and self._highest >= 0:
            return self._delta(self._highest, "/error", "replace", step.error)
        root = _root(None, self._conversation_id) | {"error": step.error, "error_code": step.code}
        return self._delta(self._highest + 1, "", "add", root)

    def _delta(self, c: int, p: str, o: str, v: Any) -> Frame:
        """Write only what differs from the event before; the first root and one in ten are written in full."""
        full = (c, p, o)
        explicit = self._last is None or self._rng.random() < 0.1
        keys = zip(("c", "p", "o"), full, self._last or full, strict=True)
        fields: Json = {key: value for key, value, last in keys if explicit or value != last}
        if o != "remove":
            fields["v"] = v
        self._last = full
        return Frame(_in_wire_order(fields), "delta")


def encode(
    steps: Iterable[Step], encoder: Encoder, rng: Random, *, escapes: Escapes = "mixed", noise: bool = True
) -> Iterator[bytes | Pause]:
    """The stream as one bytes object per SSE event, with pauses between; ends with [DONE] unless a Cut came.

    noise adds 0-8 spaces of padding, comments and empty data lines; escapes decides how non-ASCII is written.
    """
    writer = Writer(rng, escapes, noise=noise)
    yield from map(writer.write, encoder.first())
    for step in steps:
        match step:
            case Pause():
                yield step
            case Cut():
                return
            case _:
                yield writer.write(_frame(step, encoder))
        if noise:
            yield from writer.noise()
    yield writer.write_raw(None, DONE)


class Writer:
    """Frames to bytes (protocol.md 5.0)."""

    def __init__(self, rng: Random, escapes: Escapes, *, noise: bool) -> None:
        self._rng = rng
        self._escapes = escapes
        self._noise = noise

    def write(self, frame: Frame) -> bytes:
        """One event; JSON with the spaces the captures have."""
        raw = self._escapes == "raw" or (self._escapes == "mixed" and self._rng.random() < 0.3)
        return self.write_raw(frame.name, json.dumps(frame.value, ensure_ascii=not raw))

    def write_raw(self, name: str | None, line: str) -> bytes:
        """One event whose data line is `line`."""
        padding = " " * self._rng.randint(0, MAX_PADDING) if self._noise and line != DONE else ""
        event = f"event: {name}\n" if name else ""
        return f"{event}data: {line}{padding}\n\n".encode()

    def noise(self) -> Iterator[bytes]:
        """Now and then a comment or an empty data line, as in the captures."""
        chance = self._rng.random()
        if chance < 0.03:
            yield f": ping - {datetime.fromtimestamp(1741288944 + chance, UTC).isoformat(sep=' ')}\n\n".encode()
        elif chance > 0.98:
            yield b"data: \n\n"


def apply(root: Json, op: Op) -> None:
    """Apply one operation of a script to a root, for the encoding that shows the result (protocol.md 5.2)."""
    *path, last = [key.replace("~1", "/").replace("~0", "~") for key in op.p.split("/")[1:]]
    target: Any = root
    for key in path:
        target = target[int(key)] if isinstance(target, list) else target[key]
    place: Any = int(last) if isinstance(target, list) else last
    if op.o == "remove":
        del target[place]
    elif op.o == "append":
        target[place] = _appended(target[place], op.v)
    else:
        target[place] = op.v


def _appended(before: Any, more: Any) -> Any:
    return before | more if isinstance(before, dict) else before + more


def _frame(step: Step, encoder: Encoder) -> Frame:
    match step:
        case Start():
            return encoder.start(step)
        case Change():
            return encoder.change(step)
        case Typed():
            return Frame(step.event, step.name)
        case StreamError(form="detail"):
            return Frame({"detail": step.error})
        case StreamError(form="typed"):
            return Frame({"type": "error", "error": step.error})
        case StreamError():
            return encoder.error(step)
    raise TypeError(step)


def _root(message: Json | None, conversation_id: str) -> Json:
    return {"message": message, "conversation_id": conversation_id, "error": None, "error_code": None}


def _operation(op: Op) -> Json:
    fields: Json = {"p": op.p, "o": op.o}
    return fields if op.o == "remove" else fields | {"v": op.v}


def _in_wire_order(fields: Json) -> Json:
    return {key: fields[key] for key in ("p", "o", "v", "c") if key in fields}
