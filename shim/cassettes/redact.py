"""Same-shape text: letters and digits become x, X and 0, everything else stays.

Rule: length in characters and in UTF-8, white space, punctuation and so the Markdown structure stay; so do the
private-use markers of citations and their keys (protocol.md 5.4), because a reader has to find them.
"""

import re
from functools import lru_cache

from shim.cassettes.edits import Edit

_MARKERS = re.compile(r"[\ue200-\ue20f](?:cite|filecite|navlist|i|video|products|entity|genui)?|turn\d+[a-z]+\d+")
_WORDS = re.compile(r"[^\W_]+")
# A letter of each length that UTF-8 has, so that chunks keep their sizes and their cuts within characters.
_BY_SIZE = {2: "ä", 3: "字", 4: "\U00020000"}


def redactions(text: str, spared: list[Edit]) -> list[Edit]:
    """Edits that redact all of the text but its markers and the places of `spared`; those are among the result."""
    markers = [Edit(found.start(), found.end(), found[0]) for found in _MARKERS.finditer(text)]
    # Of two that begin in one place the longer comes first, and the other lies in it.
    fixed = sorted([*spared, *markers], key=lambda edit: (edit.start, -edit.end))
    edits: list[Edit] = []
    at = 0
    for edit in [*fixed, Edit(len(text), len(text), "")]:
        if edit.start < at:
            continue
        edits += [
            Edit(found.start(), found.end(), same_shape(found[0])) for found in _WORDS.finditer(text, at, edit.start)
        ]
        edits.append(edit)
        at = edit.end
    return [edit for edit in edits if edit.start < edit.end]


def same_shape(text: str) -> str:
    """The text with every letter and digit replaced."""
    return "".join(map(_shape, text))


# The characters of a text are few and come often; 4096 hold an alphabet and most of the Chinese in use.
@lru_cache(4096)
def _shape(character: str) -> str:
    if character.isdigit() and character.isascii():
        return "0"
    if not character.isalpha():
        return character
    if character.isascii():
        return "X" if character.isupper() else "x"
    return _BY_SIZE[len(character.encode())]
