"""JSON Schema: whether a schema is one, and whether a value fits it. The library is `jsonschema-rs`.

Rules: nothing is ever fetched, for a reference may only lead into the schema itself. Work is bounded: schemas by size,
depth and what their references unfold to, values by depth, patterns by the memory and the steps they may take.
A complaint names places and expectations, never the value.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from shim.errors import RequestError

if TYPE_CHECKING:  # 3 MB, and many gateways never get a schema
    import jsonschema_rs

Schema = dict[str, Any]

# Of JSON, which bounds everything below before any of it is begun.
_MAX_BYTES = 262_144
# Levels, references included; the library's own recursion has no limit for values.
_MAX_DEPTH = 128
# Subschemas, each reference counted as what it leads to; and visits to them while that is counted.
_MAX_UNFOLDED = 50_000
_MAX_VISITS = 100_000
# The library collects an error for every branch before it tells of one.
_MAX_EXPLAINED = 4_096
# Characters: a complaint goes into an error message, and the library's may quote a whole `enum`.
_MAX_COMPLAINT = 500
# Steps a pattern may go back for one value, before it counts as not matching.
_BACKTRACKS = 100_000
# For all patterns of a schema together, and for one: compiled, a short pattern can be large (`(a{1000}){1000}`).
_PATTERN_BYTES = 16 * 1024 * 1024
_MAX_PATTERN_BYTES = 10 * 1024 * 1024
# What a schema without patterns may have to be kept among the many.
_LIGHT_BYTES = 8_192

# Keywords whose keys are a client's own names; and those whose values are values, whatever they look like.
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_NOT_SCHEMAS = frozenset({"const", "enum", "default", "examples", "required", "type"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Where a value fits none of several, the library explains each: with recursion that doubles at every level.
_BRANCHES = frozenset({"anyOf", "oneOf"})


class _BadSchemaError(Exception):
    """A schema that is not used; says why, to the client."""


class _Checked:
    """A compiled schema, and whether a value that does not fit can be explained in bounded time."""

    __slots__ = ("explains", "validator")

    def __init__(self, schema: Schema) -> None:
        survey = _Survey(schema)
        if survey.size > _MAX_UNFOLDED:
            raise _BadSchemaError("its references unfold to too many schemas")
        self.explains = survey.size <= _MAX_EXPLAINED and not (survey.recursive and survey.branches)
        self.validator = _compile(schema, survey.patterns)


def check_schema(schema: Schema, param: str) -> None:
    """Raises RequestError (400) naming `param` where `schema` is not a JSON schema this gateway can use."""
    try:
        _checked(schema)
    except _BadSchemaError as error:
        raise RequestError(f"Invalid schema for '{param}': {error}.", param=param, code="invalid_schema") from None


def check_parameters(schema: Schema, param: str) -> None:
    """The same for a function's parameters, whose type is an object where it is given."""
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise RequestError(
            f"Invalid schema for '{param}': its type has to be 'object'.", param=param, code="invalid_schema"
        )
    check_schema(schema, param)


def validate(schema: Schema, value: Any) -> str | None:
    """What is wrong with `value`, or None where it fits. Of a schema that can't be used, that is what is wrong."""
    try:
        checked = _checked(schema)
    except _BadSchemaError as error:
        return f"the schema can't be used: {error}"
    if _is_deep(value):
        return f"it is nested more than {_MAX_DEPTH} levels deep"
    try:
        fits = checked.validator.is_valid(value)
    except ValueError:
        return "it can't be read"
    if fits:
        return None
    if checked.explains:
        import jsonschema_rs  # noqa: PLC0415

        try:
            checked.validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            place = "".join(f"/{key}" for key in error.instance_path) or "the top"
            return f"at {place}: {error.message}"[:_MAX_COMPLAINT]
    return "it does not fit the schema"


def _checked(schema: Schema) -> _Checked:
    """From a cache: many light schemas, few that may be heavy."""
    try:
        encoded = msgspec.json.encode(schema)
    except (ValueError, RecursionError):
        raise _BadSchemaError("it is nested too deeply, or not Unicode") from None
    if len(encoded) > _MAX_BYTES:
        raise _BadSchemaError(f"it is larger than {_MAX_BYTES} bytes")
    # Patterns compile to megabytes, and the name of the keyword is in the bytes wherever there is one.
    light = len(encoded) <= _LIGHT_BYTES and b'"pattern' not in encoded
    return _light(encoded) if light else _heavy(encoded)


def _build(encoded: bytes) -> _Checked:
    return _Checked(msgspec.json.decode(encoded))


_light: Callable[[bytes], _Checked] = lru_cache(maxsize=1024)(_build)
_heavy: Callable[[bytes], _Checked] = lru_cache(maxsize=16)(_build)


def _compile(schema: Schema, patterns: int) -> "jsonschema_rs.Validator":
    import jsonschema_rs  # noqa: PLC0415

    limit = min(_MAX_PATTERN_BYTES, _PATTERN_BYTES // max(1, patterns))
    options = jsonschema_rs.FancyRegexOptions(_BACKTRACKS, limit, limit)
    try:
        # The survey refuses references that lead away, and the library must not follow one that it overlooks; `mask`
        # keeps the value out of the complaints.
        return jsonschema_rs.validator_for(schema, offline=True, pattern_options=options, mask="the value")
    except jsonschema_rs.ValidationError as error:
        place = "".join(f"/{key}" for key in error.instance_path)
        raise _BadSchemaError(f"{f'at {place}: ' if place else ''}{error.message}"[:_MAX_COMPLAINT]) from None
    except ValueError as error:
        raise _BadSchemaError(str(error)[:_MAX_COMPLAINT]) from None


class _Survey:
    """What there is in a schema: how many subschemas its references unfold to, whether they lead in a circle, whether
    there are alternatives, how many patterns. A circle counts once: the library remembers what it has checked."""

    def __init__(self, schema: Schema) -> None:
        self.recursive = False
        self.branches = False
        self.patterns = 0
        self._root = schema
        self._sizes: dict[str, int] = {}
        self._open: set[str] = set()
        self._visits = 0
        self.size = self._measure(schema, 0)

    def _measure(self, schema: Any, depth: int) -> int:
        self._visits += 1
        if depth > _MAX_DEPTH or self._visits > _MAX_VISITS:
            raise _BadSchemaError(f"it is nested more than {_MAX_DEPTH} levels deep, or has too many references")
        if not isinstance(schema, dict):
            return 1
        # It would change what the references inside it are relative to.
        if isinstance(schema.get("$id"), str) and schema is not self._root:
            raise _BadSchemaError("only its root may have an '$id'")
        self.branches = self.branches or not _BRANCHES.isdisjoint(schema)
        self.patterns += "pattern" in schema
        named = schema.get("patternProperties")
        self.patterns += len(named) if isinstance(named, dict) else 0
        size = 1 + sum(self._measure(inner, depth + 1) for inner in _inner(schema))
        for keyword in _REFERENCES:
            target = schema.get(keyword)
            if isinstance(target, str):
                size += self._follow(target, depth + 1)
        return size

    def _follow(self, reference: str, depth: int) -> int:
        """The size of what a reference leads to: `#`, or a JSON Pointer after it (RFC 6901)."""
        if reference in self._open:
            self.recursive = True
            return 1
        if reference not in self._sizes:
            if reference != "#" and not reference.startswith("#/"):
                raise _BadSchemaError("a '$ref' may only be '#' or begin with '#/'")
            target: Any = self._root
            for step in reference.split("/")[1:]:
                # In this order: `~01` is `~1` and not `/`.
                key = unquote(step).replace("~1", "/").replace("~0", "~")
                if isinstance(target, dict) and key in target:
                    target = target[key]
                elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                    target = target[int(key)]
                else:
                    raise _BadSchemaError("a '$ref' leads nowhere")
            self._open.add(reference)
            self._sizes[reference] = self._measure(target, depth)
            self._open.discard(reference)
        return self._sizes[reference]


def _inner(schema: Schema) -> Iterator[Any]:
    """The schemas right inside `schema`. What a keyword nobody knows holds is taken for one."""
    for keyword, value in schema.items():
        if keyword in _NOT_SCHEMAS:
            continue
        if keyword in _NAMED and isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            yield from (inner for inner in value if isinstance(inner, dict))


def _is_deep(value: Any) -> bool:
    """Whether `value` is nested more than `_MAX_DEPTH` levels deep."""
    # Level by level, because recursion is what has no room here.
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(_MAX_DEPTH + 1):
        held = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for values in held for inner in values if isinstance(inner, dict | list)]
        if not level:
            return False
    return True
