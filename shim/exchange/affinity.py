"""Session affinity: what a client calls one conversation stays with one account, as long as that can take its turns.

    request ──the client's word for it──> notes ──account──> preferred, where it is free
    turn at its head ──another account than noted──> notes

Rules: a preference and no more: an account that rests, is paused or has all its turns is passed over at once, and the
session moves on to the one that served. What is noted is a hash of the word and an account's id, and a word counts for
its own key alone. It is never owed, so whatever stands in its way leaves any account as good as another.
"""

import hashlib

import msgspec

from shim.accounts.credentials import Caller
from shim.accounts.leases import Leases
from shim.background import Background
from shim.exchange.clock import Clock
from shim.exchange.hurry import Hurry
from shim.notes import Notes

KEPT_SECONDS = 86400.0
"""From its last use; it is noted anew at most once an hour."""
# Each is a hash and an id: some megabytes, were there ever so many within a day.
_MOST_SESSIONS = 50_000
_NOTED_AGAIN = 3600.0  # seconds


class SessionPlace(msgspec.Struct, frozen=True):
    """Which account a session is with, and when that was noted, in seconds since 1970."""

    account: str
    at: float


class Session(msgspec.Struct, frozen=True):
    """A session of one request: what it is noted under, and where it was."""

    key: str
    place: SessionPlace | None


class Affinity:
    """One for each worker."""

    def __init__(self, notes: Notes, leases: Leases, clock: Clock) -> None:
        self._shelf, self._leases, self._clock = notes.shelf("sessions", most=_MOST_SESSIONS), leases, clock
        self._hurry = Hurry("sessions")
        self._writing = Background("the sessions")

    async def find(self, caller: Caller, word: str) -> Session | None:
        """The session that `word` names; None where it has no say: of one account there is nothing to choose."""
        if caller.own is not None or len(self._leases.pool) < 2:
            return None
        key = hashlib.sha256(f"{caller.scope}\n{word}".encode("utf-8", "surrogatepass")).hexdigest()
        found = await self._hurry.run(self._shelf.get(key))
        try:
            return Session(key, _decode(found) if found is not None else None)
        except msgspec.DecodeError:
            return Session(key, None)

    def note(self, session: Session, account: str | None) -> None:
        """This account served a turn of the session. Written beside the answer, which does not wait for it."""
        if account is None:
            return
        now, place = self._clock.now(), session.place
        # Not with each turn: a note that lives for a day need not be written every few seconds.
        if place is not None and place.account == account and now - place.at < _NOTED_AGAIN:
            return
        written = self._shelf.put(session.key, _encode(SessionPlace(account, now)), KEPT_SECONDS)
        self._writing.spawn(self._hurry.run(written))

    async def settled(self) -> None:
        """Wait until what is being noted is noted. It takes no longer than `Hurry` lets it."""
        await self._writing.settled()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SessionPlace).decode
