"""`/v1/completions`: text in, text out, for clients of the older API."""

from collections.abc import Mapping

from shim.apis import openai_errors
from shim.apis.completions.read import CompletionOptions, read
from shim.apis.completions.wire import FIELDS
from shim.apis.completions.write import TextWriter, completion
from shim.errors import Field, GatewayError
from shim.protocol.api import AnswerInfo, Asked, LinkTo
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.markdown import Markdown
from shim.protocol.shaping.pipeline import FilterDependencies, filters_for


class CompletionsApi:
    """See `shim.protocol.api.Api`."""

    name = "completions"
    fields: Mapping[Field, str] = FIELDS

    def credential(self, headers: Mapping[str, str]) -> str | None:
        """The bearer."""
        return headers.get("authorization")

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return read(body, strict=strict)

    def filters(self, prompt: Prompt, needs: FilterDependencies, link: LinkTo) -> list[Filter]:
        """One Markdown text first, for text is all there is."""
        return [Markdown(link), *filters_for(prompt, needs)]

    def stream(self, answer: AnswerInfo, options: CompletionOptions) -> TextWriter:
        """Lines of text completions."""
        return TextWriter(answer, options)

    def whole(self, answer: AnswerInfo, options: CompletionOptions) -> bytes:
        """One text completion."""
        return completion(answer, options)

    def break_off(self, error: GatewayError) -> bytes:
        """The in-band error."""
        return openai_errors.error_line(error, FIELDS)

    def refuse(self, error: GatewayError) -> tuple[dict[str, str], bytes]:
        """OpenAI's envelope."""
        return openai_errors.refuse(error, FIELDS)


COMPLETIONS = CompletionsApi()
