"""The filters that carry out what a prompt asks for, in their order.

    stop sequences ──> token limit ──> tool calls ──> JSON ──> writer

Rule: a prompt that asks for nothing of it has no filters, and pays nothing. What an API puts before them is the API's
own; for those whose answer is one text it is Markdown (`markdown_filters`).
"""

from collections.abc import Callable
from typing import Any

import msgspec

from shim.protocol.events import FileRef
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.call_blocks import Marks
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.json_answer import JsonText
from shim.protocol.shaping.markdown import Markdown
from shim.protocol.shaping.stop import StopSequences
from shim.protocol.shaping.token_limit import Certain, Count, Cut, TokenLimit
from shim.protocol.shaping.tool_calls import ToolCalls


class FilterDependencies(msgspec.Struct, frozen=True):
    """What filters need of the world: the tokenizer, ids (UUIDs), and a check of a value against a JSON schema."""

    count: Count
    cut: Cut
    certain: Certain
    new_id: Callable[[], str]
    validate: Callable[[dict[str, Any], Any], str | None]


def markdown_filters(prompt: Prompt, needs: FilterDependencies, link: Callable[[FileRef], str]) -> list[Filter]:
    """The same for an API whose answer is one text: code, pictures and citations become Markdown first."""
    return [Markdown(link), *filters_for(prompt, needs)]


def filters_for(prompt: Prompt, needs: FilterDependencies) -> list[Filter]:
    """The filters for one choice of the answer to `prompt`."""
    filters: list[Filter] = []
    limits = prompt.limits
    # The limits look at the text as the model wrote it, so they come before what takes calls and JSON out of it. Stop
    # sequences come first of all: what lies behind one is not part of the answer and must not count as its tokens.
    if limits.stop:
        filters.append(StopSequences(limits.stop))
    if limits.max_tokens:
        filters.append(TokenLimit(limits.max_tokens, needs.count, needs.cut, needs.certain))
    if functions := prompt.callable_functions:
        filters.append(
            ToolCalls(
                functions,
                prompt.choice,
                parallel=prompt.parallel,
                new_id=needs.new_id,
                validate=needs.validate,
                marks=Marks(prompt.mark_key),
            )
        )
    if prompt.answer_form is not None:
        # Nothing can be taken back from a stream, so only whole answers are held until they are known to be right.
        filters.append(JsonText(prompt.answer_form, validate=needs.validate, hold=not prompt.stream))
    return filters
