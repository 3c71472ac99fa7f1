"""What OpenAI's APIs for text have in common: a bearer, one Markdown text, and OpenAI's errors."""

from collections.abc import Mapping

from shim.apis import openai_errors
from shim.errors import Field, GatewayError
from shim.protocol.api import LinkTo
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.pipeline import FilterDependencies, markdown_filters


class OpenAIApi:
    """The part of an `Api` (see `shim.protocol.api`) that they share."""

    fields: Mapping[Field, str]

    def credential(self, headers: Mapping[str, str]) -> str | None:
        """The bearer."""
        return headers.get("authorization")

    def filters(self, prompt: Prompt, needs: FilterDependencies, link: LinkTo) -> list[Filter]:
        """One Markdown text first: there is nothing else to put code and pictures in."""
        return markdown_filters(prompt, needs, link)

    def break_off(self, error: GatewayError) -> bytes:
        """The in-band error."""
        return openai_errors.error_line(error, self.fields)

    def refuse(self, error: GatewayError) -> tuple[dict[str, str], bytes]:
        """OpenAI's envelope."""
        return openai_errors.refuse(error, self.fields)
