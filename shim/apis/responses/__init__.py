"""`/v1/responses`: `wire` has the structs, `items`, `tools` and `read` make a prompt of a request, `write` puts an
answer on the wire, `route` has the paths."""

from collections.abc import Mapping

from shim.apis.openai_api import OpenAIApi
from shim.apis.responses.options import ResponseOptions
from shim.apis.responses.read import read
from shim.apis.responses.wire import FIELDS
from shim.apis.responses.write import EventWriter, broken, whole
from shim.errors import Field, GatewayError
from shim.protocol.api import AnswerInfo, Asked, LinkTo
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.markdown import Markdown
from shim.protocol.shaping.pipeline import FilterDependencies, filters_for


class ResponsesApi(OpenAIApi):
    """See `shim.protocol.api.Api`."""

    name = "responses"
    fields: Mapping[Field, str] = FIELDS

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return read(body, strict=strict)

    def filters(self, prompt: Prompt, needs: FilterDependencies, link: LinkTo) -> list[Filter]:
        """One Markdown text first, but for pictures where the client has asked for the tool that makes them."""
        pictures = "image_generation" not in prompt.builtins
        return [Markdown(link, pictures=pictures), *filters_for(prompt, needs)]

    def stream(self, answer: AnswerInfo, options: ResponseOptions) -> EventWriter:
        """Events of a response."""
        return EventWriter(answer, options)

    def whole(self, answer: AnswerInfo, options: ResponseOptions) -> bytes:
        """One response."""
        return whole(answer, options)

    def break_off(self, error: GatewayError) -> bytes:
        """The event of an error."""
        return broken(error)


RESPONSES = ResponsesApi()
