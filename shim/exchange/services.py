"""What has to be done for a choice while its answer is under way: links, pictures as data, and the repair turn."""

import base64

import msgspec

from shim.apis.chat.wire import ChatMessage, ChatRequest
from shim.errors import UpstreamError
from shim.exchange.calls import Calls
from shim.exchange.links import Links
from shim.exchange.turns import LiveAnswer, Turns, Wanted
from shim.protocol.events import FileRef, Unusable
from shim.transport.base import read_reply


class Errands:
    """The errands of one exchange. `address` is where its client reaches this gateway."""

    def __init__(
        self, wanted: Wanted, address: str, *, turns: Turns, calls: Calls, links: Links, max_bytes: int
    ) -> None:
        self._wanted, self._address = wanted, address
        self._turns, self._calls, self._links = turns, calls, links
        self._max_bytes = max_bytes

    def link(self, file: FileRef, live: LiveAnswer) -> str:
        """The address under which a client can have `file`."""
        return self._address + self._links.path_of(file, live.lease.account_id, self._turns.now())

    async def fetch(self, file: FileRef, live: LiveAnswer) -> str:
        """`file` as a data URL. Raises GatewayError."""
        response = await self._calls.file(live.lease.identity, file)
        reply = await read_reply(response, self._max_bytes)
        media_type = reply.headers.get("content-type", "").partition(";")[0].strip()
        if not media_type.startswith("image/"):
            raise UpstreamError("Upstream's picture is none", code="upstream_file")
        return f"data:{media_type};base64,{base64.b64encode(reply.body).decode()}"

    async def repair(self, unusable: Unusable, live: LiveAnswer) -> LiveAnswer:
        """Another turn, told what was wrong with the last. Raises GatewayError."""
        request = _told(self._wanted.request, unusable, live.ids() if self._turns.kept else {})
        return await self._turns.open(msgspec.structs.replace(self._wanted, request=request))


def _told(request: ChatRequest, unusable: Unusable, ids: dict[str, str]) -> ChatRequest:
    """The request for the repair turn: the same conversation gone on with where it is kept, else all of it again."""
    complaint = ChatMessage("user", unusable.complaint)
    if ids:
        return msgspec.structs.replace(
            request,
            messages=[complaint],
            conversation_id=ids["conversation_id"],
            parent_message_id=ids["message_id"],
        )
    return msgspec.structs.replace(
        request, messages=[*request.messages, ChatMessage("assistant", unusable.answer), complaint]
    )
