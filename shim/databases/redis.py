"""Redis (5 or newer) or Valkey as our stores use it: one server (or a failover pair), not a cluster.

Rule: nothing is tried twice here and nothing waits for long; a call that fails says so, and the next one connects again
by itself.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shim.databases import DatabaseError

# Somebody's request may be waiting: a server that takes longer is as good as away.
CONNECT_SECONDS = 1.0
CALL_SECONDS = 2.0
WAIT_SECONDS = 5.0
"""For one of our own connections, where more calls are made at once than there may be connections, and the server has
answered none of them meanwhile."""
# Of one worker. The server runs one script after the other: with more connections calls would only wait there.
MAX_CONNECTIONS = 32


# The last two are what the library raises for replies that it can't read; the connection is closed then as well.
FAILURES = (exceptions.RedisError, OSError, ValueError, RecursionError)


class PatientPool(BlockingConnectionPool):
    """Connections of which one is waited for as long as the server answers those who have one: that a thousand calls
    come at once is no sign that it is away."""

    _answered = -math.inf  # when a call last ended well, by the loop's clock

    async def get_connection(self, *given: Any, **more: Any) -> Any:
        """See BlockingConnectionPool."""
        while True:
            try:
                return await super().get_connection(*given, **more)  # type: ignore[no-untyped-call]
            except exceptions.ConnectionError as error:
                # The library tells a pool without a free connection from a server that is away by nothing else.
                full = isinstance(error.__cause__, TimeoutError)
                if not full or asyncio.get_running_loop().time() - self._answered > WAIT_SECONDS:
                    raise

    async def release(self, connection: Any) -> None:
        """See BlockingConnectionPool."""
        if connection.is_connected:  # a call that failed has closed it
            self._answered = asyncio.get_running_loop().time()
        await super().release(connection)


def client_of(url: str) -> Redis:
    """A client that has not called yet. RESP2 because it takes no further round trip to agree on. Raises
    DatabaseError."""
    try:
        pool = PatientPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=WAIT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=CALL_SECONDS,
            # By default the library tries again by itself, and so makes the caller wait several times as long.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError:
        raise DatabaseError(f"{server_name(url)} can't be used: an option after the `?` is wrong") from None
    return Redis.from_pool(pool)


class RedisScripts:
    """Lua scripts on the server at `url`, by name; `begin` stands before each of them. What fails is raised as an
    `error`, which names the server, and so is what is asked for after `close`. Raises DatabaseError for an address of
    another kind."""

    def __init__(self, url: str, begin: str, scripts: Mapping[str, str], error: type[Exception]) -> None:
        self._url, self._error = url, error
        self._texts = {name: begin + text for name, text in scripts.items()}
        self._name = server_name(url)
        self._client: Redis | None = None
        self._scripts: dict[str, Any] = {}
        self._closed = False

    async def run(self, script: str, keys: Sequence[str], values: Sequence[str | float | bytes]) -> Any:
        """What a script returns for these KEYS and ARGV."""
        if self._closed:  # whoever comes this late would connect again, and nobody would close that
            raise self._error(f"{self._name} is let go of")
        try:
            # Not before the first call: a gateway whose server is away must start all the same.
            if self._client is None:
                self._client = client_of(self._url)
                self._scripts = {name: self._client.register_script(text) for name, text in self._texts.items()}
            return await self._scripts[script](keys, values)
        except DatabaseError as error:
            raise self._error(str(error)) from None
        except FAILURES as error:
            raise self._error(f"{self._name} {complaint(error)}") from None  # its text may quote a value

    async def close(self) -> None:
        """Let go for good. Closing again does nothing."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def server_name(url: str) -> str:
    """The server without user, password and options. Raises DatabaseError for an address of another kind."""
    try:
        parts = urlsplit(url)
        if parts.scheme in {"redis", "rediss"}:
            return f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}"
        if parts.scheme == "unix" and parts.path:
            return f"unix://{parts.path}"
    except ValueError:
        pass  # a port that is no number; the text would quote it, and a password may be what it quotes
    raise DatabaseError(
        "the address of Redis can't be used: redis://, rediss:// or unix:// with a host or path is needed"
    )


def complaint(error: Exception) -> str:
    """What is wrong, after the server's name."""
    for kind, complaint in _COMPLAINTS:
        if isinstance(error, kind):
            return complaint
    # Replies begin with a code in capitals (`NOSCRIPT ...`); what comes after it may quote the call.
    code = str(error).partition(" ")[0]
    return f"refused the call ({code if code.isupper() else type(error).__name__})"


_NO_REDIS = "answers what is no reply of Redis"
# The first that fits: the library's classes inherit from one another.
_COMPLAINTS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, "refuses the user or password"),
    (exceptions.NoPermissionError, "does not allow the user what is needed"),
    (exceptions.BusyLoadingError, "is still reading its data"),
    (exceptions.TimeoutError, "does not answer in time"),
    (exceptions.ConnectionError, "can't be reached"),
    (OSError, "can't be reached"),
    (exceptions.OutOfMemoryError, "is out of memory"),
    (exceptions.ReadOnlyError, "is a replica that can't be written to"),
    (exceptions.InvalidResponse, _NO_REDIS),
    (ValueError, _NO_REDIS),
    (RecursionError, _NO_REDIS),
)
