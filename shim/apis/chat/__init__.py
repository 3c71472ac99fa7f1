"""`/v1/chat/completions`: `wire` has the structs, `read` makes a prompt of a request, `write` puts an answer on the
wire, `route` is the path."""

from collections.abc import Mapping

from shim.apis.chat.read import ChatOptions, read
from shim.apis.chat.wire import FIELDS
from shim.apis.chat.write import ChunkWriter, completion
from shim.apis.openai_api import OpenAIApi
from shim.errors import Field
from shim.protocol.api import AnswerInfo, Asked


class ChatApi(OpenAIApi):
    """See `shim.protocol.api.Api`."""

    name = "chat"
    fields: Mapping[Field, str] = FIELDS

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return read(body, strict=strict)

    def stream(self, answer: AnswerInfo, options: ChatOptions) -> ChunkWriter:
        """Chunks."""
        return ChunkWriter(answer, options)

    def whole(self, answer: AnswerInfo, options: ChatOptions) -> bytes:
        """One completion."""
        return completion(answer, options)


CHAT = ChatApi()
