"""The answer as a state machine: stream bytes in, events out.

    WAITING ──assistant message──> ANSWERING ──[DONE], end of input, block──> ENDED
       └────────error, [DONE] or end of input with nothing shown─────────────────┘

Rules (protocol.md 5 and 9.4):
* a message is shown once, as it grows; text already given is never taken back, so of a rewritten message what follows
  the common beginning is given;
* `[DONE]` or an `end_turn` proves the answer whole; a body that just ends is a cut answer, and a failure;
* an answer that shows nothing is a failure, never an empty success;
* after the end nothing counts any more.
"""

import enum
from collections import Counter
from typing import Any

import msgspec

from shim.chatgpt.stream import Message, StreamItem, decode_item, decode_operation, item_of
from shim.errors import GatewayError, UpstreamError
from shim.protocol.events import CodeDelta, Delta, Event, Failed, Finished, ReasoningDelta, Started, TextDelta
from shim.protocol.patch import Patcher, PatchError
from shim.protocol.refusals import failure_of
from shim.protocol.sse import ServerSentEvent, SSEDecoder
from shim.protocol.visibility import Reading, is_progress, read_message

# finish_details.type -> finish_reason. What is not here (also "interrupted") is a stop.
_FINISH_REASONS = {"max_tokens": "length"}
_MAX_IGNORED_KINDS = 64
_MAX_KIND_LENGTH = 64


class Phase(enum.Enum):
    """Where the answer is. Only `ENDED` is final."""

    WAITING = enum.auto()
    ANSWERING = enum.auto()
    ENDED = enum.auto()


class _Shown:
    """What of one message has been given out, and where its text grows."""

    __slots__ = ("kind", "pieces", "text")

    def __init__(self, kind: type[Delta]) -> None:
        self.kind = kind
        self.text = ""
        self.pieces: list[str] = []

    def so_far(self) -> str:
        """All text given out, joined only when it is asked for."""
        if self.pieces:
            self.text = "".join([self.text, *self.pieces])
            self.pieces.clear()
        return self.text


class Answer:
    """One answer stream. Feed it with `receive`; it is over when `ended`."""

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        self.ignored: Counter[str] = Counter()
        self._sse = SSEDecoder()
        self._patcher = Patcher()
        self._shown: dict[tuple[Any, Any], _Shown] = {}
        self._live_root: Any = None
        self._live_path: str | None = None
        self._live: _Shown | None = None
        self._conversation_id: str | None = None
        self._message_id: str | None = None
        self._reason: str | None = None
        self._text_given = False
        self._done = False
        self._handed_off = False

    @property
    def ended(self) -> bool:
        """Whether the last event has been given."""
        return self.phase is Phase.ENDED

    @property
    def conversation_id(self) -> str | None:
        """The conversation this answer is part of, as far as upstream has said."""
        return self._conversation_id

    @property
    def message_id(self) -> str | None:
        """The message that answers: the last one of which text was shown."""
        return self._message_id

    @property
    def done(self) -> bool:
        """Whether upstream itself said `[DONE]`, so that nothing but the end of the body can follow."""
        return self._done

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. `b""` is the end of input."""
        events: list[Event] = []
        if self.ended:
            return events
        try:
            arrived = self._sse.decode(chunk)
        except OverflowError as error:
            return self.abort(UpstreamError(f"Upstream's answer can't be read: {error}", code="upstream_too_large"))
        for sse in arrived:
            self._on_sse(sse, events, unfinished=not chunk)
            if self.ended:
                break
        if not chunk and not self.ended:
            self._on_end_of_input(events)
        return events

    def abort(self, error: GatewayError) -> list[Event]:
        """The transport failed or a deadline passed. What was already whole stays whole."""
        events: list[Event] = []
        if not self.ended:
            self._break_off(events, error)
        return events

    # --- one server-sent event --------------------------------------------------------------------------------------

    def _on_sse(self, sse: ServerSentEvent, events: list[Event], *, unfinished: bool) -> None:
        """`unfinished`: it ended with the input, without its blank line, so it may be half an event."""
        handler = _BY_NAME.get(sse.name)
        try:
            if sse.data == b"[DONE]":
                self._done = True
                self._finish(events)
            elif handler is not None:
                handler(self, sse.data, events)
            else:
                self._ignore(sse.name.decode(errors="replace"))
        except PatchError as error:
            self._break_off(
                events, UpstreamError(f"Upstream sent a delta that does not fit: {error}", code="upstream_delta")
            )
        except (ValueError, RecursionError):  # nested deeper than can be read is as good as not JSON
            if not unfinished:
                self._break_off(events, UpstreamError("Upstream sent an event that is not JSON", code="upstream_json"))

    def _on_encoding(self, data: bytes, events: list[Event]) -> None:
        if data != b"v1" and msgspec.json.decode(data) != "v1":
            self._break_off(
                events, UpstreamError("Upstream speaks an unknown delta encoding", code="upstream_encoding")
            )

    def _on_operation(self, data: bytes, events: list[Event]) -> None:
        operation = decode_operation(data)
        if operation is None:
            self._ignore("malformed delta")
            return
        root, appended_at = self._patcher.apply(operation)
        if appended_at is not None and appended_at == self._live_path and root is self._live_root:
            self._grow(operation.v, events)
            return
        item = item_of(root)
        if item is None:
            self._ignore("delta without a message" if root is None else "malformed message")
        else:
            self._on_stream_item(item, events, root)

    def _on_object(self, data: bytes, events: list[Event]) -> None:
        item = decode_item(data)
        if item is None:
            self._ignore("malformed object")
        else:
            self._on_stream_item(item, events, None)

    def _on_stream_item(self, item: StreamItem, events: list[Event], root: Any) -> None:
        """A snapshot, the view of a delta root, or a typed event: told apart by what is there."""
        if isinstance(item.conversation_id, str):
            self._conversation_id = item.conversation_id
        if item.error or item.detail:
            self._break_off(events, failure_of(item.error or item.detail, item.error_code))
        elif item.moderation_response is not None:
            self._on_moderation(item, events)
        elif isinstance(item.message, Message) and item.type is None:
            self._on_message(item.message, events, root)
        else:
            self._on_typed(item, events)

    def _on_moderation(self, item: StreamItem, events: list[Event]) -> None:
        """Only `blocked` matters (protocol.md 10)."""
        verdict = item.moderation_response
        if not isinstance(verdict, dict) or verdict.get("blocked") is not True:
            return
        if self.phase is Phase.WAITING:
            self._fail(events, failure_of(None, "content_policy_violation"))  # still in time to be a status (9.2)
        else:
            self._reason = "content_filter"
            self._finish(events)

    def _on_typed(self, item: StreamItem, events: list[Event]) -> None:
        match item.type:
            case "message_stream_complete":
                self._reason = self._reason or "stop"
            case "stream_handoff":
                self._handed_off = True
            case "error":
                self._break_off(events, failure_of(item.message if isinstance(item.message, str) else None))
            case _:
                self._ignore(item.type if isinstance(item.type, str) else "untyped")

    def _ignore(self, kind: str) -> None:
        kind = kind[:_MAX_KIND_LENGTH]
        if kind in self.ignored or len(self.ignored) < _MAX_IGNORED_KINDS:
            self.ignored[kind] += 1

    # --- one message ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message, events: list[Event], root: Any) -> None:
        self._live_root = None
        reading = read_message(message)
        if self.phase is Phase.WAITING and (reading is not None or is_progress(message)):
            self._start(message, events)
        if reading is not None:
            self._show(message, reading, events, root)
        if message.author.role == "assistant":
            self._note_finish(message, reading)

    def _start(self, message: Message, events: list[Event]) -> None:
        self.phase = Phase.ANSWERING
        slug = message.metadata.resolved_model_slug or message.metadata.model_slug
        events.append(
            Started(
                self._conversation_id,
                message.id if isinstance(message.id, str) else None,
                slug if isinstance(slug, str) else None,
            )
        )

    def _show(self, message: Message, reading: Reading, events: list[Event], root: Any) -> None:
        key = (message.id if isinstance(message.id, str) else None, message.author.role)
        if reading.kind is TextDelta:
            self._message_id = key[0]
        shown = self._shown.get(key)
        if shown is None or shown.kind is not reading.kind:
            shown = self._shown[key] = _Shown(reading.kind)
        before = shown.so_far()
        if not before.startswith(reading.text):  # else it is old news, or text taken back, which can't be
            self._give(shown, _after(before, reading.text), events, opens=not before, language=reading.language)
            shown.text = reading.text
        grows = bool(reading.text) and len(shown.text) == len(reading.text)
        self._live, self._live_root, self._live_path = shown, root, reading.grows_at if grows else None

    def _grow(self, text: str, events: list[Event]) -> None:
        """The hot path: an append to the message that is being shown, with nothing else to look at."""
        live = self._live
        if live is not None and text:
            live.pieces.append(text)
            events.append(live.kind(text))

    def _give(self, shown: _Shown, text: str, events: list[Event], *, opens: bool, language: str) -> None:
        kind = shown.kind
        events.append(CodeDelta(text, language, opens) if kind is CodeDelta else kind(text, opens=opens))
        self._text_given = self._text_given or kind is not ReasoningDelta

    def _note_finish(self, message: Message, reading: Reading | None) -> None:
        details = message.metadata.finish_details
        kind = details.get("type") if isinstance(details, dict) else None
        reason = _FINISH_REASONS.get(kind) if isinstance(kind, str) else None
        ends_cut = reason is not None and reading is not None and reading.kind is TextDelta
        if message.end_turn is True or ends_cut:
            self._reason = reason or "stop"

    # --- the end ----------------------------------------------------------------------------------------------------

    def _on_end_of_input(self, events: list[Event]) -> None:
        if self._reason is not None:
            self._finish(events)
        elif self._text_given:
            self._fail(events, UpstreamError("Upstream's answer was cut off before its end", code="upstream_cut"))
        else:
            self._fail(events, self._nothing_said())

    def _finish(self, events: list[Event]) -> None:
        reason = self._reason or "stop"
        if not self._says_something(reason):
            self._fail(events, self._nothing_said())
            return
        self.phase = Phase.ENDED
        events.append(Finished(reason))

    def _says_something(self, reason: str) -> bool:
        """Whether an answer that ends for `reason` is one: without text it has to have been stopped from outside."""
        return self._text_given or reason != "stop"

    def _break_off(self, events: list[Event], error: GatewayError) -> None:
        """Something failed; an answer that had already ended well keeps its end."""
        if self._reason is not None and self._says_something(self._reason):
            self._finish(events)
        else:
            self._fail(events, error)

    def _fail(self, events: list[Event], error: GatewayError) -> None:
        self.phase = Phase.ENDED
        events.append(Failed(error))

    def _nothing_said(self) -> GatewayError:
        if self._handed_off:
            return UpstreamError(
                "Upstream moved this answer to another channel, which is not followed yet", code="stream_handoff"
            )
        return UpstreamError("Upstream ended the stream without an answer", code="empty_stream")


def _after(before: str, now: str) -> str:
    """The text of `now` that has not been given yet, where `before` has."""
    if now.startswith(before):
        return now[len(before) :]
    both = enumerate(zip(before, now, strict=False))
    return now[next((place for place, (old, new) in both if old != new), len(now)) :]


_BY_NAME = {
    b"delta": Answer._on_operation,
    b"delta_encoding": Answer._on_encoding,
    b"message": Answer._on_object,
    b"error": Answer._on_object,
}
