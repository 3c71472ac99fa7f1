"""`/v1/completions`: text in, text out, for clients of the older API."""

from collections.abc import Mapping

from shim.apis.completions.read import CompletionOptions, read
from shim.apis.completions.wire import FIELDS
from shim.apis.completions.write import TextWriter, completion
from shim.apis.openai_api import OpenAIApi
from shim.errors import Field
from shim.protocol.api import AnswerInfo, Asked


class CompletionsApi(OpenAIApi):
    """See `shim.protocol.api.Api`."""

    name = "completions"
    fields: Mapping[Field, str] = FIELDS

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return read(body, strict=strict)

    def stream(self, answer: AnswerInfo, options: CompletionOptions) -> TextWriter:
        """Lines of text completions."""
        return TextWriter(answer, options)

    def whole(self, answer: AnswerInfo, options: CompletionOptions) -> bytes:
        """One text completion."""
        return completion(answer, options)


COMPLETIONS = CompletionsApi()
