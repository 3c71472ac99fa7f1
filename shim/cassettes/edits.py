"""Edits: what is to be replaced in a text, by place, so that everything else stays byte for byte.

Rule: edits of one text are in order and do not overlap. A piece of the text gets its piece of each edit, so that the
pieces' results, joined, are the result of the whole: this is what keeps chunk boundaries while a secret spans them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple


class Edit(NamedTuple):
    """`text[start:end]` becomes `new`."""

    start: int
    end: int
    new: str

    def moved(self, by: int) -> "Edit":
        """The same edit in a text with `by` characters more before it."""
        return Edit(self.start + by, self.end + by, self.new)


def edited(text: str, edits: Sequence[Edit]) -> str:
    """The text with the edits made."""
    if not edits:
        return text
    pieces, at = [], 0
    for edit in edits:
        pieces += [text[at : edit.start], edit.new]
        at = edit.end
    return "".join([*pieces, text[at:]])


def within(edits: Sequence[Edit], start: int, end: int) -> list[Edit]:
    """The edits of `text[start:end]`, places counted from `start`; one that reaches over an end is shared out."""
    found = []
    for place in range(bisect_right(edits, start, key=lambda edit: edit.end), len(edits)):
        edit = edits[place]
        if edit.start >= end:
            break
        # Each piece gets as much of the new text as it loses of the old, and the last piece whatever is left of it.
        new = edit.new if edit.end <= end else edit.new[: end - edit.start]
        new = new[max(0, start - edit.start) :]
        found.append(Edit(max(edit.start, start) - start, min(edit.end, end) - start, new))
    return found


def split_edited(body: bytes, edits: Iterable[Edit], sizes: Sequence[int]) -> list[bytes]:
    """`body`, which came in chunks of `sizes`, edited and in as many chunks.

    Places of the edits count characters of the body as UTF-8 (each byte that is not UTF-8 counts as one). They are
    translated to bytes, because a chunk may end inside a character.
    """
    # As Latin-1 each byte is one character, so that an edit can be shared out at any byte.
    in_bytes = []
    text = decoded(body)
    at = size = 0
    for edit in edits:
        start = size + len(encoded(text[at : edit.start]))
        size = start + len(encoded(text[edit.start : edit.end]))
        at = edit.end
        in_bytes.append(Edit(start, size, encoded(edit.new).decode("latin-1")))
    bounds = accumulate(sizes, initial=0)
    return [
        edited(body[start:end].decode("latin-1"), within(in_bytes, start, end)).encode("latin-1")
        for start, end in pairwise(bounds)
    ]


def decoded(body: bytes) -> str:
    """The body as text. `encoded` makes the same bytes of it again, whatever they are."""
    return body.decode(errors="surrogateescape")


def encoded(text: str) -> bytes:
    """The bytes of a text from `decoded`."""
    return text.encode(errors="surrogateescape")
