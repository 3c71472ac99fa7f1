"""A chat completion request becomes a prompt. Every `param` an error of this API names is composed here.

Rule: what is wrong with a field, alone or beside the others, is a 400 that names it.
"""

import msgspec

from shim.apis.chat import wire
from shim.apis.chatgpt_extension import continued_by, wishes_of
from shim.apis.decoding import decode, decoders_of, ignored_fields, missing
from shim.apis.named_files import file_of
from shim.errors import RequestError
from shim.protocol.api import Asked
from shim.protocol.models import without_provider
from shim.protocol.prompt import (
    Call,
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
)
from shim.protocol.turn.inline_files import form_of_url

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
    "verbosity": ("medium",),
}


class ChatOptions(msgspec.Struct, frozen=True):
    """What only the writer has to know again. `legacy`: calls are told as `function_call`."""

    include_usage: bool = False
    legacy: bool = False


def read(body: bytes, *, strict: bool = False) -> Asked:
    """The prompt of a request. Raises RequestError (400)."""
    request, ignored = chat_request(body, strict=strict)
    options = request.stream_options
    include_usage = bool(options and options.include_usage)
    return Asked(prompt_of(request), ignored, ChatOptions(include_usage=include_usage, legacy=bool(request.functions)))


def chat_request(body: bytes, *, strict: bool = False) -> tuple[wire.ChatRequest, list[str]]:
    """The request, and the names of the fields in it that are ignored.

    Raises RequestError (400) naming the `param` where the body is not JSON or a field is missing or mistyped; with
    `strict` also where a field is ignored.
    """
    request = decode(_decoder, body)
    return request, ignored_fields(body, _FIELDS, _NEUTRAL, strict=strict, published=_PUBLISHED)


def prompt_of(request: wire.ChatRequest) -> Prompt:
    """The same as a prompt. Raises RequestError (400) for fields that do not go together."""
    if not request.messages:
        raise RequestError("'messages' must not be empty.", param="messages", code="empty_array")
    # In the extension object, or, as before there was one, beside it.
    continues = continued_by(request.chatgpt)
    if continues is None and request.conversation_id is not None:
        continues = continued_by(request, within="")
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if "" in stop:
        raise RequestError("A stop sequence must not be empty.", param="stop", code="invalid_value")
    functions, choice = _legacy_functions(request) if request.functions else _tools(request)
    # What fields of the API say that the extension object has names for, too.
    hints = frozenset[Hint]({"search"} if request.web_search_options is not None else ())
    return Prompt(
        model=without_provider(request.model),
        messages=tuple([_message(message, f"messages[{place}]") for place, message in enumerate(request.messages)]),
        functions=functions,
        choice=choice,
        # The older `functions` know one call in an answer.
        parallel=request.parallel_tool_calls is not False and not request.functions,
        answer_form=_answer_form(request.response_format),
        limits=Limits(
            stop=tuple(dict.fromkeys(stop)),
            # The newer name wins where both are given.
            max_tokens=request.max_completion_tokens or request.max_tokens,
            choices=request.n or 1,
        ),
        effort=request.reasoning_effort,
        continues=continues,
        wishes=wishes_of(request.chatgpt, hints=hints, store=request.store, tier=request.service_tier),
        pictures="data" if request.image_response_format == "b64_json" else "links",
        stream=bool(request.stream),
        # What clients send alike with each turn of a chat, whose turns so stay with one account.
        session=request.prompt_cache_key or request.user,
    )


# --- functions --------------------------------------------------------------------------------------------------------

Functions = tuple[tuple[Function, ...], FunctionChoice]


def _tools(request: wire.ChatRequest) -> Functions:
    """The functions that may be called, and what is expected of the answer."""
    if request.function_call not in {None, "none", "auto"}:
        raise RequestError("'function_call' needs 'functions'.", param="function_call", code="invalid_value")
    defined: list[tuple[str, wire.FunctionDefinition]] = []
    for place, tool in enumerate(request.tools or []):
        if tool.type != "function":
            raise _no_such_tool(tool.type, f"tools[{place}].type")
        if tool.function is None:
            raise missing(f"tools[{place}].function")
        defined.append((f"tools[{place}].function", tool.function))
    functions = _functions(defined) if defined else ()
    match request.tool_choice or "auto":
        case wire.NamedToolChoice() as named:
            return _named_choice(named, functions)
        case "required" if not functions:
            raise _needs_tools()
        case choice:
            return functions, choice


def _named_choice(named: wire.NamedToolChoice, functions: tuple[Function, ...]) -> Functions:
    if named.type == "allowed_tools":
        if (allowed := named.allowed_tools) is None:
            raise missing("tool_choice.allowed_tools")
        names = set()
        for place, tool in enumerate(allowed.tools):
            param = f"tool_choice.allowed_tools.tools[{place}]"
            if tool.type != "function":
                raise _no_such_tool(tool.type, f"{param}.type")
            names.add(_known_name(tool.function, functions, param))
        return tuple(one for one in functions if one.name in names), allowed.mode
    if named.type != "function":
        raise _no_such_tool(named.type, "tool_choice.type")
    return functions, OnlyFunction(_known_name(named.function, functions, "tool_choice"))


def _legacy_functions(request: wire.ChatRequest) -> Functions:
    # Both say the same in two ways, and it could not be known which of them is meant.
    for name in ("tools", "tool_choice"):
        if getattr(request, name):
            raise RequestError(f"'functions' and '{name}' do not go together.", param=name, code="invalid_value")
    functions = _functions([(f"functions[{place}]", one) for place, one in enumerate(request.functions or [])])
    match request.function_call or "auto":
        case wire.NamedFunction(name=name):
            if all(function.name != name for function in functions):
                raise _unknown_name(name, "functions", "function_call.name")
            return functions, OnlyFunction(name)
        case choice:
            return functions, choice


def _functions(defined: list[tuple[str, wire.FunctionDefinition]]) -> tuple[Function, ...]:
    functions: dict[str, Function] = {}
    for field, one in defined:
        if one.name in functions:
            raise RequestError(f"There are two functions called '{one.name}'.", param=f"{field}.name", code="duplicate")
        functions[one.name] = Function(one.name, f"{field}.parameters", one.description, one.parameters)
    return tuple(functions.values())


def _known_name(named: wire.NamedFunction | None, functions: tuple[Function, ...], param: str) -> str:
    if not functions:
        raise _needs_tools()
    if named is None:
        raise missing(f"{param}.function")
    if all(function.name != named.name for function in functions):
        raise _unknown_name(named.name, "tools", f"{param}.function.name")
    return named.name


def _needs_tools() -> RequestError:
    return RequestError("'tool_choice' needs 'tools'.", param="tool_choice", code="invalid_value")


def _unknown_name(name: str, field: str, param: str) -> RequestError:
    return RequestError(f"There is no function called '{name}' in '{field}'.", param=param, code="invalid_value")


def _no_such_tool(kind: str, param: str) -> RequestError:
    text = f"Tools of the type '{kind[:64]}' are not supported here: only functions can be called."
    return RequestError(text, param=param, code="unsupported_tool")


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
    content: tuple[Text | Image | File, ...]
    if isinstance(message.content, list):
        content = tuple([_part(part, f"{field}.content[{place}]") for place, part in enumerate(message.content)])
    else:
        content = (Text(message.content or ""),)
    if _ROLES[message.role] == "tool":
        return PromptMessage("tool", (Result(message.tool_call_id, message.name, content),), message.name)
    said = [Text(message.refusal)] if message.refusal else []
    if (audio := message.audio) is not None:
        if audio.transcript is None and not message.content:
            text = "Spoken answers are not kept here: send the words as 'content', or as the audio's 'transcript'."
            raise _unsupported(text, f"{field}.audio")
        said += [Text(audio.transcript)] if audio.transcript and not message.content else []
    # An empty text beside a refusal would be a part of its own.
    content = content if message.content or not said else ()
    calls = [_call(one, f"{field}.tool_calls[{place}]") for place, one in enumerate(message.tool_calls or ())]
    if (called := message.function_call) is not None:
        calls.append(Call("", called.name, called.arguments))
    return PromptMessage(_ROLES[message.role], (*content, *said, *calls), message.name)


def _call(call: wire.EarlierCall, field: str) -> Call:
    if call.type == "custom" and call.custom is not None:
        # Arguments are JSON everywhere in the core, and the input of a custom tool is any text.
        return Call(call.id, call.custom.name, msgspec.json.encode(call.custom.input).decode())
    if call.function is None:
        raise missing(f"{field}.{call.type}")
    return Call(call.id, call.function.name, call.function.arguments)


def _part(part: wire.ContentPart, field: str) -> Text | Image | File:
    match part:
        case (
            wire.TextPart(text=text)
            | wire.InputTextPart(text=text)
            | wire.OutputTextPart(text=text)
            | wire.RefusalPart(refusal=text)
        ):
            return Text(text)
        case wire.ImagePart(image_url=image, url=url, detail=detail):
            param = f"{field}.image_url" if isinstance(image, str) else f"{field}.image_url.url"
            return Image(url.strip(), form_of_url(url), param, detail)
        case wire.InputImagePart(image_url=str() as url, detail=detail):
            return Image(url.strip(), form_of_url(url), f"{field}.image_url", detail or "auto")
        case wire.InputImagePart(file_id=file_id, detail=detail):
            if not file_id:
                raise missing(f"{field}.image_url")
            return Image(file_id, "file_id", f"{field}.file_id", detail or "auto")
        case wire.InputFilePart():
            return file_of(part, field)
        case wire.FilePart(file=file):
            return file_of(file, f"{field}.file")
        case _:
            raise _unsupported("Content parts of type 'input_audio' are not supported.", f"{field}.input_audio")


def _unsupported(sentence: str, param: str) -> RequestError:
    return RequestError(sentence, param=param, code="unsupported_content")


_PUBLISHED = decoders_of(wire.WithoutEffect)
_FIELDS = frozenset(wire.ChatRequest.__struct_fields__)
_decoder = msgspec.json.Decoder(wire.ChatRequest)
