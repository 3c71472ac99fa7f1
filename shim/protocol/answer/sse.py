"""Bytes to server-sent events (protocol.md 5.0).

Rule: whatever the network did to the chunks, the same events come out. Lines end in LF or CRLF (a lone CR, which the
W3C text also allows, is never sent by this upstream); comments and empty data lines vanish here; trailing spaces on
data lines are padding and are trimmed.
"""

import msgspec

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""How long one event may be, and one read: a snapshot repeats a whole answer, so this is generous."""
_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (`message` when unnamed) and its data lines joined by LF, still bytes."""

    name: bytes
    data: bytes


class SSEDecoder:
    """Push parser: `receive(chunk)` returns the events that chunk completed, `flush()` those the end of input does."""

    __slots__ = ("_at_start", "_held", "_pending", "_size")

    def __init__(self) -> None:
        self._pending: list[bytes] = []  # clean text of the event that is not over yet
        self._held = b""  # raw bytes whose meaning depends on the next ones: a CR, half a byte order mark
        self._at_start = True
        self._size = 0  # of what is pending

    def receive(self, chunk: bytes) -> list[ServerSentEvent]:
        """Events completed by `chunk`. `b""` is the end of input. Raises OverflowError for an event without an end."""
        if not chunk:
            return self.flush()
        text = self._clean(chunk) if self._at_start or self._held or b"\r" in chunk else chunk
        self._size += len(text)
        if self._size > MAX_EVENT_BYTES:
            self._pending.clear()  # the error holds the frames that hold this, until the collector comes by
            raise OverflowError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        if self._pending and text:
            ends = b"\n\n" in text or (text.startswith(b"\n") and self._pending[-1].endswith(b"\n"))
            self._pending.append(text)
            if not ends:
                return []  # no event ends here: joining can wait, so that byte-sized chunks stay linear
            text = b"".join(self._pending)
            self._pending.clear()
        *blocks, rest = text.split(b"\n\n")
        self._size = len(rest)
        if rest:
            self._pending.append(rest)
        events: list[ServerSentEvent] = []
        for block in blocks:
            # In line, for nearly every block of an answer looks like this, and a call costs as much as what it does.
            if block[:_AFTER_DELTA] == _DELTA and b"\n" not in (data := block[_AFTER_DELTA:]):
                if data := data.strip(b" "):
                    events.append(ServerSentEvent(b"delta", data))
            elif (event := _event(block)) is not None:
                events.append(event)
        return events

    def flush(self) -> list[ServerSentEvent]:
        """Events completed by the end of input. The W3C text drops an unfinished event; a last `[DONE]` without its
        blank line has been seen, so here the end of input ends an event."""
        event = _event(b"".join(self._pending))
        self._pending.clear()
        self._held = b""
        return [] if event is None else [event]

    def _clean(self, chunk: bytes) -> bytes:
        """LF line ends, and no byte order mark at the very beginning. Every byte is looked at once, in order."""
        if self._held:
            chunk, self._held = self._held + chunk, b""
        if self._at_start:
            # Up to two bytes may be the beginning of a mark: the next chunk decides.
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._held = chunk
                return b""
            self._at_start = False
            chunk = chunk.removeprefix(_BOM)
        if b"\r" not in chunk:
            return chunk
        # A CR at the end is only a line's end if the next chunk begins with LF.
        if chunk.endswith(b"\r"):
            chunk, self._held = chunk[:-1], b"\r"
        return chunk.replace(b"\r\n", b"\n")


def _event(block: bytes) -> ServerSentEvent | None:
    """The event in the lines between two blank lines, or None where they say nothing."""
    name = b""
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        # Comments (": ping ..."), "id:", "retry:" and unknown fields have no meaning here.
        field, _, value = line.partition(b":")
        if field == b"data" and (value := value.strip(b" ")):
            lines.append(value)
        elif field == b"event":
            name = value.strip(b" ")
    return ServerSentEvent(name or b"message", b"\n".join(lines)) if lines else None


_DELTA = b"event: delta\ndata: "
_AFTER_DELTA = len(_DELTA)
