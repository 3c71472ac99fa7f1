"""What all scripts are made of: the opening and the closing of a stream, and an answer that grows piece by piece.

Rule: a script yields only what comes between `opening` and `closing`.
"""

from collections.abc import Iterator

import msgspec

from shim.standin import wording
from shim.standin.steps import PART, Change, Json, Start, Step, Turn, Typed, append, finish
from shim.standin.wording import pieces

Steps = Iterator[Step]

HIDDEN = {"is_visually_hidden_from_conversation": True}


def opening(turn: Turn) -> Steps:
    """What every stream starts with: the resume token, a hidden system message, the echo of the user's message."""
    yield Typed({"type": "resume_conversation_token", "kind": "topic", "token": resume_token(turn), **here(turn)})
    yield turn.start(finished(turn, "system", plain(""), weight=0.0, metadata=HIDDEN, end_turn=True))
    if turn.user_message is not None:
        echo = _user_echo(turn, turn.user_message)
        yield turn.start(echo)
        yield Typed({"type": "input_message", "input_message": echo, **here(turn)})


def closing(turn: Turn) -> Steps:
    """The typed events before [DONE], as recorded in 2025-03."""
    plan = {"model_slug": turn.slug, "plan_type": turn.plan, "turn_exchange_id": turn.exchange_id}
    use = {"tool_invoked": turn.tool is not None, "tool_name": turn.tool, "turn_use_case": turn.use_case}
    yield Typed({"type": "server_ste_metadata", "metadata": plan | use, **here(turn)})
    yield Typed({"type": "message_stream_complete", **here(turn)})
    yield Typed(conversation_detail() | here(turn))


def conversation_detail() -> Json:
    """The conversation_detail_metadata of protocol.md 5.3 and 7.6, as recorded in 2026-05."""
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


def say(turn: Turn, told: str, **fields: object) -> Steps:
    """An assistant text growing piece by piece; marker and title events fall between the pieces, as in captures."""
    end_turn = fields.pop("end_turn", True)
    answer = turn.start(turn.answer(plain(""), **({"channel": "final"} | fields)))
    yield answer
    coming = pieces(told, turn.rng)
    piece = next(coming, "")
    for index, following in enumerate(coming):
        yield Change((append(PART, piece),), answer.channel)
        yield from _aside(turn, answer, index)
        piece = following
    # The last piece and the finish travel in one batch, as recorded in 2025-03.
    yield Change((append(PART, piece), *finish(end_turn=bool(end_turn))), answer.channel)
    yield marker(turn, answer, "last_token", "last")


def _aside(turn: Turn, answer: Start, index: int) -> Steps:
    if index == 0:
        yield marker(turn, answer, "user_visible_token", "first")
    elif index == 3:
        yield Typed({"type": "title_generation", "title": "Talk with the demo", **here(turn)})


def marker(turn: Turn, answer: Start, name: str, event: str) -> Typed:
    """A message_marker event (protocol.md 5.3)."""
    fields = {"message_id": answer.message["id"], "marker": name, "event": event}
    return Typed({"type": "message_marker", **here(turn), **fields})


def some_text(turn: Turn) -> Steps:
    """The first half of an answer that gets no end."""
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield answer
    told = prepared(turn)
    for piece in pieces(told[: max(1, len(told) // 2)], turn.rng):
        yield Change((append(PART, piece),), answer.channel)


def here(turn: Turn) -> Json:
    """The conversation an event belongs to."""
    return {"conversation_id": turn.conversation_id}


def plain(told: str) -> Json:
    """Content of type text."""
    return {"content_type": "text", "parts": [told]}


def finished(turn: Turn, role: str, content: Json, **fields: object) -> Json:
    """A message that arrives finished."""
    return turn.message(role, content, **({"status": "finished_successfully"} | fields))


def _user_echo(turn: Turn, message: Json) -> Json:
    fields = {"id": message["id"], "metadata": message.get("metadata") or {}}
    return finished(turn, "user", message["content"], **fields)


def prepared(turn: Turn) -> str:
    """What the turn was told to say, else the paragraph of the demo."""
    return turn.say if turn.say is not None else wording.demo_answer(turn.question, turn.slug)


def resume_token(turn: Turn) -> str:
    """The token of resume_conversation_token: shaped like a JWT, and it names the turn."""
    claims = msgspec.json.encode({"turn_exchange_id": turn.exchange_id, "conversation_id": turn.conversation_id})
    return f"eyJhbGciOiJub25lIn0.{claims.hex()}.standin"
