"""Calls to upstream for one identity: over its route, with that route's failures noted.

Rule: what a call decides is in the core; this only says where it goes and by whom it is performed.
"""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from pow import ClientProfile
from shim.accounts.leases import list_key
from shim.accounts.outcomes import Rest, policy_of
from shim.errors import UpstreamError
from shim.exchange.clock import Clock
from shim.protocol.catalog import Catalog
from shim.protocol.commands import Handshake, HttpRequest
from shim.protocol.events import FileRef
from shim.protocol.turn.downloads import locate
from shim.protocol.turn.handshake import HandshakeOptions, Moment
from shim.protocol.turn.model_list import list_models
from shim.protocol.upstream import Identity, Upstream
from shim.settings import Settings
from shim.transport.base import ConnectionKey, Response
from shim.transport.driver import Driver
from shim.transport.failover import FailoverList

T = TypeVar("T")


class Route(msgspec.Struct, frozen=True):
    """How upstream is reached in one attempt, and as whom."""

    upstream: Upstream
    connection: ConnectionKey


class Calls:
    """One worker's calls. `driver` performs them."""

    def __init__(self, settings: Settings, driver: Driver, clock: Clock) -> None:
        self.driver = driver
        self.options = HandshakeOptions(
            profile=ClientProfile(user_agent=settings.user_agent),
            sentinel=settings.sentinel,
            conversation_only=settings.conversation_only,
            turnstile=settings.turnstile,
            pow_floor=settings.pow_difficulty,
        )
        self._clock = clock
        self._origins = FailoverList(settings.chatgpt_base_url)
        self._proxies = FailoverList(settings.proxy_url)
        self._began = clock.now()

    def route(self, identity: Identity) -> Route:
        """The route upstream that this identity keeps to."""
        now, key = self._clock.now(), list_key(identity)
        upstream = Upstream(self._origins.pick(key, now) or "", identity, self.options.profile)
        return Route(upstream, ConnectionKey(key, identity.proxy or self._proxies.pick(key, now)))

    def moment(self, identity: Identity) -> Moment:
        """Now, for the proofs of this identity."""
        now = self._clock.now()
        elapsed = round((now - self._began) * 1000, 1)
        return Moment(datetime.fromtimestamp(now, UTC), elapsed, identity.device_id)

    async def run(
        self, identity: Identity, handshake: Callable[[Upstream], Handshake[T]], lane: str | None = None
    ) -> T:
        """Perform a handshake over this identity's route, on connections that it has to itself, or on those of a `lane`
        that it shares. Raises GatewayError."""
        route = self.route(identity)
        if lane is not None:
            route = Route(route.upstream, ConnectionKey(lane, route.connection.proxy))
        try:
            return await self.driver.run(handshake(route.upstream), route.connection)
        except UpstreamError as error:
            self.failed(error, route)
            raise

    async def models(self, identity: Identity, lane: str | None = None) -> Catalog:
        """The models that an identity has. Raises GatewayError."""
        return await self.run(identity, list_models, lane)

    def send(self, request: HttpRequest, route: Route) -> Coroutine[Any, Any, Response]:
        """Make one call and wait for the head of its answer. Raises GatewayError."""
        return self.driver.transport.send(request, route.connection)

    async def file(self, identity: Identity, file: FileRef) -> Response:
        """A file upstream holds, at the head of its bytes. Raises GatewayError."""
        route = self.route(identity)
        response = await self.send(await self.driver.run(locate(route.upstream, file), route.connection), route)
        if response.status != 200:
            response.close()
            raise UpstreamError(f"Upstream's file store answered {response.status}", code="upstream_file")
        return response

    def worked(self, route: Route) -> None:
        """A turn came to its head over this route."""
        self._origins.worked(route.upstream.base_url)
        if route.connection.proxy is not None:
            self._proxies.worked(route.connection.proxy)

    def failed(self, error: UpstreamError, route: Route) -> None:
        """A dead proxy and a failing origin are left out for a while, where there are others."""
        now, proxy, rests = self._clock.now(), route.connection.proxy, policy_of(error).rests
        if proxy is not None and Rest.PROXY in rests:
            # One of the account's own is in no list: there is no other way for it.
            if proxy != route.upstream.identity.proxy:
                self._proxies.failed(proxy, now)
        elif len(self._origins) > 1 and Rest.ORIGIN in rests:
            self._origins.failed(route.upstream.base_url, now)
