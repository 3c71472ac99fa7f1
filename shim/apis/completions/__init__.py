"""`/v1/completions`: text in, text out, for clients of the older API."""

from collections.abc import Mapping

from shim.apis.completions.read import read as read_completions
from shim.apis.completions.wire import FIELDS
from shim.apis.completions.write import TextWriter, completion
from shim.apis.openai_api import OpenAIApi
from shim.errors import Field


class CompletionsApi(OpenAIApi):
    """See `shim.protocol.api.Api`."""

    name = "completions"
    fields: Mapping[Field, str] = FIELDS

    # As they are, not wrapped: each wrapper would be one call more of every request.
    read = staticmethod(read_completions)
    stream = staticmethod(TextWriter)
    whole = staticmethod(completion)


COMPLETIONS = CompletionsApi()
