"""`/v1/messages` of the Anthropic API: the request, the message, and the events of a stream.

Rule: a request field that is declared here is honoured, or refused by name where honouring it can't be done; one that
is not declared is reported as ignored. What blocks say of caching is read over: nothing is cached here.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shim.apis.answered_by import AnsweredByChatgpt
from shim.apis.chatgpt_extension import ChatgptWishes
from shim.errors import Field

FIELDS = {Field.PROMPT: "messages", Field.MODEL: "model", Field.EFFORT: "thinking"}
"""What this API calls the fields that the core knows"""

MessageEffort = Literal["low", "medium", "high", "xhigh", "max"]
# `$` alone would allow a line end behind it.
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$(?!\n)")]

# --- request ----------------------------------------------------------------------------------------------------------


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    """The bytes themselves. What they are is told by the bytes, not by `media_type`."""

    data: str
    media_type: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """Where to fetch it."""

    url: str


class PlainSource(msgspec.Struct, frozen=True, tag="text"):
    """A document that is its text."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class UploadedSource(msgspec.Struct, frozen=True, tag="file"):
    """A file uploaded before (`/v1/files`)."""

    file_id: str


class GivenText(msgspec.Struct, frozen=True, tag="text"):
    """`{"type": "text", "text": ...}`"""

    text: str


class GivenImage(msgspec.Struct, frozen=True, tag="image"):
    """A picture."""

    source: Base64Source | UrlSource | UploadedSource


class ContentSource(msgspec.Struct, frozen=True, tag="content"):
    """A document in blocks."""

    content: str | list[GivenText | GivenImage]


class GivenDocument(msgspec.Struct, frozen=True, tag="document"):
    """A PDF or a text, with what the client says of it."""

    source: Base64Source | UrlSource | PlainSource | ContentSource | UploadedSource
    title: str | None = None
    context: str | None = None


class GivenSearchResult(msgspec.Struct, frozen=True, tag="search_result"):
    """What a search of the client's found."""

    source: str
    title: str
    content: list[GivenText]


class GivenThinking(msgspec.Struct, frozen=True, tag="thinking"):
    """An answer's earlier thinking, sent back: it does not go upstream again."""

    thinking: str
    signature: str | None = None


class RedactedThinking(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """The same, of an API that hid it."""

    data: str


class GivenToolUse(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call in the assistant's history."""

    id: str
    name: str
    input: dict[str, Any]


class GivenOwnUse(msgspec.Struct, frozen=True, tag="server_tool_use"):
    """A call of a tool that the API ran itself in an earlier answer. What a search was for is in the answer's words."""

    id: str
    name: str = "web_search"
    input: dict[str, Any] = {}


class GivenMcpUse(msgspec.Struct, frozen=True, tag="mcp_tool_use"):
    """A call of an MCP server's tool in an earlier answer."""

    id: str
    name: str
    input: dict[str, Any]
    server_name: str


class GivenMcpResult(msgspec.Struct, frozen=True, tag="mcp_tool_result"):
    """What it returned."""

    tool_use_id: str
    content: str | list[GivenText] | None = None
    is_error: bool | None = None


class OwnResult(msgspec.Struct, frozen=True):
    """What a tool of the API's returned, in a form of its own: shown as it is, but for what is encrypted."""

    tool_use_id: str
    content: dict[str, Any]


class GivenCodeResult(OwnResult, frozen=True, tag="code_execution_tool_result"):
    """Of code that Anthropic ran."""


class GivenShellResult(OwnResult, frozen=True, tag="bash_code_execution_tool_result"):
    """Of a command there."""


class GivenEditorResult(OwnResult, frozen=True, tag="text_editor_code_execution_tool_result"):
    """Of a file there."""


class GivenAdvice(OwnResult, frozen=True, tag="advisor_tool_result"):
    """Of another model."""


class GivenUpload(msgspec.Struct, frozen=True, tag="container_upload"):
    """A file for a container: shown as any uploaded one."""

    file_id: str


class GivenSummary(msgspec.Struct, frozen=True, tag="compaction"):
    """What was said before, summed up; without words it came to nothing."""

    content: str | None = None


class GivenFoundPages(msgspec.Struct, frozen=True, tag="web_search_tool_result"):
    """What a search has found: in the answer's words, with its links."""


class GivenFetchedPage(msgspec.Struct, frozen=True, tag="web_fetch_tool_result"):
    """A page that was opened: the same."""


class GivenFoundTools(msgspec.Struct, frozen=True, tag="tool_search_tool_result"):
    """Tools that were found: they are told with all others."""


class GivenListing(msgspec.Struct, frozen=True, tag="mcp_tool_listing"):
    """The tools of an MCP server, which can't be called here."""


class GivenFallback(msgspec.Struct, frozen=True, tag="fallback"):
    """Where another model went on: nothing that is said, at Anthropic's neither."""


class GivenToolAddition(msgspec.Struct, frozen=True, tag="tool_addition"):
    """A tool that can be called from here on."""

    tool: "ToolChange"


class GivenToolRemoval(msgspec.Struct, frozen=True, tag="tool_removal"):
    """One that can't any more."""

    tool: "ToolChange"


class GivenToolReference(msgspec.Struct, frozen=True, tag="tool_reference"):
    """A tool's name, as the result of a search for tools."""

    tool_name: str


class GivenBrowserState(msgspec.Struct, frozen=True, tag="browser_state"):
    """What tabs the client's browser has open."""

    tabs: list[Any]
    state_changes: list[Any] | None = None


ShownBlock = GivenText | GivenImage | GivenDocument | GivenSearchResult
ReturnedBlock = ShownBlock | GivenToolReference | GivenBrowserState


class GivenToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """What a tool returned."""

    tool_use_id: str
    content: str | list[ReturnedBlock] | None = None
    is_error: bool | None = None


GivenResult = GivenToolResult | GivenMcpResult | OwnResult
"""What a tool returned, whoever ran it"""

InputBlock = (
    GivenText
    | GivenImage
    | GivenDocument
    | GivenSearchResult
    | GivenThinking
    | RedactedThinking
    | GivenToolUse
    | GivenToolResult
    | GivenOwnUse
    | GivenMcpUse
    | GivenMcpResult
    | GivenCodeResult
    | GivenShellResult
    | GivenEditorResult
    | GivenAdvice
    | GivenUpload
    | GivenSummary
    | GivenFoundPages
    | GivenFetchedPage
    | GivenFoundTools
    | GivenListing
    | GivenFallback
    | GivenToolAddition
    | GivenToolRemoval
)


class MessageConfig(msgspec.Struct, frozen=True):
    """How hard to try from a message on."""

    effort: MessageEffort | None = None


class InputMessage(msgspec.Struct, frozen=True):
    """One message of the history. One of the system's may say nothing but its `output_config`."""

    role: Literal["user", "assistant", "system"]
    content: str | list[InputBlock] | None = None
    output_config: MessageConfig | None = None


class GivenTool(msgspec.Struct, frozen=True):
    """A tool: the client's own (`custom`), or one of Anthropic's, told by another `type`; toolsets have no name.
    Searching the web ChatGPT does itself; how it is to be bounded (`max_uses` and the three after it) can't be told to
    it. The last two are of a screen that the client has."""

    name: ToolName | None = None
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    type: str | None = None
    max_uses: int | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: dict[str, Any] | None = None
    display_width_px: int | None = None
    display_height_px: int | None = None


class NamedTool(msgspec.Struct, frozen=True, tag="tool_reference"):
    """A tool that `tools` has, or an earlier block."""

    name: str


class NamedMcpTool(msgspec.Struct, frozen=True, tag="mcp_tool_reference"):
    """A tool of an MCP server, which can't be called here."""


class NamedToolset(msgspec.Struct, frozen=True, tag="mcp_toolset_reference"):
    """All of such a server's: the same."""


class DefinedTool(msgspec.Struct, frozen=True, tag="tool_definition"):
    """A tool itself."""

    definition: GivenTool


ToolChange = NamedTool | NamedMcpTool | NamedToolset | DefinedTool


class ToolChoiceAuto(msgspec.Struct, frozen=True, tag="auto"):
    """Call where it helps."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceAny(msgspec.Struct, frozen=True, tag="any"):
    """Call at least one."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceTool(msgspec.Struct, frozen=True, tag="tool"):
    """Call this one."""

    name: str
    disable_parallel_tool_use: bool | None = None


class ToolChoiceNone(msgspec.Struct, frozen=True, tag="none"):
    """Call none."""


AnyToolChoice = ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone


class Thinking(msgspec.Struct, frozen=True):
    """Whether to think, and how much: a budget, or as the model sees fit."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None
    display: Literal["summarized", "omitted", "updates"] | None = None


class SchemaFormat(msgspec.Struct, frozen=True, tag="json_schema"):
    """JSON that fits a schema."""

    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, frozen=True):
    """How hard to try, and the form of the answer."""

    effort: MessageEffort | None = None
    format: SchemaFormat | None = None
    task_budget: dict[str, Any] | None = None


class GivenMetadata(msgspec.Struct, frozen=True):
    """Who the client's own user is."""

    user_id: str | None = None


class CountTokensRequest(msgspec.Struct, frozen=True):
    """What is to be counted: a request without what concerns only its answer."""

    model: str
    messages: list[InputMessage]
    system: str | list[GivenText] | None = None
    tools: Annotated[list[GivenTool], Meta(max_length=512)] | None = None
    tool_choice: AnyToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    chatgpt: ChatgptWishes | None = None


class MessagesRequest(CountTokensRequest, frozen=True, kw_only=True):
    """A request for a message, as far as it is honoured."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    # Each is looked for in all of the answer, so that there has to be an end to them.
    stop_sequences: Annotated[list[str], Meta(max_length=64)] | None = None
    # Accepted, as the real API does, and without effect on the answer.
    metadata: GivenMetadata | None = None


class WithoutBearing(msgspec.Struct, frozen=True):
    """Fields of the published schema that have no effect here: what they may be."""

    service_tier: Literal["auto", "standard_only"] | None = None
    # The published bounds: what the real API would refuse is a mistake here too, and the client should hear of it.
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None


# --- answer -----------------------------------------------------------------------------------------------------------


class OwnToolsUsed(msgspec.Struct, frozen=True):
    """How often ChatGPT has used tools of its own."""

    web_search_requests: int
    web_fetch_requests: int = 0


class MessageUsage(msgspec.Struct, frozen=True):
    """Token counts, made here with the o200k tokenizer (the web backend sends none, and nothing of its cache)."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    server_tool_use: OwnToolsUsed | UnsetType = UNSET


class CitedPage(msgspec.Struct, frozen=True, tag="web_search_result_location"):
    """A page that words name. What of it is cited upstream does not say, and nothing is encrypted."""

    url: str
    title: str
    cited_text: str = ""
    encrypted_index: str = ""


class TextBlock(msgspec.Struct, frozen=True, tag="text"):
    """Words. Citations are links in them; beside them only where the client has asked for the tool that searches."""

    text: str
    citations: list[CitedPage] | None = None


class OwnSearch(msgspec.Struct, frozen=True, tag="server_tool_use"):
    """A search that ChatGPT has made by itself."""

    id: str
    input: dict[str, str]
    name: Literal["web_search"] = "web_search"


class FoundPage(msgspec.Struct, frozen=True, tag="web_search_result"):
    """A page that was found. Its content is not told."""

    url: str
    title: str
    encrypted_content: str = ""
    page_age: None = None


class FoundPages(msgspec.Struct, frozen=True, tag="web_search_tool_result"):
    """What a search has found, as far as upstream names it."""

    tool_use_id: str
    content: list[FoundPage]


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking"):
    """What the model shows of its thinking. Nobody has signed it."""

    thinking: str
    signature: str = ""


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call."""

    id: str
    name: str
    input: msgspec.Raw


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock | OwnSearch | FoundPages
StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]


class AnswerMessage(msgspec.Struct, frozen=True, tag="message"):
    """The whole answer in one body; at the start of a stream without content."""

    id: str
    model: str
    content: list[ContentBlock]
    usage: MessageUsage
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    role: Literal["assistant"] = "assistant"
    chatgpt: AnsweredByChatgpt | UnsetType = UNSET


class TokenCount(msgspec.Struct, frozen=True):
    """How many tokens a request is."""

    input_tokens: int


# --- events -----------------------------------------------------------------------------------------------------------


class MessageStart(msgspec.Struct, frozen=True, tag="message_start"):
    """The first event."""

    message: AnswerMessage


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Says nothing, as the real API does after the first event."""


class ContentBlockStart(msgspec.Struct, frozen=True, tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: ContentBlock


class AddedText(msgspec.Struct, frozen=True, tag="text_delta"):
    """More words."""

    text: str


class AddedThinking(msgspec.Struct, frozen=True, tag="thinking_delta"):
    """More thinking."""

    thinking: str


class AddedInput(msgspec.Struct, frozen=True, tag="input_json_delta"):
    """More of a call's input, as JSON text."""

    partial_json: str


class AddedCitation(msgspec.Struct, frozen=True, tag="citations_delta"):
    """A page that the words of the block name."""

    citation: CitedPage


class ContentBlockDelta(msgspec.Struct, frozen=True, tag="content_block_delta"):
    """More of the block that is open."""

    index: int
    delta: AddedText | AddedThinking | AddedInput | AddedCitation


class ContentBlockStop(msgspec.Struct, frozen=True, tag="content_block_stop"):
    """The block is whole."""

    index: int


class MessageEnd(msgspec.Struct, frozen=True):
    """Why a message ended."""

    stop_reason: StopReason
    stop_sequence: str | None = None


class MessageDelta(msgspec.Struct, frozen=True, tag="message_delta"):
    """The end of the message; its usage is that of the whole."""

    delta: MessageEnd
    usage: MessageUsage
    chatgpt: AnsweredByChatgpt | UnsetType = UNSET


class MessageStop(msgspec.Struct, frozen=True, tag="message_stop"):
    """The last event."""


# --- errors -----------------------------------------------------------------------------------------------------------


class MessagesErrorBody(msgspec.Struct, frozen=True):
    """The inside of an error. The envelope has no place for the field's name, so that is in the message."""

    type: str
    message: str


class MessagesError(msgspec.Struct, frozen=True, tag="error"):
    """An error's body, and the last event of a stream that failed."""

    error: MessagesErrorBody
    request_id: str | None = None
