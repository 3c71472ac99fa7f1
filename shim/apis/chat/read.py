"""Request bytes to structs, and msgspec's complaints to the OpenAI API's (`param` names the field)."""

import re
from typing import Any, TypeVar

import msgspec

from shim.apis.chat.wire import ChatRequest
from shim.errors import RequestError

T = TypeVar("T")
# Fields without an effect here, and the values that ask for nothing else than what happens anyway.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "temperature": (1, 1.0),
    "top_p": (1, 1.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "web_search_options": (),
    "verbosity": ("medium",),
}
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?$", re.S)
_HEADER_SAFE = re.compile(r"[\w.-]{1,64}", re.ASCII)
_UNPRINTABLE = "?"
_MAX_IGNORED = 32
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def chat_request(body: bytes, *, strict: bool = False) -> tuple[ChatRequest, list[str]]:
    """The request, and the names of the fields in it that are ignored (they become a header: what can't be one is "?").
    A field that asks for what happens anyway is not among them.

    Raises RequestError (400) naming the `param` where the body is not JSON or a field is missing or mistyped; with
    `strict` also where a field is ignored.
    """
    request = decode(_chat_request, body)
    fields = decode(_keys, body)
    unknown = [name for name in fields if name not in _CHAT_FIELDS]  # most requests have none, or few
    ignored = [name for name in unknown if not _is_neutral(name, fields[name])]
    names = sorted({name if _HEADER_SAFE.fullmatch(name) else _UNPRINTABLE for name in ignored})[:_MAX_IGNORED]
    if strict and names:
        raise RequestError(
            f"These parameters have no effect here, and STRICT_PARAMS refuses them: {', '.join(names)}.",
            param=names[0],
            code="unsupported_parameter",
        )
    return request, names


def _is_neutral(name: str, value: msgspec.Raw) -> bool:
    """Whether a field holds what the real API takes for it when it is absent. What is no JSON by itself is not."""
    neutral = _NEUTRAL.get(name, ())
    try:
        given = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return False
    return given is None or any(type(given) is type(one) and given == one for one in neutral)


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """`decoder.decode`, with its errors as the client's mistake."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise mistyped(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not valid JSON: {error}", code="invalid_json") from None


def mistyped(complaint: str) -> RequestError:
    """msgspec's ``Expected `str`, got `int` - at `$.messages[0].content` `` as an error naming the parameter."""
    match = _PLACE.match(complaint)
    what, path = (match["what"], match["path"] or "") if match else (complaint, "")
    missing = _MISSING.search(what)
    if missing:
        param = f"{path}.{missing['field']}".lstrip(".")
        return RequestError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    place = path.replace("[...]", "[]") or None
    named = f" for '{place}'" if place else ""
    return RequestError(f"Invalid value{named}: {what}.", param=place, code="invalid_type")


_CHAT_FIELDS = set(ChatRequest.__struct_fields__)
_chat_request = msgspec.json.Decoder(ChatRequest)
_keys: "msgspec.json.Decoder[dict[str, Any]]" = msgspec.json.Decoder(dict[str, msgspec.Raw])
