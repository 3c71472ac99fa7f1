"""Function calls in the answer's text become events (the form is described in docs/tools.md).

    READING ──all calls valid──> Called..., Finished("tool_calls")
       ├──── no call, none needed ──────> Finished as it came
       └──── anything else ─────────────> Unusable ─restart()─> READING once more ──> the same, or Failed

Rules: clients run the calls they are given, so none is given before all of an answer are known to be valid. Text is
given as it comes and stays given. The second answer is for calls: its words are shown only where no call comes and
none was needed.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from shim.errors import UpstreamError
from shim.protocol.events import (
    Called,
    Citation,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    Unusable,
)
from shim.protocol.prompt import Function, FunctionChoice, OnlyFunction
from shim.protocol.shaping.call_blocks import Block, CallBlocks, Marks
from shim.protocol.shaping.filter import Filter

Validate = Callable[[dict[str, Any], Any], str | None]
"""(JSON schema, value) -> what is wrong with the value, or None"""

_PREFIX = "functions."  # how the models' own format names functions
# As long as those of OpenAI's API.
_ID_LENGTH = 24
_FENCE = re.compile(r"(?:`{3,}|~{3,})[\w-]*")
_AGAIN = "Write all calls of this answer again, each in the form you were told, and nothing besides."
_OR_NOT = " If no call was meant, answer again without those marks."
_NO_CALL = "Your answer calls no function, and it has to."
_FAILED = "The model did not write a valid function call, and not when asked again either."


class _BadCallError(Exception):
    """A block can't be used; says why, to the model."""


class _Written(msgspec.Struct):
    """A call as the model writes it: `arguments` as an object, or as JSON in a string."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class ToolCalls(Filter):
    """The calls in the answer's text, made events; the last one is Finished, Failed or Unusable. Not for a `choice` of
    "none", where there is nothing to call.

    `new_id` makes a UUID. What `functions` take has to be valid JSON schemas already.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        choice: FunctionChoice,
        *,
        parallel: bool,
        new_id: Callable[[], str],
        validate: Validate,
        marks: Marks = Marks(),  # noqa: B008  frozen
    ) -> None:
        self._schemas = {function.name: function.schema or {} for function in functions}
        self._only = choice.name if isinstance(choice, OnlyFunction) else None
        self._needed = choice != "auto"
        self._parallel = parallel
        self._new_id = new_id
        self._validate = validate
        self._marks = marks
        self._shown = False  # whether the client has been given any words
        self._reset()

    def _reset(self) -> None:
        self._blocks = CallBlocks(self._marks)
        self._calls: list[Called] = []
        self._complaint: str | None = None
        self._written: list[str] = []
        self._kept: list[Event] = []  # the second answer's words
        self._spoken = False
        self._after_call = False

    # --- in -----------------------------------------------------------------------------------------------------------

    def _handle(self, event: Event, out: list[Event]) -> None:
        match event:
            case TextDelta(text=text):
                self._on_text(event, text, out)
            case Citation(text=text) if self._blocks.in_block:
                self._on_text(TextDelta(text), text, out)
            case Finished():
                self._on_pieces(self._blocks.close(), out)
                if not self.decided:
                    self._finish(event, out)
            case Failed():
                self._on_pieces(self._blocks.flush(), out)
                self._end(event, out)
            case ReasoningDelta():
                out.append(event)
            case Started():
                out += [] if self._repairing else [event]  # one answer starts once
            case _:
                self._on_pieces(self._blocks.flush(), out)
                self._say(event, out)

    def _on_text(self, delta: TextDelta, text: str, out: list[Event]) -> None:
        self._written.append(text)
        if delta.opens and not self._blocks.in_block:
            self._on_pieces(self._blocks.flush(), out)
            self._on_pieces(self._blocks.add("\n\n" if self._spoken else ""), out)
        self._on_pieces(self._blocks.add(text), out)
        if self._blocks.ended and not self.decided:
            self._finish(Finished("stop"), out)

    def _on_pieces(self, pieces: Sequence[str | Block], out: list[Event]) -> None:
        for piece in pieces:
            if self.decided:
                return
            if isinstance(piece, Block):
                self._on_block(piece, out)
            else:
                # Words before and after a call are two paragraphs.
                apart, self._after_call = self._after_call and self._spoken, False
                self._say(TextDelta(f"\n\n{piece}" if apart else piece), out)

    def _say(self, event: Event, out: list[Event]) -> None:
        if self._repairing and not self._spoken and isinstance(event, TextDelta):
            # What is before us takes it for one more part of the first answer, and sets it apart.
            event = TextDelta(event.text.lstrip("\n"))
            if not event.text:
                return
        (self._kept if self._repairing else out).append(event)
        self._spoken = True
        self._shown = self._shown or not self._repairing

    # --- one block ----------------------------------------------------------------------------------------------------

    def _on_block(self, block: Block, out: list[Event]) -> None:
        self._after_call = True
        try:
            for written in _read(block):
                self._calls.append(self._checked(written))
                if not self._parallel and self._complaint is None:
                    self._give_calls(out)
                    return
        except _BadCallError as error:
            self._complaint = self._complaint or str(error)

    def _checked(self, written: _Written) -> Called:
        name = written.name if written.name in self._schemas else written.name.removeprefix(_PREFIX)
        if name not in self._schemas:
            raise _BadCallError(f"There is no function of the name {name!r:.80}.")
        if self._only not in (None, name):
            raise _BadCallError(f"Only the function `{self._only}` may be called now.")
        arguments, value = _arguments_of(written, name)
        wrong = self._validate(self._schemas[name], value)
        if wrong is not None:
            raise _BadCallError(f"The arguments of `{name}` do not fit its JSON schema: {wrong}")
        return Called(f"call_{self._new_id().replace('-', '')[:_ID_LENGTH]}", name, arguments)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _finish(self, end: Finished, out: list[Event]) -> None:
        """Upstream's end. An answer cut from outside is no mistake of the model's: it ends as it was cut."""
        missing = self._needed and not self._calls
        if end.reason == "content_filter" or (end.reason != "stop" and (missing or self._complaint)):
            self._show_kept(end, out)
        elif self._complaint is not None or missing:
            self._reject(self._complaint or _NO_CALL, out)
        elif self._calls:
            self._give_calls(out)
        elif self._repairing and all(isinstance(one, TextDelta) and not one.text.strip() for one in self._kept):
            self._reject(_NO_CALL, out)
        else:
            self._show_kept(end, out)

    def _give_calls(self, out: list[Event]) -> None:
        out += self._calls
        self._end(Finished("tool_calls"), out)

    def _show_kept(self, end: Finished, out: list[Event]) -> None:
        if self._kept and self._shown:
            out.append(TextDelta("\n\n"))
        out += self._kept
        self._end(end, out)

    def _reject(self, complaint: str, out: list[Event]) -> None:
        if self._repairing:
            self._end(Failed(UpstreamError(_FAILED, code="invalid_tool_call")), out)
        else:
            told = f"{complaint}\n{_AGAIN}{'' if self._needed else _OR_NOT}"
            written = "".join(self._written).removesuffix(self._blocks.unread)
            self._end(Unusable(written, told), out)

    def _end(self, event: Event, out: list[Event]) -> None:
        self.decided = True
        out.append(event)


def _read(block: Block) -> list[_Written]:
    """The calls in a block: one object, or a list of them; a code fence around them is taken off."""
    body = block.body.strip()
    if fence := _FENCE.match(body):
        body = body[fence.end() :].rstrip("`~ \t\r\n")
    try:
        written = _decode(body.encode())
    except (ValueError, RecursionError) as error:
        how = "" if block.closed else " The answer ended before its closing mark."
        raise _BadCallError(f"A call is not the JSON it has to be: {error}.{how}") from None
    return written if isinstance(written, list) else [written]


def _arguments_of(written: _Written, name: str) -> tuple[str, dict[str, Any]]:
    """The arguments as compact JSON, with the order of keys and the digits of numbers as written; and their value."""
    try:
        text = bytes(written.arguments)
        if text.lstrip().startswith(b'"'):
            text = msgspec.json.decode(text, type=str).encode() or b"{}"
        value = msgspec.json.decode(text)
        compact = msgspec.json.format(text, indent=-1).decode()
    except (ValueError, RecursionError) as error:
        raise _BadCallError(f"The arguments of `{name}` are not valid JSON: {error}.") from None
    if value is None:
        return "{}", {}
    if not isinstance(value, dict):
        raise _BadCallError(f"The arguments of `{name}` have to be a JSON object.")
    return compact, value


_decode = msgspec.json.Decoder(_Written | list[_Written]).decode
