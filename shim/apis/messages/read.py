"""A messages request becomes a prompt. Every `param` an error of this API names is composed here.

Rule: what is wrong with a field, alone or beside the others, is a 400 that names it.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

import msgspec

from shim.apis.chatgpt_extension import continued_by, wishes_of
from shim.apis.decoding import allowed, decode, decoders_of, ignored_fields, missing, written
from shim.apis.messages import wire
from shim.apis.messages.client_tools import tool_of
from shim.errors import RequestError
from shim.protocol.api import Asked
from shim.protocol.models import without_provider
from shim.protocol.prompt import (
    Call,
    Effort,
    File,
    Function,
    FunctionChoice,
    Hint,
    Image,
    JsonAnswer,
    Limits,
    OnlyFunction,
    Prompt,
    PromptMessage,
    Result,
    SourceForm,
    Text,
)
from shim.protocol.turn.inline_files import form_of_url

CALL, TOOL_USE = "call_", "toolu_"
"""What ids of calls begin with: in the core, and in this API"""

# Fields without an effect here, and the values that ask for nothing else than what happens anyway.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "temperature": (1, 1.0),
    "top_p": (1, 1.0),
    "top_k": (),
    "service_tier": ("auto", "standard_only"),
    "container": (),
    "context_management": ({},),
    "mcp_servers": ([],),
}
# Budgets for thinking, in tokens: up to which one an effort is meant.
_BUDGETS: tuple[tuple[int, Effort], ...] = ((4_096, "low"), (16_384, "medium"))
_EFFORTS: dict[str, Effort] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_PDF = "document.pdf"
# Tools of Anthropic's that ChatGPT has itself; their types end in a date. A page that is named it opens as it searches.
_SEARCHES = re.compile(r"web_(?:search|fetch)_\d{8}")
# Tools of Anthropic's own whose calls say nothing that the answer's words, or the list of tools, do not say.
_IN_WORDS = re.compile(r"web_search|web_fetch|tool_search_tool_\w+")
# Tools that run at Anthropic's and can be done without: ChatGPT runs code by itself, and is told of all tools at once.
_MISSABLE = re.compile(r"(code_execution|advisor|tool_search_tool_(?:bm25|regex))(?:_\d{8})?")
_BOUNDS = ("max_uses", "allowed_domains", "blocked_domains", "user_location")
# As a field and not in a text, where the quotes would be escaped.
_CACHING = re.compile(rb'"cache_control"\s*:\s*\{')
_FAILED = "The tool failed:"

Request = TypeVar("Request", bound=wire.CountTokensRequest)
Shown = Text | Image | File


class MessageOptions(msgspec.Struct, frozen=True):
    """What only the writer has to know again: whether thinking is shown, and searches with what they found."""

    thinking: bool = False
    search: bool = False


def read(body: bytes, *, strict: bool = False) -> Asked:
    """The prompt of a request. Raises RequestError (400)."""
    request = decode(_decoder, body)
    ignored = ignored_fields(body, _FIELDS, _NEUTRAL, strict=strict, published=_PUBLISHED)
    stop = request.stop_sequences or []
    if "" in stop:
        raise RequestError("A stop sequence must not be empty.", param="stop_sequences", code="invalid_value")
    prompt = msgspec.structs.replace(
        _prompt(request),
        limits=Limits(tuple(dict.fromkeys(stop)), request.max_tokens),
        stream=bool(request.stream),
        session=request.metadata.user_id if request.metadata else None,  # Claude Code ends it with its session's id
    )
    # The client's own tools have no type, and a coding agent has dozens of them: only the others are looked at.
    typed = [(tool, tool.type) for tool in request.tools or [] if tool.type is not None]
    bounds = {f"tools.{name}" for tool, _ in typed if _is_search(tool) for name in _BOUNDS if getattr(tool, name)}
    missed = {f"tools.{match[1]}" for _, kind in typed if (match := _MISSABLE.fullmatch(kind))}
    budget = (
        {"output_config.task_budget"} if request.output_config and request.output_config.task_budget else set[str]()
    )
    unheard = allowed(sorted(bounds | missed | budget), strict=strict)
    # Caching is never refused, for it changes no answer: with STRICT_PARAMS, too, Claude Code has to work.
    caching = {"cache_control"} if _CACHING.search(body) else set[str]()
    thinking = request.thinking
    shown = thinking is not None and thinking.type != "disabled" and thinking.display != "omitted"
    search = any(kind.startswith("web_search_") for _, kind in typed)
    return Asked(prompt, sorted({*ignored, *unheard, *caching}), MessageOptions(shown, search), counts_first=True)


def read_countable(body: bytes) -> Prompt:
    """The prompt of a request that asks only how long it is. Raises RequestError (400)."""
    return _prompt(decode(_count_decoder, body))


def _prompt(request: wire.CountTokensRequest) -> Prompt:
    if not request.messages:
        raise RequestError("'messages' must not be empty.", param="messages", code="empty_array")
    messages = _messages(request.messages)
    if not messages:
        text = "'messages' says nothing that a model could answer."
        raise RequestError(text, param="messages", code="invalid_value")
    said = request.system or []
    system = [said] if isinstance(said, str) else [block.text for block in said]
    leading = [PromptMessage("system", tuple(map(Text, system)))] if system else []
    functions = _with_changes(_functions(request.tools or [], "tools"), request.messages)
    searches = {tool.name or "" for tool in request.tools or [] if tool.type is not None and _is_search(tool)}
    hints = frozenset[Hint]({"search"} if searches else ())
    choice = request.tool_choice
    config = request.output_config or wire.OutputConfig()
    efforts = [one.output_config.effort for one in request.messages if one.output_config is not None]
    # The last message that says so counts, and only then the request itself.
    effort = next((one for one in reversed(efforts) if one is not None), config.effort)
    form = JsonAnswer(config.format.schema, param="output_config.format.schema") if config.format else None
    return Prompt(
        model=without_provider(request.model),
        messages=(*leading, *messages),
        functions=functions,
        choice=_choice(choice, functions, searches),
        parallel=isinstance(choice, wire.ToolChoiceNone | None) or not choice.disable_parallel_tool_use,
        answer_form=form,
        effort=_EFFORTS[effort] if effort else _effort(request.thinking),
        continues=continued_by(request.chatgpt),
        wishes=wishes_of(request.chatgpt, hints=hints, store=None, tier=None),
    )


def _is_search(tool: wire.GivenTool) -> bool:
    return tool.type is not None and _SEARCHES.fullmatch(tool.type) is not None


def _effort(thinking: wire.Thinking | None) -> Effort | None:
    """None where the model is to see for itself. A chat model that does not think is asked for nothing."""
    if thinking is None or thinking.type != "enabled":
        return None
    if thinking.budget_tokens is None:
        raise missing("thinking.budget_tokens")
    budget = thinking.budget_tokens
    return next((effort for most, effort in _BUDGETS if budget <= most), "high")


def _with_changes(known: dict[str, Function], messages: list[wire.InputMessage]) -> tuple[Function, ...]:
    """The functions that can be called at the end, after what blocks add and take away on the way."""
    callable_now = {**known}
    for place, message in enumerate(messages):
        for at, block in enumerate(message.content if isinstance(message.content, list) else ()):
            match block:
                case wire.GivenToolAddition(tool=wire.NamedTool(name=name)) if name in known:
                    callable_now[name] = known[name]
                case wire.GivenToolAddition(tool=wire.DefinedTool(definition=tool)):
                    field = f"messages[{place}].content[{at}].tool.definition"
                    added = _functions([tool], field, numbered=False)
                    # Known from here on, too: what is taken away may be named again.
                    known |= added
                    callable_now |= added
                case wire.GivenToolRemoval(tool=wire.NamedTool(name=name)):
                    callable_now.pop(name, None)
    return tuple(callable_now.values())


def _functions(tools: list[wire.GivenTool], within: str, *, numbered: bool = True) -> dict[str, Function]:
    """The tools that are functions here, by their names."""
    functions: dict[str, Function] = {}
    for place, tool in enumerate(tools):
        field = f"{within}[{place}]" if numbered else within
        run_by_client = None
        if tool.type is not None:
            # ChatGPT does these by itself: there is nothing that it could call.
            if _is_search(tool) or _MISSABLE.fullmatch(tool.type):
                continue
            run_by_client = tool_of(tool, tool.type)
            if run_by_client is None and tool.type != "custom":
                raise RequestError(
                    f"Tools of the type {tool.type!r:.80} are not served here, only your own (custom), those that you "
                    "run (bash, text_editor, memory, computer) and web search.",
                    param=f"{field}.type",
                    code="unsupported_tool",
                )
        if tool.name is None:
            raise missing(f"{field}.name")
        if tool.name in functions:
            raise RequestError(f"There are two tools called '{tool.name}'.", param=f"{field}.name", code="duplicate")
        about, schema = run_by_client or (tool.description, tool.input_schema)
        functions[tool.name] = Function(tool.name, f"{field}.input_schema", about, schema)
    return functions


def _choice(choice: wire.AnyToolChoice | None, functions: tuple[Function, ...], searches: set[str]) -> FunctionChoice:
    """`searches` are the names of tools that ChatGPT uses itself: whether it does can't be ordered."""
    match choice:
        case wire.ToolChoiceNone():
            return "none"
        case wire.ToolChoiceTool(name=name) if name in searches:
            return "auto"
        case wire.ToolChoiceAny() if searches:
            return "auto"
        case wire.ToolChoiceAny() | wire.ToolChoiceTool() if not functions:
            raise RequestError("'tool_choice' needs 'tools'.", param="tool_choice", code="invalid_value")
        case wire.ToolChoiceAny():
            return "required"
        case wire.ToolChoiceTool(name=name):
            if all(function.name != name for function in functions):
                raise RequestError(
                    f"There is no tool called '{name[:128]}' in 'tools'.",
                    param="tool_choice.name",
                    code="invalid_value",
                )
            return OnlyFunction(name)
        case _:
            return "auto"


# --- messages ---------------------------------------------------------------------------------------------------------


def _messages(messages: list[wire.InputMessage]) -> list[PromptMessage]:
    """Each message; where one of the user's holds results, those in messages of their own, in the order they came."""
    said: list[PromptMessage] = []
    for place, message in enumerate(messages):
        if isinstance(message.content, str):
            said.append(PromptMessage(message.role, (Text(message.content),)))
        elif message.content is not None:
            field = f"messages[{place}].content"
            placed = [(block, f"{field}[{at}]") for at, block in enumerate(message.content)]
            for is_result, run in groupby(placed, lambda one: isinstance(one[0], wire.GivenResult)):
                parts: list[Shown | Call | Result] = []
                for block, where in run:
                    parts += _parts(block, where)
                if parts:  # thinking alone leaves nothing
                    said.append(PromptMessage("tool" if is_result else message.role, tuple(parts)))
        elif message.role != "system" or message.output_config is None:
            raise missing(f"messages[{place}].content")
    return said


def _parts(block: wire.InputBlock, field: str) -> Sequence[Shown | Call | Result]:
    """What is shown of a block; nothing of those whose structs say why."""
    match block:
        case wire.GivenText() | wire.GivenImage() | wire.GivenDocument() | wire.GivenSearchResult():
            return _block(block, field)
        case wire.GivenToolUse(id=id, name=name, input=given):
            part: Shown | Call | Result = Call(_call_id(id), name, written(given))
        case wire.GivenMcpUse(id=id, name=name, input=given, server_name=server):
            part = Call(id, f"{server}.{name}", written(given))
        case wire.GivenOwnUse(id=id, name=name, input=given) if not _IN_WORDS.fullmatch(name):
            part = Call(id, name, written(given))
        case wire.GivenToolResult(tool_use_id=id) | wire.GivenMcpResult(tool_use_id=id):
            # In words: what goes upstream has no other way to tell that a tool failed.
            failed = (Text(_FAILED),) if block.is_error else ()
            part = Result(_call_id(id), None, (*failed, *_shown(block.content or "", f"{field}.content")))
        case wire.OwnResult(tool_use_id=id, content=content):
            # What is encrypted only Anthropic could read.
            told = {name: value for name, value in content.items() if not name.startswith("encrypted_")}
            part = Result(id, None, (Text(written(told)),))
        case wire.GivenSummary(content=str() as summary):
            part = Text(f"What was said before, summed up:\n\n{summary}")
        case wire.GivenUpload(file_id=id):
            part = File(id, "file_id", f"{field}.file_id")
        case _:
            return ()
    return (part,)


def _shown(content: str | Sequence[wire.ReturnedBlock], field: str) -> list[Shown]:
    if isinstance(content, str):
        return [Text(content)]
    return [part for place, block in enumerate(content) for part in _block(block, f"{field}[{place}]")]


def _block(block: wire.ReturnedBlock, field: str) -> Sequence[Shown]:
    match block:
        case wire.GivenText(text=text) | wire.GivenToolReference(tool_name=text):
            return (Text(text),)
        case wire.GivenSearchResult(source=source, title=title, content=texts):
            return (Text("\n".join([f"{title} ({source})", *[one.text for one in texts]])),)
        case wire.GivenImage(source=source):
            return (Image(*_content_of(source, f"{field}.source")),)
        case wire.GivenBrowserState(tabs=tabs, state_changes=changes):
            return (Text(written({"tabs": tabs, **({"state_changes": changes} if changes else {})})),)
        case wire.GivenDocument():
            return _document(block, f"{field}.source")


def _document(document: wire.GivenDocument, field: str) -> list[Shown]:
    """What the client says of it, and then the document."""
    title, about = document.title, [document.context] if document.context else []
    match document.source:
        case wire.PlainSource(data=data):
            return [Text("\n".join([*([title] if title else []), *about, data]))]
        case wire.ContentSource(content=content):
            return [*map(Text, [*([title] if title else []), *about]), *_shown(content, f"{field}.content")]
        case source:
            # Bare data of a document is always a PDF in this API; upstream tells files apart by their names.
            name = title or (_PDF if isinstance(source, wire.Base64Source) else None)
            return [*map(Text, about), File(*_content_of(source, field), name)]


def _content_of(
    source: wire.Base64Source | wire.UrlSource | wire.UploadedSource, field: str
) -> tuple[str, SourceForm, str]:
    """Where a picture or a file is to be had, and the name of the field that says so."""
    match source:
        case wire.Base64Source(data=data):
            return data, "base64", f"{field}.data"
        case wire.UrlSource(url=url):
            return url.strip(), form_of_url(url), f"{field}.url"
        case wire.UploadedSource(file_id=id):
            return id, "file_id", f"{field}.file_id"


def _call_id(id: str) -> str:
    """The core's name of a call, which this API calls by another prefix."""
    # One of another service stays as it is: all it has to do is to match that of its result.
    return CALL + id.removeprefix(TOOL_USE) if id.startswith(TOOL_USE) else id


_PUBLISHED = decoders_of(wire.WithoutBearing)
_FIELDS = frozenset(wire.MessagesRequest.__struct_fields__)
_decoder = msgspec.json.Decoder(wire.MessagesRequest)
_count_decoder = msgspec.json.Decoder(wire.CountTokensRequest)
