"""`/v1/responses`: the request, the response with its items, and the events of a stream.

Rule: a request field that is declared here is honoured, echoed as the real API does, or refused by name where it can't
be honoured; one that is not declared is reported as ignored. Items of a history that only the model's own tools left
behind are read over. An output field is here because the real API sends it.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shim.apis.answered_by import AnsweredByChatgpt
from shim.apis.chatgpt_extension import ChatgptWishes
from shim.errors import Field

FIELDS = {Field.PROMPT: "input", Field.MODEL: "model", Field.EFFORT: "reasoning.effort"}
"""What this API calls the fields that the core knows"""

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
Detail = Literal["concise", "detailed", "auto"]
# `$` alone would allow a line end behind it.
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}$(?!\n)")]
# As published: 16 pairs, names of up to 64 characters, values of up to 512.
ToldAgain = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]

# --- request: items ---------------------------------------------------------------------------------------------------


class TextContent(msgspec.Struct, frozen=True, tag="input_text"):
    """Words of whoever asks."""

    text: str


class AnswerContent(msgspec.Struct, frozen=True, tag="output_text"):
    """Words of an earlier answer."""

    text: str


class PlainContent(msgspec.Struct, frozen=True, tag="text"):
    """The same as some clients spell it."""

    text: str


class RefusalContent(msgspec.Struct, frozen=True, tag="refusal"):
    """An earlier refusal."""

    refusal: str


class ThoughtContent(msgspec.Struct, frozen=True, tag="reasoning_text"):
    """Earlier thinking, sent back: it does not go upstream again."""

    text: str


class SummaryContent(msgspec.Struct, frozen=True, tag="summary_text"):
    """The same, summed up."""

    text: str


class ImageContent(msgspec.Struct, frozen=True, tag="input_image"):
    """A picture: an http(s) or data URL. `detail` decides the tokens it counts, and nothing else here."""

    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None


class FileContent(msgspec.Struct, frozen=True, tag="input_file"):
    """A file: its bytes (a data URL or bare base64), or where to fetch it."""

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None


class AudioContent(msgspec.Struct, frozen=True, tag="input_audio"):
    """Sound: read in order to be refused by name."""


ItemContent = (
    TextContent
    | AnswerContent
    | PlainContent
    | RefusalContent
    | ThoughtContent
    | SummaryContent
    | ImageContent
    | FileContent
    | AudioContent
)


class GivenItem(msgspec.Struct, frozen=True):
    """One item of the input, of any type: a message (which may leave its type out), a call, what a call returned, a
    reference to a kept item, or what another tool left behind. Where a field's type depends on the item's, the item's
    own struct says what it is (`tool_items`, `ReturnedOutput`, `ConfigurationUpdate`)."""

    type: str | None = None
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[ItemContent] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    input: str | None = None
    output: Any = None
    encrypted_content: str | None = None
    status: Any = None
    action: Any = None
    actions: Any = None
    operation: Any = None
    server_label: Any = None
    error: Any = None
    approval_request_id: Any = None
    approve: Any = None
    reason: Any = None
    code: Any = None
    outputs: Any = None
    queries: Any = None
    results: Any = None
    result: Any = None
    revised_prompt: Any = None
    tools: Any = None
    reasoning: Any = None
    text: Any = None


ReturnedOutput = str | list[ItemContent] | dict[str, Any] | None
"""What a function or a custom tool returned"""


# --- request: tools ---------------------------------------------------------------------------------------------------


class CustomFormat(msgspec.Struct, frozen=True):
    """What the input of a custom tool has to look like: the model is told, and nobody checks it."""

    type: str = "text"
    syntax: str | None = None
    definition: str | None = None


class GivenFunction(msgspec.Struct, frozen=True):
    """A tool of any type; which fields count depends on it. `tools` are those of a namespace."""

    type: str = "function"
    name: ToolName | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: CustomFormat | None = None
    tools: "list[GivenFunction] | None" = None


BroughtTools = Annotated[list[GivenFunction], Meta(max_length=512)] | None
"""Tools of an item of the input"""


class PickedTool(msgspec.Struct, frozen=True):
    """A tool by its type and, where it has one, its name."""

    type: str
    name: str | None = None


class GivenChoice(msgspec.Struct, frozen=True):
    """The one tool that has to be called, or (`allowed_tools`) those that may be."""

    type: str
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[PickedTool] | None = None


# --- request ----------------------------------------------------------------------------------------------------------


class PlainForm(msgspec.Struct, frozen=True, tag="text"):
    """No form."""


class ObjectForm(msgspec.Struct, frozen=True, tag="json_object"):
    """Any JSON object."""


class SchemaForm(msgspec.Struct, frozen=True, tag="json_schema"):
    """JSON that fits a schema."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, frozen=True):
    """The form of the answer. How wordy it is can't be said to the web backend."""

    format: PlainForm | ObjectForm | SchemaForm | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(msgspec.Struct, frozen=True):
    """How hard to think, and whether what the model shows of it is wanted."""

    effort: ReasoningEffort | None = None
    summary: Detail | None = None
    generate_summary: Detail | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class ConfigurationUpdate(msgspec.Struct, frozen=True):
    """An item that changes these from where it stands on."""

    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None


class ConversationName(msgspec.Struct, frozen=True):
    """A conversation that is kept here."""

    id: str


def conversation_id_of(conversation: str | ConversationName | None) -> str | None:
    """The id of a conversation, however it is sent."""
    return conversation.id if isinstance(conversation, ConversationName) else conversation


class CountInputRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be counted: a request without what concerns only its answer."""

    model: str | None = None
    input: str | list[GivenItem] | None = None
    instructions: str | list[GivenItem] | None = None
    tools: Annotated[list[GivenFunction], Meta(max_length=512)] | None = None
    tool_choice: Literal["none", "auto", "required"] | GivenChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationName | None = None


class ResponsesRequest(CountInputRequest, frozen=True, kw_only=True):
    """A request for a response, as far as it is honoured."""

    model: str
    stream: bool | None = None
    background: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    # Whether the response is kept here; said explicitly, also whether the chat is kept upstream.
    store: bool | None = None
    chatgpt: ChatgptWishes | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    # Templates are OpenAI's own: read in order to be refused by name.
    prompt: dict[str, Any] | None = None
    include: list[Includable] | None = None
    # Told back, as the real API does, and without effect on the answer.
    metadata: ToldAgain | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    stream_options: dict[str, Any] | None = None


class WithoutInfluence(msgspec.Struct, frozen=True):
    """Fields of the published schema that have no effect here: what they may be."""

    # The published bounds: what the real API would refuse is a mistake here too, and the client should hear of it.
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_tool_calls: int | None = None
    prompt_cache_retention: str | None = None


# --- answer -----------------------------------------------------------------------------------------------------------

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class CitedUrl(msgspec.Struct, frozen=True, tag="url_citation"):
    """A page and where the answer cites it: characters (code points) of the part's text, the end exclusive."""

    start_index: int
    end_index: int
    title: str
    url: str


class OutputText(msgspec.Struct, frozen=True, tag="output_text"):
    """The words of a message."""

    text: str
    annotations: list[CitedUrl] = []
    logprobs: list[Any] = []


class SummaryText(msgspec.Struct, frozen=True, tag="summary_text"):
    """What the model shows of its thinking."""

    text: str


class MessageItem(msgspec.Struct, frozen=True, tag="message"):
    """Words."""

    id: str
    content: list[OutputText]
    status: ItemStatus = "completed"
    role: Literal["assistant"] = "assistant"


class ReasoningItem(msgspec.Struct, frozen=True, tag="reasoning"):
    """Thinking."""

    id: str
    summary: list[SummaryText]
    status: ItemStatus = "completed"


class FunctionCallItem(msgspec.Struct, frozen=True, tag="function_call"):
    """A call of a function. `arguments` is JSON as text."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"
    namespace: str | UnsetType = UNSET


class CustomCallItem(msgspec.Struct, frozen=True, tag="custom_tool_call"):
    """A call of a custom tool, with its input as it is."""

    id: str
    call_id: str
    name: str
    input: str
    status: ItemStatus = "completed"
    namespace: str | UnsetType = UNSET


class PictureItem(msgspec.Struct, frozen=True, tag="image_generation_call"):
    """A picture that the model made: base64 of it, or None where it could not be had."""

    id: str
    result: str | None
    status: Literal["in_progress", "completed", "generating", "failed"] = "completed"


class SearchAction(msgspec.Struct, frozen=True, tag="search"):
    """What was searched for."""

    query: str


class SearchItem(msgspec.Struct, frozen=True, tag="web_search_call"):
    """A search that the model made by itself."""

    id: str
    action: SearchAction
    status: Literal["in_progress", "searching", "completed", "failed"] = "completed"


OutputItem = MessageItem | ReasoningItem | FunctionCallItem | CustomCallItem | PictureItem | SearchItem


class InputDetails(msgspec.Struct, frozen=True):
    """Always zero: the web backend tells nothing of its cache."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """How many of the answer's tokens are reasoning."""

    reasoning_tokens: int = 0


class TokenUsage(msgspec.Struct, frozen=True):
    """Token counts, made here with the o200k tokenizer (the web backend sends none)."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens_details: OutputDetails = OutputDetails()


class ToldError(msgspec.Struct, frozen=True):
    """What a response failed with. `retry_at` is ours: when it is worth trying again, in seconds since 1970, where that
    is known."""

    code: str
    message: str
    retry_at: int | UnsetType = UNSET


class Incomplete(msgspec.Struct, frozen=True):
    """Why a response is not all that was asked for."""

    reason: Literal["max_output_tokens", "content_filter"]


class Echoed(msgspec.Struct, frozen=True):
    """The fields of a request that its response tells again, as they were sent."""

    tools: msgspec.Raw = msgspec.Raw(b"[]")
    tool_choice: msgspec.Raw = msgspec.Raw(b'"auto"')
    text: msgspec.Raw = msgspec.Raw(b'{"format":{"type":"text"}}')
    reasoning: msgspec.Raw = msgspec.Raw(b'{"effort":null,"summary":null}')
    instructions: msgspec.Raw = msgspec.Raw(b"null")
    metadata: dict[str, str] | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationName | None = None
    background: bool | None = None
    store: bool | None = None
    truncation: str | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class ResponseBody(msgspec.Struct, frozen=True, kw_only=True):
    """The whole response; at the start of a stream without output. Times are in whole seconds since 1970."""

    id: str
    created_at: int
    model: str
    output: list[OutputItem]
    status: ResponseStatus
    tools: msgspec.Raw
    tool_choice: msgspec.Raw
    text: msgspec.Raw
    reasoning: msgspec.Raw
    instructions: msgspec.Raw
    parallel_tool_calls: bool
    object: Literal["response"] = "response"
    error: ToldError | None = None
    incomplete_details: Incomplete | None = None
    usage: TokenUsage | None = None
    metadata: dict[str, str] = {}
    background: bool = False
    store: bool = True
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    service_tier: str | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    truncation: str = "disabled"
    user: str | None = None
    safety_identifier: str | UnsetType = UNSET
    prompt_cache_key: str | UnsetType = UNSET
    chatgpt: AnsweredByChatgpt | UnsetType = UNSET
    conversation: ConversationName | UnsetType = UNSET


class InputCount(msgspec.Struct, frozen=True):
    """How many tokens a request is."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class CompactionItem(msgspec.Struct, frozen=True, tag="compaction"):
    """What a history came to, in words that only this gateway reads."""

    id: str
    encrypted_content: str


class CompactedResponse(msgspec.Struct, frozen=True):
    """A history that was summed up: one item that stands for all of it."""

    id: str
    created_at: int
    output: list[CompactionItem]
    usage: TokenUsage
    object: Literal["response.compaction"] = "response.compaction"


class DeletedResponse(msgspec.Struct, frozen=True):
    """A response is kept no more."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ItemList(msgspec.Struct, frozen=True):
    """A page of the items that a response was asked with, or of those of a conversation."""

    data: list[msgspec.Raw]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


# --- events -----------------------------------------------------------------------------------------------------------


class StreamedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream. The numbers count up from 0 without a gap."""

    type: str
    sequence_number: int


class ResponseEvent(StreamedEvent, frozen=True, kw_only=True):
    """The response as it is now: `response.created`, `.in_progress`, `.completed`, `.incomplete`, `.failed`. It is a
    `ResponseBody` that was encoded before: several events, or a record, tell the same one."""

    response: msgspec.Raw


class ItemEvent(StreamedEvent, frozen=True, kw_only=True):
    """An item begins, or is whole: `response.output_item.added`, `.done`."""

    output_index: int
    item: OutputItem


class PlaceEvent(StreamedEvent, frozen=True, kw_only=True):
    """Something happened to an item, which is all there is to say."""

    item_id: str
    output_index: int


class PartEvent(PlaceEvent, frozen=True, kw_only=True):
    """A part of a message begins, or is whole: `response.content_part.added`, `.done`."""

    content_index: int
    part: OutputText


class TextEvent(PlaceEvent, frozen=True, kw_only=True):
    """More words, or (`done`) all of them."""

    content_index: int
    logprobs: list[Any]
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET


class AnnotationEvent(PlaceEvent, frozen=True, kw_only=True):
    """A page that the words name."""

    content_index: int
    annotation_index: int
    annotation: CitedUrl


class SummaryPartEvent(PlaceEvent, frozen=True, kw_only=True):
    """A part of the thinking begins, or is whole."""

    summary_index: int
    part: SummaryText


class SummaryTextEvent(PlaceEvent, frozen=True, kw_only=True):
    """More thinking, or (`done`) all of it."""

    summary_index: int
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET


class ArgumentsEvent(PlaceEvent, frozen=True, kw_only=True):
    """What a function is called with: a piece, or (`done`) all of it."""

    delta: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class CustomInputEvent(PlaceEvent, frozen=True, kw_only=True):
    """What a custom tool is called with: a piece, or (`done`) all of it."""

    delta: str | UnsetType = UNSET
    input: str | UnsetType = UNSET


class BrokenEvent(StreamedEvent, frozen=True, kw_only=True):
    """An answer that failed before there was a response."""

    code: str | None
    message: str
    param: str | None
