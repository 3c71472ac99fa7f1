"""Responses that are kept: what is written down of one, and what a later request makes of it.

Rule: a record has everything that is needed to answer for the response again: the response itself, the items it was
asked with, and the history up to and with its answer, for the next request to build on.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from shim.apis.data_lines import line_safe
from shim.apis.decoding import decode
from shim.apis.responses import wire
from shim.apis.responses.items import is_name, is_named, messages_of
from shim.apis.responses.options import ResponseOptions
from shim.apis.responses.write import (
    PREFIX,
    body_of,
    event_line,
    item_id,
    place_of_item,
    response_so_far,
    told_error,
    whole,
)
from shim.errors import GatewayError, RequestError
from shim.protocol.api import AnswerInfo, AnswerPlace, JobState
from shim.protocol.prompt import Call, GoesOn, Prompt, PromptMessage, Text

Found = Mapping[str, bytes | None]
"""Names of kept responses -> their records; None for one that is not there"""
_LAST = {"cancelled": "failed"}  # there is no event for one that was cancelled: its response says so
# As it stands in JSON: items are kept as the client wrote them, and never decoded to be written again.
_USER = msgspec.Raw(b'"user"')
_INPUT = 0x8000
"""Where the places of input items begin: those of output items come before"""


class KeptResponse(msgspec.Struct, frozen=True):
    """One record. `place` is where upstream has the conversation, as far as it has the same; `streamed` is whether its
    events are kept."""

    body: msgspec.Raw
    input: list[msgspec.Raw]
    history: tuple[PromptMessage, ...]
    place: AnswerPlace | None = None
    streamed: bool = False


class ResponseKeeping:
    """See `shim.protocol.api.BackgroundKeeping`. `prompt` is what was asked, `history` what of it a later request
    builds on, `request` what it was read from."""

    def __init__(
        self, options: ResponseOptions, prompt: Prompt, history: tuple[PromptMessage, ...], request: bytes
    ) -> None:
        self._options, self._prompt, self._history, self._request = options, prompt, history, request

    @property
    def streamed(self) -> bool:
        """Whether the client asked for events."""
        return self._prompt.stream

    def known_as(self, id: str) -> str:
        """The response's id."""
        return PREFIX + id

    def name(self, answer: AnswerInfo) -> str:
        """The response's id."""
        return PREFIX + answer.id

    def record(self, answer: AnswerInfo, place: AnswerPlace | None) -> bytes:
        """All of it."""
        said = answer.transcripts[0]
        # An answer that only calls has no words, and none are said again.
        calls = [Call(one.id, one.name, one.arguments) for one in said.calls]
        told = PromptMessage("assistant", (*([Text(said.text)] if said.text or not said.calls else []), *calls))
        body = msgspec.Raw(whole(answer, self._options))
        items = list(whole_request_items(self._request, answer.id))
        return _encode(KeptResponse(body, items, (*self._history, told), place, self.streamed))

    def without_end(
        self, id: str, created: int, state: JobState, *, answer: AnswerInfo | None, error: GatewayError | None
    ) -> bytes:
        """The response as far as there is one."""
        # Before there is an exchange there is no answer to tell of: what is said then comes from the request alone.
        if answer is not None:
            body = response_so_far(answer, self._options, state, error)
        else:
            body = body_of(
                self.known_as(id), created, self._prompt.model, self._options.echoed, status=state, output=[]
            )
            body = msgspec.structs.replace(body, error=told_error(error) if error is not None else None)
        items = list(whole_request_items(self._request, id))
        return _encode(KeptResponse(msgspec.Raw(_encode(body)), items, self._history, streamed=self.streamed))

    def shown(self, record: bytes) -> bytes:
        """The response."""
        return bytes(read_kept(record).body)

    def told(self, record: bytes, number: int) -> bytes:
        """The first events of a queued response, or the last one of any other."""
        body = read_kept(record).body
        status = _status_decoder.decode(body).status
        names = ["created", "queued"] if status == "queued" else [_LAST.get(status, status)]
        lines = [
            event_line(wire.ResponseEvent(type=f"response.{name}", sequence_number=place, response=body))
            for place, name in enumerate(names, number)
        ]
        return line_safe(b"".join(lines))


def ended(record: bytes, message: str) -> bytes:
    """The record of a response that nobody goes on with any more."""
    kept = read_kept(record)
    # Over the written record: the answer, whose state would be needed to write it anew, went with its gateway.
    body = msgspec.json.decode(kept.body) | {
        "status": "failed",
        "error": {"code": "server_error", "message": message},
    }
    return _encode(msgspec.structs.replace(kept, body=msgspec.Raw(_encode(body))))


def is_under_way(kept: KeptResponse) -> bool:
    """Whether a response has not come to its end."""
    return _status_decoder.decode(kept.body).status in {"queued", "in_progress"}


def is_in_background(kept: KeptResponse) -> bool:
    """Whether a response goes, or went, on without its client."""
    return _status_decoder.decode(kept.body).background


class _Input(msgspec.Struct):
    input: str | list[dict[str, msgspec.Raw]]


class _Names(msgspec.Struct):
    id: str | None = None


class _State(msgspec.Struct):
    status: str
    output: list[msgspec.Raw]
    background: bool = False


def whole_request_items(request: bytes, answer_id: str, found: Found | None = None) -> Iterator[msgspec.Raw]:
    """The items that a response was asked with. See `whole_items`."""
    given = decode(_input_decoder, request).input
    items = [{"role": _USER, "content": msgspec.Raw(_encode(given))}] if isinstance(given, str) else given
    return whole_items(items, answer_id, found)


def whole_items(
    items: Iterable[Mapping[str, msgspec.Raw]], answer_id: str, found: Found | None = None
) -> Iterator[msgspec.Raw]:
    """Items as they are kept: with an id, and content in parts. A reference is what it refers to, where that is among
    what was `found`, and else left out."""
    for place, item in enumerate(items, _INPUT):
        # Values stay as they were written: clients may send any, and not every number of JSON is one of Python's.
        said = {name: value for name, value in item.items() if bytes(value) != b"null"}
        given_kind = _text_decoder.decode(said["type"]) if "type" in said else None
        # A name says nothing by itself, and what it names may be forgotten before this is: so it is kept as what it
        # named.
        if is_name(given_kind, has_role="role" in said, has_more="result" in said or "status" in said):
            if "id" in said and (referred := _item(found or {}, _text_decoder.decode(said["id"]))) is not None:
                yield referred
            continue
        kind = given_kind or "message"
        id = item_id("msg" if kind == "message" else "item", answer_id, place)
        whole: dict[str, Any] = {"id": id, "status": "completed", **said, "type": kind}
        # The real API lists content in parts, also where a request had a bare text.
        if "content" in said and bytes(said["content"]).startswith(b'"'):
            is_answer = "role" in said and _text_decoder.decode(said["role"]) == "assistant"
            extra: dict[str, Any] = {"type": "output_text", "annotations": []} if is_answer else {"type": "input_text"}
            whole["content"] = [extra | {"text": said["content"]}]
        yield msgspec.Raw(_encode(whole))


def name_of(item: msgspec.Raw) -> str | None:
    """The id of an item that is kept."""
    return _names_decoder.decode(item).id


def read_kept(record: bytes) -> KeptResponse:
    """A record that was written here."""
    return _decoder.decode(record)


# --- for a later request ----------------------------------------------------------------------------------------------


def refers_of(request: wire.CountInputRequest) -> frozenset[str]:
    """The names of the kept responses that a request builds on."""
    names = {request.previous_response_id} if request.previous_response_id else set()
    for item in request.input if isinstance(request.input, list) else ():
        # Only names of ours lead to a response; another's is refused by name when the items are read.
        if item.id is not None and is_named(item) and (place := place_of_item(item.id)) is not None:
            names.add(place[0])
    return frozenset(names)


def earlier(
    found: Found | None, name: str | None, new: tuple[PromptMessage, ...]
) -> tuple[tuple[PromptMessage, ...], GoesOn | None]:
    """The history that a response was the end of, and where it may be gone on with by `new` messages. Raises
    RequestError (400) where it is not kept, or not over."""
    # Read for the first time, to learn what it refers to: kept responses are not at hand yet (`Asked.complete`).
    if name is None or found is None:
        return (), None
    if (record := found.get(name)) is None:
        raise RequestError(
            f"Previous response with id '{name[:128]}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    kept = read_kept(record)
    # Its words are not all there: what is built on them would go on from the middle of a sentence.
    if is_under_way(kept):
        raise RequestError(
            f"The response '{name[:128]}' is still under way.",
            param="previous_response_id",
            code="previous_response_not_over",
        )
    place = kept.place
    return kept.history, GoesOn(place.conversation_id, place.message_id, new) if place is not None else None


def recalled_item(found: Found | None, id: str, param: str) -> tuple[PromptMessage, ...]:
    """What an item of a kept response said; as long as none are `found`, words in its place. Raises RequestError (404)
    where it is not kept."""
    place = place_of_item(id)
    # The first reading again. An empty message stands in, so that a request that consists of names is not refused for
    # saying nothing.
    if place is not None and found is None:
        return (PromptMessage("user", (Text(""),)),)
    if (item := _item(found or {}, id)) is None:
        raise _no_item(id, param)
    return messages_of([_item_decoder.decode(item)], param, _no_reference)


def _item(found: Found, id: str) -> msgspec.Raw | None:
    """An item of a kept response."""
    place = place_of_item(id)
    record = found.get(place[0]) if place is not None else None
    if record is None:
        return None
    kept = read_kept(record)
    items = (*_status_decoder.decode(kept.body).output, *kept.input)
    return next((item for item in items if name_of(item) == id), None)


def _no_reference(id: str, param: str) -> tuple[PromptMessage, ...]:
    raise _no_item(id, param)


def _no_item(id: str, param: str) -> RequestError:
    text = f"Item with id '{id[:128]}' not found: send the item itself."
    return RequestError(text, param=param, code="item_not_found", status=404)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(KeptResponse)
_input_decoder = msgspec.json.Decoder(_Input)
_names_decoder = msgspec.json.Decoder(_Names)
_text_decoder = msgspec.json.Decoder(str)
_status_decoder = msgspec.json.Decoder(_State)
_item_decoder = msgspec.json.Decoder(wire.GivenItem)
