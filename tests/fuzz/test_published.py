"""Requests that the vendors' own libraries would send, drawn from their types: each is taken, or refused with an error
that names its field. And what they publish as the values of a field is known here, so that a new one is no mistake."""

import json
import random
from collections.abc import Callable
from typing import Any, get_args, get_origin

import msgspec
import pytest
import typing_extensions
from anthropic.types import message_count_tokens_params
from anthropic.types.beta import BetaMessage
from anthropic.types.beta import message_create_params as beta_messages
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import completion_create_params as completions
from openai.types import image_edit_params, image_generate_params
from openai.types.audio import speech_create_params
from openai.types.chat import ChatCompletion
from openai.types.chat import completion_create_params as chats
from openai.types.responses import Response, input_token_count_params, response_compact_params, response_create_params
from pydantic import BaseModel

from shim.apis.audio.read import read_speech
from shim.apis.chat import wire as chat_wire
from shim.apis.chat.read import read as read_chat
from shim.apis.completions.read import read as read_completion
from shim.apis.images import wire as images_wire
from shim.apis.images.read import read_edit, read_generation
from shim.apis.messages import wire as messages_wire
from shim.apis.messages.read import read as read_message
from shim.apis.messages.read import read_countable as read_message_count
from shim.apis.responses import wire as responses_wire
from shim.apis.responses.read import read as read_response
from shim.apis.responses.read import read_compaction
from shim.apis.responses.read import read_countable as read_input
from shim.errors import RequestError
from shim.protocol.prompt import Prompt
from shim.protocol.turn.checks import check_prompt
from shim.protocol.turn.conversation import Chosen, conversation_for
from shim.schemas import check_parameters, check_schema
from tests.fuzz.published import drawn

# What a library's call takes, and what reads it here.
CALLS: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "chat": (chats.CompletionCreateParamsNonStreaming, lambda body: read_chat(body).prompt),
    "completions": (completions.CompletionCreateParamsNonStreaming, lambda body: read_completion(body).prompt),
    "responses": (response_create_params.ResponseCreateParamsNonStreaming, lambda body: read_response(body).prompt),
    "compact": (response_compact_params.ResponseCompactParams, lambda body: read_compaction(body).prompt),
    "input tokens": (input_token_count_params.InputTokenCountParams, lambda body: read_input(body)[0]),
    "images": (image_generate_params.ImageGenerateParamsNonStreaming, lambda body: read_generation(body).prompt),
    "edits": (image_edit_params.ImageEditParamsNonStreaming, lambda body: read_edit(body, "application/json").prompt),
    "speech": (speech_create_params.SpeechCreateParams, read_speech),
    "messages": (beta_messages.MessageCreateParamsNonStreaming, lambda body: read_message(body).prompt),
    "count tokens": (message_count_tokens_params.MessageCountTokensParams, read_message_count),
}
# The same, and the structs that say what values their fields may have.
VALUES: dict[str, tuple[msgspec.Struct, ...]] = {
    "chat": (chat_wire.ChatRequest, chat_wire.WithoutEffect),
    "responses": (responses_wire.ResponsesRequest, responses_wire.WithoutInfluence),
    "images": (images_wire.ImageGenerationRequest, images_wire.UnusedImageFields),
    "edits": (images_wire.ImageEditRequest, images_wire.UnusedImageFields),
    "messages": (messages_wire.MessagesRequest, messages_wire.WithoutBearing),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_a_library_sends_is_taken_or_refused_by_name(name):
    kind, read = CALLS[name]

    @settings(settings.get_profile("operations"))
    @given(seed=st.integers(0, 2**32))
    def each(seed: int) -> None:
        refused = refusal(read, json.dumps(drawn(kind, random.Random(seed))).encode())
        if refused is not None:
            assert refused.http_status in {400, 404}, refused.message
            assert refused.error_type == "invalid_request_error"
            assert refused.param, refused.message
            assert refused.code, refused.message

    each()


def refusal(read: Callable[[bytes], Any], body: bytes) -> RequestError | None:
    """None where a request is taken, as far as a conversation; else what it is refused with."""
    try:
        prompt = read(body)
        if isinstance(prompt, Prompt):
            check_prompt(prompt, kept=True, check_parameters=check_parameters, check_schema=check_schema)
            conversation_for(prompt, Chosen("auto"), {}, temporary=True, now=0.0, new_id=lambda: "id")
    except RequestError as error:
        return error
    return None


def test_most_of_what_is_drawn_is_taken():
    """Else nothing would be tried but refusals."""
    kind, read = CALLS["messages"]
    bodies = [json.dumps(drawn(kind, random.Random(seed))).encode() for seed in range(100)]
    assert sum(refusal(read, body) is None for body in bodies) > 30


# What is asked at the end, so that the answer is known; the paths, and the types of the answers.
ASKED = {"role": "user", "content": "[[say=one two]] go on"}
ANSWERS: dict[str, tuple[str, str, type[BaseModel]]] = {
    "chat": ("/v1/chat/completions", "messages", ChatCompletion),
    "responses": ("/v1/responses", "input", Response),
    "messages": ("/v1/messages", "messages", BetaMessage),
}
# `store` the real API tells, too, though its library has no name for it; the others are ours (docs/parameters.md).
TOLD_BESIDES = {"store", "conversation_id", "message_id"}
# What ends the answer before its words, has several of them, or asks for words of another form.
LEFT_OUT = {"stop", "stop_sequences", "n", "response_format", "text", "output_config", "background"}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_taken_is_answered_whole_and_streamed_alike(gateway, name):
    path, history, kind = ANSWERS[name]
    answered = 0
    for seed in range(60):
        request = drawn(CALLS[name][0], random.Random(seed)) | {"model": "auto"}
        given = request.get(history)
        request[history] = [*(given if isinstance(given, list) else []), ASKED]
        for limit in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
            if limit in request:
                request[limit] = 100
        request = {field: value for field, value in request.items() if field not in LEFT_OUT}
        if refusal(CALLS[name][1], json.dumps(request).encode()) is not None:
            continue
        whole = gateway.post(path, request)
        if whole.status_code != 200:
            # 502: a call had to be made, or an answer of a form be given, and the words that are said are neither.
            assert whole.status_code in {400, 404, 502}, whole.text
            continue
        body = whole.json()
        body.pop("chatgpt", None)
        assert extra_of(kind.model_validate(body)) <= TOLD_BESIDES, body
        streamed = gateway.post(path, request | {"stream": True})
        assert streamed.status_code == 200, streamed.text
        assert '"error"' not in streamed.text.rpartition("data: {")[2].replace('"error":null', ""), streamed.text[-500:]
        assert said_in(name, streamed.text) == text_of(name, body) != ""
        answered += 1
    assert answered > 3


def extra_of(answer: BaseModel) -> set[str]:
    """The names of fields that an answer has and its type has not."""
    found = set(answer.model_extra or {})
    for value in vars(answer).values():
        for one in value if isinstance(value, list) else [value]:
            found |= extra_of(one) if isinstance(one, BaseModel) else set()
    return found


def text_of(name: str, body: dict[str, Any]) -> str:
    """The words of a whole answer."""
    match name:
        case "chat":
            return str(body["choices"][0]["message"]["content"])
        case "responses":
            return Response.model_validate(body).output_text
        case _:
            return "".join(block["text"] for block in body["content"] if block["type"] == "text")


def said_in(name: str, text: str) -> str:
    """The words of a streamed one."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: {")]
    events = [json.loads(one) for one in data]
    match name:
        case "chat":
            choices = [choice for event in events for choice in event["choices"]]
            return "".join(choice["delta"].get("content") or "" for choice in choices)
        case "responses":
            deltas = [event for event in events if event["type"] == "response.output_text.delta"]
            return "".join(event["delta"] for event in deltas)
        case _:
            return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


@pytest.mark.parametrize("name", VALUES)
def test_published_values_are_known(name):
    known: dict[str, set[str]] = {}
    for struct in VALUES[name]:
        for field, hint in typing_extensions.get_type_hints(struct).items():
            known.setdefault(field, set()).update(words(hint))
    compared = 0
    for field, hint in typing_extensions.get_type_hints(CALLS[name][0]).items():
        if field != "model" and known.get(field):
            assert words(hint) <= known[field], field
            compared += 1
    assert compared


def words(hint: Any) -> set[str]:
    """The texts that a type names, wherever in it: of typed dicts none."""
    if get_origin(hint) is typing_extensions.Literal:
        return {word for word in get_args(hint) if isinstance(word, str)}
    return {word for one in get_args(hint) for word in words(one)}
