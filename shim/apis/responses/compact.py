"""`POST /v1/responses/compact`: a history becomes one item that says what it came to.

    the items, and a request to sum them up ──> one turn upstream, in a temporary chat ──> a `compaction` item

Rule: the item is the client's to keep, and nothing is kept here. It is opaque and no secret: who has it can read it, as
they could the history.
"""

import msgspec

from shim.apis.responses import ResponsesApi, wire
from shim.apis.responses.items import sealed_summary
from shim.apis.responses.options import ResponseOptions
from shim.apis.responses.read import read_compaction
from shim.apis.responses.write import PREFIX, item_id, usage_on_wire
from shim.protocol.api import AnswerInfo, Asked


class CompactionApi(ResponsesApi):
    """The part of the Responses API that differs for this call. It is never streamed."""

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return read_compaction(body, strict=strict)

    def whole(self, answer: AnswerInfo, options: ResponseOptions | None) -> bytes:
        """The summary as an item."""
        item = wire.CompactionItem(item_id("cmp", answer.id, 0), sealed_summary(answer.transcripts[0].text))
        usage = usage_on_wire(answer.usage)
        return msgspec.json.encode(wire.CompactedResponse(PREFIX + answer.id, answer.created, [item], usage))


COMPACTION = CompactionApi()
