"""Requests as the vendors' libraries type them: whatever a typed dict of theirs allows, drawn at random.

Rule: nothing here knows a gateway. Depth, lists and objects are bounded, so that most of what is drawn is small.
"""

import random
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions

_DEEPEST = 5
_ODD = 0.2  # how often a text or number may be any
_NAMES = ("hi", "add", "call_1", "x", "gpt-4o")  # as names and ids may be, or hardly a request would be taken
_TEXTS = (*_NAMES, "", "a\nb", "naïve \U0001f600", '{"a": 1}', "https://a.test/x", "x" * 200)
_ANY: tuple[Any, ...] = ("x", 1, 1.5, True, None, [], {}, ["y"], {"type": "object"}, {"a": {"b": [None]}})


def drawn(kind: Any, chance: random.Random, depth: int = 0) -> Any:
    """A value of a type, as JSON has it. Required fields of typed dicts are there, others sometimes."""
    kind = _bare(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return chance.choice(arguments)
    if origin in {Union, types.UnionType}:
        # What goes deep is avoided where it is deep already.
        flat = [one for one in arguments if not typing_extensions.is_typeddict(_bare(one))]
        return drawn(chance.choice(flat if depth > _DEEPEST and flat else arguments), chance, depth)
    if typing_extensions.is_typeddict(kind):
        return _object(kind, chance, depth)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {
            chance.choice(_TEXTS) or "k": drawn(arguments[1], chance, depth + 1) for _ in range(chance.randint(0, 2))
        }
    if isinstance(origin, type) and issubclass(origin, Iterable | Sequence):
        most = 0 if depth > _DEEPEST else 2
        return [drawn(arguments[0], chance, depth + 1) for _ in range(chance.randint(min(most, depth < 3), most))]
    return _plain(kind, chance)


def _bare(kind: Any) -> Any:
    """A type without what is only said about it."""
    while True:
        if (origin := get_origin(kind)) is not None and origin in _SAYING:
            kind = get_args(kind)[0]
        elif (meant := getattr(kind, "__value__", None)) is not None:
            kind = meant
        else:
            return kind


def _object(kind: Any, chance: random.Random, depth: int) -> dict[str, Any]:
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    seldom = 0.25
    value = {}
    for name, hint in hints.items():
        required = get_origin(hint) is typing_extensions.Required or name in kind.__required_keys__
        if required or (depth <= _DEEPEST and chance.random() < seldom):
            value[name] = drawn(hint, chance, depth + 1)
    return value


def _plain(kind: Any, chance: random.Random) -> Any:
    if kind is str:
        return chance.choice(_TEXTS if chance.random() < _ODD else _NAMES)
    if kind is bool:
        return chance.random() < 0.5
    if kind is int:
        return chance.choice((1, 2, 3, 0, 1024) if chance.random() < _ODD else (1, 2))
    if kind is float:
        return chance.choice((0.0, 0.5, 1.0, 2.0) if chance.random() < _ODD else (0.5, 1.0))
    if kind is type(None):
        return None
    return chance.choice(_ANY)


_SAYING = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.Annotated)
