"""Request bytes to structs, and msgspec's complaints to errors that name the field as the OpenAI APIs do."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from shim.errors import RequestError
from shim.surrogates import mend_halves

T = TypeVar("T")
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`(?:key in )?\$\.?(?P<path>[^`]*)`)?$", re.S)
_BOM = b"\xef\xbb\xbf"
# Names of ignored fields are told in a header: a line end in one would write headers of its own.
_HEADER_SAFE = re.compile(r"[\w.-]{1,64}", re.ASCII)
_UNPRINTABLE = "?"
# Proxies refuse answers with long heads (nginx: 4 KB by default); so many names of 64 letters stay below that.
_MAX_IGNORED = 32
_NO_PUBLISHED: Mapping[str, "msgspec.json.Decoder[Any]"] = {}
# Languages with one kind of number (Lua) write `1.0` for 1, and the real API takes it.
_WHOLE_NUMBER_EXPECTED = re.compile(r"Expected `int\b.*got `float`", re.S)
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_OUT_OF_BOUNDS = re.compile(
    r"Expected `(?P<type>int|float|str|array)`(?P<length> of length)? (?P<allowed>(?P<sign>[<>])=? \S+)"
)
_NOT_AMONG = re.compile(r"Invalid (?:enum )?value (?P<given>.*)", re.S)
_OTHER_PATTERN = re.compile(r"Expected `str` matching regex (?P<pattern>.*)", re.S)
_NO_LINE_END = r"(?!\\n)"  # as it is quoted: `$` alone would allow one, and a client need not know
_MANY_PROPERTIES = re.compile(r"Expected `object` of length <= (?P<most>\d+)")
_TYPES = {"int": "integer", "float": "decimal", "str": "string", "array": "array"}


def ignored_fields(
    body: bytes,
    known: frozenset[str],
    neutral: dict[str, tuple[object, ...]],
    *,
    strict: bool,
    published: Mapping[str, "msgspec.json.Decoder[Any]"] = _NO_PUBLISHED,
) -> list[str]:
    """The names of the fields that are ignored (they become a header: what can't be one is "?"). A field that asks for
    what happens anyway (null, or one of its `neutral` values) is not among them. Raises RequestError with `strict`
    where there are any, and for a value that its `published` schema does not allow."""
    fields = decode(_fields, body)
    ignored: list[str] = []
    for name, raw in fields.items():
        if name in known:
            continue
        value = bytes(raw)
        # What the real API would refuse is refused, also where it has no effect here.
        if name in published:
            decode(published[name], value, name)
        # Only what a client would miss is told of: SDKs send every field they know with its default.
        try:
            given = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            ignored.append(name)  # not JSON by itself, and so no default
            continue
        # By type, too: to Python `True == 1`, but a flag is no number.
        if given is not None and not any(type(given) is type(one) and given == one for one in neutral.get(name, ())):
            ignored.append(name)
    if not ignored:
        return ignored
    names = sorted({name if _HEADER_SAFE.fullmatch(name) else _UNPRINTABLE for name in ignored})[:_MAX_IGNORED]
    return allowed(names, strict=strict)


def decoders_of(fields: type[msgspec.Struct]) -> "dict[str, msgspec.json.Decoder[Any]]":
    """What `ignored_fields` takes as the published schema: a decoder for each field of a struct."""
    return {field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(fields)}


def allowed(ignored: list[str], *, strict: bool) -> list[str]:
    """The same names of what has no effect. Raises RequestError with `strict` where there are any."""
    if strict and ignored:
        raise RequestError(
            f"These parameters have no effect here, and STRICT_PARAMS refuses them: {', '.join(ignored)}.",
            param=ignored[0],
            code="unsupported_parameter",
        )
    return ignored


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes, within: str = "") -> T:
    """`decoder.decode`, with its errors as the client's mistake; `within` is the field that `body` stands in.

    Three things are taken though msgspec does not take them: half a surrogate pair (of clients that cut texts in
    UTF-16), which becomes U+FFFD, a whole number that is written `1.0`, and a byte order mark (RFC 8259 8.1).
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        # Mended after it has failed, not before: looking through every body would cost each request for the sake of a
        # few.
        if _WHOLE_NUMBER_EXPECTED.search(str(error)) and (mended := _with_whole_numbers(body)) != body:
            return decode(decoder, mended, within)
        raise mistyped(str(error), within) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Likewise; and what is as it was is not read again, or a body that can't be mended would go in circles.
        if (mended := mend_halves(body.removeprefix(_BOM))) != body:
            return decode(decoder, mended, within)
        raise RequestError(f"The request body is not valid JSON: {error}", code="invalid_json") from None


def converted(value: object, kind: Any, within: str) -> Any:
    """A decoded value as what it should be; complaints are the client's mistake about the field `within`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise mistyped(str(error), within) from None
    except RecursionError:
        raise _too_deep() from None


def written(value: object) -> str:
    """A decoded value as JSON text again. Raises RequestError where it is nested as deeply as could just be read."""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> RequestError:
    return RequestError("The request body is not valid JSON: it is nested too deeply", code="invalid_json")


def missing(param: str, hint: str = "") -> RequestError:
    """A field that has to be there; `hint` says what belongs into it."""
    text = f"Missing required parameter: '{param}'{f' ({hint})' if hint else ''}."
    return RequestError(text, param=param, code="missing_required_parameter")


def mistyped(complaint: str, within: str = "") -> RequestError:
    """msgspec's ``Expected `str`, got `int` - at `$.messages[0].content` `` as an error naming the parameter."""
    match = _PLACE.match(complaint)
    what, path = (match["what"], match["path"] or "") if match else (complaint, "")
    # A place in a list follows the name of the list without a full stop.
    path = f"{within}{'.' if within and path and not path.startswith('[') else ''}{path}"
    if absent := _MISSING.search(what):
        return missing(f"{path}.{absent['field']}".lstrip("."))
    place = path.replace("[...]", "[]") or None
    # What is out of its bounds has codes of its own, which name the type and the bound.
    if place and (outside := _OUT_OF_BOUNDS.fullmatch(what)):
        kind, unit = _TYPES[outside["type"]], "length" if outside["length"] else "value"
        side, bound = ("above", "max") if outside["sign"] == "<" else ("below", "min")
        sentence = f"Invalid '{place}': {kind} {side} {bound}imum {unit}. Expected a {unit} {outside['allowed']}."
        return RequestError(sentence, param=place, code=f"{kind}_{side}_{bound}_{unit}")
    named = f" for '{place}'" if place else ""
    if wrong := _NOT_AMONG.fullmatch(what):
        return RequestError(f"Invalid value{named}: {wrong['given']}.", param=place, code="invalid_value")
    if other := _OTHER_PATTERN.fullmatch(what.replace(_NO_LINE_END, "")):
        sentence = (
            f"Invalid '{place}': string does not match pattern. "
            f"Expected a string that matches the pattern {other['pattern']}."
        )
        return RequestError(sentence, param=place, code="invalid_value")
    if many := _MANY_PROPERTIES.fullmatch(what):
        sentence = f"Invalid '{place}': too many properties. Expected an object with at most {many['most']} properties."
        return RequestError(sentence, param=place, code="object_above_max_properties")
    return RequestError(f"Invalid value{named}: {what}.", param=place, code="invalid_type")


def _with_whole_numbers(body: bytes) -> bytes:
    """The same with every whole number written as one; what can't be read as it is."""

    def number(text: str) -> int | float:
        value = float(text)
        return int(value) if value.is_integer() else value

    try:
        return msgspec.json.encode(json.loads(body, parse_float=number))
    except (ValueError, RecursionError):
        return body


_fields: "msgspec.json.Decoder[dict[str, Any]]" = msgspec.json.Decoder(dict[str, msgspec.Raw])
