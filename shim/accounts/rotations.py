"""What a renewal brought, kept until the store has it.

Rule: a rotated refresh token is worth an account, and the one before it is worth nothing any more. So it is stored
before anybody is told; where the store is away it is used from memory and offered again and again; and where somebody
else wrote first, theirs counts only if they had a token of their own. An offer whose answer was lost is made again word
for word: the store says yes to what it has already.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from shim.accounts.account import Account
from shim.accounts.stores.base import Store, StoreError
from shim.chatgpt.token import Guarded
from shim.protocol.turn.renewal import RenewedTokens

log = logging.getLogger("chat2api")

Latest = Callable[[str], Account | None]
SavedLate = Callable[[Account], None]


class Rotation(Guarded, frozen=True):
    """An exchange that happened: what it brought, and the account (as the store had it) whose tokens it used up."""

    used: Account
    fresh: RenewedTokens

    def on(self, account: Account) -> Account:
        """`account` with what is new, one version on. `account` is `used`, or somebody's later change of it."""
        fresh = self.fresh
        kept = account.refresh_token if fresh.refused is None else None
        return msgspec.structs.replace(
            account,
            access_token=fresh.access_token,
            refresh_token=fresh.refresh_token or kept,
            session_token=fresh.session_token or account.session_token,
            expires=fresh.expires,
            user=account.user or fresh.user,
            plan=fresh.plan or account.plan,
            mail=fresh.mail or account.mail,
            client_id=fresh.client_id or account.client_id,
            client_sure=fresh.client_id is not None or account.client_sure,
            version=account.version + 1,
        )

    def fits(self, account: Account) -> bool:
        """Whether `account` still has the token that was used up (so that the new one is its successor)."""
        if self.used.refresh_token is not None:
            return account.refresh_token == self.used.refresh_token
        return account.session_token == self.used.session_token


class Rotations:
    """Saves rotations, at once or as soon as it can be done.

    `latest` gives what the store last said of an account, None where it has been removed; `saved_late` is told what
    could not be stored at once, and is now. Seconds: `poll` between two looks at `latest`, `lag` that it may be behind
    the store, at most `max_delay` between two offers of what could not be stored.
    """

    def __init__(
        self,
        store: Store,
        latest: Latest,
        saved_late: SavedLate,
        *,
        poll: float = 0.1,
        lag: float = 1.0,
        max_delay: float = 5.0,
    ) -> None:
        self._store = store
        self._latest = latest
        self._saved_late = saved_late
        self._poll = poll
        self._lag = lag
        self._max_delay = max_delay
        self._unsaved: dict[str, Rotation] = {}
        self._saving: asyncio.Task[None] | None = None

    @property
    def unsaved(self) -> int:
        """How many accounts live in memory only."""
        return len(self._unsaved)

    def unsaved_account(self, id: str) -> Account | None:
        """The account as it is, where the store does not have it yet."""
        rotation = self._unsaved.get(id)
        return rotation.on(rotation.used) if rotation else None

    async def keep(self, rotation: Rotation) -> Account:
        """Store what an exchange brought; returns the account to use (somebody else's, if that counts)."""
        until = asyncio.get_running_loop().time() + self._lag
        try:
            while True:
                # None: `latest` lags behind what others have stored, so it is looked at again for a moment.
                if (kept := await self._offer(rotation)) is not None:
                    return kept
                if asyncio.get_running_loop().time() >= until:
                    break
                await asyncio.sleep(self._poll)
        except StoreError:
            pass  # kept here until it is back
        log.warning("account %s: its new token is not saved yet", rotation.used.id)
        self._unsaved[rotation.used.id] = rotation
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save_until_done())
        return rotation.on(rotation.used)

    async def close(self, seconds: float) -> int:
        """Try for at most `seconds` to save what is left; how many accounts could not be saved."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
            self._saving = asyncio.create_task(self._save_until_done())
            await asyncio.wait({self._saving}, timeout=seconds)
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
        if self._unsaved:
            log.error("%d accounts could not be saved: their refresh tokens are lost", len(self._unsaved))
        return len(self._unsaved)

    async def _offer(self, rotation: Rotation) -> Account | None:
        """One try to store it: the account that counts now, or None where it has to be offered again."""
        known = self._latest(rotation.used.id)
        if known is None:
            return rotation.on(rotation.used)  # removed meanwhile; whoever waits for it may have it once
        base = known if known.version > rotation.used.version else rotation.used
        # A person has brought another token meanwhile, or another process has exchanged this one: theirs counts.
        if not rotation.fits(base):
            return base
        renewed = rotation.on(base)
        if not await self._store.save_account(renewed):
            return None  # somebody was first; `latest` will soon say with what
        return renewed

    async def _save_until_done(self) -> None:
        delay = self._poll
        while self._unsaved:
            for id, rotation in list(self._unsaved.items()):
                try:
                    saved = await self._offer(rotation)
                    # Not yet; or another exchange has taken its place meanwhile, and is offered next.
                    if saved is None or self._unsaved.get(id) is not rotation:
                        continue
                    del self._unsaved[id]
                    log.info("account %s: its new token is saved now", id)
                    if self._latest(id) is not None:
                        self._saved_late(saved)
                except StoreError:
                    continue  # still away
                except Exception:  # a refresh token is worth an account: this task must not die
                    log.exception("account %s: its new token could not be saved; it is tried again", id)
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._max_delay)
