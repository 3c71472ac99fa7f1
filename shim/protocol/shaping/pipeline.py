"""The stages a request asks for between the answer's Markdown and the renderer, in their order.

    Markdown ──> stop sequences ──> token limit ──> tool calls ──> JSON ──> renderer

Rule: a request that asks for nothing of it has no stages, and pays nothing.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from shim.apis.chat.wire import ChatRequest, JsonObjectFormat, JsonSchemaFormat
from shim.protocol.shaping.filter import Stage
from shim.protocol.shaping.json_answer import Structured
from shim.protocol.shaping.limits import Count, Cut, StopSequences, TokenLimit
from shim.protocol.shaping.tool_calls import ToolCalls


class Means(msgspec.Struct, frozen=True):
    """What stages need of the world: the tokenizer, ids (UUIDs), and a check of a value against a JSON schema."""

    count: Count
    cut: Cut
    new_id: Callable[[], str]
    validate: Callable[[dict[str, Any], Any], str | None]


def stages_for(request: ChatRequest, means: Means) -> list[Stage]:
    """The stages for one choice of `request`."""
    stages: list[Stage] = []
    if stops := stops_of(request):
        stages.append(StopSequences(stops))
    if limit := request.max_completion_tokens or request.max_tokens:
        stages.append(TokenLimit(limit, means.count, means.cut))
    choice = request.tool_choice or "auto"
    if request.tools and choice != "none":
        parallel = request.parallel_tool_calls is not False
        stages.append(ToolCalls(request.tools, choice, parallel=parallel, new_id=means.new_id, validate=means.validate))
    if isinstance(request.response_format, JsonObjectFormat | JsonSchemaFormat):
        stages.append(Structured(request.response_format, validate=means.validate, hold=not request.stream))
    return stages


def stops_of(request: ChatRequest) -> tuple[str, ...]:
    """The stop sequences, each once."""
    stop = request.stop or ()
    return (stop,) if isinstance(stop, str) else tuple(dict.fromkeys(stop))
