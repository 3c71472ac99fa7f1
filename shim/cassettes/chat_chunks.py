"""Our own chat answers, chunks or one completion, read back into the events they were made of.

Rule: for eyes, not for a client. It reads the first choice, and what it does not know it counts.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from shim.errors import UpstreamError
from shim.protocol.answer.sse import SSEDecoder
from shim.protocol.events import Called, Event, Failed, Finished, ReasoningDelta, TextDelta

_BROKEN = "chunk that can't be read"


class ChatReader:
    """Feed it with `receive` as an `Answer`; `complete` reads a whole body of JSON."""

    # An `Answer` may go on elsewhere, and whoever reads either asks for it; what we send never does.
    follow = None

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()
        self.conversation_id: str | None = None
        self.message_id: str | None = None
        self.model: str | None = None
        self._sse = SSEDecoder()
        self._calls: dict[Any, list[str]] = {}  # index -> id, name, arguments
        self._ended = False

    def receive(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. `b""` is the end of input: before the end of the answer, it is a cut."""
        try:
            arrived = self._sse.receive(chunk)
        except OverflowError:  # an event longer than the decoder takes
            self.ignored[_BROKEN] += 1
            return []
        events = [event for sse in arrived if sse.data != b"[DONE]" for event in self._read(_json(sse.data))]
        if not chunk and not self._ended:
            events.append(Failed(UpstreamError("The answer was cut off before its end", code="cut")))
        return events

    def complete(self, body: bytes) -> list[Event]:
        """The events of a completion, or of an error, in one body."""
        return list(self._read(_json(body)))

    def _read(self, chunk: Any) -> Iterator[Event]:
        match chunk:
            case {"error": {"message": str(message), **rest}}:
                self._ended = True
                code = rest.get("code")
                yield Failed(UpstreamError(message, code=code if isinstance(code, str) else "error"))
            case {"choices": list(choices)}:
                for name in ("model", "conversation_id", "message_id"):
                    if isinstance(chunk.get(name), str):
                        setattr(self, name, chunk[name])
                for choice in choices:
                    yield from self._on_choice(choice)
            case _:
                self.ignored[_BROKEN] += 1

    def _on_choice(self, choice: Any) -> Iterator[Event]:
        match choice:
            case {"index": int(index)} if index:
                self.ignored[f"choice {index}"] += 1
            case {"delta": dict(said)} | {"message": dict(said)}:
                for kind, name in ((ReasoningDelta, "reasoning_content"), (TextDelta, "content")):
                    if isinstance(text := said.get(name), str) and text:
                        yield kind(text)
                if isinstance(calls := said.get("tool_calls"), list):
                    self._add_calls(calls)
                if isinstance(reason := choice.get("finish_reason"), str):
                    self._ended = True
                    yield from (Called(*parts) for parts in self._calls.values())
                    yield Finished(reason)  # type: ignore[arg-type]  # as somebody else wrote it

    def _add_calls(self, calls: list[Any]) -> None:
        for place, call in enumerate(calls):
            match call:
                case {"function": dict(function)}:
                    # A piece of a call says which call it belongs to; a whole one, in a completion, has no index.
                    whole = self._calls.setdefault(call.get("index", place), ["", "", ""])
                    for at, piece in enumerate((call.get("id"), function.get("name"), function.get("arguments"))):
                        whole[at] += piece if isinstance(piece, str) else ""


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
