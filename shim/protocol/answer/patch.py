"""Delta encoding v1: operations applied to the message being built (protocol.md 5.2).

Rule: the same three rules for every operation. Missing `c`, `p`, `o` come from the previous operation; `v` never does;
the items of a `patch` inherit nothing and leave nothing behind. A path that can't be followed is upstream's mistake
(`PatchError`), never a silent no-op, because everything after it would be wrong too.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from shim.chatgpt.stream import Operation


class PatchError(ValueError):
    """An operation that can't be applied. The text names the operation and the path, never a value."""


class PatchItem(msgspec.Struct, frozen=True, gc=False):
    """One operation of a `patch`."""

    p: str = ""
    o: str | None = None
    v: Any = UNSET


class Patcher:
    """The decoder's state: one root a channel, and the last `(c, p, o)`."""

    __slots__ = ("_channel", "_cursor", "_op", "_path", "_root", "_roots")

    def __init__(self) -> None:
        # One for each channel. They are never dropped: a channel is a message, and a turn has few of them.
        self._roots: dict[int, Any] = {}
        # What the next operation takes over where it says nothing; these are the values before the first (5.2).
        self._channel = 0
        self._path = ""
        self._op = "add"
        self._root: Any = None
        self._cursor: tuple[Any, Any] | None = None

    def restart(self) -> None:
        """A delta stream begins: nothing is inherited from what was before. The roots stay, for it may go on with
        them."""
        # An announcement in mid-turn begins a new stream of operations about the same objects (5.6).
        self._channel, self._path, self._op, self._cursor = 0, "", "add", None

    def apply(self, operation: Operation) -> tuple[Any, str | None]:
        """Apply one operation.

        Returns the root it touched (shared, not a copy: read it before the next call) and, where all it did was to
        append text, the path it appended to. The second value is what lets the answer skip re-reading the message.
        """
        # Nearly every operation of an answer: more text where the last one put some. Same as the long way round.
        if (
            self._cursor is not None
            and operation.p is UNSET
            and operation.o is UNSET
            and operation.c is UNSET
            and type(operation.v) is str
        ):
            parent, key = self._cursor
            text, parent[key] = parent[key], None  # None for a moment: see `_change`
            text += operation.v
            parent[key] = text
            return self._root, self._path
        self._cursor = None
        if operation.c is not UNSET:
            self._channel = operation.c
        if operation.p is not UNSET:
            self._path = operation.p
        if operation.o is not UNSET:
            self._op = operation.o
        root = self._roots.get(self._channel)
        if root is None and isinstance(operation.v, str) and not self._path:
            return None, None  # a bare string before any root means nothing (protocol.md 10, "default `o`")
        root, place = _perform(root, self._path, self._op, operation.v)
        self._roots[self._channel] = self._root = root
        if self._op != "append" or type(operation.v) is not str or place is None:
            return root, None
        # Where the text is held, for the operations after this one, which mostly append to the same.
        parent, key = place
        if type(parent[key]) is not str:
            return root, None
        self._cursor = place
        return root, self._path


def _perform(root: Any, path: str, op: str, value: Any) -> tuple[Any, tuple[Any, Any] | None]:
    """The root after one operation, and the container and key it was done at, where it was at one. `path` is a JSON
    Pointer; "" is the root itself."""
    # Before the table: its value is a list of operations, and it has no place of its own.
    if op == "patch":
        if not isinstance(value, list):
            raise PatchError("patch without a list")
        try:
            items = msgspec.convert(value, list[PatchItem])
        except msgspec.ValidationError as error:
            raise PatchError("patch item that is no object, or whose `p` or `o` is not text") from error
        for item in items:
            # An item without `o`: text appends, all else is set (protocol.md 5.2, our judgement).
            op = item.o or ("append" if type(item.v) is str else "replace")
            root, _ = _perform(root, item.p, op, item.v)
        return root, None
    if op not in _AT_ROOT:
        raise PatchError(f"unknown operation {op!r}")
    # UNSET is an absent `v`; null is a value like any other.
    if value is UNSET and op != "remove":
        raise PatchError(f"operation {op!r} without a value")
    if not path:
        return _AT_ROOT[op](root, value), None
    parent, key = _locate(root, path)
    try:
        _change(parent, key, op, value)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PatchError(f"cannot {op} at {path!r}") from error
    return root, (parent, key)


def _locate(root: Any, path: str) -> tuple[Any, Any]:
    """The container that holds the last token of `path`, and the key or index there. "-", which is behind a list's last
    item, stays text: that no list takes as an index."""
    start, *tokens = path.split("/")
    if start or not tokens:
        raise PatchError(f"not a JSON Pointer {path!r}")
    if "~" in path:
        # "~1" first (RFC 6901, section 4): else "~01", which means "~1", would become a slash.
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in tokens]
    *way, last = tokens
    node = root
    try:
        for token in way:
            node = node[_index(token)] if type(node) is list else node[token]
        return node, (_index(last) if type(node) is list and last != "-" else last)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PatchError(f"no such path {path!r}") from error


def _index(token: str) -> int:
    """An array index: decimal digits only, so that Python's negative indexes stay out of the wire."""
    if not (token.isascii() and token.isdecimal()):
        raise ValueError(token)
    return int(token)


def _change(parent: Any, key: Any, op: str, value: Any) -> None:
    """One operation at a key of a container."""
    if op == "replace":
        parent[key] = value
    elif op == "remove":
        del parent[key]
    elif op == "truncate":
        parent[key] = _cut(parent[key], value)
    elif op == "add" and type(parent) is list:
        index = len(parent) if key == "-" else key
        if index > len(parent):  # `insert` would put it at the end without a word
            raise IndexError(key)
        parent.insert(index, value)
    elif op == "append" and type(parent) is list and key == len(parent):
        parent.append(value)
    elif op == "add" or (type(parent) is not list and key not in parent):
        parent[key] = value
    elif isinstance(parent[key], str):
        # Dropping the tree's own reference lets CPython grow the string in place: linear, not quadratic.
        text, parent[key] = parent[key], None
        text += value
        parent[key] = text
    else:
        parent[key] = _merged(parent[key], value)


def _merged(target: Any, value: Any) -> Any:
    """`append` to something that is not text: lists grow, objects merge shallowly, null takes the value."""
    match target:
        case None:
            return value
        case list():
            # A list is joined, and anything else becomes the next item (5.2).
            target.extend(value) if isinstance(value, list) else target.append(value)
            return target
        case dict() if isinstance(value, dict):
            target.update(value)
            return target
        case str() if isinstance(value, str):
            return target + value
        case _:
            raise TypeError("append needs text, a list or an object")


def _cut(target: Any, length: Any) -> Any:
    if not isinstance(target, str | list) or not isinstance(length, int) or length < 0:
        raise PatchError("truncate needs text or a list, and a length")
    return target[:length]


def _set_root(_root: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise PatchError("a root is an object")
    return value


def _root_append(root: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise PatchError("only an object can be appended to the root")
    return _merged(root, value)


# What each operation does to the root (path "").
_AT_ROOT: dict[str, Callable[[Any, Any], Any]] = {
    "add": _set_root,
    "replace": _set_root,
    "append": _root_append,
    "remove": lambda _root, _value: None,
    "truncate": _cut,
}
