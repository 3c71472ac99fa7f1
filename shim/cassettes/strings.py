"""What looks like a secret inside a string: tokens, addresses, ids, URLs, and what is encoded in it.

Rule: one pattern, one table of what each of its groups becomes. Encodings are opened (base64, JWT, percent, JSON and
event streams in strings), scrubbed by the rules of what is inside, and closed again.
"""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote, unquote

from shim.cassettes import rules
from shim.cassettes.edits import Edit, edited
from shim.cassettes.pseudonyms import PSEUDONYM, Pseudonyms
from shim.cassettes.redact import same_shape

# Documents within strings within documents; a deeper one is replaced as a whole, so that nesting costs no more.
_MAX_DEPTH = 8
# No secret begins or ends within a word, so that what takes its place is found again.
_START, _END = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
# Signed tokens have three parts, encrypted ones five (RFC 7516), and one that was cut short is still half a token.
_JWT = r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}"
# Requirement tokens and proofs begin with it (protocol.md 2.1, 2.3).
_SENTINEL = r"gAAAA[A-Za-z0-9_+/=.~-]{4,}"
# With a digit, or every sentence about a bearer of something would lose a word.
_BEARER = r"(?i:bearer)[ ]+(?=[A-Za-z0-9_.~+/=-]*\d)[A-Za-z0-9_.~+/=-]{7,}"
# Of other services too: people paste them into chats. With a digit or a capital, which words have not.
_API_KEY = r"(?:sk|gsk|xai|pk|fk|github_pat)[-_](?=[A-Za-z0-9_-]*[0-9A-Z])[A-Za-z0-9_-]{12,}"
_REFRESH = r"(?:v1\.|rt_)[A-Za-z0-9_.-]{16,}"  # protocol.md 8.1
_UUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
# Up to what ends an address in prose, Markdown and JSON, and up to the marks of citations (protocol.md 5.4).
_URL_IN_TEXT = r"(?:https?|wss?)://[^\s\"'<>\\)\]}`\ue200-\ue20f]+"
_EMAIL = rf"{_START}\w[\w.%+-]*@[\w-]+(?:\.[\w-]+)+"  # rather too much than too little
_PREFIXES = (
    "user org file acct proj g g-p modr sess req chatcmpl resp msg conv cs sub cus poid ws grp gizmo sk sk-proj fk"
)
# An id has a digit in it or changes case, a word has neither.
_PREFIXED = (
    rf"(?P<prefix>(?:{'|'.join(sorted(_PREFIXES.split(), key=len, reverse=True))})[-_]|auth0\|)"
    r"(?=[A-Za-z]*(?:\d|[a-z][A-Z]))[A-Za-z0-9]{8,}"
)
# 24 characters, or long words would be decoded; and not what stands before `://`, which is a scheme.
_BASE64 = r"(?<![\w+/=-])[A-Za-z0-9+_-][A-Za-z0-9+/_-]{23,}={0,2}(?![\w+/=-]|://)"
# Letters and digits mixed, or both cases and digits: so random characters look, and words and hyphenated names don't.
_OPAQUE = (
    rf"{_START}(?:(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{{20,}}"
    rf"|(?=[A-Za-z_-]*\d)(?=[A-Z0-9_-]*[a-z])(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{{23,}}[A-Za-z0-9]){_END}(?!://)"
)
# Loopback and the unspecified address are everybody's.
_ADDRESS = r"(?<![\w.-])(?!127\.|0+\.)(?:\d{1,3}\.){3}\d{1,3}(?![\w.-])"
# The first that matches at a place is taken, so what is surer stands before what is vaguer.
_EITHER = (
    rf"(?P<pseudonym>{PSEUDONYM.pattern.replace('?P<', '?P<known_')})"
    rf"|{_START}(?:(?P<jwt>{_JWT})|(?P<sentinel>{_SENTINEL})|(?P<bearer>{_BEARER})|(?P<refresh>{_REFRESH})"
    rf"|(?P<key>{_API_KEY})){_END}"
    rf"|(?P<url>{_URL_IN_TEXT})|(?P<email>{_EMAIL})|{_START}(?:(?P<uuid>{_UUID})|(?P<id>{_PREFIXED})){_END}"
    rf"|(?P<base64>BASE64)|(?P<opaque>{_OPAQUE})|(?P<address>{_ADDRESS})"
)
_FOUND = re.compile(_EITHER.replace("BASE64", _BASE64))
# For what only looked like base64: everything else, but never base64.
_FOUND_IN_RUN = re.compile(_EITHER.replace("BASE64", "(?!)"))
_URL = re.compile(r"(\w+://)(?:([^/?#@]*)@)?([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_PORT = re.compile(r":\d*$")
_PRINTABLE = re.compile(r"[^\x00-\x08\x0e-\x1f\x7f\ufffd]+")
# What a string may be as a whole and then keeps its kind where no string may stay.
_WHOLE = frozenset({"pseudonym", "jwt", "sentinel", "bearer", "refresh", "key", "email", "uuid", "id", "address"})
_STREAM = re.compile(r"\s*(?:event: [\w.]+\s+)?data: ?[\[{\"]")
_CONTAINER = re.compile(r"\s*(?:\{.*\}|\[.*\])\s*", re.DOTALL)


Document = Callable[[str, rules.Rule], list[Edit]]


class Strings:
    """Finds the secrets in strings. `document` scrubs a text that is JSON or an event stream itself; the rule it is
    given is the one for names that have none. `redact`: addresses of web pages are message text, too."""

    def __init__(self, names: Pseudonyms, document: Document, *, redact: bool) -> None:
        self._names = names
        self._document = document
        self._redact = redact
        self._depth = 0
        self._by_group: dict[str, Callable[[re.Match[str]], str]] = {
            "pseudonym": lambda found: found[0],
            "jwt": lambda found: self._jwt(found[0]),
            "sentinel": lambda found: names.of("token", found[0]),
            "bearer": self._bearer,
            "key": lambda found: names.of("token", found[0]),
            "refresh": lambda found: names.of("token", found[0]),
            "url": lambda found: self.url(found[0]),
            # Written either way it is one person, and one id.
            "email": lambda found: names.of("email", found[0].lower()),
            "uuid": lambda found: names.of("uuid", found[0].lower()),
            "id": lambda found: names.of(found["prefix"], found[0]),
            "base64": lambda found: self._encoded(found[0]) or "",
            "opaque": lambda found: names.of("token", found[0]),
            "address": lambda found: names.of("address", found[0]),
        }

    def edits(self, text: str, otherwise: rules.Rule = "secret") -> list[Edit]:
        """What has to change in a text that may stay otherwise, in order. Pseudonyms in it are listed too, unchanged.

        `otherwise` is the rule for unknown names where the text is a document itself.
        """
        if self._is_document(text):
            return self._deeper(text, otherwise)
        return self.patterns(text)

    def patterns(self, text: str) -> list[Edit]:
        """As `edits`, for a text that is not looked at as a document."""
        found: list[Edit] = []
        for match in _FOUND.finditer(text):
            if match["base64"] and not self._encoded(match["base64"]):
                inside = _FOUND_IN_RUN.finditer(text, match.start(), match.end())
                found += map(self._edit, inside)
            else:
                found.append(self._edit(match))
        return found

    def _edit(self, match: "re.Match[str]") -> Edit:
        return Edit(match.start(), match.end(), self._by_group[self._group(match)](match))

    def plain(self, text: str) -> str:
        """The text without its secrets."""
        return edited(text, self.edits(text))

    def secret(self, text: str) -> str:
        """What stands for a string that may not be kept: a pseudonym of its kind."""
        if not text or text in rules.CONSTANTS or PSEUDONYM.fullmatch(text):
            return text
        if self._is_document(text):
            return self._inside(text)
        match = _FOUND.fullmatch(text)
        group = self._group(match) if match else ""
        if match and (group in _WHOLE or (group == "url" and _is_ours(text))):
            return self._by_group[group](match)
        inside = _unbase64(text)
        if inside and self._is_document(inside):
            return _closed(self._inside(inside), text)
        return self._names.of("value", text)

    def url(self, url: str) -> str:
        """A URL with the ids and signatures in it replaced."""
        match = _URL.fullmatch(url)
        if match is None:
            return self.secret(url)
        scheme, user, host, path, query, fragment = match.groups()
        ours = _is_ours(url)
        if self._redact and not ours:
            return scheme + same_shape(url[len(scheme) :])
        parts = [scheme, f"{self._names.of('token', user)}@" if user else ""]
        if ours:
            parts += [host, self.path(path)]
        else:  # of a foreign path every word is kept that does not look like a secret
            parts += [self.plain(host), "/".join(self.plain(step) for step in path.split("/"))]
        if query is not None:
            parts.append(f"?{self.query(query)}")
        if fragment is not None:  # single-page applications put queries there, log-ins put tokens
            parts.append(f"#{self.query(fragment) if '=' in fragment else self.plain(fragment)}")
        return "".join(parts)

    def path(self, path: str) -> str:
        """A path of upstream: its own words stay, the rest are ids."""
        return "/".join(
            # `|` and `@` are part of ids and addresses, and a pseudonym with them escaped would not be found again.
            step if step in rules.PATH else quote(self.secret(unquote(step)), safe="|@")
            for step in path.split("/")
        )

    def query(self, query: str) -> str:
        """`name=value&...` with the values replaced that may not be kept."""
        scrubbed = []
        for pair in query.split("&"):
            name, equals, value = pair.partition("=")
            if not equals:
                scrubbed.append(self.plain(name))
                continue
            kept = self.plain(value) if name in rules.QUERY else quote(self.secret(unquote(value)), safe="|@:/.")
            scrubbed.append(f"{name if rules.is_name(name) else self.secret(name)}={kept}")
        return "&".join(scrubbed)

    def _bearer(self, found: "re.Match[str]") -> str:
        word, space, token = found[0].partition(" ")
        return word + space + self.secret(token.lstrip())

    def _jwt(self, token: str) -> str:
        """A JWT keeps its form, claims scrubbed, so that a reader still finds a plan and an expiry; its signature goes.
        Anything that only begins like one is a token."""
        parts = token.split(".")
        inside = [_unbase64(part) for part in parts[:2]]
        if len(parts) != 3 or not all(one and one.startswith("{") for one in inside):
            return self._names.of("token", token)
        claims = [_base64(self._inside(one or ""), urlsafe=True, padded=False) for one in inside]
        # What has been scrubbed before must come out as it went in.
        signature = parts[2] if PSEUDONYM.fullmatch(parts[2]) else self._names.of("token", token)
        return ".".join([*claims, signature])

    def _encoded(self, text: str) -> str | None:
        """Text in base64 with the secrets inside replaced; None where it is not text."""
        inside = _unbase64(text)
        # Redacted text of the same shape would not be the same text in base64, so all of it goes.
        if inside is None or self._redact:
            return inside and self._names.of("token", text)
        new = self._inside(inside)
        return text if new == inside else _closed(new, text)

    def _group(self, match: "re.Match[str]") -> str:
        return next(name for name in self._by_group if match[name] is not None)

    def _is_document(self, text: str) -> bool:
        """Whether a string is a document to its end, not a sentence that begins like one."""
        if self._depth >= _MAX_DEPTH:
            return False
        if _STREAM.match(text):
            return True
        if not _CONTAINER.fullmatch(text):
            return False
        try:
            json.loads(text, strict=False)
        except (ValueError, RecursionError):
            return False
        return True

    def _inside(self, text: str) -> str:
        """A text that was encoded in another, scrubbed by its own rules; below `_MAX_DEPTH` it is replaced unread."""
        if self._depth >= _MAX_DEPTH:
            return self._names.of("value", text)
        return edited(text, self._deeper(text, "secret"))

    def _deeper(self, text: str, otherwise: rules.Rule) -> list[Edit]:
        is_document = self._is_document(text)
        self._depth += 1
        try:
            return self._document(text, otherwise) if is_document else self.patterns(text)
        finally:
            self._depth -= 1


def _is_ours(url: str) -> bool:
    match = _URL.fullmatch(url)
    return match is not None and rules.UPSTREAM_HOSTS.fullmatch(_PORT.sub("", match[3])) is not None


def _unbase64(text: str) -> str | None:
    """The text that a base64 string encodes (either alphabet, with or without padding), or None if it encodes none."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        inside = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except ValueError:  # not base64, or not of text
        return None
    return inside if _PRINTABLE.fullmatch(inside) else None


def _closed(text: str, as_was: str) -> str:
    """Base64 of a text, in the alphabet and with the padding that it had before."""
    return _base64(text, urlsafe=not set(as_was) & set("+/"), padded=len(as_was) % 4 == 0)


def _base64(text: str, *, urlsafe: bool, padded: bool) -> str:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    result = encode(text.encode(errors="replace")).decode()
    return result if padded else result.rstrip("=")
