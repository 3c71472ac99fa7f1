"""A responses request becomes a prompt. Every `param` an error of this API names is composed in this folder.

Rule: what is wrong with a field, alone or beside the others, is a 400 that names it.
"""

from functools import partial

import msgspec

from shim.apis.chatgpt_extension import continued_by, wishes_of
from shim.apis.decoding import allowed, converted, decode, decoders_of, ignored_fields
from shim.apis.responses import wire
from shim.apis.responses.conversations import ConversationAppending, checked_name, said_before
from shim.apis.responses.items import messages_of
from shim.apis.responses.kept import Found, ResponseKeeping, earlier, recalled_item, refers_of
from shim.apis.responses.options import ResponseOptions
from shim.apis.responses.tools import Tools, tools_of
from shim.errors import RequestError
from shim.protocol.api import Asked
from shim.protocol.models import without_provider
from shim.protocol.prompt import Effort, JsonAnswer, Limits, Prompt, PromptMessage

# Fields without an effect here, and the values that ask for nothing else than what happens anyway.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "temperature": (1, 1.0),
    "top_p": (1, 1.0),
    "top_logprobs": (0,),
    "moderation": (),
    "context_management": ([],),
    "prompt_cache_options": ({},),
    "client_metadata": ({},),
}
# What may be asked to be included and is there anyway, or never is for anybody to miss.
_INCLUDED = frozenset(
    {"reasoning.encrypted_content", "web_search_call.action.sources", "message.input_image.image_url"}
)
_SUM_UP = (
    "Sum up everything above for somebody who goes on with it and sees nothing else: what was asked for, what was "
    "decided and done, what was found (with names, paths, numbers and code that are still needed), and what is open. "
    "Answer with the summary alone."
)
_COMPACTION_FIELDS = frozenset({"model", "input", "instructions", "previous_response_id", "prompt_cache_key"})


def read(body: bytes, *, strict: bool = False) -> Asked:
    """The prompt of a request; where it builds on kept responses, without these until they are there. Raises
    RequestError (400)."""
    return _read(body, None, strict=strict)


def _read(body: bytes, found: Found | None, *, strict: bool) -> Asked:
    request = decode(_decoder, body)
    ignored = ignored_fields(body, _FIELDS, _NEUTRAL, strict=strict, published=_PUBLISHED)
    if request.background and request.store is False:
        text = "What goes on in the background has to be kept: leave 'store' out."
        raise RequestError(text, param="background", code="invalid_value")
    if request.prompt is not None:
        text = "Prompt templates are kept by OpenAI, and not here: send 'instructions' and 'input'."
        raise RequestError(text, param="prompt", code="unsupported_parameter")
    tools = tools_of(request)
    ignored += _unheard(request, tools, strict=strict)
    reasoning = request.reasoning or wire.ReasoningOptions()
    # The body once more, by another struct: what is told back stays as it was written.
    options = ResponseOptions(
        decode(_echo_decoder, body),
        thinking=bool(reasoning.summary or reasoning.generate_summary),
        queued=bool(request.background),
        pictures="image_generation" in tools.builtins,
        names=tools.names,
    )
    prompt, history = _prompt(request, tools, found)
    prompt = msgspec.structs.replace(
        prompt,
        limits=Limits(max_tokens=request.max_output_tokens),
        continues=continued_by(request.chatgpt),
        wishes=wishes_of(request.chatgpt, hints=tools.hints, store=request.store, tier=request.service_tier),
        pictures="data" if options.pictures else "links",
        stream=bool(request.stream),
        # As in chat: what is alike in each turn keeps them with one account.
        session=request.prompt_cache_key or request.user,
    )
    # Kept unless the client says no, as the real API does.
    keeping = None if request.store is False else ResponseKeeping(options, prompt, history, body)
    conversation = wire.conversation_id_of(request.conversation)
    refers = refers_of(request) if found is None else frozenset[str]()
    complete = partial(_read, body, strict=strict) if found is None and (refers or conversation) else None
    return Asked(
        prompt,
        ignored,
        options,
        keeping=keeping,
        background=bool(request.background),
        refers=refers,
        complete=complete,
        conversation=conversation,
        appending=ConversationAppending(options, body, found) if conversation else None,
    )


def read_compaction(body: bytes, found: Found | None = None, *, strict: bool = False) -> Asked:
    """The prompt that sums up the history of a request; where it builds on kept responses, without these until they
    are there. Raises RequestError (400)."""
    request = decode(_count_decoder, body)
    ignored = ignored_fields(body, _COMPACTION_FIELDS, _NEUTRAL, strict=strict)
    if request.conversation is not None:
        text = "A conversation can't be summed up: send its items as 'input'."
        raise RequestError(text, param="conversation", code="unsupported_parameter")
    given = request.input or []
    items = [wire.GivenItem(role="user", content=given)] if isinstance(given, str) else given
    if not items and request.previous_response_id is None:
        text = "There is nothing to sum up: send 'input' or 'previous_response_id'."
        raise RequestError(text, param="input", code="missing_required_parameter")
    asked = msgspec.structs.replace(request, input=[*items, wire.GivenItem(role="user", content=_SUM_UP)])
    prompt, _ = _prompt(asked, Tools(), found)
    # A chat of its own: in that of the history the request to sum up would be a part of what comes next.
    wishes = wishes_of(None, hints=frozenset(), store=False, tier=None)
    refers = refers_of(request) if found is None else frozenset[str]()
    complete = partial(read_compaction, body, strict=strict) if refers else None
    prompt = msgspec.structs.replace(prompt, goes_on=None, wishes=wishes)
    return Asked(prompt, ignored, refers=refers, complete=complete)


def read_countable(body: bytes, found: Found | None = None) -> tuple[Prompt, frozenset[str], str | None]:
    """The prompt of a request that asks only how long it is, which kept responses it builds on, and which conversation.
    Raises RequestError (400)."""
    request = decode(_count_decoder, body)
    conversation = wire.conversation_id_of(request.conversation)
    return _prompt(request, tools_of(request), found)[0], refers_of(request), conversation


def _prompt(
    request: wire.CountInputRequest, tools: Tools, found: Found | None
) -> tuple[Prompt, tuple[PromptMessage, ...]]:
    """The prompt, and what of it is its history for a later request: all but the instructions."""
    if request.conversation is not None:
        if request.previous_response_id is not None:
            text = "Send either 'previous_response_id' or 'conversation': both say what came before."
            raise RequestError(text, param="conversation", code="mutually_exclusive_parameters")
        checked_name(request.conversation)
    if not request.input:
        raise RequestError("'input' must not be empty.", param="input", code="missing_required_parameter")
    recall = partial(recalled_item, found)
    told: tuple[PromptMessage, ...] = ()
    if isinstance(request.instructions, str):
        told = messages_of([wire.GivenItem(role="system", content=request.instructions)], "instructions", recall)
    elif request.instructions:
        told = messages_of(request.instructions, "instructions", recall)
    new = messages_of(request.input, "input", recall)
    if not new:
        raise RequestError("'input' says nothing that a model could answer.", param="input", code="invalid_value")
    conversation = wire.conversation_id_of(request.conversation)
    if conversation is not None:
        before, goes_on = said_before(found, conversation, told, new)
    else:
        before, goes_on = earlier(found, request.previous_response_id, (*told, *new))
    history = (*before, *new)
    effort, form = _configured(request)
    prompt = Prompt(
        model=without_provider(request.model or "auto"),
        messages=(*told, *history),
        functions=tools.functions,
        choice=tools.choice,
        parallel=request.parallel_tool_calls is not False,
        answer_form=form,
        effort=effort,
        goes_on=goes_on,
        builtins=tools.builtins,
    )
    return prompt, history


def _unheard(request: wire.ResponsesRequest, tools: Tools, *, strict: bool) -> list[str]:
    """What is asked for within fields that are honoured otherwise, and has no effect. Raises RequestError (400) for it
    with `strict`."""
    unheard = [*tools.ignored]
    if request.text is not None and request.text.verbosity not in {None, "medium"}:
        unheard.append("text.verbosity")
    reasoning = request.reasoning or wire.ReasoningOptions()
    unheard += [] if reasoning.context in {None, "auto"} else ["reasoning.context"]
    unheard += [] if reasoning.mode in {None, "standard"} else ["reasoning.mode"]
    if set(request.include or ()) - _INCLUDED:
        unheard.append("include")
    if request.truncation == "auto":
        unheard.append("truncation")
    return allowed(unheard, strict=strict)


def _configured(request: wire.CountInputRequest) -> tuple[Effort | None, JsonAnswer | None]:
    """The effort and the form of the answer: the request's own, or what the last item of its input that says so has
    changed them to."""
    effort = request.reasoning.effort if request.reasoning is not None else None
    form = _answer_form(request.text, "text")
    for place, item in enumerate(request.input if isinstance(request.input, list) else ()):
        if item.type == "configuration_update":
            field = f"input[{place}]"
            given = {"reasoning": item.reasoning, "text": item.text}
            update = converted(given, wire.ConfigurationUpdate, field)
            effort = update.reasoning.effort if update.reasoning is not None else effort
            form = _answer_form(update.text, f"{field}.text") if update.text is not None else form
    return effort, form


def _answer_form(wanted: wire.TextOptions | None, field: str) -> JsonAnswer | None:
    match wanted.format if wanted is not None else None:
        case wire.ObjectForm():
            return JsonAnswer()
        case wire.SchemaForm(name=name, schema=schema, description=description):
            return JsonAnswer(schema, name, description, f"{field}.format.schema")
        case _:
            return None


_PUBLISHED = decoders_of(wire.WithoutInfluence)
_FIELDS = frozenset(wire.ResponsesRequest.__struct_fields__)
_decoder = msgspec.json.Decoder(wire.ResponsesRequest)
_count_decoder = msgspec.json.Decoder(wire.CountInputRequest)
_echo_decoder = msgspec.json.Decoder(wire.Echoed)
