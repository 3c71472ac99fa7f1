"""A chat completion request becomes a prompt. Every `param` an error of this API names is composed here.

Rule: what is wrong with a field, alone or beside the others, is a 400 that names it.
"""

import msgspec

from shim.apis.chat import wire
from shim.apis.decoding import decode, ignored_fields
from shim.errors import RequestError
from shim.protocol.api import Asked
from shim.protocol.prompt import (
    Call,
    Continues,
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
    Role,
    Text,
    Wishes,
)
from shim.protocol.turn.inline_files import form_of_data, form_of_url

# OpenAI's roles -> the prompt's.
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
# Fields without an effect here, and the values that ask for nothing else than what happens anyway.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "temperature": (1, 1.0),
    "top_p": (1, 1.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "verbosity": ("medium",),
}


class ChatOptions(msgspec.Struct, frozen=True):
    """What only the writer has to know again."""

    include_usage: bool = False


def read(body: bytes, *, strict: bool = False) -> Asked:
    """The prompt of a request. Raises RequestError (400)."""
    request, ignored = chat_request(body, strict=strict)
    options = request.stream_options
    return Asked(prompt_of(request), ignored, ChatOptions(include_usage=bool(options and options.include_usage)))


def chat_request(body: bytes, *, strict: bool = False) -> tuple[wire.ChatRequest, list[str]]:
    """The request, and the names of the fields in it that are ignored.

    Raises RequestError (400) naming the `param` where the body is not JSON or a field is missing or mistyped; with
    `strict` also where a field is ignored.
    """
    request = decode(_decoder, body)
    return request, ignored_fields(body, _FIELDS, _NEUTRAL, strict=strict)


def prompt_of(request: wire.ChatRequest) -> Prompt:
    """The same as a prompt. Raises RequestError (400) for fields that do not go together."""
    if not request.messages:
        raise RequestError("'messages' must not be empty.", param="messages", code="empty_array")
    continues = _continues(request)
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if "" in stop:
        raise RequestError("A stop sequence must not be empty.", param="stop", code="invalid_value")
    functions = _functions(request.tools or [])
    choice = _choice(request.tool_choice or "auto", functions)
    return Prompt(
        model=request.model,
        messages=tuple(_message(message, f"messages[{place}]") for place, message in enumerate(request.messages)),
        functions=functions,
        choice=choice,
        parallel=request.parallel_tool_calls is not False,
        answer_form=_answer_form(request.response_format),
        limits=Limits(
            stop=tuple(dict.fromkeys(stop)),
            max_tokens=request.max_completion_tokens or request.max_tokens,
            choices=request.n or 1,
        ),
        effort=request.reasoning_effort,
        continues=continues,
        wishes=_wishes(request),
        pictures="data" if request.image_response_format == "b64_json" else "links",
        stream=bool(request.stream),
    )


def _wishes(request: wire.ChatRequest) -> Wishes:
    """The extension object, and the fields of the API that mean the same."""
    asked = request.chatgpt or wire.ChatgptWishes()
    hints = set[Hint](asked.hints or ())
    if request.web_search_options is not None:
        hints.add("search")
    stored = None if request.store is None else not request.store
    temporary = stored if asked.temporary is None else asked.temporary
    if asked.temporary and ("research" in hints or asked.memory is not None):
        raise RequestError(
            "Temporary chats have neither research nor a memory of their own.",
            param="chatgpt.temporary",
            code="invalid_value",
        )
    tier = None if request.service_tier in {None, "auto", "default"} else request.service_tier
    return Wishes(temporary, asked.memory, asked.project, frozenset(hints), tier)


def _continues(request: wire.ChatRequest) -> Continues | None:
    asked = request.chatgpt
    if asked is not None and asked.conversation_id:
        if not asked.parent_message_id:
            raise RequestError(
                "Missing required parameter: 'chatgpt.parent_message_id'.",
                param="chatgpt.parent_message_id",
                code="missing_required_parameter",
            )
        return Continues(asked.conversation_id, asked.parent_message_id, "chatgpt.conversation_id")
    if not request.conversation_id:
        return None
    if not request.parent_message_id:
        raise RequestError(
            "Missing required parameter: 'parent_message_id' (the 'message_id' that came with the conversation).",
            param="parent_message_id",
            code="missing_required_parameter",
        )
    return Continues(request.conversation_id, request.parent_message_id, "conversation_id")


def _functions(tools: list[wire.Tool]) -> tuple[Function, ...]:
    functions: dict[str, Function] = {}
    for place, tool in enumerate(tools):
        name, field = tool.function.name, f"tools[{place}].function"
        if name in functions:
            raise RequestError(f"There are two functions called '{name}'.", param=f"{field}.name", code="duplicate")
        functions[name] = Function(name, f"{field}.parameters", tool.function.description, tool.function.parameters)
    return tuple(functions.values())


def _choice(choice: wire.ToolChoice, functions: tuple[Function, ...]) -> FunctionChoice:
    if choice in {"none", "auto"}:
        return choice
    if not functions:
        raise RequestError("'tool_choice' needs 'tools'.", param="tool_choice", code="invalid_value")
    if not isinstance(choice, wire.NamedToolChoice):
        return choice
    name = choice.function.name
    if all(function.name != name for function in functions):
        raise RequestError(
            f"There is no function called '{name}' in 'tools'.", param="tool_choice.function.name", code="invalid_value"
        )
    return OnlyFunction(name)


def _answer_form(wanted: wire.ResponseFormat | None) -> JsonAnswer | None:
    match wanted:
        case wire.JsonObjectFormat():
            return JsonAnswer()
        case wire.JsonSchemaFormat(json_schema=schema):
            return JsonAnswer(
                schema.schema or {}, schema.name, schema.description, "response_format.json_schema.schema"
            )
        case _:
            return None


# --- messages ---------------------------------------------------------------------------------------------------------


def _message(message: wire.ChatMessage, field: str) -> PromptMessage:
    content = tuple(_parts(message.content, f"{field}.content"))
    if _ROLES[message.role] == "tool":
        return PromptMessage("tool", (Result(message.tool_call_id, message.name, content),), message.name)
    calls = tuple(Call(one.id, one.function.name, one.function.arguments) for one in message.tool_calls or ())
    return PromptMessage(_ROLES[message.role], (*content, *calls), message.name)


def _parts(content: str | list[wire.ContentPart] | None, field: str) -> list[Text | Image | File]:
    if not isinstance(content, list):
        return [Text(content or "")]
    return [_part(part, f"{field}[{place}]") for place, part in enumerate(content)]


def _part(part: wire.ContentPart, field: str) -> Text | Image | File:
    match part:
        case wire.TextPart(text=text) | wire.RefusalPart(refusal=text):
            return Text(text)
        case wire.ImagePart(image_url=image, url=url, detail=detail):
            param = f"{field}.image_url" if isinstance(image, str) else f"{field}.image_url.url"
            return Image(url.strip(), form_of_url(url), param, detail)
        case wire.FilePart(file=file):
            return _file(file, f"{field}.file")
        case _:
            raise _unsupported("Content parts of type 'input_audio' are not supported.", f"{field}.input_audio")


def _file(file: wire.FileSource, field: str) -> File:
    if data := file.file_data:
        return File(data.strip(), form_of_data(data), f"{field}.file_data", file.filename)
    if url := file.file_url:
        return File(url.strip(), form_of_url(url), f"{field}.file_url", file.filename)
    if file.file_id:
        raise _unsupported(
            "Files uploaded before are not kept here: send the file itself as 'file_data'.", f"{field}.file_id"
        )
    raise RequestError("A file needs 'file_data' or 'file_url'.", param=field, code="missing_required_parameter")


def _unsupported(sentence: str, param: str) -> RequestError:
    return RequestError(sentence, param=param, code="unsupported_content")


_FIELDS = frozenset(wire.ChatRequest.__struct_fields__)
_decoder = msgspec.json.Decoder(wire.ChatRequest)
