"""The measure of the bench: the least a Python server can do, handing aiohttp's bytes on as they come.

Rule: it understands nothing. Where it posts to is in BENCH_UPSTREAM.
"""

import os
from typing import Any

import aiohttp

from scripts.benchmark.upstream import Receive, Send


class PassThrough:
    """An ASGI app with one aiohttp session, made in the worker's loop at the first request."""

    def __init__(self) -> None:
        self._url = os.environ["BENCH_UPSTREAM"]
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Post the body to upstream and stream the answer back."""
        body = (await receive())["body"]
        async with self._upstream().post(self._url, data=body) as answer:
            headers = [(b"content-type", answer.content_type.encode())]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            async for data in answer.content.iter_any():
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _upstream(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
            )
        return self._session


def app() -> PassThrough:
    """What Granian calls in its worker."""
    return PassThrough()
