"""A canvas document: the model writes it as JSON into a tool call, and people read it (protocol.md 5.1, `canmore.*`).

    {"name": "poem", "type": "document", "content": "Roses are red\\n..."}

Rule: only the content of a new document is shown, decoded as it streams: a document as text, `code/python` as a block
of that language. JSON that does not read like that shows nothing. Changes to a document (patterns and replacements)
mean nothing without it and are left out, as are comments.
"""

import json
import re

from shim.chatgpt.stream import Metadata
from shim.protocol.answer.text_filter import MarkdownTextFilter, PassThrough, TextFilter
from shim.protocol.events import CodeDelta, Event, TextDelta

CREATES = "canmore.create_textdoc"

_STRING = r'"((?:[^"\\]|\\.)*)"'
_FIELD = re.compile(rf'[\s{{,]*{_STRING}\s*:\s*(?:{_STRING}|[^\s",{{}}\[\]]+(?=[\s,}}]))', re.S)
_CONTENT = re.compile(r'[\s{,]*"content"\s*:\s*"')
# What of a JSON string can be read on its own: half an escape, and half a surrogate pair, wait for the rest.
_READABLE = re.compile(
    r"""(?:
        [^"\\] | \\["\\/bfnrt]
        | \\u(?!d[89ab])[0-9a-f]{4}
        | \\ud[89ab][0-9a-f]{2} (?= [^\\] | \\[^u] | \\u.{4} ) (?:\\ud[c-f][0-9a-f]{2})?
    )*""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_LONGEST_ESCAPE = len(r"\ud83c\udf89")
_MAX_FIELDS = 4096  # characters before the content: a name and a type, so more than this is no document
_CODE = "code/"


class Canvas:
    """The text filter for such a call."""

    clear = False  # no text may pass by: all of it is JSON

    def __init__(self) -> None:
        self._held = ""
        self._type = ""
        self._content: TextFilter | None = None
        self._over = False

    def receive_metadata(self, metadata: Metadata) -> None:
        """Nothing about documents is in the metadata."""

    def receive(self, text: str) -> list[Event]:
        """What of the document's content `text` completes."""
        if self._over:
            return []
        self._held += text
        if self._content is None:
            self._read_fields()
        if self._content is None:
            return []
        match = _READABLE.match(self._held)
        end = match.end() if match else 0
        # Not strict: models write line breaks into JSON strings as they are.
        text = json.loads(f'"{self._held[:end]}"', strict=False)
        if not text.isascii():  # halves of surrogate pairs become U+FFFD
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._held = self._held[end:]
        # A quote ends the content. What is longer than any escape and still can't be read never will be: not JSON.
        self._over = self._held.startswith('"') or len(self._held) >= _LONGEST_ESCAPE
        return self._content.receive(text) if text else []

    def rest(self) -> list[Event]:
        """What the content's own filter holds."""
        return self._content.rest() if self._content is not None else []

    def _read_fields(self) -> None:
        """The fields before the content; among them is what kind of document it is."""
        at = 0
        while not (content := _CONTENT.match(self._held, at)):
            field = _FIELD.match(self._held, at)
            if field is None:
                break
            if field[1] == "type":
                self._type = field[2] or ""
            at = field.end()
        if content:
            at = content.end()
            language = self._type.removeprefix(_CODE)
            is_code = language != self._type
            self._content = (
                PassThrough(CodeDelta("", language, opens=True)) if is_code else MarkdownTextFilter(TextDelta)
            )
        self._held = self._held[at:]
        self._over = content is None and len(self._held) > _MAX_FIELDS
