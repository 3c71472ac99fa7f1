"""Scripts of plain answers and of thinking: how a text comes, stalls, stops by length or is blocked."""

from shim.standin import wording
from shim.standin.scripts.saying import HIDDEN, Steps, closing, finished, here, opening, plain, prepared, say, some_text
from shim.standin.steps import PART, Change, Json, Pause, Turn, Typed, append, finish, replace
from shim.standin.wording import pieces


def text(turn: Turn) -> Steps:
    """The friendly answer that names the demo and repeats the question; or exactly what `say` asks for."""
    yield from say(turn, prepared(turn))


def long(turn: Turn) -> Steps:
    """A text of `words` words, several thousand unless told otherwise."""
    yield from say(turn, wording.long_answer(turn.words))


def unicode(turn: Turn) -> Steps:
    """Everything that breaks a reader which counts bytes or splits lines its own way."""
    yield from say(turn, wording.UNICODE)


def reasoning(turn: Turn) -> Steps:
    """Thoughts growing one after the other, the recap, then the answer (protocol.md 5.2, thinking model)."""
    content = {"content_type": "thoughts", "thoughts": [], "source_analysis_msg_id": turn.new_id()}
    thinking = turn.start(turn.answer(content, end_turn=False, metadata={"reasoning_status": "is_reasoning"}))
    yield thinking
    for index, (summary, body) in enumerate(wording.THOUGHTS):
        yield from _think(turn, thinking.channel, index, summary, body)
    yield Change((replace("/message/status", "finished_successfully"),), thinking.channel)
    yield turn.start(_recap(turn, seconds=6))
    yield from say(turn, prepared(turn))


def reasoning_text(turn: Turn) -> Steps:
    """Reasoning as the o1 era sent it: a tool text with initial_text, ended by finished_text (protocol.md 5.1)."""
    metadata = {"initial_text": "Thinking", "reasoning_status": "is_reasoning"}
    thinking = turn.start(turn.message("tool", plain(""), name="a8km123", metadata=metadata))
    yield thinking
    for piece in pieces(wording.THOUGHTS[0][1], turn.rng):
        yield Change((append(PART, piece),), thinking.channel)
    ended = (
        replace("/message/metadata/finished_text", "Thought for 5 seconds"),
        replace("/message/status", "finished_successfully"),
    )
    yield Change(ended, thinking.channel)
    yield from say(turn, prepared(turn))


def preamble(turn: Turn) -> Steps:
    """Progress talk on channel commentary, to be kept apart from the answer on channel final (protocol.md 10)."""
    metadata = {"is_thinking_preamble_message": True}
    yield from say(turn, "PREAMBLE: let me see.", channel="commentary", end_turn=False, metadata=metadata)
    yield from say(turn, prepared(turn))


def interleaved(turn: Turn) -> Steps:
    """Two channels that grow in turns, which protocol.md 5.2 allows and no capture shows."""
    talk = turn.start(turn.answer(plain(""), channel="commentary", end_turn=False))
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield from (talk, answer)
    aside = pieces(wording.long_answer(60), turn.rng)
    for piece in pieces(prepared(turn), turn.rng):
        yield Change((append(PART, piece),), answer.channel)
        if aside_piece := next(aside, ""):
            yield Change((append(PART, aside_piece),), talk.channel)
    yield Change(finish(end_turn=False), talk.channel)
    yield Change(finish(), answer.channel)


def stall(turn: Turn) -> Steps:
    """Some text, then silence for `stall` seconds, then the rest."""
    told = prepared(turn)
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield answer
    yield Change((append(PART, told[:40]),), answer.channel)
    yield Pause(turn.stall)
    yield Change((append(PART, told[40:]), *finish()), answer.channel)


def empty(_: Turn) -> Steps:
    """No assistant message at all."""
    yield from ()


def empty_text(turn: Turn) -> Steps:
    """An assistant message that finishes without a character."""
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield answer
    yield Change(finish(), answer.channel)


def max_tokens(turn: Turn) -> Steps:
    """The first of `parts` pieces of a text, stopped by length; turns with action continue get the others."""
    told = prepared(turn)
    size = max(1, -(-len(told) // turn.parts))
    turn.rest = [told[begin : begin + size] for begin in range(0, len(told), size)]
    yield from _next_part(turn)


def interrupted(turn: Turn) -> Steps:
    """Text that upstream itself broke off in an orderly way."""
    yield from some_text(turn)
    ops = finish("interrupted", status="finished_partial_completion")
    yield Change(ops, turn.channels - 1)


def moderation_blocked(turn: Turn) -> Steps:
    """Some text, then the moderation event that ends it (protocol.md 5.1)."""
    yield from some_text(turn)
    yield _moderation(turn, blocked=True)


def moderation_ok(turn: Turn) -> Steps:
    """A moderation event that blocks nothing, and one in the form of 2023 without a type."""
    yield from say(turn, prepared(turn))
    yield _moderation(turn, blocked=False)
    plain = {key: value for key, value in _moderation(turn, blocked=False).event.items() if key != "type"}
    yield Typed(plain)


def hidden(turn: Turn) -> Steps:
    """Everything that must not be shown, each with the word HIDDEN in it; then the answer."""
    yield turn.start(finished(turn, "system", plain("HIDDEN system"), weight=0.0, metadata=HIDDEN))
    profile = {"content_type": "user_editable_context", "user_profile": "HIDDEN profile", "user_instructions": "HIDDEN"}
    yield turn.start(finished(turn, "user", profile, metadata=HIDDEN | {"is_user_system_message": True}))
    context: Json = {"content_type": "model_editable_context", "model_set_context": "HIDDEN", "repository": None}
    yield turn.start(finished(turn, "assistant", context))
    yield turn.start(finished(turn, "developer", {"content_type": "developer_content", "instructions": ["HIDDEN"]}))
    yield turn.start(
        finished(turn, "assistant", {"content_type": "super_widget", "text": "HIDDEN", "parts": ["HIDDEN"]})
    )
    yield turn.start(finished(turn, "assistant", plain("HIDDEN weight"), weight=0.0))
    yield turn.start(finished(turn, "assistant", plain("HIDDEN by metadata"), metadata=HIDDEN))
    yield turn.start(finished(turn, "assistant", plain("HIDDEN analysis"), channel="analysis"))
    yield turn.start(finished(turn, "tool", plain("HIDDEN tool text"), name="web", weight=0.0, metadata=HIDDEN))
    yield turn.start(finished(turn, "assistant", plain('{"HIDDEN":"query"}'), recipient="web", channel="commentary"))
    yield Typed({"type": "brand_new_kind", "v": "HIDDEN", "message": "HIDDEN", **here(turn)})
    yield Typed({"type": "heartbeat"}, name="ping")
    yield from say(turn, prepared(turn))


def rest(turn: Turn) -> Steps:
    """All steps of a turn with action continue: the next piece of what max_tokens kept back (protocol.md 4.1)."""
    yield from opening(turn)
    yield from _next_part(turn)
    yield from closing(turn)


def _next_part(turn: Turn) -> Steps:
    """One piece of a cut answer; only the last ends the turn."""
    part, *turn.rest = turn.rest
    if not turn.rest:
        yield from say(turn, part)
        return
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield answer
    for piece in pieces(part, turn.rng):
        yield Change((append(PART, piece),), answer.channel)
    yield Change(finish("max_tokens", status="finished_partial_completion", end_turn=None), answer.channel)


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
    return Typed(event | here(turn))
