"""Answers that have to be JSON (`response_format`): asked for in words, cut out of the answer, and checked.

    BEFORE ──`{` or `[`──> VALUE ──its last character──> valid: Finished; else Unusable or Failed
       └──end of the answer──> Unusable ─restart()─> BEFORE once more

Rules: words and fences around the value are dropped. What has been shown can't be taken back, so an answer that turns
out wrong is asked for again only where nothing of it was shown (`hold` shows nothing before all is checked); else it
ends as the failure it is.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from shim.errors import UpstreamError
from shim.protocol.events import Citation, Event, Failed, Finished, Started, TextDelta, Unusable
from shim.protocol.prompt import JsonAnswer
from shim.protocol.shaping.filter import Filter

Validate = Callable[[dict[str, Any], Any], str | None]
"""(JSON schema, value) -> what is wrong with the value, or None"""

_ALONE = "Your whole answer is the JSON itself: no words before or after it, and no code fence."
_OBJECT = f"Answer with one valid JSON object. {_ALONE}"
_FITTING = f"Answer with one valid JSON value that fits the JSON schema below. {_ALONE}"
_AGAIN = "Answer again, with the whole JSON and nothing besides."
_ANY_OBJECT: dict[str, Any] = {"type": "object"}

# In words before the answer, "{name}" and "[see below]" are no JSON; so what follows the bracket decides. The blanks
# between the two are bounded, because a piece of text that may still begin a value is kept until the next one comes.
_OBJECT_BEGINS = r'\{\s{0,64}["}]'
_ARRAY_BEGINS = r'\[\s{0,64}(?:["{\[\]0-9-]|true|false|null)'
_MAY_BEGIN = re.compile(r"[{\[]\s{0,64}(?:t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?)?\Z")
_BEGINS = {
    "object": re.compile(_OBJECT_BEGINS),
    "array": re.compile(_ARRAY_BEGINS),
    None: re.compile(f"{_OBJECT_BEGINS}|{_ARRAY_BEGINS}"),
}
_FENCE = re.compile(r"\A(?:`{3,}|~{3,})[\w-]*|(?:`{3,}|~{3,})\Z")
_OUTSIDE = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')
_DEPTHS = {"{": 1, "[": 1, "}": -1, "]": -1}


def format_instructions(form: JsonAnswer | None) -> str:
    """The system text that asks for this form of answer; empty where it is plain text."""
    if form is None:
        return ""
    if form.schema is None:
        return _OBJECT
    about = "".join(f"\n{text}" for text in (form.name, form.description) if text)
    return f"{_FITTING}{about}\n{_encode(form.schema).decode()}"


class JsonEnd:
    """Finds where an object or an array ends, in text that begins with its bracket and may be cut anywhere."""

    __slots__ = ("_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._escaped = False
        self._in_string = False

    def find(self, text: str) -> int | None:
        """The place right after the value's last character, if that is in `text`."""
        # The last piece may have ended in a backslash: then this one's first character is escaped and says nothing.
        place = int(self._escaped and bool(text))
        self._escaped = self._escaped and not text
        while (found := (_IN_STRING if self._in_string else _OUTSIDE).search(text, place)) is not None:
            mark, place = found[0], found.end()
            if mark == '"':
                self._in_string = not self._in_string
            elif mark == "\\":
                self._escaped = place == len(text)
                place += 1
            else:
                self._depth += _DEPTHS[mark]
            if not self._depth and not self._in_string:
                return place
        return None


class JsonText(Filter):
    """The text of the answer, made one JSON value. The last event is Finished, Failed or Unusable."""

    def __init__(self, form: JsonAnswer, *, validate: Validate, hold: bool = False) -> None:
        self._schema: dict[str, Any] = _ANY_OBJECT if form.schema is None else form.schema
        kind = self._schema.get("type")
        self._begins = _BEGINS.get(kind if isinstance(kind, str) else None)  # other kinds have to stand alone
        self._validate = validate
        self._hold = hold
        self._reset()

    def _reset(self) -> None:
        self._written: list[str] = []
        self._lead = ""  # what may be the value's beginning
        self._end_of_value: JsonEnd | None = None
        self._value: list[str] = []
        self._shown = False

    # --- in -----------------------------------------------------------------------------------------------------------

    def _handle(self, event: Event, out: list[Event]) -> None:
        match event:
            case TextDelta(text=text) | Citation(text=text):
                self._on_text(text, out)
            case Finished(reason="stop"):
                self._on_end(out)
            case Finished():
                # Cut short by a limit or by upstream's own filter: the client gets what there is, and the reason.
                if self._hold and self._value:
                    out.append(TextDelta("".join(self._value)))
                self._end(event, out)
            case Failed() | Unusable():
                self._end(event, out)
            case Started() if self._repairing:
                pass  # one answer starts once
            case _:
                out.append(event)

    def _on_text(self, text: str, out: list[Event]) -> None:
        self._written.append(text)
        if self._end_of_value is None:
            if self._begins is None:
                return  # a number, a string or a word: only the whole answer shows whether it is one
            text = self._lead + text
            begin = self._begins.search(text)
            if begin is None:
                may_begin = _MAY_BEGIN.search(text, max(text.rfind("{"), text.rfind("["), 0))
                self._lead = may_begin[0] if may_begin else ""
                return
            self._end_of_value = JsonEnd()
            text = text[begin.start() :]
        if not text:
            return
        end = self._end_of_value.find(text)
        self._value.append(text[:end])
        if not self._hold:
            self._shown = True
            out.append(TextDelta(text[:end]))
        if end is not None:
            self._check("".join(self._value), out)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _on_end(self, out: list[Event]) -> None:
        """The answer ended before a value did. A number, a string or a word may still be all of it."""
        if self._value:
            self._check("".join(self._value), out)
            return
        text = _FENCE.sub("", "".join(self._written).strip()).strip()
        try:
            msgspec.json.decode(text)
        except (ValueError, RecursionError):  # RecursionError: brackets nested deeper than the decoder goes
            self._reject("Your answer is not JSON.", "no_json_answer", out)
        else:
            self._check(text, out)

    def _check(self, text: str, out: list[Event]) -> None:
        """Decode and validate the whole value; it ends the answer either way."""
        try:
            value = msgspec.json.decode(text)
        except (ValueError, RecursionError) as error:
            self._reject(f"Your answer is not valid JSON: {error}.", "invalid_json_answer", out)
            return
        wrong = self._validate(self._schema, value)
        if wrong is not None:
            self._reject(f"Your answer does not fit the JSON schema: {wrong}", "invalid_json_answer", out)
            return
        if not self._shown:
            out.append(TextDelta(text))
        self._end(Finished("stop"), out)

    def _reject(self, wrong: str, code: str, out: list[Event]) -> None:
        if self._shown or self._repairing:
            self._end(Failed(UpstreamError(_FAILURES[code], code=code)), out)
        else:
            self._end(Unusable("".join(self._written), f"{wrong}\n{_AGAIN}"), out)

    def _end(self, event: Event, out: list[Event]) -> None:
        self.decided = True
        out.append(event)


_FAILURES = {
    "no_json_answer": "The model answered without any JSON, and not when asked again either.",
    "invalid_json_answer": "The model's JSON is not valid, or does not fit what was asked for.",
}


_encode = msgspec.json.Encoder().encode
