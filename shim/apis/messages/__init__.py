"""`/v1/messages`: the Anthropic API, which Claude Code and the anthropic SDK speak."""

from collections.abc import Mapping

from shim.apis.messages import errors
from shim.apis.messages.read import MessageOptions, read
from shim.apis.messages.wire import FIELDS
from shim.apis.messages.write import MessageWriter, message
from shim.errors import Field, GatewayError
from shim.protocol.api import AnswerInfo, Asked, LinkTo
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.pipeline import FilterDependencies, markdown_filters


class MessagesApi:
    """See `shim.protocol.api.Api`. One for each request, because this API's errors name the request (`id`)."""

    name = "messages"
    fields: Mapping[Field, str] = FIELDS

    def __init__(self, id: str | None = None) -> None:
        self._id = id

    def credential(self, headers: Mapping[str, str]) -> str | None:
        """The key as this API sends it, or a bearer, which its clients send tokens as."""
        return headers.get("x-api-key") or headers.get("authorization")

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return read(body, strict=strict)

    def filters(self, prompt: Prompt, needs: FilterDependencies, link: LinkTo) -> list[Filter]:
        """One Markdown text first, for blocks have nothing else to put code and pictures in."""
        return markdown_filters(prompt, needs, link)

    def stream(self, answer: AnswerInfo, options: MessageOptions) -> MessageWriter:
        """Events of a message."""
        return MessageWriter(answer, options, self._id)

    def whole(self, answer: AnswerInfo, options: MessageOptions) -> bytes:
        """One message."""
        return message(answer, options)

    def break_off(self, error: GatewayError) -> bytes:
        """The event of an error."""
        return errors.event_of(error, self._id)

    def refuse(self, error: GatewayError) -> tuple[dict[str, str], bytes]:
        """Anthropic's envelope."""
        return errors.refuse(error, self._id)


MESSAGES = MessagesApi()
