"""The user socket over HTTP and WebSocket (protocol.md 5.7)."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec
from litestar import WebSocket, get, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from shim.standin.asking import AnyRequest, TheCaller, TheUpstream, origin_of
from shim.standin.socket import CONVERSATIONS, Asked, Topic, notices
from shim.standin.steps import Json
from shim.standin.upstream import Upstream

AnySocket = WebSocket[Any, Any, State]
FORBIDDEN = 4403
GRANTED = "/p1/ws/user/"


@get("/celsius/ws/user")
async def address(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Json:
    """Where this caller's socket is; the address is the credential."""
    if failure := caller.account.take_failure("socket"):
        raise failure
    origin = origin_of(request).replace("http", "ws", 1)
    return {
        "websocket_url": f"{origin}{GRANTED}{caller.account.user_id}?verify={upstream.sockets.issue(caller.identity)}"
    }


@websocket(GRANTED + "{user:str}")
async def serve(socket: AnySocket, upstream: TheUpstream, user: FromPath[str]) -> None:
    """One connection: topics are told as they are asked for."""
    identity = upstream.sockets.identity_of(socket.query_params.get("verify", ""))
    if identity is None or any(name in socket.headers for name in ("authorization", "cookie")):
        upstream.stats.sockets["refused"] += 1
        await socket.close(code=FORBIDDEN)  # before it was accepted: 403
        return
    await socket.accept()
    upstream.stats.sockets["opened"] += 1
    connection = Connection(socket, upstream, identity)
    # A topic that breaks ends the connection. (Closing while somebody listens would wait for them.)
    listening, broken = asyncio.ensure_future(connection.listen()), asyncio.ensure_future(connection.broken.wait())
    try:
        await asyncio.wait({listening, broken}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        tasks = (listening, broken, *connection.telling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Connection:
    """A caller's connection, with the topics being told on it."""

    def __init__(self, socket: AnySocket, upstream: Upstream, identity: str) -> None:
        self._socket, self._upstream, self._identity = socket, upstream, identity
        self.telling: set[asyncio.Task[None]] = set()
        self.broken = asyncio.Event()

    async def listen(self) -> None:
        """Do what the client asks for, until it leaves."""
        with suppress(WebSocketDisconnect):
            while True:
                for asked in msgspec.json.decode(await self._socket.receive_text(), type=list[Asked]):
                    await self._obey(asked)

    async def _obey(self, asked: Asked) -> None:
        command = asked.command
        if command.type == "connect":
            await self._send([{"id": asked.id, "type": "reply", "reply": {"type": "connect", "subscriptions": {}}}])
        elif command.type == "subscribe" and command.topic_id == CONVERSATIONS:
            reply = {"type": "subscribe", "topic_id": CONVERSATIONS, "recovered": False, "last_offset": "0-0"}
            await self._send([{"id": asked.id, "type": "reply", "reply": reply}])
            self._tell_soon(self._tell_notices())
        elif command.type == "subscribe":
            found = self._upstream.conversations.on_topic(command.topic_id or "", self._identity)
            if found is None:
                reply = {"type": "subscribe", "topic_id": command.topic_id, "recovered": False}
                await self._send([{"id": asked.id, "type": "reply", "reply": reply}])
                return
            topic = Topic(command.topic_id or "", *found)
            await self._send([topic.reply(asked)])
            self._tell_soon(self._tell(topic, command.offset))

    def _tell_soon(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(telling)
        self.telling.add(task)
        task.add_done_callback(self.telling.discard)

    async def _tell_notices(self) -> None:
        for conversation in self._upstream.conversations.with_notices(self._identity):
            for notice in notices(conversation):
                await self._send([notice])

    async def _tell(self, topic: Topic, offset: str | None) -> None:
        conversation, handoff = self._upstream.conversations.find_of(topic.handoff), topic.handoff
        for message in topic.messages(offset):
            if message is None:
                self.broken.set()
                return
            await asyncio.sleep(handoff.directives.delay or 0)
            if handoff.stopped:
                break
            await self._send(message if isinstance(message, list) else [message])
        else:
            self._upstream.conversations.over(conversation)
            return
        payload = {"type": "done", "conversation_id": conversation.id, "turn_id": handoff.turn.exchange_id}
        stopped = {"type": "conversation-turn-stream", "payload": payload}
        await self._send([{"type": "message", "topic_id": topic.topic_id, "offset": "0-0", "payload": stopped}])

    async def _send(self, frame: list[Json]) -> None:
        await self._socket.send_text(msgspec.json.encode(frame).decode())
