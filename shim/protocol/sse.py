"""Bytes to server-sent events (protocol.md 5.0).

Rule: whatever the network did to the chunks, the same events come out. Lines end in LF or CRLF (a lone CR, which the
W3C text also allows, is never sent by this upstream); comments and empty data lines vanish here; trailing spaces on
data lines are padding and are trimmed.
"""

import msgspec

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (`message` when unnamed) and its data lines joined by LF, still bytes."""

    name: bytes
    data: bytes


class SSEDecoder:
    """Push parser: `decode(chunk)` returns the events that chunk completed, `flush()` those the end of input does."""

    __slots__ = ("_at_start", "_pending")

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._at_start = True

    def decode(self, chunk: bytes) -> list[ServerSentEvent]:
        """Events completed by `chunk`. `b""` is the end of input."""
        if not chunk:
            return self.flush()
        if self._pending:
            self._pending.append(chunk)
            if b"\n" not in chunk:
                return []  # no line ends here: joining can wait, so that byte-sized chunks stay linear
            chunk = b"".join(self._pending)
            self._pending.clear()
        blocks = self._clean(chunk).split(b"\n\n")
        if rest := blocks.pop():
            self._pending.append(rest)
        return [event for block in blocks if (event := _event(block)) is not None]

    def flush(self) -> list[ServerSentEvent]:
        """Events completed by the end of input. The W3C text drops an unfinished event; a last `[DONE]` without its
        blank line has been seen, so here the end of input ends an event."""
        event = _event(self._clean(b"".join(self._pending)).rstrip(b"\r"))
        self._pending.clear()
        return [] if event is None else [event]

    def _clean(self, text: bytes) -> bytes:
        """LF line ends, and no byte order mark at the very beginning. A CR at the end waits for its LF."""
        if self._at_start and len(text) >= len(_BOM):
            text = text.removeprefix(_BOM)
            self._at_start = False
        return text.replace(b"\r\n", b"\n") if b"\r" in text else text


def _event(block: bytes) -> ServerSentEvent | None:
    """The event in the lines between two blank lines, or None where they say nothing."""
    if block.startswith(_DELTA) and b"\n" not in (data := block[len(_DELTA) :]):
        return ServerSentEvent(b"delta", data.rstrip(b" "))  # nearly every block of an answer looks like this
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
