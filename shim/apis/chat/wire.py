"""`/v1/chat/completions`: the request, the completion and the chunk.

Rule: a request field that is declared here is honoured; one that is not is reported as ignored, never silently eaten.
An output field is here because the real API sends it, with the value the real API gives when it has nothing to say.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shim.apis.answered_by import AnsweredByChatgpt
from shim.apis.chatgpt_extension import ChatgptWishes
from shim.apis.openai_usage import CompletionUsage
from shim.errors import Field

FIELDS = {Field.PROMPT: "messages", Field.MODEL: "model", Field.EFFORT: "reasoning_effort"}
"""What this API calls the fields that the core knows"""

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "function_call"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
# `$` alone would allow a line end behind it.
FunctionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)")]

# --- request ----------------------------------------------------------------------------------------------------------


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """`{"type": "text", "text": ...}`"""

    text: str


class InputTextPart(msgspec.Struct, frozen=True, tag="input_text"):
    """As `text`, in the spelling of the Responses API."""

    text: str


class OutputTextPart(msgspec.Struct, frozen=True, tag="output_text"):
    """The same, of an answer."""

    text: str


class RefusalPart(msgspec.Struct, frozen=True, tag="refusal"):
    """An assistant's earlier refusal, sent back as history."""

    refusal: str


class ImageUrl(msgspec.Struct, frozen=True):
    """An http(s) or data URL. `detail` decides the tokens a picture counts, and nothing else here."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(msgspec.Struct, frozen=True, tag="image_url"):
    """`{"type": "image_url", "image_url": {"url": ...}}`; some clients send the bare URL."""

    image_url: ImageUrl | str

    @property
    def url(self) -> str:
        """Where the picture is."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url

    @property
    def detail(self) -> str:
        """`auto` where the client does not say."""
        return "auto" if isinstance(self.image_url, str) else self.image_url.detail or "auto"


class AudioPart(msgspec.Struct, frozen=True, tag="input_audio"):
    """`{"type": "input_audio", ...}`: read in order to be refused by name."""

    input_audio: msgspec.Raw


class FileSource(msgspec.Struct, frozen=True):
    """A file's bytes: `file_data` is a data URL, bare base64 or an http(s) URL; `file_url` is ours, for clients that
    keep the two apart. `file_id` names a file uploaded before (`/v1/files`)."""

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, frozen=True, tag="file"):
    """`{"type": "file", "file": {...}}`"""

    file: FileSource


class InputImagePart(msgspec.Struct, frozen=True, tag="input_image"):
    """As `image_url`, in the spelling of the Responses API."""

    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFilePart(FileSource, frozen=True, tag="input_file"):
    """As `file`, in the spelling of the Responses API."""


ContentPart = (
    TextPart
    | InputTextPart
    | OutputTextPart
    | RefusalPart
    | ImagePart
    | InputImagePart
    | AudioPart
    | FilePart
    | InputFilePart
)


class CalledFunction(msgspec.Struct, frozen=True):
    """What was called. `arguments` is JSON as text, as the model wrote it."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    """One call in an assistant's message: in the history, and in an answer."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class CustomCall(msgspec.Struct, frozen=True):
    """What a custom tool was given."""

    name: str
    input: str


class EarlierCall(msgspec.Struct, frozen=True):
    """One call in an assistant's message of the history, of a function or of a custom tool."""

    id: str
    type: Literal["function", "custom"] = "function"
    function: CalledFunction | None = None
    custom: CustomCall | None = None


class EarlierAudio(msgspec.Struct, frozen=True):
    """An answer that was spoken: its words, where the client has kept them."""

    id: str
    transcript: str | None = None


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of the history. `content` is text, a list of parts, null or missing. `tool_calls`, `refusal`, `audio`
    and `function_call` (one call, as before there were tools) belong to an assistant's message, `tool_call_id` to a
    tool's."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    refusal: str | None = None
    audio: EarlierAudio | None = None
    function_call: CalledFunction | None = None
    tool_calls: list[EarlierCall] | None = None
    tool_call_id: str | None = None


class FunctionDefinition(msgspec.Struct, frozen=True):
    """A function the model may call. `parameters` is a JSON schema; none means that it takes nothing."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True):
    """`{"type": "function", "function": {...}}`; any other type is read in order to be refused by name."""

    function: FunctionDefinition | None = None
    type: str = "function"


class NamedFunction(msgspec.Struct, frozen=True):
    """The name alone."""

    name: FunctionName


class AllowedTool(msgspec.Struct, frozen=True):
    """One of those that may be called."""

    function: NamedFunction | None = None
    type: str = "function"


class AllowedTools(msgspec.Struct, frozen=True):
    """The part of the tools that may be called now, and whether one of them has to be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1)]


class NamedToolChoice(msgspec.Struct, frozen=True):
    """The one function that has to be called (`function`), or the ones that may be (`allowed_tools`)."""

    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None
    type: str = "function"


ToolChoice = Literal["none", "auto", "required"] | NamedToolChoice
LegacyChoice = Literal["none", "auto"] | NamedFunction
# As published: 16 pairs, names of up to 64 characters, values of up to 512.
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class TextFormat(msgspec.Struct, frozen=True, tag="text"):
    """Any text: the default."""


class JsonObjectFormat(msgspec.Struct, frozen=True, tag="json_object"):
    """A JSON object, whichever."""


class JsonSchema(msgspec.Struct, frozen=True):
    """A schema the answer has to fit."""

    name: FunctionName
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchemaFormat(msgspec.Struct, frozen=True, tag="json_schema"):
    """JSON that fits a schema."""

    json_schema: JsonSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StreamOptions(msgspec.Struct, frozen=True):
    """What a streaming client asks for on top."""

    include_usage: bool | None = None


class SearchPlace(msgspec.Struct, frozen=True):
    """Where the one who asks is, roughly."""

    country: str | None = None
    region: str | None = None
    city: str | None = None
    timezone: str | None = None


class SearchLocation(msgspec.Struct, frozen=True):
    """`{"type": "approximate", "approximate": {...}}`"""

    type: Literal["approximate"]
    approximate: SearchPlace


class ChatSearchOptions(msgspec.Struct, frozen=True):
    """How the answer is searched for."""

    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: SearchLocation | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """A chat completion request, as far as it is honoured."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Each is a turn of its own upstream, and eight are as many as one call may take.
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    # As published, as is the number of tools.
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    # Tools and their choice as they were before: one call an answer, told as `function_call`.
    functions: Annotated[list[FunctionDefinition], Meta(max_length=128)] | None = None
    function_call: LegacyChoice | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: ReasoningEffort | None = None
    # Ours: pictures in the answer as links (default) or as data URLs.
    image_response_format: Literal["url", "b64_json"] | None = None
    # Ours, where chats are kept: the ids an earlier answer gave, to go on with its conversation.
    conversation_id: str | None = None
    parent_message_id: str | None = None
    chatgpt: ChatgptWishes | None = None
    # Search, by the web backend's own: how much and from where can't be said to it.
    web_search_options: ChatSearchOptions | None = None
    # One of the model's own tiers, where it has any.
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    # Whether the chat is kept, where `chatgpt.temporary` does not say.
    store: bool | None = None
    # Accepted, as the real API does, and without effect on the answer.
    user: str | None = None
    prompt_cache_key: str | None = None
    metadata: Metadata | None = None


class SpokenAnswer(msgspec.Struct, frozen=True):
    """How a spoken answer would be had: by a voice's name, or as an object with its id."""

    voice: str | dict[str, Any]
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class PredictedContent(msgspec.Struct, frozen=True):
    """What most of the answer is expected to be: a text, or parts of one."""

    type: Literal["content"]
    content: str | list[dict[str, Any]]


class WithoutEffect(msgspec.Struct, frozen=True):
    """Fields of the published schema that have no effect here: what they may be."""

    # The published bounds: what the real API would refuse is a mistake here too, and the client should hear of it.
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    audio: SpokenAnswer | None = None
    prediction: PredictedContent | None = None
    # Both spellings are published: one in the reference, one in the SDK.
    prompt_cache_retention: Literal["in-memory", "in_memory", "24h"] | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None


# --- answer -----------------------------------------------------------------------------------------------------------


class UrlCitation(msgspec.Struct, frozen=True):
    """A page and where the answer cites it: characters (code points) of `content`, the end exclusive."""

    start_index: int
    end_index: int
    title: str
    url: str


class Annotation(msgspec.Struct, frozen=True):
    """`{"type": "url_citation", "url_citation": {...}}`"""

    url_citation: UrlCitation
    type: Literal["url_citation"] = "url_citation"


class AssistantMessage(msgspec.Struct, frozen=True):
    """The one message of a completion's choice."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: str | None = None
    annotations: list[Annotation] = []
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET


class CompletionChoice(msgspec.Struct, frozen=True):
    """One answer of a completion."""

    message: AssistantMessage
    finish_reason: FinishReason
    index: int = 0
    logprobs: None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """The whole answer in one body. `created` is in whole seconds since 1970."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage
    chatgpt: AnsweredByChatgpt | UnsetType = UNSET
    object: Literal["chat.completion"] = "chat.completion"
    conversation_id: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET


class FunctionDelta(msgspec.Struct, frozen=True):
    """More of a call: its name in the first piece, arguments in each."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct, frozen=True):
    """More of one tool call. `index` is its place; `id` and `type` come with the first piece only."""

    index: int
    function: FunctionDelta
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChunkDelta(msgspec.Struct, frozen=True):
    """What a chunk adds. Only what is there is on the wire."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionDelta | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """One choice's share of a chunk."""

    delta: ChunkDelta
    finish_reason: FinishReason | None = None
    index: int = 0
    logprobs: None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """One line of a streamed answer. `usage` is on the wire (as null but in the last one) only when asked for."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: CompletionUsage | UnsetType | None = UNSET
    chatgpt: AnsweredByChatgpt | UnsetType = UNSET
    conversation_id: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET
