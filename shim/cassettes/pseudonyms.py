"""Pseudonyms: what replaces a secret in a cassette, numbered in order of appearance.

Rule: the same secret is the same pseudonym everywhere in a file, and a pseudonym is its own pseudonym, so that
scrubbing twice changes nothing. A pseudonym shows the kind of its secret and nothing else of it.
"""

import re

_UUID = "00000000-0000-4000-8000-{:012d}"
_FORMS = {
    "uuid": _UUID,
    "email": "person-{}@example.invalid",  # RFC 2606: nobody's, for ever
    "token": "token-{}",
    "value": "value-{}",
    "address": "192.0.2.{}",  # RFC 5737: for documentation
    "number": "1{:010d}",
}
# So many zeros in front that no id of upstream's looks like one.
_PREFIXED = "{}{:024d}"
# Every form, with its number: as `_FORMS` and `_PREFIXED` write them.
_KNOWN = re.compile(
    r"00000000-0000-4000-8000-(?P<uuid>\d{12})|person-(?P<email>\d+)@example\.invalid|token-(?P<token>\d+)"
    r"|value-(?P<value>\d+)|192\.0\.2\.(?P<address>\d+)|10{4}(?P<number>\d{6})|(?P<prefix>[a-z0-9|-]+[-_])(?P<id>0{16}\d{8})"
)
# The same inside a text. Letters and digits beside it are all that can't be next to it: `strings` sees to that.
PSEUDONYM = re.compile(rf"(?<![A-Za-z0-9])(?:{_KNOWN.pattern})(?![A-Za-z0-9])")


class Pseudonyms:
    """The pseudonyms of one file. It holds the secrets it has seen, so it lives no longer than the recording."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._highest: dict[str, int] = {}

    def reserve(self, text: str) -> None:
        """Pseudonyms that stand in this text are not given to anything else."""
        for found in PSEUDONYM.finditer(text):
            kind, number = _kind_of(found)
            self._highest[kind] = max(self._highest.get(kind, 0), number)

    def of(self, kind: str, secret: str) -> str:
        """The pseudonym of `secret`. `kind` is one of the forms, or the prefix (`user-`) an id keeps; the first place a
        secret is seen in decides it."""
        if _KNOWN.fullmatch(secret):
            return secret
        if secret not in self._given:
            number = self._highest[kind] = self._highest.get(kind, 0) + 1
            form = _FORMS.get(kind)
            self._given[secret] = form.format(number) if form else _PREFIXED.format(kind, number)
        return self._given[secret]


def without_numbers(text: str) -> str:
    """The text with `{kind}` for every pseudonym: what two recordings of one thing have in common."""
    return PSEUDONYM.sub(lambda found: f"{{{_kind_of(found)[0]}}}", text)


def _kind_of(found: "re.Match[str]") -> tuple[str, int]:
    if found["prefix"]:
        return found["prefix"], int(found["id"])
    kind = found.lastgroup or ""
    return kind, int(found[kind])
