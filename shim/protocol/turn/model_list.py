"""Asking upstream which models there are (protocol.md 7.1)."""

from shim.chatgpt.models import listing_decoder
from shim.errors import UpstreamError
from shim.protocol.commands import Handshake, HttpReply, Send
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream


def list_models(upstream: Upstream) -> Handshake[tuple[str, ...]]:
    """The slugs the identity may use, in upstream's order. Raises GatewayError."""
    reply = yield Send(upstream.get("models?history_and_training_disabled=false"))
    assert isinstance(reply, HttpReply)  # noqa: S101  the driver's contract (commands.py)
    if reply.status != 200:
        raise refusal_of(reply.status, reply.headers, reply.body)
    try:
        return tuple(model.slug for model in listing_decoder.decode(reply.body).models)
    except (ValueError, RecursionError) as error:
        raise UpstreamError("Upstream's model list can't be read", code="upstream_models") from error
