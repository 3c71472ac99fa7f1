"""What two cassettes differ in, in words.

Rule: times, the numbers of pseudonyms and chunk boundaries are ignored, so that two recordings of the same traffic are
equal.
"""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

import msgspec

from shim.cassettes.format import Cassette, Interaction
from shim.cassettes.matching import flat
from shim.cassettes.pseudonyms import without_numbers
from shim.protocol.answer.sse import SSEDecoder

# Besides times, what is drawn anew in every handshake: the seed of the proof and the requirement (protocol.md 2.1).
TIMES = frozenset(
    {"create_time", "update_time", "expire_at", "expires_at", "expires", "exp", "iat", "nbf", "seed", "p"}
)


class Difference(msgspec.Struct, frozen=True):
    """`what` of the call `where` was `old` and is `new`; None where it is only in one of them."""

    where: str
    what: str
    old: str | None
    new: str | None


def compare(old: Cassette, new: Cassette) -> Iterator[Difference]:
    """Every difference, in order. Calls are paired by method and path."""
    first, second = ([without_numbers(one.title) for one in one.interactions] for one in (old, new))
    # autojunk would leave out what comes often, and the same few calls are all that a cassette has.
    for kind, start, end, begin, stop in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if kind == "equal":
            for before, after in zip(old.interactions[start:end], new.interactions[begin:stop], strict=True):
                was, now = dict(_fields(before)), dict(_fields(after))
                names = [name for name in dict.fromkeys([*was, *now]) if was.get(name) != now.get(name)]
                yield from (Difference(before.title, name, was.get(name), now.get(name)) for name in names)
        else:
            yield from (Difference(title, "call", title, None) for title in first[start:end])
            yield from (Difference(title, "call", None, title) for title in second[begin:stop])


def _fields(one: Interaction) -> Iterator[tuple[str, str]]:
    request, response = one.request, one.response
    yield "query", without_numbers(request.query)
    yield "status", str(response.status)
    yield "kept", response.kept
    yield "cut", str(response.cut)
    for name, value in response.headers.items():
        yield f"header {name}", without_numbers(value)
    yield from _values(request.body, "request")
    events = SSEDecoder()
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        for place, event in enumerate(events.receive(response.body()) + events.flush()):
            # An event without a name differs from one that is not there.
            yield f"event[{place}]", event.name.decode(errors="replace")
            yield from _values(_parsed(event.data), f"event[{place}]")
    else:
        yield from _values(_parsed(response.body()), "answer")


def _values(value: Any, name: str) -> Iterator[tuple[str, str]]:
    for where, text in flat(value, name, TIMES):
        yield where, without_numbers(text)


def _parsed(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
