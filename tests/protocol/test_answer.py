"""Answer streams as conversations: what upstream sends, what a person is shown of it, and how it ends.

Every stream here is heard whole and one byte at a time, and must sound the same (`hear`).
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.apis.openai_errors import envelope
from shim.errors import DeadlineError, GatewayError, LimitError, RequestError, UpstreamError
from shim.protocol.answer.machine import Answer, Phase
from shim.protocol.events import (
    CodeDelta,
    Drawing,
    Event,
    Failed,
    Finished,
    Picture,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolOutput,
)
from tests.upstream_says import (
    DONE,
    END,
    ENDED,
    PART,
    V1,
    added,
    append,
    bytewise,
    changed,
    content,
    delta,
    frame,
    message,
    snapshot,
    typed,
)

# --- what is heard of it ----------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """The events of one answer, and the state it was left in."""

    events: list[Event]
    answer: Answer

    def said(self, kind: type[Event]) -> str:
        return "".join(event.text for event in self.events if isinstance(event, kind))  # type: ignore[attr-defined]

    @property
    def text(self) -> str:
        return self.said(TextDelta)

    @property
    def pieces(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, TextDelta)]

    @property
    def reasoning(self) -> str:
        return self.said(ReasoningDelta)

    @property
    def end(self) -> str:
        """The finish reason, or the code of the failure."""
        last = self.events[-1]
        assert isinstance(last, Finished | Failed)
        return last.reason if isinstance(last, Finished) else str(last.error.code)

    @property
    def error(self) -> GatewayError:
        last = self.events[-1]
        assert isinstance(last, Failed)
        return last.error

    @property
    def plain(self) -> list[object]:
        """The events in a form that can be compared (an exception equals only itself)."""
        return [
            (type(event.error), event.error.code, event.error.message) if isinstance(event, Failed) else event
            for event in self.events
        ]


def listen(chunks: Iterable[bytes]) -> Heard:
    """The answer that arrives in these chunks, until the end of input. It is not followed where it goes on elsewhere:
    it is fed until it has ended, as by a driver that knows only one stream."""
    answer = Answer()
    events = [event for chunk in (*chunks, b"", b"") for event in answer.receive(chunk)]
    heard = Heard(events, answer)
    check_order(heard)
    return heard


def check_order(heard: Heard) -> None:
    """What holds for every answer, good or bad."""
    ends = [event for event in heard.events if isinstance(event, Finished | Failed)]
    starts = [event for event in heard.events if isinstance(event, Started)]
    assert len(ends) == 1
    assert heard.events[-1] is ends[0]
    assert heard.answer.ended
    assert len(starts) <= 1
    assert starts == heard.events[:1] or len(heard.events) == 1
    assert heard.answer.receive(b"data: more\n\n") == heard.answer.receive(b"") == []


def hear(*frames: bytes) -> Heard:
    stream = b"".join(frames)
    whole = listen([stream] if stream else [])
    in_bytes = listen(bytewise(stream))
    assert in_bytes.plain == whole.plain
    assert in_bytes.answer.ignored == whole.answer.ignored
    return whole


# --- the worked examples of protocol.md -------------------------------------------------------------------------------


def test_snapshots() -> None:
    """5.1: deltas "", "Hel", "lo", finish stop."""
    heard = hear(
        snapshot("", metadata={"model_slug": "auto"}),
        snapshot("Hel"),
        snapshot("Hello", **END, metadata={"finish_details": {"type": "stop"}, "is_complete": True}),
        DONE,
    )
    assert heard.events == [
        Started("c1", "a1", "auto"),
        TextDelta("Hel", opens=True),
        TextDelta("lo"),
        Finished("stop"),
    ]


def test_deltas() -> None:
    """5.2: a title between bare appends, then a batch that appends, ends and merges metadata."""
    last = [
        {"p": PART, "o": "append", "v": "!"},
        {"p": "/message/status", "o": "replace", "v": "finished_successfully"},
        {"p": "/message/end_turn", "o": "replace", "v": True},
        {"p": "/message/metadata", "o": "append", "v": {"finish_details": {"type": "stop", "stop_tokens": [200002]}}},
    ]
    heard = hear(
        V1,
        added() + append("Hel"),
        typed("title_generation", title="Greeting"),
        delta("lo") + delta(last, p="", o="patch"),
        typed("message_stream_complete"),
        DONE,
    )
    assert heard.pieces == ["Hel", "lo", "!"]
    assert heard.end == "stop"
    assert heard.answer.ignored == {"title_generation": 1}


def thinking() -> list[bytes]:
    """5.2, the thinking model: thoughts, a recap, then the answer on its own channel."""
    empty = content("thoughts", thoughts=[], source_analysis_msg_id="x1")
    thought = {"summary": "Checking", "content": "Let me ", "chunks": [], "finished": False}
    recap = content("reasoning_recap", content="Thought for 6s")
    return [
        V1,
        added(id="t1", **empty, end_turn=False, c=1),
        delta([thought], p="/message/content/thoughts", o="append"),
        append("see.", "/message/content/thoughts/0/content"),
        changed(("content/thoughts/0/finished", True), ("status", "finished_successfully")),
        added(id="r1", **recap, end_turn=False, c=2, status="finished_successfully"),
        delta({"message": message(id="a1", channel="final"), "conversation_id": "c1", "error": None}, c=3),
        append("42") + ENDED,
        DONE,
    ]


def test_thoughts_are_reasoning_and_the_answer_follows() -> None:
    heard = hear(*thinking())
    assert heard.reasoning == "Checking\n\nLet me see."
    assert heard.text == "42"
    assert heard.end == "stop"
    assert heard.events[0] == Started("c1", "t1", None)


# --- the recordings ---------------------------------------------------------------------------------------------------

# What a person reads in each: first words, last words, length in characters, model.
RECORDED = {
    "delta-v1-text-2024-10-gpt4o.sse": (
        "好的，我明白你的要求。为了获取你的环境信息，",
        "我会根据结果进行进一步分析并提出后续的建议。",
        553,
        "gpt-4o",
    ),
    "delta-v1-text-2025-03-gpt4o-ping.sse": (
        "This statement presents a **critique of intellectual property (IP) laws** and the idea",
        "The real debate is **how to balance** the interests of creators, consumers, and society.",
        1467,
        "gpt-4o",
    ),
    "delta-v1-text-2026-01-gpt52-free.sse": (
        "Here’s a list of 10 famous people from different fields:",
        "ar field or person you're interested in learning more about?",
        915,
        "gpt-5-2",
    ),
    "snapshot-text-2023-gpt35.sse": (
        "Hello! It seems like your message got cut off.",
        "How can I assist you today?",
        74,
        "text-davinci-002-render-sha",
    ),
    "snapshot-text-2024-10-gpt4o.sse": (
        "明白了！我们可以从获取你的环境信息开始，",
        "信息和Python环境信息。\n\n",
        72,
        "gpt-4o-mini",
    ),
    "snapshot-text-moderation-2023-12.events.json": (
        "当然，请问有什么样的任务或问题我可以帮助您解决呢？",
        "请告诉我您需要什么样的帮助。",
        74,
        "text-davinci-002-render-sha",
    ),
    "delta-v1-image-gen-2026-05.events.json": (
        "This image captures a peaceful Japanese zen garden at golden hour,",
        "stronger reflection of the blossoms for a more dreamy effect?",
        243,
        None,
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_answer_reads_as_a_person_reads_it(name: str, capture: Any) -> None:
    begins, ends, length, slug = RECORDED[name]
    heard = hear(capture(name))
    assert heard.text.startswith(begins)
    assert heard.text.endswith(ends)
    assert len(heard.text) == length
    assert heard.end == "stop"
    assert isinstance(heard.events[0], Started)
    assert heard.events[0].slug == slug
    shown = {Drawing, Picture} if "image" in name else set()
    assert {type(event) for event in heard.events} == {Started, TextDelta, Finished} | shown


def test_the_recorded_image_answer_keeps_the_tools_instructions_to_itself(capture: Any) -> None:
    heard = hear(capture("delta-v1-image-gen-2026-05.events.json"))
    assert "You are responding" not in heard.text
    assert "skipped_mainline" not in heard.text
    assert heard.answer.ignored["message_marker"] == 3


def test_the_recorded_handoff_is_not_an_empty_answer(capture: Any) -> None:
    heard = hear(capture("delta-v1-handoff-2026-06-gpt55-thinking.sse"))
    assert heard.end == "stream_handoff"
    assert heard.error.http_status == 502


def test_the_recorded_handoff_of_a_pro_turn_comes_after_its_first_message(capture: Any) -> None:
    heard = hear(capture("delta-v1-pro-handoff-2026-07-gpt56-pro.reduced.sse"))
    assert (heard.text, heard.end) == ("", "stream_handoff")
    assert "HTTP_OK" not in str(heard.events)


@pytest.mark.parametrize(
    ("name", "shown", "never"),
    [
        pytest.param(
            "conversation-nodes-python-2025-10.excerpt.json",
            [CodeDelta, ToolOutput],
            "aggregate_result",
            id="python",
        ),
        pytest.param(
            "conversation-nodes-container-exec-2026-03.excerpt.json",
            [CodeDelta, ToolOutput],
            "tether",
            id="container.exec",
        ),
    ],
)
def test_recorded_messages_of_tools_are_shown_as_code_and_output(
    name: str, shown: list[type[Event]], never: str, capture: Any
) -> None:
    nodes = json.loads(capture(name)).values()
    messages = sorted((node["message"] for node in nodes), key=lambda one: one["create_time"])
    heard = hear(*(frame({"message": one, "conversation_id": "c1"}) for one in messages))
    assert {type(event) for event in heard.events} - {Started, Failed} <= {*shown, ReasoningDelta}
    assert shown[0] in {type(event) for event in heard.events}
    assert not any(isinstance(event, TextDelta) for event in heard.events)
    assert "bash -lc" not in str(heard.events)
    assert never not in str(heard.events)


@pytest.mark.parametrize(
    ("written", "command"),
    [
        ("bash -lc pdfinfo x.pdf | head", "pdfinfo x.pdf | head"),
        ('{"cmd":["bash","-lc","ls -la"],"timeout":10000}', "ls -la"),
        ('{"cmd":["git","status"]}', "git status"),
        ('{"cmd":7}', ""),
        ('{"cmd":', ""),
    ],
)
def test_a_command_for_the_container_is_shown_as_shell_code(written: str, command: str) -> None:
    call = message(content={"content_type": "code", "language": "unknown", "text": ""}, recipient="container.exec")
    path = "/message/content/text"
    frames = [V1, root(call), *(op(path, piece) for piece in (written[:3], written[3:12], written[12:]) if piece)]
    heard = hear(*frames, WHOLE_NEXT, DONE)
    code = [event for event in heard.events if isinstance(event, CodeDelta)]
    assert "".join(event.text for event in code) == command
    assert all(event.language == "bash" for event in code if event.opens)


@pytest.mark.parametrize(
    ("author", "content", "output"),
    [
        ("container.exec", {"content_type": "execution_output", "text": "3 files"}, "3 files"),
        ("container.exec", {"content_type": "text", "parts": ["3 files"]}, "3 files"),
        ("python", {"content_type": "execution_output", "text": "3"}, "3"),
        ("functions.exec", {"content_type": "execution_output", "text": "SECRET"}, ""),
        ("api_tool.call_tool", {"content_type": "text", "parts": ["SECRET"]}, ""),
    ],
)
def test_only_what_the_interpreter_and_the_container_print_is_shown(
    author: str, content: dict[str, Any], output: str
) -> None:
    result = message(content=content, author={"role": "tool", "name": author}, channel="commentary", id="t1")
    heard = hear(frame({"message": result}), WHOLE_NEXT, DONE)
    assert "".join(event.text for event in heard.events if isinstance(event, ToolOutput)) == output
    assert "SECRET" not in str(heard.events)


def thoughts(*thoughts: tuple[str, str, bool]) -> dict[str, Any]:
    listed = [{"summary": summary, "content": content, "finished": over} for summary, content, over in thoughts]
    return message(content={"content_type": "thoughts", "thoughts": listed}, id="t0")


SUMMARY = "/message/content/thoughts/0/summary"


@pytest.mark.parametrize(
    ("frames", "reasoning"),
    [
        pytest.param([("replace", SUMMARY, "Reading the page")], "Reading the page", id="replaced"),
        pytest.param(
            [("replace", SUMMARY, "Reading the page"), ("replace", SUMMARY, "Reading the figures")],
            "Reading the page\n\nReading the figures",
            id="a new paragraph",
        ),
        pytest.param(
            [("replace", SUMMARY, "Reading"), ("append", SUMMARY, " on"), ("replace", SUMMARY, "Writing")],
            "Reading on\n\nWriting",
            id="grows, then is replaced",
        ),
        pytest.param([("append", SUMMARY, " about it")], "Thinking about it", id="grows"),
        pytest.param([("replace", "/message/content/thoughts/0/finished", True)], "Thinking", id="finishes"),
        pytest.param([], "Thinking", id="another message begins"),
    ],
)
def test_a_lone_thinking_is_held_back_and_a_replaced_summary_is_a_paragraph(
    frames: list[tuple[str, str, Any]], reasoning: str
) -> None:
    heard = hear(V1, root(thoughts(("Thinking", "", False))), *(op(p, v, o) for o, p, v in frames), WHOLE_NEXT, DONE)
    assert "".join(event.text for event in heard.events if isinstance(event, ReasoningDelta)) == reasoning
    assert heard.text == "Hello"


def test_a_delta_without_its_name_is_one_all_the_same() -> None:
    heard = hear(V1, root(message()), op(PART, "Hel"), frame({"v": "lo"}), DONE)
    assert heard.text == "Hello"


@pytest.mark.parametrize(
    "event",
    [
        typed("safety_review_update", active=True, message="wait", protection_type="bio"),
        typed("main_stream_complete"),
        typed("content_references_patch", v=[1]),
        typed("writing_blocks_metadata_patch"),
        typed("streaming_parent_patch", revision=1, updates=[]),
        *(typed(kind) for kind in ("toast", "perf_stats", "beacons", "ads", "stop", "done", "heartbeat")),
    ],
)
def test_events_beside_an_answer_do_not_touch_what_operations_inherit(event: bytes) -> None:
    heard = hear(V1, root(message()), op(PART, "Hel"), event, delta("lo"), DONE)
    assert (heard.text, heard.end) == ("Hello", "stop")


def test_what_upstream_says_beside_the_answer_is_observed() -> None:
    limits = [{"feature_name": "deep_research", "remaining": 21, "reset_after": "2026-12-01T00:00:00Z"}]
    metadata = {"resolved_model_slug": "gpt-5-6-auto-thinking", "model_slug": "gpt-5-6", "thinking_effort": "max"}
    heard = hear(
        snapshot_of(message("Hello", metadata=metadata)),
        typed("server_ste_metadata", metadata={"did_auto_switch_to_reasoning": True}),
        typed("conversation_detail_metadata", limits_progress=limits),
        DONE,
    )
    observed = heard.answer.observed
    assert (observed.slug, observed.effort, observed.switched) == ("gpt-5-6-thinking", "max", True)
    assert observed.limits == limits


def snapshot_of(one: dict[str, Any]) -> bytes:
    return frame({"message": one, "conversation_id": "c1"})


def root(one: dict[str, Any]) -> bytes:
    return delta({"message": one, "conversation_id": "c1"}, p="", o="add", c=0)


def op(path: str, value: Any, kind: str = "append") -> bytes:
    return delta(value, p=path, o=kind)


WHOLE_NEXT = delta({"message": message("Hello", id="a9", **END)}, p="", o="add", c=9)


@pytest.mark.parametrize(
    "name", ["delta-v1-entity-references-2026-02.excerpt.sse", "delta-v1-cite-marker-2026-08.reduced.sse"]
)
def test_a_recorded_excerpt_does_not_fit(name: str, capture: Any) -> None:
    """It lacks the message its operations change."""
    heard = hear(capture(name))
    assert heard.end == "upstream_delta"
    assert PART in heard.error.message


@pytest.mark.parametrize("name", RECORDED)
@settings(max_examples=10)
@given(places=st.lists(st.integers(1, 45000), max_size=40))
def test_the_network_cannot_change_a_recorded_answer(name: str, capture: Any, places: list[int]) -> None:
    stream = capture(name)
    ends = sorted({place for place in places if place < len(stream)})
    chunks = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]
    assert listen(chunks).plain == listen([stream]).plain


@pytest.mark.parametrize("name", ["delta-v1-text-2025-03-gpt4o-ping.sse", "snapshot-text-2023-gpt35.sse"])
def test_a_recorded_answer_cut_anywhere_is_cut_or_whole_and_nothing_else(name: str, capture: Any) -> None:
    stream = capture(name)
    whole = listen([stream]).text
    ends = set()
    for place in range(0, len(stream), 7):
        heard = listen([stream[:place]] if place else [])
        assert whole.startswith(heard.text)
        if heard.text != whole:
            assert heard.end == ("upstream_cut" if heard.text else "empty_stream")
        ends.add(heard.end)
    assert ends == {"empty_stream", "upstream_cut", "stop"}


# --- what is shown, and as what ---------------------------------------------------------------------------------------


def tail(*frames: bytes) -> Heard:
    """`frames`, then an ordinary end."""
    return hear(*frames, snapshot("The answer.", id="last", channel="final", **END), DONE)


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": "x1", "author": {"role": "tool", "name": name}, **fields}


SECRET = "for the model's eyes"
NOT_SHOWN = {
    "a system message": {"author": {"role": "system"}},
    "the user's echo": {"author": {"role": "user"}},
    "a developer message": {"author": {"role": "developer"}},
    "a critic": {"author": {"role": "critic"}},
    "no author": {"author": None},
    "an author without a role": {"author": {}},
    "a role that is a list": {"author": {"role": ["assistant"]}},
    "weight 0": {"weight": 0},
    "weight 0.0": {"weight": 0.0},
    "hidden by metadata": {"metadata": {"is_visually_hidden_from_conversation": True}},
    "for a tool": {"recipient": "browser"},
    "for python, but as text": {"recipient": "python"},
    "a recipient that is a list": {"recipient": ["all"]},
    "the hidden thinking channel": {"channel": "analysis"},
    "a channel of another name": {"channel": "confidential"},
    "a channel that is an object": {"channel": {"name": "final"}},
    "a tool's text": tool("browser"),
    "a tool's multimodal text": tool("dalle.text2im", **content("multimodal_text", parts=[SECRET])),
    "what the browser shows": tool("browser", **content("tether_browsing_display", result=SECRET, summary=SECRET)),
    "a quote": tool("browser", **content("tether_quote", text=SECRET, url="https://example.test")),
    "a tool's error": tool("browser", **content("system_error", name="x", text=SECRET)),
    "a tool's code": tool("python", **content("code", text=SECRET, language="python")),
    "the model's context": content("model_editable_context", model_set_context=SECRET),
    "the user's context": {"author": {"role": "user"}, **content("user_editable_context", user_profile=SECRET)},
    "developer content": content("developer_content", instructions=[SECRET], parts=[SECRET]),
    "a recap": content("reasoning_recap", content=SECRET, parts=[SECRET]),
    "code for another tool": {"recipient": "web", **content("code", text=SECRET, language="unknown")},
    "code for everybody": content("code", text=SECRET, language="python"),
    "output of the assistant": content("execution_output", text=SECRET),
    "a content type of the future": content("hologram", parts=[SECRET], text=SECRET),
    "a content type that is a list": content(["text"], parts=[SECRET]),  # type: ignore[arg-type]
    "no content type": {"content": {"parts": [SECRET]}},
    "no content": {"content": None},
    "parts that are text": content("text", parts=SECRET),
    "parts that are an object": content("text", parts={"0": SECRET}),
    "parts that are null": content("text", parts=None),
    "parts that are objects": content("multimodal_text", parts=[{"content_type": "audio", "text": SECRET}]),
    "thoughts that are no list": content("thoughts", thoughts=SECRET),
    "thoughts that are no objects": content("thoughts", thoughts=[SECRET, None, 7]),
    "a message that is no object": SECRET,
}


@pytest.mark.parametrize("fields", NOT_SHOWN.values(), ids=NOT_SHOWN)
def test_not_shown(fields: Any) -> None:
    hidden = message(SECRET, **{"id": "x1", **fields}) if isinstance(fields, dict) else fields
    as_snapshot = tail(frame({"message": hidden, "conversation_id": "c1"}))
    as_delta = tail(V1, delta({"message": hidden, "conversation_id": "c1", "error": None}, p="", o="add", c=0))
    for heard in (as_snapshot, as_delta):
        assert [event for event in heard.events if not isinstance(event, Started)] == [
            TextDelta("The answer.", opens=True),
            Finished("stop"),
        ]


REASONING = {
    "a preamble": {"metadata": {"is_thinking_preamble_message": True}, "channel": "final"},
    "commentary": {"channel": "commentary"},
    "thoughts of the assistant": content("thoughts", thoughts=[{"summary": "", "content": "hm"}]),
    "thoughts of a tool": tool("a8km123", **content("thoughts", thoughts=[{"content": "hm"}])),
    "o1, thinking": tool("a8km123", metadata={"initial_text": "Thinking"}),
    "o1, done thinking": tool("a8km123", metadata={"finished_text": "Thought for 5 seconds"}),
}


@pytest.mark.parametrize("fields", REASONING.values(), ids=REASONING)
def test_reasoning_is_never_in_the_text(fields: dict[str, Any]) -> None:
    heard = tail(snapshot("hm", **{"id": "t1", **fields}))
    assert heard.reasoning == "hm"
    assert heard.text == "The answer."


@pytest.mark.parametrize("channel", [None, "final"])
def test_the_answer_is_on_the_final_channel_or_on_none(channel: str | None) -> None:
    assert hear(snapshot("Hi", channel=channel, **END), DONE).text == "Hi"


@pytest.mark.parametrize("missing", ["author.name", "status", "metadata", "recipient", "id", "weight", "end_turn"])
def test_the_least_a_message_needs(missing: str) -> None:
    """2023 had no status; what is missing is unspecified, not wrong."""
    fields = message("Hi")
    fields.pop(missing, None)
    assert hear(frame({"message": fields}), DONE).text == "Hi"


@pytest.mark.parametrize("field", ["metadata", "recipient", "id", "weight", "end_turn", "status", "channel"])
def test_null_is_as_good_as_missing(field: str) -> None:
    assert hear(snapshot("Hi", **{field: None}), DONE).text == "Hi"


def test_code_and_its_output() -> None:
    code = {"id": "k1", "recipient": "python", "end_turn": False}
    heard = tail(
        snapshot(**code, **content("code", language="unknown", text="print(1")),
        snapshot(**code, **content("code", language="unknown", text="print(1)")),
        snapshot(**tool("python", **content("execution_output", text="1\n"))),
    )
    assert heard.events[1:] == [
        CodeDelta("print(1", "python", opens=True),
        CodeDelta(")", "python"),
        ToolOutput("1\n", opens=True),
        TextDelta("The answer.", opens=True),
        Finished("stop"),
    ]


def test_code_as_deltas() -> None:
    code = {"id": "k1", "recipient": "python", **content("code", language="ruby", text="")}
    heard = hear(V1, added(**code), append("puts", "/message/content/text"), delta(" 1"), DONE)
    assert heard.events[1:-1] == [CodeDelta("puts", "ruby", opens=True), CodeDelta(" 1", "ruby")]


def test_thoughts_grow_by_every_road() -> None:
    """A thought by a whole list, by its summary, by its content, by the next thought."""
    path = "/message/content/thoughts"
    heard = hear(
        V1,
        added(id="t1", **content("thoughts", thoughts=[])),
        delta([{"summary": "Look", "content": ""}], p=path, o="append"),
        append("ing", f"{path}/0/summary"),
        append("At", f"{path}/0/content") + delta(" it."),
        delta({"summary": "Deciding", "content": "Yes"}, p=path, o="append"),
        append("!", f"{path}/1/content") + delta("!"),
        added("42", c=1, **END),
        DONE,
    )
    assert heard.reasoning == "Looking\n\nAt it.\n\nDeciding\n\nYes!!"
    assert heard.text == "42"


def test_two_messages_of_text() -> None:
    heard = hear(snapshot("One.", id="a1", status="finished_successfully"), snapshot("Two.", id="a2", **END), DONE)
    assert heard.events[1:-1] == [TextDelta("One.", opens=True), TextDelta("Two.", opens=True)]


def test_one_id_for_two_roles() -> None:
    """In the recording of 2023 every id is the same word."""
    thought = tool("a8km123", metadata={"initial_text": "Thinking"}, id="[redacted]")
    user = {"id": "[redacted]", "author": {"role": "user"}}
    heard = hear(snapshot("Hi", **user), snapshot("Hi", **thought), snapshot("Hi", id="[redacted]", **END), DONE)
    assert (heard.reasoning, heard.text) == ("Hi", "Hi")


@pytest.mark.parametrize("identifier", [None, 7, ["a1"], {"a": 1}])
def test_an_id_of_another_type(identifier: Any) -> None:
    heard = hear(snapshot("He", id=identifier), snapshot("Hey", id=identifier, **END), DONE)
    assert heard.text == "Hey"
    assert heard.events[0] == Started("c1", None, None)


# --- text grows, and is never taken back ------------------------------------------------------------------------------


def test_a_rewritten_message_gives_what_follows_the_common_beginning() -> None:
    assert hear(snapshot("Hello word"), snapshot("Hello world", **END), DONE).pieces == ["Hello word", "ld"]


def test_a_shortened_message_gives_nothing_and_what_was_given_counts() -> None:
    heard = hear(
        snapshot("Hello world"), snapshot("Hello"), snapshot("Hello world"), snapshot("Hello world!", **END), DONE
    )
    assert heard.pieces == ["Hello world", "!"]


def test_a_truncated_message_goes_on_from_where_it_was_cut() -> None:
    heard = hear(V1, added(), append("Hello world"), delta(5, o="truncate"), append(" w"), delta("e all") + ENDED, DONE)
    assert heard.pieces == ["Hello world", "e all"]  # " w" had been said before


def test_a_replaced_text_gives_what_is_new() -> None:
    heard = hear(V1, added("Hello"), delta("Hello there", p=PART, o="replace"), append("!") + ENDED, DONE)
    assert heard.pieces == ["Hello", " there", "!"]


@pytest.mark.parametrize("channel", ["final", "commentary"])
def test_text_in_several_parts_is_joined(channel: str) -> None:
    parts = {"channel": channel, **content("multimodal_text", parts=["a", {"content_type": "image_asset_pointer"}, ""])}
    heard = hear(
        V1, added(**parts), append("b", "/message/content/parts/2"), delta("c") + ENDED, snapshot("!", id="z"), DONE
    )
    shown = TextDelta if channel == "final" else ReasoningDelta
    assert heard.said(shown).removesuffix("!") == "abc"


@pytest.mark.parametrize("channel", ["final", "commentary"])
def test_an_append_before_the_last_part_is_a_rewriting(channel: str) -> None:
    parts = {"channel": channel, **content("text", parts=["a", "z"])}
    heard = hear(V1, added(**parts), append("b"), snapshot("!", id="z", **END), DONE)
    assert heard.said(TextDelta if channel == "final" else ReasoningDelta).removesuffix("!") == "az" + "bz"


def test_a_new_part_is_more_text() -> None:
    heard = hear(
        V1, added("a"), delta("b", p="/message/content/parts/-", o="add"), append("c", "/message/content/parts/1"), DONE
    )
    assert heard.text == "abc"


def test_a_message_that_turns_out_to_be_hidden_says_no_more() -> None:
    hide = changed(("metadata/is_visually_hidden_from_conversation", True))
    assert hear(V1, added("a"), append("b"), hide, append("c"), DONE).text == "ab"


def test_channels_interleave() -> None:
    heard = hear(
        V1,
        added(c=1, id="t1", metadata={"is_thinking_preamble_message": True}),
        added(c=2, id="a1"),
        append("hm", c=1) + append("He", c=2) + delta("llo"),
        delta("m", c=1) + delta("m"),
        delta("!", c=2),
        ENDED,
        DONE,
    )
    assert heard.reasoning == "hmmm"
    assert heard.text == "Hello!"


def test_appends_elsewhere_are_no_text() -> None:
    elsewhere = append("T", "/message/metadata/title") + delta("itle") + append("x", "/message/status")
    assert hear(V1, added(), append("a"), elsewhere, append("b"), ENDED, DONE).pieces == ["a", "b"]


def test_bare_text_before_any_message_is_noise() -> None:
    heard = hear(V1, delta("noise"), added("Hi") + ENDED, DONE)
    assert heard.text == "Hi"
    assert sum(heard.answer.ignored.values()) == 1


# --- surrogates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"\ud83c\udf89", "🎉"),
        (rb"\ud83c", "\N{REPLACEMENT CHARACTER}"),
        (rb"a\udf89b", "a\N{REPLACEMENT CHARACTER}b"),
        (rb"\udf89\ud83c", "\N{REPLACEMENT CHARACTER}" * 2),
        (rb"\ud83c\ud83c\udf89", "\N{REPLACEMENT CHARACTER}🎉"),
    ],
)
def test_surrogates(escaped: bytes, text: str) -> None:
    for stream in (snapshot("HOLE", **END), V1 + added("HOLE", **END), V1 + added() + append("HOLE") + ENDED):
        heard = hear(stream.replace(b"HOLE", escaped), DONE)
        assert heard.text == text
        heard.text.encode()


# --- how it ends (9.4) ------------------------------------------------------------------------------------------------

HELLO = snapshot("Hello")
WHOLE = snapshot("Hello", **END)


@pytest.mark.parametrize(
    ("frames", "end"),
    [
        pytest.param([WHOLE, DONE], "stop", id="end_turn and [DONE]"),
        pytest.param([WHOLE], "stop", id="end_turn alone proves it whole"),
        pytest.param([V1, added("", **END), append("Hi")], "stop", id="end_turn before the text it ends"),
        pytest.param([HELLO, DONE], "stop", id="[DONE] alone proves it whole"),
        pytest.param([HELLO, b"data: [DONE]"], "stop", id="[DONE] without its blank line"),
        pytest.param([HELLO, b"data: [DONE]   \r\n"], "stop", id="[DONE] with padding and a line end"),
        pytest.param([HELLO, typed("message_stream_complete")], "stop", id="message_stream_complete, then the end"),
        pytest.param([HELLO], "upstream_cut", id="cut after text"),
        pytest.param([HELLO, b'data: {"message": {"id'], "upstream_cut", id="cut within an event"),
        pytest.param([HELLO, b"data: [DON"], "upstream_cut", id="cut within [DONE]"),
        pytest.param([WHOLE, b'data: {"type": "conv'], "stop", id="cut within what follows the end"),
        pytest.param([HELLO, WHOLE[:-2]], "stop", id="a last event without its blank line counts"),
        pytest.param([], "empty_stream", id="nothing at all"),
        pytest.param([DONE], "empty_stream", id="[DONE] alone"),
        pytest.param([b": ping\n\n"], "empty_stream", id="pings alone"),
        pytest.param([V1], "empty_stream", id="the encoding alone"),
        pytest.param([V1[:-5]], "empty_stream", id="half the encoding"),
        pytest.param([snapshot("", **END), DONE], "empty_stream", id="an empty answer is no answer"),
        pytest.param([snapshot("", **END)], "empty_stream", id="an empty answer, body ended"),
        pytest.param([typed("message_stream_complete"), DONE], "empty_stream", id="complete without text"),
        pytest.param([snapshot("hm", channel="commentary", **END), DONE], "empty_stream", id="reasoning alone"),
        pytest.param([typed("stream_handoff"), DONE], "stream_handoff", id="a handoff"),
        pytest.param([typed("stream_handoff")], "stream_handoff", id="a handoff, body ended"),
        pytest.param([typed("stream_handoff"), WHOLE, DONE], "stop", id="a handoff that was none"),
    ],
)
def test_end(frames: list[bytes], end: str) -> None:
    assert hear(*frames).end == end


@pytest.mark.parametrize(
    ("kind", "end_turn", "reason"),
    [
        ("stop", True, "stop"),
        ("max_tokens", True, "length"),
        ("max_tokens", None, "length"),
        ("max_tokens", False, "length"),
        ("interrupted", True, "stop"),
        ("something_new", True, "stop"),
        (None, True, "stop"),
        (["max_tokens"], True, "stop"),
        ({"max_tokens": 1}, True, "stop"),
    ],
)
@pytest.mark.parametrize("done", [DONE, b""])
def test_finish_reason(kind: Any, end_turn: bool | None, reason: str, done: bytes) -> None:
    details = {"finish_details": {"type": kind}} if kind else {}
    ended = {"status": "finished_partial_completion", "end_turn": end_turn, "metadata": details}
    assert hear(HELLO, snapshot("Hello", **ended), done).end == reason
    late = append("Hello") + changed(("end_turn", end_turn)) + delta(details, p="/message/metadata", o="append")
    assert hear(V1, added(), late, done).end == reason


def test_an_interrupted_message_without_an_end_is_a_cut() -> None:
    assert hear(snapshot("Hello", metadata={"finish_details": {"type": "interrupted"}})).end == "upstream_cut"


def test_max_tokens_of_a_hidden_message_says_nothing_of_the_answer() -> None:
    details = {"finish_details": {"type": "max_tokens"}}
    assert hear(snapshot("x", id="h", recipient="browser", metadata=details), HELLO).end == "upstream_cut"


def test_end_turn_of_the_system_message_is_not_the_end() -> None:
    """Recorded in 2023 and 2024: the hidden system message has end_turn true."""
    assert hear(snapshot("", id="s", author={"role": "system"}, end_turn=True), HELLO).end == "upstream_cut"


def test_nothing_counts_after_the_end() -> None:
    heard = hear(HELLO, DONE, snapshot("Hello again"), typed("error"), b"data: rubbish\n\n", V1, DONE)
    assert heard.text == "Hello"
    assert heard.end == "stop"


@pytest.mark.parametrize(
    ("frames", "done"),
    [([WHOLE, DONE], True), ([DONE], True), ([HELLO, b"data: [DONE]"], True), ([WHOLE], False), ([], False)],
)
def test_done_is_what_upstream_said_and_not_how_it_ended(frames: list[bytes], done: bool) -> None:
    assert hear(*frames).answer.done is done


ERRORS: dict[str, tuple[bytes, str, int]] = {
    "text": (
        frame({"message": None, "conversation_id": "c1", "error": "Something went wrong"}),
        "upstream_error",
        502,
    ),
    "text with a code beside it": (
        frame({"message": None, "error": "Oops", "error_code": "odd_one"}),
        "odd_one",
        502,
    ),
    "an object": (frame({"error": {"message": "Oops", "code": "odd_one"}}), "odd_one", 502),
    "an object with the code beside it": (
        frame({"error": {"message": "Oops"}, "error_code": "odd_one"}),
        "odd_one",
        502,
    ),
    "an object with a code only": (frame({"error": {"code": "odd_one"}}), "odd_one", 502),
    "true": (frame({"error": True}), "upstream_error", 502),
    "a code of another type": (frame({"error": "Oops", "error_code": [1]}), "upstream_error", 502),
    "detail": (frame({"detail": "Internal server error"}), "upstream_error", 502),
    "a typed error": (typed("error", error="Oops"), "upstream_error", 502),
    "a typed error without words": (typed("error"), "upstream_error", 502),
    "an event named error": (b'event: error\ndata: {"error": "Oops"}\n\n', "upstream_error", 502),
    "too many": (frame({"error": "Too many requests in 1 hour. Try again later."}), "rate_limit_exceeded", 429),
    "a limit": (
        frame({"error": {"message": "You've reached your limit.", "clears_in": 60}}),
        "rate_limit_exceeded",
        429,
    ),
    "content policy": (
        frame({"error": {"message": "No.", "code": "content_policy"}}),
        "content_policy_violation",
        400,
    ),
    "too large": (frame({"error": "x", "error_code": "conversation_too_large"}), "context_length_exceeded", 400),
    "not JSON": (b"data: <html>\n\n", "upstream_json", 502),
    "half an object": (b'data: {"message":\n\n', "upstream_json", 502),
    "a delta that is not JSON": (b"event: delta\ndata: {\n\n", "upstream_json", 502),
    "bytes that are not UTF-8": (b'data: {"error": "\xff"}\n\n', "upstream_json", 502),
    "JSON that is too deep": (b"data: " + b"[" * 9000 + b"\n\n", "upstream_json", 502),
    "an unknown encoding": (b'event: delta_encoding\ndata: "v2"\n\n', "upstream_encoding", 502),
    "an encoding that is no text": (b"event: delta_encoding\ndata: 1\n\n", "upstream_encoding", 502),
    "a delta that does not fit": (delta("x", p="/message/nowhere/x", o="append", c=9), "upstream_delta", 502),
    "a delta of an unknown kind": (delta({}, p="", o="frobnicate"), "upstream_delta", 502),
}


@pytest.mark.parametrize(("frame", "code", "status"), ERRORS.values(), ids=ERRORS)
def test_error(frame: bytes, code: str, status: int) -> None:
    """Before anything was shown it is the only event, after it the last one; after a good end it is nothing."""
    before = hear(frame, DONE)
    assert before.plain == [(type(before.error), code, before.error.message)]
    assert before.error.http_status == status
    after = hear(HELLO, frame, DONE)
    assert (after.text, after.end) == ("Hello", code)
    good = hear(WHOLE, frame, DONE)
    assert (good.text, good.end) == ("Hello", "stop")


def test_an_error_put_into_the_root_by_a_delta() -> None:
    heard = hear(V1, added("Hello"), delta("Oops", p="/error", o="replace"), DONE)
    assert (heard.text, heard.end) == ("Hello", "upstream_error")
    assert "Oops" in heard.error.message


def test_a_root_that_is_an_error() -> None:
    broken = {"message": None, "conversation_id": "c1", "error": "Too many requests"}
    assert isinstance(hear(V1, delta(broken, p="", o="add"), DONE).error, LimitError)


@pytest.mark.parametrize("frame", [frame({"error": "Oops"}), typed("error"), b"data: rubbish\n\n"])
def test_an_error_is_not_hidden_by_an_end_that_showed_nothing(frame: bytes) -> None:
    """A complete-event, then an error, and no text: it is the error that the client should hear of."""
    assert hear(typed("message_stream_complete"), frame).end in {"upstream_error", "upstream_json"}


@pytest.mark.parametrize(
    "encoding", [V1, b"event: delta_encoding\ndata: v1\n\n", b'event: delta_encoding\ndata: "v1"  \n\n']
)
def test_the_encoding_may_be_bare(encoding: bytes) -> None:
    assert hear(encoding, added("Hi", **END), DONE).end == "stop"


# --- moderation -------------------------------------------------------------------------------------------------------


def moderation(**verdict: Any) -> dict[str, Any]:
    return {"conversation_id": "c1", "message_id": "a1", "is_completion": True, "moderation_response": verdict}


@pytest.mark.parametrize("kind", [{}, {"type": "moderation"}])
def test_blocked_ends_the_answer(kind: dict[str, str]) -> None:
    heard = hear(HELLO, frame(moderation(flagged=True, blocked=True) | kind), snapshot("Hello, more"), DONE)
    assert (heard.text, heard.end) == ("Hello", "content_filter")


def test_blocked_before_anything_began_is_a_refused_request() -> None:
    heard = hear(frame(moderation(blocked=True)), DONE)
    assert (heard.end, heard.error.http_status) == ("content_policy_violation", 400)
    assert isinstance(heard.error, RequestError)


def test_blocked_after_the_head_is_a_finish_even_without_text() -> None:
    assert hear(snapshot(""), frame(moderation(blocked=True))).end == "content_filter"


@pytest.mark.parametrize("verdict", [{"flagged": True, "blocked": False}, {"flagged": True}, {}, {"blocked": "true"}])
@pytest.mark.parametrize("kind", [{}, {"type": "moderation"}])
def test_flagged_alone_is_nothing(verdict: dict[str, Any], kind: dict[str, str]) -> None:
    assert hear(HELLO, frame(moderation(**verdict) | kind), snapshot("Hello!", **END), DONE).text == "Hello!"


@pytest.mark.parametrize("verdict", ["blocked", ["blocked"], True])
def test_a_verdict_of_another_shape_is_nothing(verdict: Any) -> None:
    assert hear(HELLO, frame({"moderation_response": verdict}), DONE).end == "stop"


# --- what is ignored is counted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "counted"),
    [
        (typed("resume_conversation_token", kind="topic"), "resume_conversation_token"),
        (typed("input_message", input_message=message("SECRET")), "input_message"),
        (typed("server_ste_metadata"), "server_ste_metadata"),
        (typed("conversation_detail_metadata", banner_info=None), "conversation_detail_metadata"),
        (typed("url_moderation", url_moderation_result={"is_safe": True}), "url_moderation"),
        (typed("something_of_the_future", message=message("SECRET")), "something_of_the_future"),
        (b"event: ping\ndata: {}\n\n", "ping"),
        (b'event: heartbeat\ndata: "x"\n\n', "heartbeat"),
        (b"event: \xff\ndata: x\n\n", "\N{REPLACEMENT CHARACTER}"),
        (frame({"choices": []}), "untyped"),
        (frame({"type": ["x"]}), "untyped"),
        (frame([1]), "malformed object"),
        (frame("v1"), "malformed object"),
        (b"event: delta\ndata: [1]\n\n", "malformed delta"),
        (b'event: delta\ndata: {"p": 1, "v": "SECRET"}\n\n', "malformed delta"),
    ],
)
def test_ignored(frame: bytes, counted: str) -> None:
    heard = hear(HELLO, frame, WHOLE, DONE)
    assert (heard.text, heard.end) == ("Hello", "stop")
    assert heard.answer.ignored == {counted: 1}


def test_events_between_bare_appends_do_not_touch_them() -> None:
    between = typed("message_marker", marker="user_visible_token") + b"event: ping\ndata: {}\n\n" + b": ping\n\n"
    assert hear(V1, added(), append("a"), between, delta("b"), between, delta("c") + ENDED, DONE).pieces == [
        "a",
        "b",
        "c",
    ]


def test_counting_is_bounded() -> None:
    kinds = [f"{number:03}" + "k" * 300 for number in range(100)]
    heard = hear(HELLO, *(typed(kind) for kind in kinds), *(typed(kind) for kind in kinds), WHOLE)
    assert len(heard.answer.ignored) == 64
    assert max(map(len, heard.answer.ignored)) == 64
    assert set(heard.answer.ignored.values()) == {2}


# --- the transport's part ---------------------------------------------------------------------------------------------

LATE = DeadlineError("too late")


def test_abort_is_the_end() -> None:
    answer = Answer(kept=False)
    answer.receive(HELLO)
    assert answer.abort(LATE) == [Failed(LATE)]
    assert answer.ended
    assert answer.abort(LATE) == answer.receive(DONE) == answer.receive(b"") == []


def test_abort_before_anything() -> None:
    assert Answer().abort(LATE) == [Failed(LATE)]


def test_abort_of_what_was_whole_keeps_it_whole() -> None:
    answer = Answer()
    answer.receive(WHOLE)
    assert answer.phase is Phase.ANSWERING
    assert answer.abort(LATE) == [Finished("stop")]


def test_abort_of_an_end_that_showed_nothing_is_a_failure() -> None:
    answer = Answer()
    answer.receive(typed("message_stream_complete"))
    assert answer.abort(LATE) == [Failed(LATE)]


def test_an_error_of_the_interpreter_is_its_output() -> None:
    heard = tail(snapshot(**tool("python", **content("system_error", name="Timeout", text="Took too long"))))
    assert heard.events[1:] == [ToolOutput("Took too long", opens=True), TextDelta("The answer.", opens=True), STOP]


STOP = Finished("stop")


def test_abort_after_the_end_is_nothing() -> None:
    answer = Answer()
    answer.receive(HELLO + DONE)
    assert answer.abort(LATE) == []


def test_events_come_with_the_chunk_that_completes_them() -> None:
    answer = Answer()
    assert answer.receive(V1) == []
    assert answer.receive(added()) == [Started("c1", "a1", None)]
    assert answer.phase is Phase.ANSWERING
    assert answer.receive(append("Hel")[:-1]) == []
    assert answer.receive(b"\n") == [TextDelta("Hel", opens=True)]
    assert answer.receive(delta("lo") + delta("!")) == [TextDelta("lo"), TextDelta("!")]


# --- generated answers ------------------------------------------------------------------------------------------------

# Without the characters at which a piece may have to wait for the next (test_prose.py has those).
PLAIN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="(<【\ue200\ue201\ue202\ue203\ue204\ue205\ue206")
)
PIECES = st.lists(PLAIN.filter(bool), min_size=1, max_size=8)


def snapshots_of(pieces: list[str]) -> list[bytes]:
    said = ["".join(pieces[:count]) for count in range(len(pieces) + 1)]
    return [*map(snapshot, said), snapshot(said[-1], **END), DONE]


def deltas_of(pieces: list[str], short: list[bool]) -> list[bytes]:
    appends = [delta(piece) if bare else append(piece) for piece, bare in zip(pieces[1:], short, strict=False)]
    return [V1, added(), append(pieces[0]), *appends, ENDED, DONE]


@settings(max_examples=60)
@given(PIECES, st.lists(st.booleans(), min_size=8, max_size=8))
def test_both_encodings_say_the_same(pieces: list[str], short: list[bool]) -> None:
    as_snapshots = listen(snapshots_of(pieces))
    as_deltas = listen(deltas_of(pieces, short))
    assert as_deltas.plain == as_snapshots.plain
    assert as_deltas.pieces == pieces


# Streams that are wrong: good ones with frames dropped, repeated, swapped, cut, and bytes changed.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["", "x", "assistant", "text", "all", "max_tokens", "v1"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["0", "type", "role", "message"]), inner)
    ),
    max_leaves=4,
)
FIELDS = st.sampled_from(
    [
        "id",
        "author",
        "content",
        "status",
        "end_turn",
        "metadata",
        "recipient",
        "channel",
        "weight",
        "type",
        "error",
        "detail",
    ]
)
ODD_MESSAGE = st.dictionaries(FIELDS, JSON, max_size=4).map(lambda fields: snapshot("odd", **fields))
ODD_CONTENT = st.builds(
    lambda kind, more: snapshot(content={"content_type": kind, **more}),
    st.sampled_from(["text", "code", "thoughts", "multimodal_text", "execution_output"]) | JSON,
    st.dictionaries(st.sampled_from(["parts", "text", "thoughts", "language"]), JSON),
)
ODD_OBJECT = st.dictionaries(
    st.sampled_from(["type", "message", "error", "error_code", "detail", "moderation_response", "conversation_id"]),
    JSON,
).map(frame)
ODD_DELTA = st.builds(
    lambda op: delta(**op),
    st.fixed_dictionaries(
        {},
        optional={
            "p": st.sampled_from(["", PART, "/message", "/message/content", "/message/metadata", "/error", "x", "/-"])
            | JSON,
            "o": st.sampled_from(["add", "append", "replace", "patch", "remove", "truncate"]) | JSON,
            "v": JSON | st.lists(st.dictionaries(st.sampled_from("pov"), JSON), max_size=2),
            "c": st.integers(0, 2) | JSON,
        },
    ),
)
GOOD = [*thinking(), *snapshots_of(["a", "b"]), *deltas_of(["a", "b"], [True]), typed("stream_handoff"), V1]
FRAME = st.one_of(st.sampled_from(GOOD), ODD_MESSAGE, ODD_CONTENT, ODD_OBJECT, ODD_DELTA, st.binary(max_size=8))
SCAR = st.tuples(st.integers(0, 5000), st.binary(max_size=3))


def scarred(frames: list[bytes], scars: list[tuple[int, bytes]]) -> bytes:
    stream = bytearray(b"".join(frames))
    for place, scar in scars:
        stream[place : place + len(scar)] = scar
    return bytes(stream)


@settings(max_examples=200)
@given(st.lists(FRAME, max_size=10), st.lists(SCAR, max_size=3))
def test_no_stream_breaks_the_reader(frames: list[bytes], scars: list[tuple[int, bytes]]) -> None:
    """Whatever comes: no exception, one end, the same one byte at a time (`hear` and `check_order` see to it)."""
    heard = hear(scarred(frames, scars))
    assert isinstance(heard.events[-1], Finished | Failed)
    for event in heard.events:
        if isinstance(event, Failed):
            assert isinstance(event.error, GatewayError)
            assert envelope(event.error)


@settings(max_examples=60)
@given(PIECES, st.integers(0, 5000))
def test_a_cut_answer_is_never_taken_for_a_whole_one(pieces: list[str], place: int) -> None:
    stream = b"".join(deltas_of(pieces, [True] * 8))
    cut = stream[: place % len(stream)]
    heard = listen([cut] if cut else [])
    if isinstance(heard.events[-1], Finished):
        assert heard.text == "".join(pieces)
    else:
        assert isinstance(heard.error, UpstreamError)
        assert heard.end == ("upstream_cut" if heard.text else "empty_stream")


def test_the_time_for_messages_grows_with_their_number():
    """Each went over all before it: 4,000 took 7 s of the event loop."""

    def seconds(count):
        wire = b"".join(snapshot(f"number {n}", id=f"m{n}") for n in range(count))
        # Of this thread: in those of the process others may still be ending what other tests have begun.
        answer, began = Answer(), time.thread_time()
        events = answer.receive(V1 + wire)
        took = time.thread_time() - began
        assert len([event for event in events if isinstance(event, TextDelta)]) >= count
        return took

    few = min(seconds(500), seconds(500))
    assert seconds(8_000) < 16 * few * 4
