"""Bytes of one stream to what upstream said: server-sent events, both encodings, typed or not (protocol.md 5).

Rule: it knows the wire and nothing of answers. What it can't read it says so (`Broken`), and it goes on being fed.
"""

from typing import Any

import msgspec
from msgspec import UNSET

from shim.chatgpt.stream import Operation, StreamItem, decode_item, decode_operation, decode_plainly, item_of
from shim.errors import GatewayError, UpstreamError
from shim.protocol.answer.patch import Patcher, PatchError
from shim.protocol.answer.sse import ServerSentEvent, SSEDecoder


class Grown(msgspec.Struct, frozen=True, gc=False):
    """Text was appended at `path` of the object `root`, and nothing else changed: nearly all of a stream is this. The
    object is there as it is now for whoever does not know yet what grows at that path."""

    root: Any
    path: str
    text: str


class Arrived(msgspec.Struct, frozen=True):
    """An object: a snapshot, the view of what the deltas have made by now (`root`), or a typed event."""

    item: StreamItem
    root: Any = None


class Unread(msgspec.Struct, frozen=True):
    """An event that means nothing to us; `kind` is its name, for counting."""

    kind: str


class Broken(msgspec.Struct, frozen=True):
    """An event that can't be read."""

    error: GatewayError


class Done(msgspec.Struct, frozen=True):
    """`[DONE]`: nothing but the end of the body follows."""


_DONE, _MALFORMED = Done(), Unread("malformed delta")
Heard = Grown | Arrived | Unread | Broken | Done


class Reader:
    """One stream. `offset` is how many of its events have been read, as a resume counts them: the announcement of the
    encoding and typed events are among them, pings and `[DONE]` are not (5.6). `sse` makes the events of its bytes."""

    def __init__(self) -> None:
        self.offset = 0
        self.sse = SSEDecoder()
        self._announced = False
        self._patcher = Patcher()

    def reopen(self, offset: int) -> None:
        """Another stream of the same answer begins, after its first `offset` events. From the beginning it is read
        afresh; else it and what was read are one, so that roots and what operations inherit live on."""
        self.offset = offset
        self.sse = SSEDecoder()
        # In mid-turn nothing tells the roots again, and the encoding need not be announced again either.
        if not offset:
            self._patcher, self._announced = Patcher(), False

    def read(self, event: ServerSentEvent, *, unfinished: bool) -> Heard | None:
        """What one event says; None where it says nothing. `unfinished`: it ended with the input, without its blank
        line, so it may be half an event."""
        # It is the end, and none of the events that a resume counts (5.6).
        if event.data == b"[DONE]":
            return _DONE
        # Counted before it is read: also what can't be read is one of the events that a resume skips.
        self.offset += 1
        try:
            # First of the names, because nearly every event of a stream has it.
            if event.name == b"delta":
                said: Operation | Heard | None
                try:  # without a function of ours in between, for it is called once a piece
                    said = decode_plainly(event.data)
                except msgspec.DecodeError:
                    said = decode_operation(event.data) or _MALFORMED
            else:
                said = self._not_called_delta(event.name, event.data)
            if type(said) is not Operation:
                return said
            root, appended_at = self._patcher.apply(said)
            # The usual piece of an answer: text behind text. Whoever shows it needs no look at the whole object.
            return view_of(root) if appended_at is None else Grown(root, appended_at, said.v)
        except PatchError as error:
            return _broken(f"Upstream sent a delta that does not fit: {error}", "upstream_delta")
        except (ValueError, RecursionError):  # nested deeper than can be read is as good as not JSON
            self.offset -= 1
            return None if unfinished else _broken("Upstream sent an event that is not JSON", "upstream_json")

    def _not_called_delta(self, name: bytes, data: bytes) -> Operation | Heard | None:
        if name in {b"message", b"error"}:
            # Both names carry snapshots: an `error` event is an object with `error` or `detail` in it.
            item = decode_item(data)
            if item is not None and item.type is None and item.v is not UNSET:
                return decode_operation(data) or _MALFORMED  # a delta without its name (5.2)
            return Unread("malformed object") if item is None else Arrived(item)
        if name == b"delta_encoding":
            # Sent both as a bare word and as a JSON string. Read first: half of one changes nothing.
            known = data == b"v1" or msgspec.json.decode(data) == "v1"
            if self._announced:
                self.offset -= 1  # said again in mid-stream, after a resume: no change, and none of the turn's events
            else:
                self._announced = True
                self._patcher.restart()
            return None if known else _broken("Upstream speaks an unknown delta encoding", "upstream_encoding")
        # Pings are none of the events that a resume counts (5.6).
        self.offset -= name == b"ping"
        return Unread(name.decode(errors="replace"))


def view_of(root: Any) -> Arrived | Unread:
    """What the deltas have made by now, as an object."""
    item = item_of(root)
    if item is None:
        return Unread("delta without a message" if root is None else "malformed message")
    return Arrived(item, root)


def _broken(sentence: str, code: str) -> Broken:
    return Broken(UpstreamError(sentence, code=code))
