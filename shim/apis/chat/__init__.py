"""`/v1/chat/completions`: `wire` has the structs, `read` makes a prompt of a request, `write` puts an answer on the
wire, `route` is the path."""

from collections.abc import Mapping

from shim.apis import openai_errors
from shim.apis.chat.read import ChatOptions, read
from shim.apis.chat.wire import FIELDS
from shim.apis.chat.write import ChunkWriter, completion
from shim.errors import Field, GatewayError
from shim.protocol.api import AnswerInfo, Asked, LinkTo
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.markdown import Markdown
from shim.protocol.shaping.pipeline import FilterDependencies, filters_for


class ChatApi:
    """See `shim.protocol.api.Api`."""

    name = "chat"
    fields: Mapping[Field, str] = FIELDS

    def credential(self, headers: Mapping[str, str]) -> str | None:
        """The bearer."""
        return headers.get("authorization")

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return read(body, strict=strict)

    def filters(self, prompt: Prompt, needs: FilterDependencies, link: LinkTo) -> list[Filter]:
        """One Markdown text first, for a chat message has nothing else to put code and pictures in."""
        return [Markdown(link), *filters_for(prompt, needs)]

    def stream(self, answer: AnswerInfo, options: ChatOptions) -> ChunkWriter:
        """Chunks."""
        return ChunkWriter(answer, options)

    def whole(self, answer: AnswerInfo, options: ChatOptions) -> bytes:
        """One completion."""
        return completion(answer, options)

    def break_off(self, error: GatewayError) -> bytes:
        """The in-band error."""
        return openai_errors.error_line(error)

    def refuse(self, error: GatewayError) -> tuple[dict[str, str], bytes]:
        """OpenAI's envelope."""
        return openai_errors.refuse(error, FIELDS)


CHAT = ChatApi()
