"""Which models each identity may use: upstream's list, fetched once in a while.

Rule: a list that can't be had never blocks a chat (then upstream decides), except where the token itself is refused.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from shim.errors import CredentialError, GatewayError
from shim.protocol.catalog import Catalog
from shim.single_flight import SingleFlight

Fetch = Callable[[], Awaitable[Catalog]]

_KEPT_SECONDS = 3600.0  # upstream's lists change with a plan or a release
_RETRY_SECONDS = 30.0  # chats go on without a list, so a failure is not asked about again with each of them
_MAX_SEEN = 1000  # upstream has some forty
_MAX_LISTS = 4096  # callers bring tokens of their own, each with a list


class FetchedModels:
    """The list, its slugs in upstream's order; empty where it could not be had. Times are in seconds since 1970."""

    __slots__ = ("catalog", "expires", "fetched", "slugs")

    def __init__(self, catalog: Catalog, fetched: int, expires: float) -> None:
        self.catalog, self.fetched, self.expires = catalog, fetched, expires
        # Put together here, because each turn asks for them, and a list holds for an hour.
        self.slugs = catalog.slugs


class ModelLists:
    """One list an identity; `get` fetches it at most once at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lists: OrderedDict[str, FetchedModels] = OrderedDict()
        self._fetches: SingleFlight[str, FetchedModels] = SingleFlight()
        self.seen: set[str] = set()  # slugs of any list, so far

    def last(self, key: str) -> FetchedModels | None:
        """The list that was last fetched for `key`, however old it is."""
        return self._lists.get(key)

    def is_due(self, key: str) -> bool:
        """Whether `get` would fetch."""
        known = self._lists.get(key)
        return known is None or self._clock() >= known.expires

    async def get(self, key: str, fetch: Fetch) -> FetchedModels:
        """The list for `key`, from memory or by `fetch`. Raises CredentialError where upstream refuses the token."""
        known = self._lists.get(key)
        if known is not None and self._clock() < known.expires:
            return known
        return await self._fetches.run(key, lambda: self._fetch(key, fetch))

    async def _fetch(self, key: str, fetch: Fetch) -> FetchedModels:
        try:
            catalog, kept = await fetch(), _KEPT_SECONDS
        except CredentialError:  # a chat with this token would fail as well, and later
            raise
        except GatewayError:
            known = self._lists.get(key)
            catalog, kept = (known.catalog if known else Catalog()), _RETRY_SECONDS
        now = self._clock()
        fetched = self._lists[key] = FetchedModels(catalog, int(now), now + kept)
        if len(self.seen) < _MAX_SEEN:
            self.seen.update(catalog.slugs)
        # Oldest first by when it was fetched: what goes is a list that has nearly expired anyway.
        self._lists.move_to_end(key)
        if len(self._lists) > _MAX_LISTS:
            self._lists.popitem(last=False)
        return fetched
