"""The stand-in served inside the running loop.

Rule: open answers end before it stops, because Granian would wait for them without limit.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from shim.server.granian import claimed_port, serve_app
from shim.standin.app import create_standin
from shim.standin.options import StandinOptions
from shim.standin.upstream import Upstream

__all__ = ["RunningStandin", "claimed_port", "serve_app", "serve_standin"]


class RunningStandin(msgspec.Struct, frozen=True):
    """A stand-in that accepts connections; `upstream` is its state, in this process."""

    base_url: str
    host: str
    port: int
    upstream: Upstream


@asynccontextmanager
async def serve_standin(
    options: StandinOptions | None = None, port: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[RunningStandin]:
    """Serve until the block is left; port 0 = any free one. Raises OSError when the port is taken."""
    app = create_standin(options)
    upstream: Upstream = app.state.upstream
    async with serve_app(app, port, host, websockets=True) as claimed:
        try:
            yield RunningStandin(f"http://{host}:{claimed}", host, claimed, upstream)
        finally:
            upstream.closing = True
