"""A completion request becomes a prompt: one message of the user's.

Rule: what can't be done for a chat model (tokens as a prompt, several prompts, a suffix) is a 400 that names the field.
"""

from typing import Any

import msgspec

from shim.apis.chatgpt_extension import continued_by, wishes_of
from shim.apis.completions import wire
from shim.apis.decoding import decode, ignored_fields
from shim.errors import RequestError
from shim.protocol.api import Asked
from shim.protocol.prompt import Limits, Prompt, PromptMessage, Text

# Fields without an effect here, and the values that ask for nothing else than what happens anyway.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "best_of": (1,),
    "frequency_penalty": (0, 0.0),
    "logit_bias": ({},),
    "logprobs": (),
    "presence_penalty": (0, 0.0),
    "seed": (),
    "temperature": (1, 1.0),
    "top_p": (1, 1.0),
}


class CompletionOptions(msgspec.Struct, frozen=True):
    """What only the writer has to know again: `echo` is the text that stands before each answer."""

    include_usage: bool = False
    echo: str = ""


def read(body: bytes, *, strict: bool = False) -> Asked:
    """The prompt of a request. Raises RequestError (400)."""
    request = decode(_decoder, body)
    ignored = ignored_fields(body, _FIELDS, _NEUTRAL, strict=strict, published=_PUBLISHED)
    text = _prompt_text(request.prompt)
    if request.suffix:
        raise RequestError(
            "'suffix' is not supported: a chat model answers a prompt and fills no gap.",
            param="suffix",
            code="unsupported_parameter",
        )
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if "" in stop:
        raise RequestError("A stop sequence must not be empty.", param="stop", code="invalid_value")
    prompt = Prompt(
        model=request.model,
        messages=(PromptMessage("user", (Text(text),)),),
        limits=Limits(tuple(dict.fromkeys(stop)), request.max_tokens, request.n or 1),
        continues=continued_by(request.chatgpt),
        wishes=wishes_of(request.chatgpt, hints=frozenset(), store=None, tier=None),
        stream=bool(request.stream),
        session=request.user,
    )
    usage = bool(request.stream_options and request.stream_options.include_usage)
    return Asked(prompt, ignored, CompletionOptions(usage, text if request.echo else ""))


def _prompt_text(prompt: str | list[str | int | list[int]]) -> str:
    if isinstance(prompt, str):
        return prompt
    if any(not isinstance(one, str) for one in prompt):
        raise RequestError(
            "A prompt of tokens is not supported: send its text.", param="prompt", code="unsupported_content"
        )
    # Each prompt is an exchange of its own upstream, and one call is one exchange.
    if len(prompt) != 1:
        raise RequestError(
            f"'prompt' has to be one text, this list has {len(prompt)}: send each in a request of its own.",
            param="prompt",
            code="unsupported_value" if prompt else "empty_array",
        )
    return str(prompt[0])


_PUBLISHED: dict[str, msgspec.json.Decoder[Any]] = {
    field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(wire.WithoutPurpose)
}
_FIELDS = frozenset(wire.TextCompletionRequest.__struct_fields__)
_decoder = msgspec.json.Decoder(wire.TextCompletionRequest)
