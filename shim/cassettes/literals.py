"""The literals of a JSON text with their places in the document and in the text.

Rule: reading never fails. A text that breaks off yields what was there, and text that is not JSON is one
literal of its own, so that whoever looks at every literal has seen all of the text.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shim.cassettes.edits import Edit

Path = tuple[str | int, ...]

# A string may end with the text instead of a quote; commas and colons are skipped without judging their order.
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z))|(?P<number>-?\d[\d.eE+-]*)"
    r"|(?P<word>true|false|null)|(?P<mark>[{}\[\],:]))",
    re.DOTALL,
)
# What one character of a string may look like: a pair of escaped surrogates, an escape, itself.
_UNIT = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]|\\\Z", re.DOTALL
)


class Literal(NamedTuple):
    """`source` is how it is written, at `start`. `value` is a string's text; None for numbers and what is no JSON."""

    path: Path
    start: int
    source: str
    value: str | None = None
    is_key: bool = False

    def rewritten(self, edits: Sequence[Edit]) -> Iterator[Edit]:
        """Edits of the value as edits of the text the literal stands in, escaped as the literal is."""
        if not edits:
            return
        inside = _inside(self.source)
        # Where each character of the value begins in `source`, and where the last one ends.
        places: Sequence[int]
        if len(inside) == len(self.value or ""):
            places = range(1, len(inside) + 2)
        else:
            places = [1, *(1 + unit.end() for unit in _UNIT.finditer(inside))]
        for edit in edits:
            # Whoever wrote the literal escaped everything beyond ASCII, or nothing.
            new = json.dumps(edit.new, ensure_ascii=self.source.isascii())[1:-1]
            start, end = places[edit.start], places[edit.end]
            if new != self.source[start:end]:
                yield Edit(self.start + start, self.start + end, new)


def literals(text: str) -> Iterator[Literal]:
    """All strings (keys included) and numbers, in order; then, if there is any, the rest that is no JSON."""
    # Where we are: the key in each object and the index in each list around the next value.
    path: list[str | int] = []
    expects_key = False
    at = 0
    while found := _TOKEN.match(text, at):
        at = found.end()
        place = tuple(path)
        if source := found["string"]:
            inside = _inside(source)
            try:
                value: str = json.loads(f'"{inside}"', strict=False)
            except ValueError:  # an escape that does not exist, or half of one where the text breaks off
                value = inside
            is_key = expects_key and bool(path) and isinstance(path[-1], str)
            if is_key:
                path[-1] = value
            yield Literal(place[:-1] if is_key else place, at - len(source), source, value, is_key)
        elif source := found["number"]:
            yield Literal(place, at - len(source), source)
        elif mark := found["mark"]:
            expects_key = _step(path, mark)
    if rest := text[at:].strip():
        yield Literal((), text.index(rest, at), rest)


def _step(path: list[str | int], mark: str) -> bool:
    """Move on by one mark; whether a string here is a key."""
    match mark:
        case "{":
            path.append("")
        case "[":
            path.append(0)
        case "}" | "]" if path:
            path.pop()
        case "," if path and isinstance(path[-1], int):
            path[-1] += 1
    return mark in "{," and bool(path) and isinstance(path[-1], str)


def _inside(source: str) -> str:
    """Without the quotes, of which a string that breaks off has but one."""
    # A quote at the end that an odd number of backslashes precedes is escaped, and closes nothing.
    is_closed = len(source) > 1 and source.endswith('"') and (len(source) - len(source[:-1].rstrip("\\"))) % 2 == 1
    return source[1:-1] if is_closed else source[1:]
