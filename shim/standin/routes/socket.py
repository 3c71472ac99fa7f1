"""The user socket over HTTP and WebSocket (protocol.md 5.7)."""

import asyncio
from typing import Any

import msgspec
from litestar import WebSocket, get, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from shim.standin.asking import AnyRequest, TheCaller, TheUpstream, origin_of
from shim.standin.socket import Asked, Topic
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
    telling: set[asyncio.Task[None]] = set()
    try:
        while True:
            for asked in msgspec.json.decode(await socket.receive_text(), type=list[Asked]):
                await _obey(socket, upstream, identity, asked, telling)
    except WebSocketDisconnect:
        pass
    finally:
        for task in telling:
            task.cancel()


async def _obey(
    socket: AnySocket, upstream: Upstream, identity: str, asked: Asked, telling: set[asyncio.Task[None]]
) -> None:
    command = asked.command
    if command.type == "connect":
        await _send(socket, [{"id": asked.id, "type": "reply", "reply": {"type": "connect", "subscriptions": {}}}])
    elif command.type == "subscribe":
        found = upstream.conversations.on_topic(command.topic_id or "", identity)
        if found is None:
            reply = {"type": "subscribe", "topic_id": command.topic_id, "recovered": False}
            await _send(socket, [{"id": asked.id, "type": "reply", "reply": reply}])
            return
        topic = Topic(command.topic_id or "", *found)
        await _send(socket, [topic.reply(asked)])
        task = asyncio.ensure_future(_tell(socket, upstream, topic, command.offset))
        telling.add(task)
        task.add_done_callback(telling.discard)


async def _tell(socket: AnySocket, upstream: Upstream, topic: Topic, offset: str | None) -> None:
    conversation, handoff = upstream.conversations.find_of(topic.handoff), topic.handoff
    for message in topic.messages(offset):
        if message is None:
            await socket.close()
            return
        await asyncio.sleep(handoff.directives.delay or 0)
        if handoff.stopped:
            break
        await _send(socket, message if isinstance(message, list) else [message])
    else:
        upstream.conversations.over(conversation)
        return
    payload = {"type": "done", "conversation_id": conversation.id, "turn_id": handoff.turn.exchange_id}
    stopped = {"type": "conversation-turn-stream", "payload": payload}
    await _send(socket, [{"type": "message", "topic_id": topic.topic_id, "offset": "0-0", "payload": stopped}])


async def _send(socket: AnySocket, frame: list[Json]) -> None:
    await socket.send_text(msgspec.json.encode(frame).decode())
