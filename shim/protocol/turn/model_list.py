"""Asking upstream which models there are (protocol.md 7.1)."""

from shim.chatgpt.models import listing_decoder
from shim.errors import UpstreamError
from shim.protocol.catalog import Catalog, read_catalog
from shim.protocol.commands import Handshake, ask
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream

_PATH = "models?iim=false&is_gizmo=false&supports_model_picker_upgrade_presets=true"


def list_models(upstream: Upstream) -> Handshake[Catalog]:
    """What the identity may use, in upstream's order. Raises GatewayError."""
    reply = yield from ask(upstream.get(_PATH))
    if reply.status != 200:
        raise refusal_of(reply.status, reply.headers, reply.body)
    try:
        return read_catalog(listing_decoder.decode(reply.body))
    except (ValueError, RecursionError) as error:
        raise UpstreamError("Upstream's model list can't be read", code="upstream_models") from error
