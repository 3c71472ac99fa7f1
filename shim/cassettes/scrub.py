"""Scrubbing: a body without its secrets, by the rules of its names, chunk boundaries kept.

Rule: a scrubber serves one file. It only ever answers with edits of what it was given, so that what may stay is the
same byte for byte, and it works on whole bodies, so that the result does not depend on how they came in.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from shim.cassettes import rules
from shim.cassettes.edits import Edit, decoded, split_edited
from shim.cassettes.growing_strings import Occurrence, growing_strings
from shim.cassettes.literals import Literal, literals
from shim.cassettes.pseudonyms import Pseudonyms
from shim.cassettes.redact import redactions
from shim.cassettes.strings import Strings

_LINE = re.compile(r"[^\r\n]+")
_STREAM = re.compile(r"\s*(?:event|data): ")
# A telephone number, an account's; times in seconds have ten digits. A pseudonym for one is left as it is.
_LARGE = re.compile(r"-?(?!10{4}\d{6}$)\d{11,}")
_EVENTS, _JSON, _HTML, _TEXT = "text/event-stream", "json", "text/html", "text/"


class Scrubber:
    """Replaces what must not be in a cassette; with `redact` message text too, by text of the same shape."""

    def __init__(self, *, redact: bool = False) -> None:
        self.redact = redact
        self.names = Pseudonyms()
        self._strings = Strings(self.names, self._document, redact=redact)

    def chunks(self, chunks: Sequence[bytes], content_type: str, status: int = 200) -> list[bytes] | None:
        """The same number of chunks, scrubbed. None for a body of a kind that is not kept (a file, a page)."""
        body = b"".join(chunks)
        text = decoded(body)
        kind = content_type.lower()
        # What a body looks like counts as much as its type, since types are missing and wrong.
        if kind.startswith(_EVENTS) or _STREAM.match(text):
            edits = self._document(text)
        elif _JSON in kind or text.lstrip()[:1] in {"{", "["}:
            edits = self._json(text)
        elif kind.startswith(_HTML) and status < 400:
            return None  # a page shows whose account it is; an error page only says what went wrong
        elif not text or kind.startswith(_TEXT):
            edits = self._strings.patterns(text)
        else:
            return None
        return split_edited(body, edits, [len(chunk) for chunk in chunks])

    def url(self, path: str, query: str) -> tuple[str, str]:
        """Path and query of a call."""
        return self._strings.path(path), self._strings.query(query) if query else ""

    def headers(self, headers: Iterable[tuple[str, str]], allowed: frozenset[str]) -> dict[str, str]:
        """The headers that are kept: names in lower case, several of a name joined by commas, cookies by LF."""
        kept: dict[str, str] = {}
        for name, value in ((name.lower(), value) for name, value in headers):
            if name in rules.COOKIE_HEADERS:
                lines = (self._cookies(name, line) for line in value.split("\n"))
                value = "\n".join(filter(None, lines))  # noqa: PLW2901
            elif name in rules.CREDENTIAL_HEADERS:
                # The scheme stays where there is one: `Bearer token-1`.
                scheme, space, token = value.partition(" ")
                value = scheme + space + self._strings.secret(token) if token else self._strings.secret(value)  # noqa: PLW2901
            elif name in allowed:
                value = self._strings.plain(value)  # noqa: PLW2901
            else:
                continue
            if value:
                # Commas stand within cookies (their dates), so those are kept apart by lines.
                between = "\n" if name in rules.COOKIE_HEADERS else ", "
                kept[name] = f"{kept[name]}{between}{value}" if name in kept else value
        return kept

    def _cookies(self, name: str, line: str) -> str:
        """`a=1; b=2` of a request, or a cookie and its attributes; nothing where no cookie may stay."""
        pairs = [pair.strip().partition("=") for pair in line.split(";")]
        attributes = [one for one in pairs if name == "set-cookie" and one[0].lower() in rules.COOKIE_ATTRIBUTES]
        cookies = [
            (key, equals, self._strings.secret(value)) for key, equals, value in pairs if rules.COOKIES.fullmatch(key)
        ]
        return "; ".join("".join(one) for one in cookies + attributes) if cookies else ""

    # --- documents --------------------------------------------------------------------------------------------------

    def _document(self, text: str, otherwise: rules.Rule = "secret") -> list[Edit]:
        if not _STREAM.match(text):
            return self._json(text, otherwise)
        edits: list[Edit] = []
        occurrences: list[Occurrence] = []
        events: list[list[Literal]] = []
        for line in _LINE.finditer(text):
            field, _, value = line[0].partition(":")
            start = line.end() - len(value)
            if field == "data" and value.strip(" ") not in rules.STREAM_WORDS:
                events.append([one._replace(start=one.start + start) for one in literals(value)])
            else:
                edits += [edit.moved(start) for edit in self._field(field, value)]
        for event in events:
            edits += [edit for one in event if one.is_key for edit in self._key(one)]
            edits += [edit for one in event if one.value is None for edit in self._bare(one, "secret")]
        # A string that grows over several events is judged as a whole, and only when all of it is known.
        for whole in growing_strings(events):
            found = self._string(whole.path, whole.text, "secret")
            occurrences += [occurrence for occurrence in whole.occurrences(found) if occurrence.edits]
        for occurrence in occurrences:
            edits += occurrence.literal.rewritten(occurrence.edits)
        # Found string by string, so their order is not that of the text.
        return sorted(edits)

    def _json(self, text: str, otherwise: rules.Rule = "secret") -> list[Edit]:
        edits: list[Edit] = []
        for literal in literals(text):
            if literal.is_key:
                edits += self._key(literal)
            elif literal.value is None:
                edits += self._bare(literal, otherwise)
            else:
                edits += literal.rewritten(self._string(literal.path, literal.value, otherwise))
        return edits

    def _field(self, field: str, value: str) -> list[Edit]:
        """A line of an event stream that carries no data."""
        kept = rules.COMMENT if not field else rules.EVENT_NAMES
        inside = value.strip(" ")
        if field in {"", "event", "data"} and (not inside or kept.fullmatch(inside) or inside in rules.STREAM_WORDS):
            return []
        start = value.index(inside) if inside else 0
        return _change(inside, self._strings.secret(inside), start)

    # --- values -----------------------------------------------------------------------------------------------------

    def _string(self, path: tuple[str | int, ...], text: str, otherwise: rules.Rule) -> list[Edit]:
        if not path and text in rules.STREAM_WORDS:
            return []
        rule = rules.rule_of(path) or otherwise
        if rule == "secret":
            return _change(text, self._strings.secret(text))
        if rule == "text" and self.redact:
            return redactions(text, self._strings.patterns(text))
        # A plain value may be a document, whose own names are not promised anything by the name around it.
        return self._strings.edits(text, rule if rule == "text" else "secret")

    def _key(self, literal: Literal) -> Iterator[Edit]:
        key = literal.value or ""
        new = self._strings.plain(key) if rules.is_name(key) else self._strings.secret(key)
        return literal.rewritten(_change(key, new))

    def _bare(self, literal: Literal, otherwise: rules.Rule) -> list[Edit]:
        """Edits of a number, or of text that is not JSON at all."""
        start, source = literal.start, literal.source
        if not re.fullmatch(r"-?\d[\d.eE+-]*", source):
            return _change(source, self._strings.secret(source), start)
        if (rules.rule_of(literal.path) or otherwise) == "secret" and _LARGE.fullmatch(source):
            return _change(source, self.names.of("number", source), start)
        return []


def _change(text: str, new: str, start: int = 0) -> list[Edit]:
    return [Edit(start, start + len(text), new)] if new != text else []
