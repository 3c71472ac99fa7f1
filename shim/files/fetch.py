"""Fetches a file from a URL that a client named, without letting the client look into our network.

    URL ──read──> target ──resolve once──> addresses, all public ──> GET to one of them ──redirect?──> URL, from the top

Rule: the address that was checked is the one connected to: a name is resolved once, and the connection goes there. Each
redirect is a new URL and is checked like the first. Bytes (decoded), redirects and time are bounded, and no error
quotes the URL. No proxy is used, neither from the environment nor PROXY_URL: the proxy would resolve the name again.
"""

import asyncio
import functools
import logging
import socket
import ssl
import weakref
from collections.abc import Awaitable, Callable

import certifi
import msgspec

from shim.errors import RequestError
from shim.files.addresses import is_public
from shim.files.targets import AllowList, Target, not_allowed, redirected, target_of
from shim.protocol.turn.inline_files import too_large
from shim.transport.codings import CodingError, Decoder, TooLargeError

Resolve = Callable[[str, int], Awaitable[list[str]]]
Before = Callable[[], Awaitable[None]]

# Each is a further call, and a further look of the guard: shorteners and addresses that moved need two or three.
_MAX_REDIRECTS = 5
# Not 300 and 304, which name no place to go on to.
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of one name, tried one after the other: with the seconds below, three are what FILE_TIMEOUT has room for by default.
_MAX_ADDRESSES = 3
# For TCP, and again for TLS; then the next address is tried.
_CONNECT_SECONDS = 5.0
# Fetches of one worker, which bounds the memory they hold together; and of one caller, so that files that never come
# hold up those of nobody else.
_AT_ONCE = 16
# Half of the places, so that one caller whose hosts are slow leaves room for another.
_OF_ONE_CALLER = 8


class Fetched(msgspec.Struct, frozen=True):
    """A file from a URL. `mime_type` is what its server calls it, `name` is the last word of the URL's path."""

    content: bytes
    mime_type: str | None
    name: str


class Fetcher:
    """`fetch` for one worker. `limit` is in bytes, `timeout` in seconds for all of a fetch with its redirects."""

    def __init__(
        self,
        allowed: AllowList,
        *,
        limit: int,
        timeout: float,
        user_agent: str,
        ca_file: str | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._allowed = allowed
        self._limit = limit
        self._timeout = timeout
        self._user_agent = user_agent
        self._resolve = resolve or resolve_name
        self._ca_file = ca_file
        if ca_file:
            _ = self._tls  # so that a CA_FILE that is none is told when the gateway is opened
        self._gate = asyncio.Semaphore(_AT_ONCE)
        # By caller, for as long as one of their fetches waits or runs.
        self._gates: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()
        # With LOG_LEVEL=debug the library would log the headers of every answer, signed redirects and cookies included.
        logging.getLogger("httpcore").setLevel(logging.INFO)

    @functools.cached_property  # reading the authorities is a good part of opening a gateway, and few fetch anything
    def _tls(self) -> ssl.SSLContext:
        # CA_FILE adds to the usual authorities, and does not replace them.
        tls = ssl.create_default_context(cafile=certifi.where())
        if self._ca_file:
            tls.load_verify_locations(self._ca_file)
        return tls

    async def fetch(self, url: str, before: Before | None = None, *, scope: str = "") -> Fetched:
        """The file at `url`, for the caller that `scope` names. Raises RequestError (400, no `param` yet):
        file_url_not_allowed, file_unreachable or file_too_large; and whatever `before` raises, which is asked as soon
        as anybody else would hear of this."""
        try:
            # Waiting for others' files counts: a client waits no longer for its own than FILE_TIMEOUT says.
            own = self._gates.setdefault(scope, asyncio.Semaphore(_OF_ONE_CALLER))
            async with asyncio.timeout(self._timeout), own, self._gate:
                for _ in range(_MAX_REDIRECTS + 1):
                    got = await self._get(target_of(url), before)
                    if isinstance(got, Fetched):
                        return got
                    url = redirected(url, got)
        except TimeoutError as error:
            raise _unreachable(f"it did not arrive within {self._timeout:g} s") from error
        raise _unreachable(f"there are more than {_MAX_REDIRECTS} redirects")

    async def _get(self, target: Target, before: Before | None) -> Fetched | str:
        """The file, or where a redirect leads."""
        import httpcore  # noqa: PLC0415  13 ms of the start, and many gateways never fetch anything

        if target.numeric:
            addresses = [target.host]
        else:
            if before is not None:
                await before()
            try:
                addresses = await self._resolve(target.host, target.port)
            except (OSError, UnicodeError) as error:
                raise _unreachable("its host name can't be resolved") from error
            if not addresses:
                raise _unreachable("its host name can't be resolved")
        # Every one has to be public: a name that also has a private one is an attack.
        if not self._allowed.allows(target) and not all(map(is_public, addresses)):
            raise not_allowed("its host is not a public one (the operator may add it to ALLOW_PRIVATE_URLS)")
        if target.numeric and before is not None:
            await before()
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                return await self._get_from(address, target)
            except (httpcore.NetworkError, httpcore.TimeoutException):
                continue  # not reached, or broke: the next one may do
            except httpcore.ProtocolError as error:
                raise _unreachable("its server's answer can't be read") from error
        raise _unreachable("its server can't be reached")

    async def _get_from(self, address: str, target: Target) -> Fetched | str:
        """One GET over one connection to one address: no proxy, no cookie, no redirect. It is closed right after."""
        import httpcore  # noqa: PLC0415

        from shim.files.pinned import PinnedNetwork  # noqa: PLC0415

        host = target.host.encode()
        url = httpcore.URL(scheme=target.scheme, host=host, port=target.port, target=target.path)
        asked: dict[str | bytes, str | bytes] = {
            "host": target.authority,
            "user-agent": self._user_agent,
            "accept": "*/*",
            "accept-encoding": "identity",  # a server that compresses all the same is read
            "connection": "close",
        }
        timeouts = {"timeout": {"connect": _CONNECT_SECONDS}}  # `fetch` bounds the rest
        async with (
            PinnedNetwork(address) as network,
            httpcore.AsyncHTTPConnection(
                httpcore.Origin(target.scheme.encode(), host, target.port),
                ssl_context=self._tls,
                network_backend=network,
            ) as connection,
            connection.stream("GET", url, headers=asked, extensions=timeouts) as response,
        ):
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and "location" in headers:
                return headers["location"].strip()
            if response.status != 200:
                raise _unreachable(f"its server answered {response.status}")
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > self._limit:
                raise too_large(self._limit)
            content = bytearray()
            try:
                # A compressed file may be larger than what arrives, so that the length above says little.
                decoder = Decoder(headers.get("content-encoding", ""), self._limit)
                async for chunk in response.aiter_stream():
                    for block in decoder.blocks(chunk):
                        content += block
                decoder.finish()
            except TooLargeError:
                raise too_large(self._limit) from None
            except CodingError as error:
                raise _unreachable(str(error)) from error
            media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            return Fetched(bytes(content), media_type or None, target.name)


async def resolve_name(host: str, port: int) -> list[str]:
    """The addresses of a name, by the system's resolver and in its order."""
    loop = asyncio.get_running_loop()
    # One socket type is asked for, because otherwise every address comes once for each type.
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _unreachable(why: str) -> RequestError:
    return RequestError(f"The file can't be fetched: {why}.", code="file_unreachable")
