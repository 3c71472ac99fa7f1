"""An answer's events as what a client of the Responses API reads: the events of a response, or one response.

    response.created, response.in_progress, one item after the other, response.completed | .incomplete | .failed
    an item: output_item.added, what is its own, output_item.done

Rule: items come one after the other, in the order they happened, and their numbers count up without a gap. What the
last event holds is what the whole answer is; what a client adds up from the pieces is the same.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from shim.apis.answered_by import answered_by
from shim.apis.data_lines import line_safe
from shim.apis.responses import wire
from shim.apis.responses.options import ResponseOptions
from shim.apis.responses.tools import INPUT
from shim.errors import Field, GatewayError
from shim.protocol.api import AnswerInfo
from shim.protocol.counting.usage import Usage
from shim.protocol.events import (
    Called,
    Citation,
    Event,
    Failed,
    Finished,
    Link,
    Picture,
    ReasoningDelta,
    Searched,
    TextDelta,
)
from shim.protocol.transcript import Cited, Transcript, thought_piece

PREFIX = "resp_"
_TOO_LONG = "context_length_exceeded"  # not among the published codes, but it is what Codex shortens its history for
_REASONS: dict[str, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
_DEFAULTS, _NULL = wire.Echoed(), msgspec.Raw(b"null")
# Hexadecimal: 65,536 places, in whose upper half input items have theirs (`kept`). The response's id stands before
# them, so that an item is found without an index of items.
_ITEM_DIGITS = 4
QUEUED_EVENTS = 2
"""How many events an answer in the background begins with, before it is under way"""


def item_id(kind: str, answer_id: str, index: int) -> str:
    """The name of an item: it tells which response it belongs to, and where in it."""
    return f"{kind}_{answer_id}{index:0{_ITEM_DIGITS}x}"


def place_of_item(id: str) -> tuple[str, int] | None:
    """(id of the response, place of the item in it) for the name of an item; None where it is not one of ours."""
    _, _, digits = id.rpartition("_")
    answer_id, index = digits[:-_ITEM_DIGITS], digits[-_ITEM_DIGITS:]
    if len(answer_id) != 32 or not all(digit in "0123456789abcdef" for digit in digits):
        return None
    return PREFIX + answer_id, int(index, 16)


class EventWriter:
    """Writes a streamed answer: `head` first, then `receive` for whatever has happened."""

    def __init__(self, answer: AnswerInfo, options: ResponseOptions) -> None:
        self._answer, self._options = answer, options
        self._number = QUEUED_EVENTS if options.queued else 0  # of the next event
        self._index = 0  # of the item that is open, or comes next
        self._open: wire.OutputItem | None = None
        self._said: list[str] = []  # the words of the open item
        self._cited: list[wire.CitedUrl] = []
        self._around = (b"", b"", b"")  # the bytes around the number and the text of a delta of the open item
        self._begun = False

    def head(self) -> bytes:
        """The response without output, twice; the first time was before, where it had to be waited for."""
        self._begun = True
        # Encoded once: clients like Codex send instructions and tools of tens of kilobytes, which are told back.
        body = _encode(_body(self._answer, self._options, "in_progress", []))
        names = ("in_progress",) if self._options.queued else ("created", "in_progress")
        return line_safe(b"".join([self._response(name, body) for name in names]))

    def receive(self, events: Sequence[Event], _choice: int) -> bytes:
        """The events of this API for `events`, joined: what has arrived together is sent together."""
        written: list[bytes] = []
        for one in events:
            match one:
                case TextDelta(text=text):
                    self._write(wire.MessageItem, text, written)
                case Citation(text=text, links=links):
                    self._cite(text, links, written)
                case ReasoningDelta() if self._options.thinking:
                    thought = thought_piece(one, goes_on=type(self._open) is wire.ReasoningItem)
                    self._write(wire.ReasoningItem, thought, written)
                case Called():
                    self._call(one, written)
                case Picture() | Searched():
                    self._own_work(one, written)
                case Finished():
                    status = status_of(self._answer.transcripts[0])
                    self._close(written, "incomplete" if status == "incomplete" else "completed")
                    written.append(self._response(status, whole(self._answer, self._options)))
                case Failed(error=error):
                    # Before the first event there is no response that could have failed, so that it is an error alone.
                    written.append(
                        self._response("failed", whole(self._answer, self._options)) if self._begun else broken(error)
                    )
        return line_safe(b"".join(written))

    # --- items --------------------------------------------------------------------------------------------------------

    def _write(self, kind: type[wire.MessageItem | wire.ReasoningItem], text: str, written: list[bytes]) -> None:
        """More words of an item of this kind, which begins with them where none is open."""
        if not text:
            return
        if type(self._open) is not kind:
            self._close(written)
            # The part is told of before its first words: SDKs add these to a part that they know.
            part: wire.OutputText | wire.SummaryText
            if kind is wire.MessageItem:
                self._begin(wire.MessageItem(self._id("msg"), [], "in_progress"), written)
                part = wire.OutputText("")
                written.append(self._about(wire.PartEvent, "response.content_part.added", content_index=0, part=part))
                self._frame(wire.TextEvent, "response.output_text.delta", content_index=0, logprobs=[])
            else:
                self._begin(wire.ReasoningItem(self._id("rs"), [], "in_progress"), written)
                part, name = wire.SummaryText(""), "response.reasoning_summary"
                written.append(self._about(wire.SummaryPartEvent, f"{name}_part.added", summary_index=0, part=part))
                self._frame(wire.SummaryTextEvent, f"{name}_text.delta", summary_index=0)
        before, between, after = self._around
        written += before, b"%d" % self._number, between, _encode(text), after
        self._number += 1
        self._said.append(text)

    def _frame(self, kind: type[wire.TextEvent | wire.SummaryTextEvent], name: str, **fields: Any) -> None:
        """Note the bytes around a delta's number and text: only these differ from one to the next."""
        place, index = self._item, self._index
        delta = event_line(kind(type=name, sequence_number=0, delta="", item_id=place, output_index=index, **fields))
        before, rest = delta.split(b'"sequence_number":0', 1)
        between, after = rest.split(b'"delta":""', 1)
        self._around = before + b'"sequence_number":', between + b'"delta":', after

    def _cite(self, text: str, links: Sequence[Link], written: list[bytes]) -> None:
        """Words that name pages. A citation that shows nothing is nowhere in the text, and is left out."""
        # One piece from here on: its length is where the words to come begin, and many citations may follow.
        self._said = ["".join(self._said)]
        start = len(self._said[0]) if type(self._open) is wire.MessageItem else 0
        self._write(wire.MessageItem, text, written)
        for link in links if text else ():
            cited = wire.CitedUrl(start, start + len(text), link.title, link.url)
            place = {"content_index": 0, "annotation_index": len(self._cited), "annotation": cited}
            written.append(self._about(wire.AnnotationEvent, "response.output_text.annotation.added", **place))
            self._cited.append(cited)

    def _call(self, called: Called, written: list[bytes]) -> None:
        self._close(written)
        item = _call_item(called, self._answer.id, self._index, self._options)
        if isinstance(item, wire.CustomCallItem):
            self._begin(msgspec.structs.replace(item, input="", status="in_progress"), written)
            name, given = "response.custom_tool_call_input", item.input
            written.append(self._about(wire.CustomInputEvent, f"{name}.delta", delta=given))
            written.append(self._about(wire.CustomInputEvent, f"{name}.done", input=given))
        else:
            self._begin(msgspec.structs.replace(item, arguments="", status="in_progress"), written)
            name = "response.function_call_arguments"
            written.append(self._about(wire.ArgumentsEvent, f"{name}.delta", delta=item.arguments))
            written.append(self._about(wire.ArgumentsEvent, f"{name}.done", arguments=item.arguments))
        self._done(item, written)

    def _own_work(self, done: Picture | Searched, written: list[bytes]) -> None:
        """What a tool of ChatGPT's own has made. It is told of when it is there, so that all its steps come at once."""
        self._close(written)
        item: wire.PictureItem | wire.SearchItem
        begun: wire.PictureItem | wire.SearchItem
        if isinstance(done, Picture):
            item = _picture_item(done, self._answer, self._index)
            begun = msgspec.structs.replace(item, result=None, status="in_progress")
            steps = [f"image_generation_call.{step}" for step in ("in_progress", "generating", "completed")]
        else:
            item = _search_item(done, self._answer, self._index)
            begun = msgspec.structs.replace(item, status="in_progress")
            steps = [f"web_search_call.{step}" for step in ("in_progress", "searching", "completed")]
        self._begin(begun, written)
        written += [self._about(wire.PlaceEvent, f"response.{step}") for step in steps]
        self._done(item, written)

    def _close(self, written: list[bytes], status: wire.ItemStatus = "completed") -> None:
        """The open item, if there is one, is whole."""
        said, cited = "".join(self._said), self._cited
        match self._open:
            case wire.MessageItem() as item:
                name, part = "response.output_text.done", wire.OutputText(said, cited)
                written.append(self._about(wire.TextEvent, name, content_index=0, logprobs=[], text=said))
                written.append(self._about(wire.PartEvent, "response.content_part.done", content_index=0, part=part))
                self._done(msgspec.structs.replace(item, content=[part], status=status), written)
            case wire.ReasoningItem() as item:
                name = "response.reasoning_summary"
                summary = wire.SummaryText(said)
                written.append(self._about(wire.SummaryTextEvent, f"{name}_text.done", summary_index=0, text=said))
                written.append(self._about(wire.SummaryPartEvent, f"{name}_part.done", summary_index=0, part=summary))
                self._done(msgspec.structs.replace(item, summary=[summary], status="completed"), written)

    def _begin(self, item: wire.OutputItem, written: list[bytes]) -> None:
        self._open, self._item = item, item.id
        written.append(self._told(wire.ItemEvent, "response.output_item.added", output_index=self._index, item=item))

    def _done(self, item: wire.OutputItem, written: list[bytes]) -> None:
        written.append(self._told(wire.ItemEvent, "response.output_item.done", output_index=self._index, item=item))
        self._open, self._index = None, self._index + 1
        self._said, self._cited = [], []

    # --- events -------------------------------------------------------------------------------------------------------

    def _id(self, kind: str) -> str:
        return item_id(kind, self._answer.id, self._index)

    def _response(self, name: str, body: bytes) -> bytes:
        return self._told(wire.ResponseEvent, f"response.{name}", response=msgspec.Raw(body))

    def _about(self, kind: type[wire.PlaceEvent], name: str, **fields: Any) -> bytes:
        return self._told(kind, name, item_id=self._item, output_index=self._index, **fields)

    def _told(self, kind: type[wire.StreamedEvent], name: str, **fields: Any) -> bytes:
        told = kind(type=name, sequence_number=self._number, **fields)
        self._number += 1
        return event_line(told)


def event_line(told: wire.StreamedEvent) -> bytes:
    """An event as it is sent, once `line_safe` has looked at it."""
    return b"event: %b\ndata: %b\n\n" % (told.type.encode(), _encode(told))


def broken(error: GatewayError) -> bytes:
    """All of a stream that failed before there was a response."""
    param = wire.FIELDS[error.param] if isinstance(error.param, Field) else error.param
    told = wire.BrokenEvent(type="error", sequence_number=0, code=error.code, message=error.message, param=param)
    return line_safe(event_line(told))


# --- whole ------------------------------------------------------------------------------------------------------------


def whole(answer: AnswerInfo, options: ResponseOptions) -> bytes:
    """The whole answer as one response. Nothing changes in it once the answer is over, so it is encoded once, for the
    client and for the record that is kept of it."""
    if answer.encoded is None:
        answer.encoded = _encode(response_of(answer, options))
    return answer.encoded


def response_of(answer: AnswerInfo, options: ResponseOptions) -> wire.ResponseBody:
    """The response as it is at its end, good or bad."""
    transcript = answer.transcripts[0]
    status = status_of(transcript)
    output = list(_items(answer, options))
    # Only the last item can have been cut short.
    if status != "completed" and output and isinstance(last := output[-1], wire.MessageItem):
        output[-1] = msgspec.structs.replace(last, status="incomplete")
    reason = _REASONS.get(transcript.finish_reason or "")
    return msgspec.structs.replace(
        _body(answer, options, status, output),
        usage=usage_on_wire(answer.usage),
        error=told_error(transcript.error) if transcript.error is not None else None,
        incomplete_details=wire.Incomplete(reason) if reason and status == "incomplete" else None,
        chatgpt=answered_by(answer),
    )


def response_so_far(
    answer: AnswerInfo, options: ResponseOptions, status: wire.ResponseStatus, error: GatewayError | None
) -> wire.ResponseBody:
    """The response as it is before its own end. Its tokens are not counted yet."""
    output = list(_items(answer, options))
    if output and isinstance(last := output[-1], wire.MessageItem):
        output[-1] = msgspec.structs.replace(last, status="in_progress" if status == "in_progress" else "incomplete")
    body = _body(answer, options, status, output)
    told = told_error(error) if error is not None else None
    return msgspec.structs.replace(body, error=told, chatgpt=answered_by(answer))


def status_of(transcript: Transcript) -> wire.ResponseStatus:
    """What became of an answer."""
    if transcript.error is not None:
        return "failed"
    return "incomplete" if transcript.finish_reason in _REASONS else "completed"


def told_error(error: GatewayError) -> wire.ToldError:
    """An error as a response tells it: there are few codes."""
    codes = {429: "rate_limit_exceeded", 400: "invalid_prompt"}
    code = codes.get(error.http_status, "server_error")
    if error.code == _TOO_LONG:
        code = _TOO_LONG
    # A span would be none to whoever looks later, and there is no header beside an event.
    now = time.time()
    wait = error.retry_in(now)
    retry_at = UNSET if wait is None else math.ceil(now + wait)
    return wire.ToldError(code, error.message, retry_at)


def usage_on_wire(usage: Usage) -> wire.TokenUsage:
    """The same, in this API's words."""
    details = wire.OutputDetails(usage.reasoning)
    return wire.TokenUsage(usage.prompt, usage.completion, usage.total, output_tokens_details=details)


def _items(answer: AnswerInfo, options: ResponseOptions) -> Iterator[wire.OutputItem]:
    transcript = answer.transcripts[0]
    text, told, index = transcript.text, 0, 0
    for place, aside in transcript.asides:
        if isinstance(aside, str) and not options.thinking:
            continue
        if place > told:
            yield _message_item(answer, index, text, told, place)
            told, index = place, index + 1
        if isinstance(aside, Picture):
            yield _picture_item(aside, answer, index)
        elif isinstance(aside, Searched):
            yield _search_item(aside, answer, index)
        else:
            yield wire.ReasoningItem(item_id("rs", answer.id, index), [wire.SummaryText(aside)])
        index += 1
    if told < len(text):
        yield _message_item(answer, index, text, told, len(text))
        index += 1
    for place, called in enumerate(transcript.calls, index):
        yield _call_item(called, answer.id, place, options)


def _search_item(searched: Searched, answer: AnswerInfo, index: int) -> wire.SearchItem:
    return wire.SearchItem(item_id("ws", answer.id, index), wire.SearchAction(searched.query))


def _message_item(answer: AnswerInfo, index: int, text: str, start: int, end: int) -> wire.MessageItem:
    cited = [_cited(one, start) for one in answer.transcripts[0].cited if start <= one.start < one.end <= end]
    return wire.MessageItem(item_id("msg", answer.id, index), [wire.OutputText(text[start:end], cited)])


def _cited(cited: Cited, start: int) -> wire.CitedUrl:
    return wire.CitedUrl(cited.start - start, cited.end - start, cited.link.title, cited.link.url)


def _call_item(
    called: Called, answer_id: str, index: int, options: ResponseOptions
) -> wire.FunctionCallItem | wire.CustomCallItem:
    space, name = options.names.spaces.get(called.name, (None, called.name))
    if called.name in options.names.custom:
        given: dict[str, str] = msgspec.json.decode(called.arguments)
        return wire.CustomCallItem(
            item_id("ctc", answer_id, index), called.id, name, given[INPUT], namespace=space or UNSET
        )
    return wire.FunctionCallItem(
        item_id("fc", answer_id, index), called.id, name, called.arguments, namespace=space or UNSET
    )


def _picture_item(picture: Picture, answer: AnswerInfo, index: int) -> wire.PictureItem:
    id = item_id("ig", answer.id, index)
    kind, _, data = answer.link(picture.file, 0).partition(";base64,")
    # This API has no links to pictures: one that could not be fetched has failed.
    if not kind.startswith("data:") or not data:
        return wire.PictureItem(id, None, "failed")
    return wire.PictureItem(id, data)


def _body(
    answer: AnswerInfo, options: ResponseOptions, status: wire.ResponseStatus, output: list[wire.OutputItem]
) -> wire.ResponseBody:
    return body_of(PREFIX + answer.id, answer.created, answer.model, options.echoed, status=status, output=output)


def body_of(
    id: str,
    created: int,
    model: str,
    echoed: wire.Echoed,
    *,
    status: wire.ResponseStatus,
    output: list[wire.OutputItem],
) -> wire.ResponseBody:
    """A response with what is told back of its request."""
    # A field that was sent as null is told back as if it had been left out, as the real API does.
    return wire.ResponseBody(
        id=id,
        created_at=created,
        model=model,
        output=output,
        status=status,
        tools=echoed.tools if echoed.tools != _NULL else _DEFAULTS.tools,
        tool_choice=echoed.tool_choice if echoed.tool_choice != _NULL else _DEFAULTS.tool_choice,
        text=echoed.text if echoed.text != _NULL else _DEFAULTS.text,
        reasoning=echoed.reasoning if echoed.reasoning != _NULL else _DEFAULTS.reasoning,
        instructions=echoed.instructions,
        parallel_tool_calls=echoed.parallel_tool_calls is not False,
        metadata=echoed.metadata or {},
        background=bool(echoed.background),
        store=echoed.store is not False,
        max_output_tokens=echoed.max_output_tokens,
        previous_response_id=echoed.previous_response_id,
        service_tier=echoed.service_tier,
        truncation=echoed.truncation or "disabled",
        user=echoed.user,
        safety_identifier=echoed.safety_identifier or UNSET,
        prompt_cache_key=echoed.prompt_cache_key or UNSET,
        conversation=wire.ConversationName(name)
        if echoed.conversation and (name := wire.conversation_id_of(echoed.conversation))
        else UNSET,
    )


_encode = msgspec.json.Encoder().encode
