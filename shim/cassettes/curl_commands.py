"""A call as a curl command to type: what is secret in it is a shell variable.

Rule: it is made of the scrubbed request, never of the request. Wherever the scrubber put a pseudonym a variable stands,
named after its place, the same secret the same variable; headers that the scrubber does not know are left out.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shim.cassettes import rules
from shim.cassettes.pseudonyms import PSEUDONYM, without_numbers
from shim.cassettes.recording import CapturedCall, Recording

# Names that a person looks for; every other secret is called after its header, cookie or field.
_NAMES = {"authorization": "ACCESS_TOKEN", "chatgpt-account-id": "ACCOUNT_ID"}
_BREAK = " \\\n  "


class _Variable(msgspec.Struct, frozen=True):
    name: str


_Pieces = list[str | _Variable]


class _Variables:
    """Which secret is which variable."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def of(self, pseudonym: str, wanted: str) -> _Variable:
        """The variable for it: `WANTED`, or `WANTED_2` where that is another secret's."""
        if pseudonym not in self._given:
            base = name = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_").upper() or "VALUE"
            number = 1
            while name in self._given.values():
                number += 1
                name = f"{base}_{number}"
            self._given[pseudonym] = name
        return _Variable(self._given[pseudonym])

    def within(self, text: str) -> _Pieces:
        """A scrubbed text in pieces."""
        pieces: _Pieces = []
        at = 0
        for found in PSEUDONYM.finditer(text):
            pieces += [text[at : found.start()], self.of(found[0], without_numbers(found[0]))]
            at = found.end()
        return [*pieces, text[at:]]


def curl_command(call: CapturedCall) -> str:
    """The command that makes this call again, on several lines."""
    request = Recording().request(call)
    variables = _Variables()
    # Headers first: a secret that stands in several places is called after its header.
    headers = [_header(name, value, variables) for name, value in request.headers.items()]
    parts = urlsplit(call.url)
    query = f"?{request.query}" if request.query else ""
    # Whoever is named before the @ of the address is left out, and with them their password.
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{request.path}{query}"
    # -N, or curl holds a stream back; -X only where curl does not choose the method by whether there is a body.
    words = [f"curl -N {_quoted(variables.within(address))}"]
    words += [f"-X {request.method}"] if request.method not in {"GET", "POST"} else []
    words += [f"-H {_quoted(header)}" for header in headers]
    # The header itself is not kept, and with it alone curl would print the answer undecoded.
    if any(name.lower() == "accept-encoding" for name, _ in call.headers):
        words.append("--compressed")
    if request.kept == "none":
        words.append('--data-raw "$BODY"')
    elif request.body is not None:
        for field, text in _strings("", request.body):
            if PSEUDONYM.fullmatch(text):
                variables.of(text, field)  # called after its field, before the text as a whole is looked at
        text = request.body if isinstance(request.body, str) else msgspec.json.encode(request.body).decode()
        words.append(f"--data-raw {_quoted(variables.within(text))}")
    elif request.method == "POST":
        words.append("--data-raw ''")  # without it curl would send a GET
    return _BREAK.join(words)


def _header(name: str, value: str, variables: _Variables) -> _Pieces:
    if name in rules.COOKIE_HEADERS:
        pieces: _Pieces = [f"{name}: "]
        # Several lines of cookies are one header again.
        for place, cookie in enumerate(value.replace("\n", "; ").split("; ")):
            key, _, content = cookie.partition("=")
            pieces += [f"{'; ' if place else ''}{key}=", variables.of(content, key)]
        return pieces
    if name in rules.CREDENTIAL_HEADERS:
        scheme, space, token = value.rpartition(" ")
        return [f"{name}: {scheme}{space}", variables.of(token, _NAMES.get(name, name))]
    return [f"{name}: ", *variables.within(value)]


def _strings(field: str, content: Any) -> Iterator[tuple[str, str]]:
    """Every string in JSON, with the name of the field it is in or below."""
    match content:
        case str():
            yield field, content
        case dict():
            for name, value in content.items():
                yield from _strings(name, value)
        case list():
            for value in content:
                yield from _strings(field, value)


def _quoted(pieces: _Pieces) -> str:
    """One word for the shell. What is between variables is quoted in one go."""
    return "".join(
        "".join(f'"${one.name}"' for one in run if isinstance(one, _Variable))
        or shlex.quote("".join(one for one in run if isinstance(one, str)))
        for run in (list(group) for _, group in groupby(filter(None, pieces), type))
    )
