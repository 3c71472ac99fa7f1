"""The scripts: a name and the steps of one answer. The shapes are those of protocol.md 5.1 to 5.6 and of the captures.

Rule: a script yields only what comes between the opening (`opening`) and the closing (`closing`) that all turns share;
the table at the bottom is the list of what the stand-in can play.
"""

from collections.abc import Callable, Iterator

import msgspec

from . import wording
from .steps import (
    CODE,
    PART,
    Change,
    Cut,
    Json,
    Op,
    Pause,
    Start,
    Step,
    StreamError,
    Turn,
    Typed,
    append,
    finish,
    replace,
)
from .wording import pieces

Steps = Iterator[Step]

OPEN, SEPARATOR, CLOSE = "\ue200", "\ue202", "\ue201"
HIDDEN = {"is_visually_hidden_from_conversation": True}


def opening(turn: Turn) -> Steps:
    """What every stream starts with: the resume token, a hidden system message, the echo of the user's message."""
    yield Typed({"type": "resume_conversation_token", "kind": "topic", "token": resume_token(turn), **_here(turn)})
    yield turn.start(_done(turn, "system", _text(""), weight=0.0, metadata=HIDDEN, end_turn=True))
    if turn.user_message is not None:
        echo = _user_echo(turn, turn.user_message)
        yield turn.start(echo)
        yield Typed({"type": "input_message", "input_message": echo, **_here(turn)})


def closing(turn: Turn) -> Steps:
    """The typed events before [DONE], as in delta-v1-text-2025-03-gpt4o-ping.sse."""
    plan = {"model_slug": turn.slug, "plan_type": turn.plan, "turn_exchange_id": turn.exchange_id}
    use = {"tool_invoked": False, "tool_name": None, "turn_use_case": "text"}
    yield Typed({"type": "server_ste_metadata", "metadata": plan | use, **_here(turn)})
    yield Typed({"type": "message_stream_complete", **_here(turn)})
    yield Typed(conversation_detail() | _here(turn))


def conversation_detail() -> Json:
    """The conversation_detail_metadata of protocol.md 5.3 and 7.6, as in conversation-init-2026-05.json."""
    progress = {"feature_name": "file_upload", "remaining": 3, "reset_after": "2030-01-01T00:00:00.000000+00:00"}
    return {
        "type": "conversation_detail_metadata",
        "banner_info": None,
        "blocked_features": [],
        "model_limits": [],
        "limits_progress": [progress],
        "default_model_slug": "auto",
        "atlas_mode_enabled": None,
    }


def text(turn: Turn) -> Steps:
    """The friendly answer that names the demo and repeats the question; or exactly what `say` asks for."""
    yield from _say(turn, _prepared(turn))


def long(turn: Turn) -> Steps:
    """A text of `words` words, several thousand unless told otherwise."""
    yield from _say(turn, wording.long_answer(turn.words))


def unicode(turn: Turn) -> Steps:
    """Everything that breaks a reader which counts bytes or splits lines its own way."""
    yield from _say(turn, wording.UNICODE)


def code(turn: Turn) -> Steps:
    """A tool call (content type code), its output, then the answer with a fenced block (protocol.md 5.1)."""
    content = {"content_type": "code", "language": "unknown", "response_format_name": None, "text": ""}
    call = turn.start(turn.answer(content, recipient="python", channel="commentary", end_turn=False))
    yield call
    for piece in pieces(wording.CODE_SOURCE, turn.rng):
        yield Change((append(CODE, piece),), call.channel)
    yield Change(finish(end_turn=False), call.channel)
    yield turn.start(_python_output(turn))
    yield from _say(turn, wording.CODE_ANSWER.format(source=wording.CODE_SOURCE, output=wording.CODE_OUTPUT.strip()))


def reasoning(turn: Turn) -> Steps:
    """Thoughts growing one after the other, the recap, then the answer (protocol.md 5.2, thinking model)."""
    content = {"content_type": "thoughts", "thoughts": [], "source_analysis_msg_id": turn.new_id()}
    thinking = turn.start(turn.answer(content, end_turn=False, metadata={"reasoning_status": "is_reasoning"}))
    yield thinking
    for index, (summary, body) in enumerate(wording.THOUGHTS):
        yield from _think(turn, thinking.channel, index, summary, body)
    yield Change((replace("/message/status", "finished_successfully"),), thinking.channel)
    yield turn.start(_recap(turn, seconds=6))
    yield from _say(turn, _prepared(turn))


def reasoning_text(turn: Turn) -> Steps:
    """Reasoning as the o1 era sent it: a tool text with initial_text, ended by finished_text (protocol.md 5.1)."""
    metadata = {"initial_text": "Thinking", "reasoning_status": "is_reasoning"}
    thinking = turn.start(turn.message("tool", _text(""), name="a8km123", metadata=metadata))
    yield thinking
    for piece in pieces(wording.THOUGHTS[0][1], turn.rng):
        yield Change((append(PART, piece),), thinking.channel)
    ended = (
        replace("/message/metadata/finished_text", "Thought for 5 seconds"),
        replace("/message/status", "finished_successfully"),
    )
    yield Change(ended, thinking.channel)
    yield from _say(turn, _prepared(turn))


def preamble(turn: Turn) -> Steps:
    """Progress talk on channel commentary, to be kept apart from the answer on channel final (protocol.md 10)."""
    metadata = {"is_thinking_preamble_message": True}
    yield from _say(turn, "PREAMBLE: let me see.", channel="commentary", end_turn=False, metadata=metadata)
    yield from _say(turn, _prepared(turn))


def interleaved(turn: Turn) -> Steps:
    """Two channels that grow in turns, which protocol.md 5.2 allows and no capture shows."""
    talk = turn.start(turn.answer(_text(""), channel="commentary", end_turn=False))
    answer = turn.start(turn.answer(_text(""), channel="final"))
    yield from (talk, answer)
    aside = pieces(wording.long_answer(60), turn.rng)
    for piece in pieces(_prepared(turn), turn.rng):
        yield Change((append(PART, piece),), answer.channel)
        if aside_piece := next(aside, ""):
            yield Change((append(PART, aside_piece),), talk.channel)
    yield Change(finish(end_turn=False), talk.channel)
    yield Change(finish(), answer.channel)


def error(turn: Turn) -> Steps:
    """An error after some text (protocol.md 9.4)."""
    yield from _some_text(turn)
    yield StreamError("Something went wrong while generating the response.", "patched")


def error_object(turn: Turn) -> Steps:
    """The same with an object instead of a sentence, as a root of its own."""
    yield from _some_text(turn)
    yield StreamError({"message": "The server had an error.", "code": "server_error"}, "root", "server_error")


def error_first(_: Turn) -> Steps:
    """An error before any output."""
    yield StreamError("Something went wrong. Please try again.", "root")


def error_limit(_: Turn) -> Steps:
    """A limit told inside the stream, before any output: a client should take it for 429 (protocol.md 9.4)."""
    yield StreamError("You have sent too many messages. Please try again later.", "detail")


def error_typed(_: Turn) -> Steps:
    """An error as a typed event, before any output."""
    yield StreamError({"message": "Internal error", "code": "internal_error"}, "typed")


def error_policy(_: Turn) -> Steps:
    """A refusal by content policy inside the stream."""
    yield StreamError({"message": "This may violate our content policies.", "code": "content_policy_violation"}, "root")


def cut(turn: Turn) -> Steps:
    """Some text, then the body just ends."""
    yield from _some_text(turn)
    yield Cut()


def cut_first(_: Turn) -> Steps:
    """The body ends before any output."""
    yield Cut()


def stall(turn: Turn) -> Steps:
    """Some text, then silence for `stall` seconds, then the rest."""
    told = _prepared(turn)
    answer = turn.start(turn.answer(_text(""), channel="final"))
    yield answer
    yield Change((append(PART, told[:40]),), answer.channel)
    yield Pause(turn.stall)
    yield Change((append(PART, told[40:]), *finish()), answer.channel)


def empty(_: Turn) -> Steps:
    """No assistant message at all."""
    yield from ()


def empty_text(turn: Turn) -> Steps:
    """An assistant message that finishes without a character."""
    answer = turn.start(turn.answer(_text(""), channel="final"))
    yield answer
    yield Change(finish(), answer.channel)


def max_tokens(turn: Turn) -> Steps:
    """Half of the text, stopped by length; a turn with action continue gets the rest."""
    told = _prepared(turn)
    half = len(told) // 2
    turn.rest = told[half:]
    answer = turn.start(turn.answer(_text(""), channel="final"))
    yield answer
    for piece in pieces(told[:half], turn.rng):
        yield Change((append(PART, piece),), answer.channel)
    yield Change(finish("max_tokens", status="finished_partial_completion", end_turn=None), answer.channel)


def interrupted(turn: Turn) -> Steps:
    """Text that upstream itself broke off in an orderly way."""
    yield from _some_text(turn)
    ops = finish("interrupted", status="finished_partial_completion")
    yield Change(ops, turn.channels - 1)


def moderation_blocked(turn: Turn) -> Steps:
    """Some text, then the moderation event that ends it (protocol.md 5.1)."""
    yield from _some_text(turn)
    yield _moderation(turn, blocked=True)


def moderation_ok(turn: Turn) -> Steps:
    """A moderation event that blocks nothing, and one in the form of 2023 without a type."""
    yield from _say(turn, _prepared(turn))
    yield _moderation(turn, blocked=False)
    plain = {key: value for key, value in _moderation(turn, blocked=False).event.items() if key != "type"}
    yield Typed(plain)


def hidden(turn: Turn) -> Steps:
    """Everything that must not be shown, each with the word HIDDEN in it; then the answer."""
    yield turn.start(_done(turn, "system", _text("HIDDEN system"), weight=0.0, metadata=HIDDEN))
    profile = {"content_type": "user_editable_context", "user_profile": "HIDDEN profile", "user_instructions": "HIDDEN"}
    yield turn.start(_done(turn, "user", profile, metadata=HIDDEN | {"is_user_system_message": True}))
    context: Json = {"content_type": "model_editable_context", "model_set_context": "HIDDEN", "repository": None}
    yield turn.start(_done(turn, "assistant", context))
    yield turn.start(_done(turn, "developer", {"content_type": "developer_content", "instructions": ["HIDDEN"]}))
    yield turn.start(_done(turn, "assistant", {"content_type": "super_widget", "text": "HIDDEN", "parts": ["HIDDEN"]}))
    yield turn.start(_done(turn, "assistant", _text("HIDDEN weight"), weight=0.0))
    yield turn.start(_done(turn, "assistant", _text("HIDDEN by metadata"), metadata=HIDDEN))
    yield turn.start(_done(turn, "assistant", _text("HIDDEN analysis"), channel="analysis"))
    yield turn.start(_done(turn, "tool", _text("HIDDEN tool text"), name="web", weight=0.0, metadata=HIDDEN))
    yield turn.start(_done(turn, "assistant", _text('{"HIDDEN":"query"}'), recipient="web", channel="commentary"))
    yield Typed({"type": "brand_new_kind", "v": "HIDDEN", "message": "HIDDEN", **_here(turn)})
    yield Typed({"type": "heartbeat"}, name="ping")
    yield from _say(turn, _prepared(turn))


def citations(turn: Turn) -> Steps:
    """A search and an answer with markers whose references are patched while they grow (protocol.md 5.4)."""
    yield turn.start(_done(turn, "assistant", _text('search("standin")'), recipient="web", end_turn=False))
    yield turn.start(
        _done(turn, "tool", _text(""), name="web", weight=0.0, metadata={"search_result_groups": [_group()]})
    )
    answer = turn.start(turn.answer(_text(""), channel="final"))
    yield answer
    yield Change((append(PART, "The demo cites a page"),), answer.channel)
    yield from (Change(ops, answer.channel) for ops in _cited_page())
    yield Change((append(PART, " and names a thing, "),), answer.channel)
    yield from (Change(ops, answer.channel) for ops in _named_entity())
    yield Change((append(PART, "; this marker has no reference"),), answer.channel)
    yield Change((append(PART, f"{OPEN}cite{SEPARATOR}turn0search9{CLOSE}."),), answer.channel)
    yield Change(finish(), answer.channel)


def handoff(turn: Turn) -> Steps:
    """Only the promise of an answer: it is to be had from P/f/conversation/resume (protocol.md 5.6)."""
    topic = f"conversation-turn-{turn.exchange_id}"
    options = [{"type": kind, "topic_id": topic} for kind in ("resume_sse_endpoint", "subscribe_ws_topic")]
    event = {"type": "stream_handoff", **_here(turn), "turn_exchange_id": turn.exchange_id, "options": options}
    yield Typed(event)


Script = Callable[[Turn], Steps]

SCRIPTS: dict[str, Script] = {
    script.__name__: script
    for script in (
        text, long, unicode, code, reasoning, reasoning_text, preamble, interleaved, error, error_object, error_first,
        error_limit, error_typed, error_policy, cut, cut_first, stall, empty, empty_text, max_tokens, interrupted,
        moderation_blocked, moderation_ok, hidden, citations, handoff,
    )
}  # fmt: skip
# These show nothing but their own events: no system message, no echo, no closing.
BARE = frozenset({"handoff"})
# After these no closing events follow.
WITHOUT_CLOSING = frozenset(
    {"handoff", "error_first", "error_limit", "error_typed", "error_policy", "error", "error_object"}
)


def play(name: str, turn: Turn) -> Steps:
    """All steps of one turn: opening, the script, closing."""
    steps = opening(turn)
    if name in BARE:
        yield next(steps)
    else:
        yield from steps
    for step in SCRIPTS[name](turn):
        yield step
        if isinstance(step, Cut):
            return
    if name not in WITHOUT_CLOSING:
        yield from closing(turn)


def rest(turn: Turn, told: str) -> Steps:
    """All steps of a turn with action continue: what max_tokens kept back (protocol.md 4.1)."""
    yield from opening(turn)
    yield from _say(turn, told)
    yield from closing(turn)


def _here(turn: Turn) -> Json:
    return {"conversation_id": turn.conversation_id}


def _text(told: str) -> Json:
    return {"content_type": "text", "parts": [told]}


def _done(turn: Turn, role: str, content: Json, **fields: object) -> Json:
    """A message that arrives finished."""
    return turn.message(role, content, **({"status": "finished_successfully"} | fields))


def _user_echo(turn: Turn, message: Json) -> Json:
    fields = {"id": message["id"], "metadata": message.get("metadata") or {}}
    return _done(turn, "user", message["content"], **fields)


def _prepared(turn: Turn) -> str:
    return turn.say if turn.say is not None else wording.demo_answer(turn.question, turn.slug)


def _say(turn: Turn, told: str, **fields: object) -> Steps:
    """An assistant text growing piece by piece; marker and title events fall between the pieces, as in captures."""
    end_turn = fields.pop("end_turn", True)
    answer = turn.start(turn.answer(_text(""), **({"channel": "final"} | fields)))
    yield answer
    coming = pieces(told, turn.rng)
    piece = next(coming, "")
    for index, following in enumerate(coming):
        yield Change((append(PART, piece),), answer.channel)
        yield from _aside(turn, answer, index)
        piece = following
    # The last piece and the finish travel in one batch, as in delta-v1-text-2025-03-gpt4o-ping.sse.
    yield Change((append(PART, piece), *finish(end_turn=bool(end_turn))), answer.channel)
    yield _marker(turn, answer, "last_token", "last")


def _aside(turn: Turn, answer: Start, index: int) -> Steps:
    if index == 0:
        yield _marker(turn, answer, "user_visible_token", "first")
    elif index == 3:
        yield Typed({"type": "title_generation", "title": "Talk with the demo", **_here(turn)})


def _marker(turn: Turn, answer: Start, marker: str, event: str) -> Typed:
    fields = {"message_id": answer.message["id"], "marker": marker, "event": event}
    return Typed({"type": "message_marker", **_here(turn), **fields})


def _some_text(turn: Turn) -> Steps:
    answer = turn.start(turn.answer(_text(""), channel="final"))
    yield answer
    told = _prepared(turn)
    for piece in pieces(told[: max(1, len(told) // 2)], turn.rng):
        yield Change((append(PART, piece),), answer.channel)


def _python_output(turn: Turn) -> Json:
    result = {
        "status": "success",
        "messages": [{"message_type": "stream", "stream_name": "stdout", "text": wording.CODE_OUTPUT}],
        "in_kernel_exception": None,
        "final_expression_output": None,
    }
    content = {"content_type": "execution_output", "text": wording.CODE_OUTPUT}
    return _done(turn, "tool", content, name="python", channel="commentary", metadata={"aggregate_result": result})


def _think(turn: Turn, channel: int, index: int, summary: str, body: str) -> Steps:
    first, *others = pieces(body, turn.rng)
    thought = {"summary": summary, "content": first, "chunks": [], "finished": False}
    yield Change((append("/message/content/thoughts", [thought]),), channel)
    for piece in others:
        yield Change((append(f"/message/content/thoughts/{index}/content", piece),), channel)
    yield Change((replace(f"/message/content/thoughts/{index}/finished", True),), channel)


def _recap(turn: Turn, seconds: int) -> Json:
    metadata = {"reasoning_status": "reasoning_ended", "finished_duration_sec": seconds}
    content = {"content_type": "reasoning_recap", "content": f"Thought for {seconds}s"}
    return turn.answer(content, status="finished_successfully", end_turn=False, metadata=metadata)


def _moderation(turn: Turn, *, blocked: bool) -> Typed:
    verdict = {"flagged": blocked, "blocked": blocked, "moderation_id": f"modr-{turn.new_id()}"}
    event = {"type": "moderation", "message_id": turn.parent_id, "is_completion": True, "moderation_response": verdict}
    return Typed(event | _here(turn))


def _group() -> Json:
    entry = {
        "type": "search_result",
        "url": "https://example.test/standin",
        "title": "The stand-in",
        "snippet": "A demo page.",
        "ref_id": {"turn_index": 0, "ref_type": "search", "ref_index": 0},
        "pub_date": None,
        "attribution": "example.test",
    }
    return {"type": "search_result_group", "domain": "example.test", "entries": [entry]}


REFERENCES = "/message/metadata/content_references"
FIRST_TEXT_LENGTH = len("The demo cites a page")


def _cited_page() -> Iterator[tuple[Op, ...]]:
    """One cite marker in two pieces: hidden and invalid, then named (delta-v1-cite-marker-2026-08.reduced.sse)."""
    opened, closed = f"{OPEN}cite{SEPARATOR}turn0", f"search0{CLOSE}"
    reference = _hidden_reference(opened, FIRST_TEXT_LENGTH)
    yield append(PART, opened), append(REFERENCES, [reference])
    yield append(PART, closed), append(f"{REFERENCES}/0/matched_text", closed)
    link = "https://example.test/standin?utm_source=chatgpt.com"
    item = {
        "title": "The stand-in",
        "url": link,
        "pub_date": None,
        "snippet": "A demo page.",
        "attribution": "example.test",
    }
    yield (
        replace(f"{REFERENCES}/0/end_idx", FIRST_TEXT_LENGTH + len(opened + closed)),
        append(f"{REFERENCES}/0/safe_urls", [link]),
        replace(f"{REFERENCES}/0/alt", f"([example.test]({link}))"),
        replace(f"{REFERENCES}/0/type", "grouped_webpages"),
        Op(f"{REFERENCES}/0/invalid", "remove"),
        append(f"{REFERENCES}/0", {"items": [item], "status": "done"}),
    )


def _named_entity() -> Iterator[tuple[Op, ...]]:
    """One entity marker, opened by a lone character (delta-v1-entity-references-2026-02.excerpt.sse)."""
    start = FIRST_TEXT_LENGTH + len(f"{OPEN}cite{SEPARATOR}turn0search0{CLOSE}") + len(" and names a thing, ")
    body, closed = f'entity{SEPARATOR}["software","chat2api","demo', f'"]{CLOSE}'
    yield append(PART, OPEN), append(REFERENCES, [_hidden_reference(OPEN, start)])
    yield (
        append(PART, body),
        append(f"{REFERENCES}/1/matched_text", body),
        replace(f"{REFERENCES}/1/alt", "chat2api"),
        replace(f"{REFERENCES}/1/type", "entity"),
        Op(f"{REFERENCES}/1/invalid", "remove"),
        append(f"{REFERENCES}/1", {"category": "software", "status": "loading", "name": "chat2api"}),
    )
    yield append(PART, closed), append(f"{REFERENCES}/1/matched_text", closed)
    yield (
        replace(f"{REFERENCES}/1/end_idx", start + len(OPEN + body + closed)),
        replace(f"{REFERENCES}/1/status", "done"),
    )


def _hidden_reference(matched: str, start: int) -> Json:
    return {
        "matched_text": matched,
        "start_idx": start,
        "end_idx": start + len(matched),
        "safe_urls": [],
        "refs": [],
        "alt": None,
        "prompt_text": None,
        "type": "hidden",
        "invalid": True,
    }


def resume_token(turn: Turn) -> str:
    """The token of resume_conversation_token: shaped like a JWT, and it names the turn."""
    claims = msgspec.json.encode({"turn_exchange_id": turn.exchange_id, "conversation_id": turn.conversation_id})
    return f"eyJhbGciOiJub25lIn0.{claims.hex()}.standin"
