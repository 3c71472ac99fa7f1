"""A completion request becomes a prompt: one message of the user's, or one for each text of a list.

Rule: what can't be done for a chat model (tokens as a prompt, a suffix) is a 400 that names the field.
"""

import msgspec

from shim.apis.chatgpt_extension import continued_by, wishes_of
from shim.apis.completions import wire
from shim.apis.decoding import decode, decoders_of, ignored_fields
from shim.errors import RequestError
from shim.protocol.api import Asked
from shim.protocol.models import without_provider
from shim.protocol.prompt import Limits, Prompt, PromptMessage, Text

MOST_ANSWERS = 8  # of one call, each a turn: as many as `n` may ask for
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
    """What only the writer has to know again: `echo` are the texts that stand before the answers, one for each."""

    include_usage: bool = False
    echo: tuple[str, ...] = ()


def read(body: bytes, *, strict: bool = False) -> Asked:
    """The prompt of a request. Raises RequestError (400)."""
    request = decode(_decoder, body)
    ignored = ignored_fields(body, _FIELDS, _NEUTRAL, strict=strict, published=_PUBLISHED)
    texts, each = _prompt_texts(request.prompt), request.n or 1
    if len(texts) * each > MOST_ANSWERS:
        raise RequestError(
            f"This asks for {len(texts) * each} answers, and one call may have {MOST_ANSWERS}: send fewer prompts.",
            param="prompt",
            code="array_above_max_length",
        )
    if request.suffix:
        raise RequestError(
            "'suffix' is not supported: a chat model answers a prompt and fills no gap.",
            param="suffix",
            code="unsupported_parameter",
        )
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if "" in stop:
        raise RequestError("A stop sequence must not be empty.", param="stop", code="invalid_value")
    first, *others = [(PromptMessage("user", (Text(text),)),) for text in texts]
    prompt = Prompt(
        model=without_provider(request.model),
        messages=first,
        others=tuple(others),
        limits=Limits(tuple(dict.fromkeys(stop)), request.max_tokens, len(texts) * each),
        continues=continued_by(request.chatgpt),
        wishes=wishes_of(request.chatgpt, hints=frozenset(), store=None, tier=None),
        stream=bool(request.stream),
        session=request.user,
    )
    usage = bool(request.stream_options and request.stream_options.include_usage)
    echo = tuple(text for text in texts for _ in range(each)) if request.echo else ()
    return Asked(prompt, ignored, CompletionOptions(usage, echo))


def _prompt_texts(prompt: str | list[str | int | list[int]]) -> list[str]:
    if isinstance(prompt, str):
        return [prompt]
    if any(not isinstance(one, str) for one in prompt):
        raise RequestError(
            "A prompt of tokens is not supported: send its text.", param="prompt", code="unsupported_content"
        )
    if not prompt:
        raise RequestError("'prompt' has to be a text, or a list of texts.", param="prompt", code="empty_array")
    return [str(one) for one in prompt]


_PUBLISHED = decoders_of(wire.WithoutPurpose)
_FIELDS = frozenset(wire.TextCompletionRequest.__struct_fields__)
_decoder = msgspec.json.Decoder(wire.TextCompletionRequest)
