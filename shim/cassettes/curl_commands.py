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
from shim.cassettes.format import RecordedRequest
from shim.cassettes.pseudonyms import PSEUDONYM, without_numbers
from shim.cassettes.recording import CapturedCall, Recording

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
    headers = [_header(name, value, variables) for name, value in request.headers.items()]
    words = [f"curl -N {_quoted(variables.within(_address(call.url, request)))}"]
    words += [f"-X {request.method}"] if request.method not in {"GET", "POST"} else []
    words += [f"-H {_quoted(header)}" for header in headers]
    if any(name.lower() == "accept-encoding" for name, _ in call.headers):
        words.append("--compressed")
    words += _body(request, variables)
    return _BREAK.join(words)


def _address(url: str, request: RecordedRequest) -> str:
    parts = urlsplit(url)
    query = f"?{request.query}" if request.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{request.path}{query}"


def _header(name: str, value: str, variables: _Variables) -> _Pieces:
    if name in rules.COOKIE_HEADERS:
        return [f"{name}: ", *_cookies(value, variables)]
    if name in rules.CREDENTIAL_HEADERS:
        scheme, space, token = value.rpartition(" ")
        return [f"{name}: {scheme}{space}", variables.of(token, _NAMES.get(name, name))]
    return [f"{name}: ", *variables.within(value)]


def _cookies(value: str, variables: _Variables) -> Iterator[str | _Variable]:
    """Several lines of cookies are one header again."""
    for place, cookie in enumerate(value.replace("\n", "; ").split("; ")):
        name, _, content = cookie.partition("=")
        yield f"{'; ' if place else ''}{name}="
        yield variables.of(content, name)


def _body(request: RecordedRequest, variables: _Variables) -> Iterator[str]:
    if request.kept == "none":
        yield '--data-raw "$BODY"'
    elif request.body is not None:
        for field, text in _strings("", request.body):
            if PSEUDONYM.fullmatch(text):
                variables.of(text, field)
        text = request.body if isinstance(request.body, str) else msgspec.json.encode(request.body).decode()
        yield f"--data-raw {_quoted(variables.within(text))}"
    elif request.method == "POST":
        yield "--data-raw ''"


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
