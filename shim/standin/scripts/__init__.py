"""The scripts: a name and the steps of one answer. The shapes are those of protocol.md 5.1 to 6.5 and of the captures.

Rule: the table is the list of what the stand-in can play; every script is one function of the turn.
"""

from collections.abc import Callable

from shim.standin.scripts import broken, cited, handoffs, lately, pictures, texts, tools
from shim.standin.scripts.handoffs import HANDOFFS, Promise
from shim.standin.scripts.saying import Steps, closing, conversation_detail, opening, resume_token
from shim.standin.scripts.texts import rest
from shim.standin.steps import Cut, Turn

__all__ = ["HANDOFFS", "SCRIPTS", "Promise", "Steps", "conversation_detail", "play", "rest", "resume_token"]

Script = Callable[[Turn], Steps]

SCRIPTS: dict[str, Script] = {
    script.__name__: script
    for script in (
        texts.text, texts.long, texts.unicode, texts.reasoning, texts.reasoning_text, texts.preamble,
        texts.interleaved, texts.stall, texts.empty, texts.empty_text, texts.max_tokens, texts.interrupted,
        texts.moderation_blocked, texts.moderation_ok, texts.hidden,
        broken.error, broken.error_object, broken.error_first, broken.error_limit, broken.error_typed,
        broken.error_policy, broken.cut, broken.cut_first,
        tools.code, tools.worked_out, tools.code_fence, tools.code_open, tools.code_error, tools.sandbox, tools.canvas,
        tools.unknown_tool, tools.gizmo_tool,
        cited.citations, cited.citation_groups, cited.citations_split,
        pictures.image_dalle, pictures.image_gen, pictures.painted, pictures.image_many,
        pictures.image_async, pictures.image_never, pictures.image_failed, pictures.image_refused,
        handoffs.handoff, handoffs.handoff_poll, handoffs.handoff_cut, handoffs.handoff_late,
        lately.noise, lately.container, lately.work_thoughts, lately.summaries, lately.preamble_ends,
        lately.empty_first, lately.at_once, lately.asks, lately.too_large, lately.review, lately.remembers,
        lately.image_queued, lately.image_filled, lately.image_error, lately.research, lately.research_failed,
    )
}  # fmt: skip
# These show nothing but their own events: no system message, no echo, no closing.
BARE = frozenset(HANDOFFS)
# After these no closing events follow.
WITHOUT_CLOSING = BARE | {
    "too_large",
    "error_first",
    "error_limit",
    "error_typed",
    "error_policy",
    "error",
    "error_object",
}


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
