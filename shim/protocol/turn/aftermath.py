"""What is still to be told upstream when a turn is over, or about the chat it began (protocol.md 4.3, 4.5, 4.7, 7.5).

Rule: generators of commands, like the handshake. Nobody waits for them, and what they say is not needed by anyone: a
refusal is the caller's to log.
"""

from urllib.parse import quote

import msgspec

from shim.protocol.commands import Handshake, HttpRequest, ask
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream


def stop(upstream: Upstream, conversation_id: str) -> Handshake[None]:
    """End what a turn goes on doing in the background: closing its stream ends only a turn that is told in it."""
    body = {"conversation_id": conversation_id, "exclude_async_types": []}
    yield from _tell(upstream.post("stop_conversation", _encode(body)))


def delete(upstream: Upstream, conversation_id: str) -> Handshake[None]:
    """Take a chat out of the account's list, for good."""
    yield from _tell(upstream.patch(_path(conversation_id), _encode({"is_visible": False})))


def archive(upstream: Upstream, conversation_id: str) -> Handshake[None]:
    """Take a chat out of the account's list, with all that was made in it still there."""
    yield from _tell(upstream.patch(_path(conversation_id), _encode({"is_archived": True})))


def keep_out_of_memory(upstream: Upstream, conversation_id: str) -> Handshake[None]:
    """Let nothing of a kept chat get into the account's memory. The turn's own field for that has no effect (4.7)."""
    yield from _tell(upstream.patch(_path(conversation_id), _encode({"is_do_not_remember": True})))


def _path(conversation_id: str) -> str:
    return f"conversation/{quote(conversation_id, safe='')}"


def _tell(request: HttpRequest) -> Handshake[None]:
    reply = yield from ask(request)
    if reply.status >= 300:
        raise refusal_of(reply.status, reply.headers, reply.body)


_encode = msgspec.json.Encoder().encode
