"""A connection to one address, for the HTTP library of `fetch`."""

from collections.abc import Iterable
from typing import Any

import httpcore


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the one address that was checked, whatever name the request is for. TLS still checks the name."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._network = httpcore.AnyIOBackend()
        self._opened: httpcore.AsyncNetworkStream | None = None

    async def __aenter__(self) -> "PinnedNetwork":
        return self

    async def __aexit__(self, *_: object) -> None:
        # The library leaves the socket open when it is cancelled in the middle of TLS (httpcore 1.0.9, `start_tls`).
        if self._opened is not None:
            await self._opened.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the address in the place of `host`, which is never looked up again."""
        self._opened = await self._network.connect_tcp(self._address, port, timeout, local_address, socket_options)
        return self._opened
