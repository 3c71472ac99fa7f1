"""Text completions in the OpenAPI document, with examples that tests decode."""

import msgspec

from shim.apis.completions.wire import TextChoice, TextCompletion, TextCompletionRequest
from shim.apis.data_lines import DONE
from shim.apis.openai_usage import CompletionUsage
from shim.http.openapi import EVENTS, JSON, OpenApiOperation

_ASK = {"model": "auto", "prompt": "Say hello"}
_WHOLE = TextCompletion(
    "cmpl-1", 1741288944, "auto", [TextChoice("Hello!", finish_reason="stop")], usage=CompletionUsage(8, 2, 10)
)
_LINES = [
    TextCompletion("cmpl-1", 1741288944, "auto", [choice])
    for choice in (TextChoice("Hello!"), TextChoice("", finish_reason="stop"))
]
_STREAM = "".join(f"data: {msgspec.json.encode(line).decode()}\n\n" for line in _LINES) + DONE.decode()

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/completions",
        "createCompletion",
        "Answer one text: whole, or with `stream` as events.",
        takes=TextCompletionRequest,
        examples={"whole": _ASK, "streamed": _ASK | {"stream": True, "echo": True}},
        gives={JSON: TextCompletion, EVENTS: str},
        example={JSON: _WHOLE, EVENTS: _STREAM},
        event=TextCompletion,
        about_events=(
            "Each `data:` line is a TextCompletion. The last is `[DONE]`, or an ErrorEnvelope where the answer broke "
            "off. Comments (lines that begin with `:`) keep the connection alive."
        ),
        errors=(400, 401, 403, 404, 413, 429, 502, 503, 504),
    ),
)
