"""Which recording answers a call: method, path and body, without what differs from call to call.

Rule: every recording is played once, in order among equals. A call that nothing answers is a miss that names the
nearest recording and the first field that differs; nothing is made up.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from shim.cassettes.format import Cassette, Interaction, RecordedRequest
from shim.cassettes.pseudonyms import without_numbers
from shim.cassettes.recording import CapturedCall, Recording, call_of

# Left out of the comparison: ids, proofs, times (protocol.md 2.2, 2.4, 4.1), and what a browser says of its window.
VOLATILE = frozenset({
    "id", "p", "proofofwork", "prepare_token", "create_time", "parent_message_id", "conversation_id",
    "websocket_request_id", "partial_query", "client_contextual_info", "timezone", "timezone_offset_min",
    "refresh_token",
})  # fmt: skip
_SHOWN = 60  # characters of a value: a miss is one line of a log
# Calls that an upstream may not have, or not any more: requirements in two steps (protocol.md 2), and an answer that
# was lost (5.6, 5.8). Whoever asks goes on without, which a miss would not let them.
_MAY_BE_MISSING = re.compile(
    r"/(?:sentinel/chat-requirements/prepare|f/conversation/resume|conversations?/[^/]+(?:/stream_status)?)$"
)


def may_be_missing(path: str) -> bool:
    """Whether a miss of this path is answered as by an upstream without it: 404."""
    return _MAY_BE_MISSING.search(path.partition("?")[0]) is not None


class Miss(msgspec.Struct, frozen=True):
    """A call without a recording, and how near one came."""

    asked: str
    nearest: str | None
    field: str
    wanted: str
    got: str
    left: int

    def __str__(self) -> str:
        if self.nearest is None:
            return f"Nothing recorded for {self.asked}; nothing is left to play"
        where = f"{self.field} is {self.got}, recorded is {self.wanted}"
        return f"Nothing recorded for {self.asked}; nearest of {self.left} left is {self.nearest}: {where}"


class RecordedCall(msgspec.Struct, frozen=True):
    """A recording and the fields it is found by."""

    interaction: Interaction
    redacted: bool
    fields: dict[str, str]


class Player:
    """The recordings of some cassettes, each given out once."""

    def __init__(self, cassettes: Iterable[Cassette]) -> None:
        self._all = [
            RecordedCall(one, cassette.redacted, fields_of(Recording(redact=cassette.redacted).request(call_of(one))))
            for cassette in cassettes
            for one in cassette.interactions
        ]
        self.misses: list[Miss] = []
        self._left: list[RecordedCall] = []
        self.rewind()

    def rewind(self) -> None:
        """Make every recording available again and forget the misses."""
        self._left = list(self._all)
        self.misses.clear()

    @property
    def played(self) -> int:
        """How many recordings have been played."""
        return len(self._all) - len(self._left)

    @property
    def left(self) -> list[Interaction]:
        """Recordings that nothing has asked for yet."""
        return [recorded.interaction for recorded in self._left]

    def play(self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> Interaction | Miss:
        """The recording for a call; a miss is noted."""
        # Scrubbed as the recordings were, because that is what it is compared with; some may be redacted, some not.
        call = CapturedCall(method, url, list(headers), body, 0, [], [])
        asked = {
            redact: Recording(redact=redact).request(call) for redact in {recorded.redacted for recorded in self._left}
        }
        fields = {redact: fields_of(request) for redact, request in asked.items()}
        for place, recorded in enumerate(self._left):
            if next(differences(recorded.fields, fields[recorded.redacted]), None) is None:
                del self._left[place]
                return recorded.interaction
        if self._left:
            nearest = min(self._left, key=lambda recorded: _distance(recorded.fields, fields[recorded.redacted]))
            title = "{method} {path}".format_map(fields[nearest.redacted])
            field, wanted, got = next(differences(nearest.fields, fields[nearest.redacted]))
            miss = Miss(title, nearest.interaction.title, field, _short(wanted), _short(got), len(self._left))
        else:
            miss = Miss(f"{method} {url.partition('?')[0]}", None, "", "", "", 0)
        self.misses.append(miss)
        return miss


def fields_of(request: RecordedRequest) -> dict[str, str]:
    """What a call is found by: `method`, `path`, and `body.…` for every value of a JSON body, ids left out.

    A recording without a body (none was kept) is found by method and path alone.
    """
    fields = {"method": request.method, "path": without_numbers(request.path)}
    if request.body is not None:
        fields |= {name: without_numbers(value) for name, value in flat(request.body, "body", VOLATILE)}
    return fields


def flat(value: Any, name: str, left_out: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """(`name.key[0].key`, value as JSON) for every value of a document."""
    match value:
        case dict() if value:
            for key, inside in value.items():
                if key not in left_out:
                    yield from flat(inside, f"{name}.{key}", left_out)
        case list() if value:
            for place, inside in enumerate(value):
                yield from flat(inside, f"{name}[{place}]", left_out)
        case _:
            yield name, _encode(value).decode()


def differences(recorded: dict[str, str], asked: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """(field, recorded, asked) where two differ; "nothing" stands for a field that is absent."""
    names = [*recorded, *(name for name in asked if name not in recorded)]
    # A recording whose body was not kept answers whatever was sent.
    if not any(name.startswith("body") for name in recorded):
        names = [name for name in names if not name.startswith("body")]
    for name in names:
        if recorded.get(name) != asked.get(name):
            yield name, recorded.get(name, "nothing"), asked.get(name, "nothing")


def _distance(recorded: dict[str, str], asked: dict[str, str]) -> tuple[int, int]:
    """Another method or path is farther than any body."""
    far = [name for name, _, _ in differences(recorded, asked)]
    return sum(name in {"method", "path"} for name in far), len(far)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_encode = msgspec.json.Encoder().encode
