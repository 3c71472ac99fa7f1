"""`/v1/chat/completions`: `wire` has the structs, `read` makes a prompt of a request, `write` puts an answer on the
wire, `route` is the path."""

from collections.abc import Mapping

from shim.apis.chat.read import read as read_chat
from shim.apis.chat.wire import FIELDS
from shim.apis.chat.write import ChunkWriter, completion
from shim.apis.openai_api import OpenAIApi
from shim.errors import Field


class ChatApi(OpenAIApi):
    """See `shim.protocol.api.Api`."""

    name = "chat"
    fields: Mapping[Field, str] = FIELDS

    # As they are, not wrapped: each wrapper would be one call more of every request.
    read = staticmethod(read_chat)
    stream = staticmethod(ChunkWriter)
    whole = staticmethod(completion)


CHAT = ChatApi()
