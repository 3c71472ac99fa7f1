"""Scripts of what 2026 brought (protocol.md 5.1 to 5.3, 6.5, 7.14, 9.4).

Rule: shapes nobody has recorded are made from protocol.md, and say nothing that it does not.
"""

import json

from shim.standin import wording
from shim.standin.png import picture
from shim.standin.scripts.pictures import IMAGE_GEN
from shim.standin.scripts.saying import HIDDEN, Steps, finished, here, plain, prepared, say, some_text
from shim.standin.scripts.tools import called
from shim.standin.steps import PART, Change, Json, Start, StreamError, Turn, Typed, append, finish, replace
from shim.standin.wording import pieces

THOUGHT = "/message/content/thoughts/0"
NOISE: tuple[Json, ...] = (
    {"type": "safety_review_update", "active": False, "message": "", "protection_type": "bio"},
    {"type": "main_stream_complete"},
    {"type": "content_references_patch", "v": []},
    {"type": "writing_blocks_metadata_patch"},
    {"type": "streaming_parent_patch", "logical_answer_id": "x", "revision": 1, "updates": []},
    {"type": "search_model_queries", "queries": []},
    {"type": "url_moderation", "url_moderation_result": {"full_url": "https://example.test", "is_safe": True}},
    {"type": "toast"}, {"type": "perf_stats"}, {"type": "beacons"}, {"type": "ads"}, {"type": "heartbeat"},
    {"type": "kind_of_the_future", "message": "HIDDEN"},
)  # fmt: skip
QUEUED = (
    "Processing image\n\nLots of people are creating images right now, so this might take a bit. "
    "We'll notify you when your image is ready."
)
RESEARCH = "plugin:connector_openai_deep_research"


def noise(turn: Turn) -> Steps:
    """Typed events of every kind between the pieces of an answer; none of them says anything of it."""
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield answer
    coming = iter(NOISE)
    for piece in pieces(prepared(turn), turn.rng):
        yield Change((append(PART, piece),), answer.channel)
        event = next(coming, None)
        if event is not None:
            yield Typed(event | here(turn))
    yield from (Typed(event | here(turn)) for event in coming)
    yield Change(finish(), answer.channel)


def container(turn: Turn) -> Steps:
    """A command for the container in both its forms, and what it printed (recorded 2025-11 and 2026-03)."""
    yield from called(turn, "container.exec", "bash -lc ls /mnt/data", language="unknown")
    output = {"content_type": "execution_output", "text": "table.csv"}
    yield turn.start(finished(turn, "tool", output, name="container.exec"))
    yield from called(turn, "container.exec", json.dumps({"cmd": ["bash", "-lc", "wc -l table.csv"], "timeout": 10000}))
    printed = finished(turn, "tool", plain("3 table.csv"), name="container.exec", channel="commentary")
    yield turn.start(printed)
    yield from called(turn, "functions.exec", '{"HIDDEN": 1}')
    yield turn.start(finished(turn, "tool", plain("HIDDEN result"), name="functions.exec"))
    yield from say(turn, prepared(turn))


def work_thoughts(turn: Turn) -> Steps:
    """The thinking of a Work model: a placeholder, then summaries that replace one another (protocol.md 5.2)."""
    thought = {"summary": "Thinking", "content": "", "finished": False}
    content = {"content_type": "thoughts", "thoughts": [thought]}
    shown = {"appData": {"title": "HIDDEN", "current_status": "", "items": []}}
    thinking = turn.start(turn.answer(content, end_turn=False, metadata={"dil_v2_reasoning": shown}))
    yield thinking
    for summary in ("Reading the page", "Reading the figures", "Writing it down"):
        yield Change((replace(f"{THOUGHT}/summary", summary),), thinking.channel)
        status = "/message/metadata/dil_v2_reasoning/appData/current_status"
        yield Change((append(status, "HIDDEN"),), thinking.channel)
    ends = (replace(f"{THOUGHT}/finished", True), replace("/message/status", "finished_successfully"))
    yield Change(ends, thinking.channel)
    yield from say(turn, prepared(turn))


def summaries(turn: Turn) -> Steps:
    """Thoughts whose content stays empty, so that only summaries come."""
    content: Json = {"content_type": "thoughts", "thoughts": []}
    thinking = turn.start(turn.answer(content, end_turn=False))
    yield thinking
    for summary, _ in wording.THOUGHTS:
        thought = {"summary": summary, "content": "", "finished": True}
        yield Change((append("/message/content/thoughts", [thought]),), thinking.channel)
    yield Change((replace("/message/status", "finished_successfully"),), thinking.channel)
    yield from say(turn, prepared(turn))


def preamble_ends(turn: Turn) -> Steps:
    """A Pro turn: progress talk that says it ends the turn, a recap that does so too, then the answer."""
    metadata = {"is_thinking_preamble_message": True}
    yield from say(turn, "PREAMBLE: let me see.", channel="commentary", end_turn=True, metadata=metadata)
    ended = {"reasoning_status": "reasoning_ended", "finished_duration_sec": 6}
    recap = {"content_type": "reasoning_recap", "content": "Thought for 6s"}
    yield turn.start(turn.answer(recap, status="finished_successfully", end_turn=True, metadata=ended))
    yield from say(turn, prepared(turn))


def empty_first(turn: Turn) -> Steps:
    """The last message comes first finished and empty, then with its text."""
    answer = turn.answer(plain(""), channel="final", status="finished_successfully", end_turn=True)
    yield turn.start(answer)
    yield turn.start(answer | {"content": plain(prepared(turn))})


def at_once(turn: Turn) -> Steps:
    """The whole answer in one root, finished, without an operation after it."""
    details = {"finish_details": {"type": "stop"}, "is_complete": True}
    fields: Json = {"channel": "final", "status": "finished_successfully", "end_turn": True, "metadata": details}
    yield turn.start(turn.answer(plain(prepared(turn)), **fields))


def asks(turn: Turn) -> Steps:
    """A question to the user, by a widget that no API can answer."""
    metadata = {"ask_user_input": {"questions": [{"id": "city"}]}}
    question = plain("Which city do you mean?")
    yield turn.start(
        turn.answer(
            question, recipient="ask_user_input", status="finished_successfully", end_turn=True, metadata=metadata
        )
    )


def too_large(turn: Turn) -> Steps:
    """Much text, then the news that the chat is full."""
    yield from some_text(turn)
    yield StreamError({"message": "This conversation is too large.", "code": "conversation_too_large"}, "patched")


def review(turn: Turn) -> Steps:
    """A review that holds the answer up; it is no refusal."""
    event = {"type": "safety_review_update", "message": "Reviewing", "protection_type": "bio"}
    yield Typed(event | {"active": True} | here(turn))
    yield Typed(event | {"active": False} | here(turn))
    yield from say(turn, prepared(turn))


def image_queued(turn: Turn) -> Steps:
    """The queue's notice, which says that it ends the turn; `pictures` pictures come later, one message each."""
    turn.use_case = "image gen"
    yield from called(turn, IMAGE_GEN, '{"skipped_mainline":true}', language="json")
    task = f"chatimagegen-{turn.new_id()}"
    card = {"ui_card": True, "ui_card_title": "Creating image", "ui_card_shimmer": True, "image_gen_async": False}
    metadata = card | {"trigger_async_ux": False, "image_gen_task_id": task}
    yield turn.start(finished(turn, "tool", plain(QUEUED), name=IMAGE_GEN, end_turn=True, metadata=metadata))
    yield Typed({"type": "conversation_async_status", "async_status": 4, **here(turn)})
    turn.later = [_made(turn) for _ in range(turn.pictures)]


def image_filled(turn: Turn) -> Steps:
    """A tool message that comes without parts and is filled later."""
    turn.use_case = "image gen"
    yield from called(turn, IMAGE_GEN, '{"skipped_mainline":true}', language="json")
    metadata = {"image_gen_task_id": f"imagegen_{turn.new_id()}", "image_gen_async": True}
    content: Json = {"content_type": "multimodal_text", "parts": []}
    shown = turn.start(turn.message("tool", content, name=IMAGE_GEN, metadata=metadata))
    yield shown
    yield Typed({"type": "conversation_async_status", "async_status": 4, **here(turn)})
    part = _made(turn).message["content"]["parts"][0]
    done = (append("/message/content/parts", [part]), replace("/message/status", "finished_successfully"))
    turn.later = [Change(done, shown.channel)]


def image_error(turn: Turn) -> Steps:
    """The tool's failure as upstream tells it since 2026: an answer."""
    turn.use_case = "image gen"
    yield from called(turn, IMAGE_GEN, '{"skipped_mainline":true}', language="json")
    yield from say(turn, "The image generation tool encountered an error. Please try again.")


def remembers(turn: Turn) -> Steps:
    """The tool that writes into the account's memory is called, unless the chat is not to be remembered."""
    if not turn.forgetful:
        yield from called(turn, "bio", "The user likes tests.", language="unknown")
        yield turn.start(finished(turn, "tool", plain("Model set context updated."), name="bio", metadata=HIDDEN))
    yield from say(turn, "Remembered." if not turn.forgetful else "Not remembered.")


def research(turn: Turn) -> Steps:
    """Deep research (protocol.md 7.14): a short turn; its state is in a tool message of the conversation, and at last
    the report with its citations."""
    yield from called(
        turn, "api_tool.call_tool", json.dumps({"path": "/deep_research/start", "args": {}}), language="json"
    )
    widget = turn.start(_widget(turn, "in_progress", ("in_progress", "pending")))
    yield widget
    yield from say(turn, "I will look into it and report back.")
    yield Typed({"type": "conversation_async_status", "async_status": 7, **here(turn)})
    states = (("in_progress", ("completed", "in_progress")), ("completed", ("completed", "completed")))
    turn.later = [
        Change((replace("/message/metadata/chatgpt_sdk", _sdk(turn, status, steps)),), widget.channel)
        for status, steps in states
    ]
    turn.one_by_one = True


def research_failed(turn: Turn) -> Steps:
    """Research that ends without a report."""
    yield from called(
        turn, "api_tool.call_tool", json.dumps({"path": "/deep_research/start", "args": {}}), language="json"
    )
    widget = turn.start(_widget(turn, "in_progress", ("in_progress", "pending")))
    yield widget
    yield Typed({"type": "conversation_async_status", "async_status": 7, **here(turn)})
    turn.later = [
        Change((replace("/message/metadata/chatgpt_sdk", _sdk(turn, "failed", ("failed",))),), widget.channel)
    ]


def _widget(turn: Turn, status: str, steps: tuple[str, ...]) -> Json:
    metadata = {"chatgpt_sdk": _sdk(turn, status, steps)}
    return finished(turn, "tool", plain(""), name="api_tool.call_tool", metadata=metadata)


def _sdk(turn: Turn, status: str, steps: tuple[str, ...]) -> Json:
    texts = ("Search for sources", "Compare what they say")
    listed = [{"id": str(place), "text": texts[place], "status": one} for place, one in enumerate(steps)]
    state: Json = {
        "status": status,
        "plan": {"plan_id": "plan-1", "version": 1, "title": "Research", "steps": listed},
        "research_started_at": turn.now,
        "research_stopped_at": None if status == "in_progress" else turn.now,
    }
    if status == "completed":
        state["report_message"] = _report(turn)
    return {"widget_state": json.dumps(state)}


def _report(turn: Turn) -> Json:
    marker = "\ue200cite\ue202turn0search0\ue201"
    told = f"# Report\n\n{prepared(turn)} {marker}"
    page = {"title": "A source", "url": "https://source.example.test/page", "snippet": "", "attribution": "source"}
    entry = page | {"type": "search_result", "ref_id": {"turn_index": 0, "ref_type": "search", "ref_index": 0}}
    groups = [{"type": "search_result_group", "domain": "source.example.test", "entries": [entry]}]
    return turn.answer(
        plain(told),
        channel="final",
        status="finished_successfully",
        end_turn=True,
        metadata={"search_result_groups": groups},
    )


def _made(turn: Turn) -> Start:
    """A finished picture, as it stands in the conversation."""
    content = picture(48, 32, turn.rng)
    file_id = turn.make_file(f"{turn.new_id()}.png", "image/png", content, sediment=True)
    pointer = {
        "content_type": "image_asset_pointer",
        "asset_pointer": f"sediment://{file_id}",
        "size_bytes": len(content),
    }
    shown = {"content_type": "multimodal_text", "parts": [pointer | {"width": 48, "height": 32, "metadata": {}}]}
    metadata = {"async_task_type": "image_gen"}
    return turn.start(finished(turn, "tool", shown, name=IMAGE_GEN, weight=0.0, metadata=metadata))
