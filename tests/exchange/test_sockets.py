"""A turn's topic, over sockets of the tests' own."""

import asyncio

from shim.exchange.sockets import SocketResponse
from shim.protocol.answer.follow_up import Socket


class Wire:
    """A `FrameSocket` that is silent."""

    closed = False

    async def send(self, text: str) -> None: ...

    async def receive(self, seconds: float) -> bytes | None:
        return None

    async def close(self) -> None:
        self.closed = True


async def test_a_socket_that_was_never_read_is_closed() -> None:
    wire = Wire()

    async def connect() -> Wire:
        raise AssertionError("one socket is enough")

    response = SocketResponse(Socket("c1", "topic"), wire, connect)
    response.close()
    for _ in range(10):
        await asyncio.sleep(0)
    assert wire.closed
