"""Our own chat answers, chunks or one completion, read back into the events they were made of.

Rule: for eyes, not for a client. It reads the first choice, and what it does not know it counts.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from shim.errors import UpstreamError
from shim.protocol.answer.sse import ServerSentEvent, SSEDecoder
from shim.protocol.events import Called, Event, Failed, Finished, ReasoningDelta, TextDelta

_BROKEN = "chunk that can't be read"


class ChatReader:
    """Feed it with `receive` as an `Answer`; `complete` reads a whole body of JSON. It never goes elsewhere."""

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
        except OverflowError:
            self.ignored[_BROKEN] += 1
            return []
        events = [event for sse in arrived for event in self._on_sse(sse)]
        if not chunk and not self._ended:
            events.append(Failed(UpstreamError("The answer was cut off before its end", code="cut")))
        return events

    def complete(self, body: bytes) -> list[Event]:
        """The events of a completion, or of an error, in one body."""
        return list(self._read(_json(body)))

    def _on_sse(self, sse: ServerSentEvent) -> Iterator[Event]:
        if sse.data != b"[DONE]":
            yield from self._read(_json(sse.data))

    def _read(self, chunk: Any) -> Iterator[Event]:
        match chunk:
            case {"error": {"message": str(message), **rest}}:
                self._ended = True
                code = rest.get("code")
                yield Failed(UpstreamError(message, code=code if isinstance(code, str) else "error"))
            case {"choices": list(choices)}:
                self._note(chunk)
                for choice in choices:
                    yield from self._on_choice(choice)
            case _:
                self.ignored[_BROKEN] += 1

    def _note(self, chunk: dict[str, Any]) -> None:
        for name in ("model", "conversation_id", "message_id"):
            if isinstance(chunk.get(name), str):
                setattr(self, name, chunk[name])

    def _on_choice(self, choice: Any) -> Iterator[Event]:
        match choice:
            case {"index": int(index)} if index:
                self.ignored[f"choice {index}"] += 1
            case {"delta": dict(said)} | {"message": dict(said)}:
                yield from self._on_delta(said)
                if isinstance(choice.get("finish_reason"), str):
                    yield from self._on_finish(choice["finish_reason"])

    def _on_delta(self, said: dict[str, Any]) -> Iterator[Event]:
        match said.get("reasoning_content"):
            case str(text) if text:
                yield ReasoningDelta(text)
        match said.get("content"):
            case str(text) if text:
                yield TextDelta(text)
        match said.get("tool_calls"):
            case list(calls):
                for place, call in enumerate(calls):
                    self._on_call(place, call)

    def _on_call(self, place: int, call: Any) -> None:
        """A piece of a call, or all of it: then it has no index."""
        match call:
            case {"function": dict(function)}:
                whole = self._calls.setdefault(call.get("index", place), ["", "", ""])
                for at, piece in enumerate((call.get("id"), function.get("name"), function.get("arguments"))):
                    whole[at] += piece if isinstance(piece, str) else ""

    def _on_finish(self, reason: str) -> Iterator[Event]:
        self._ended = True
        for id, name, arguments in self._calls.values():
            yield Called(id, name, arguments)
        yield Finished(reason)  # type: ignore[arg-type]  # as somebody else wrote it


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
