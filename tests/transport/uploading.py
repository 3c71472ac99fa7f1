"""Run by test_uploading.py: sends 100 MB through the transport to a server in this process, and prints what arrived and
by how many bytes the process's peak of memory has grown."""

import asyncio
import json
import resource
from collections.abc import AsyncGenerator

from shim.protocol.commands import HttpRequest, StreamedBody
from shim.transport import ConnectionKey, Deadlines
from shim.transport.base import read_reply
from shim.transport.curl import CurlTransport

KEY = ConnectionKey("someone")

PIECE = 64 * 1024


async def main() -> None:
    arrived = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        length = int((await reader.readuntil(b"\r\n\r\n")).lower().split(b"content-length:")[1].split()[0])
        arrived = 0
        while arrived < length:
            arrived += len(await reader.read(PIECE))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    def body(count: int) -> StreamedBody:
        async def pieces() -> AsyncGenerator[bytes]:
            for number in range(count):
                yield bytes([number % 256]) * PIECE

        return StreamedBody(pieces, count * PIECE)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    transport = CurlTransport(Deadlines())
    peaks = []
    for count in (16, 1600):  # the first one loads what has to be loaded
        reply = await read_reply(
            await transport.send(HttpRequest("PUT", url, {}, body(count)), ConnectionKey("someone"))
        )
        assert reply.status == 200
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    await transport.close()
    server.close()
    print(json.dumps({"arrived": arrived, "grown": peaks[1] - peaks[0]}))


asyncio.run(main())
