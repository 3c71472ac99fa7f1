"""Answers that go on elsewhere: what they ask for, how that is called, and that it always ends."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pow import ClientProfile
from shim.chatgpt.conversation import Conversation, SentAuthor, SentContent, SentMessage
from shim.errors import CredentialError, DeadlineError, GatewayError, UpstreamError
from shim.protocol.answer.follow_up import (
    POLLS,
    RESUMES,
    Continue,
    Look,
    Poll,
    Resume,
    Socket,
    continuation,
    poll,
    resume,
)
from shim.protocol.answer.machine import Answer
from shim.protocol.commands import Command, HttpReply, HttpRequest, Send, Wait
from shim.protocol.events import Event, Failed, Finished, Picture, Preview, Started, TextDelta
from shim.protocol.turn.conversation import encode_conversation
from shim.protocol.turn.handshake import HandshakeOptions, Moment, OpeningCall, open_turn
from shim.protocol.upstream import Identity, Upstream
from tests.servers import REAL_LOOKS_APART, REAL_POLLS, REAL_RESUMES
from tests.upstream_says import DONE, END, V1, added, append, delta, frame, message, snapshot, typed

UPSTREAM = Upstream("https://chatgpt.test", Identity("device"), ClientProfile())
LOST = UpstreamError("the network is gone", code="upstream_connection")


@pytest.fixture(autouse=True)
def real_rhythms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever gateways of other tests run in this process: they look more often."""
    for what, rhythm in REAL_POLLS.items():
        monkeypatch.setitem(POLLS, what, rhythm)
    monkeypatch.setattr("shim.protocol.answer.follow_up.RESUMES", REAL_RESUMES)
    monkeypatch.setattr("shim.protocol.answer.looks.LOOKS_APART", REAL_LOOKS_APART)


def token(value: str = "t1") -> bytes:
    return typed("resume_conversation_token", token=value)


def handoff(*kinds: str) -> bytes:
    options = [{"type": kind, "topic_id": "conversation-turn-x"} for kind in kinds]
    return typed("stream_handoff", turn_exchange_id="x", options=options)


def tree(*messages: dict[str, Any]) -> bytes:
    """A conversation: the user's question, then these."""
    question = {"id": "u1", "author": {"role": "user"}, "content": {"content_type": "text", "parts": ["?"]}}
    before = message("of an earlier turn", id="old", end_turn=True)
    chain = [before, question, *messages]
    mapping = {
        one["id"]: {"id": one["id"], "message": one, "parent": chain[place - 1]["id"] if place else None}
        for place, one in enumerate(chain)
    }
    return json.dumps({"mapping": mapping, "current_node": chain[-1]["id"]}).encode()


def held(body: bytes, **fields: Any) -> Look:
    return Look(body=body, **fields)


def read_twice(answer: Answer, body: bytes) -> list[Event]:
    return [*answer.read_conversation(held(body)), *answer.read_conversation(held(body))]


def picture(id: str = "d1", status: str = "finished_successfully", **metadata: Any) -> dict[str, Any]:
    pointer = {"content_type": "image_asset_pointer", "asset_pointer": f"sediment://file_{id}"}
    author = {"role": "tool", "name": "image_gen"}
    content = {"content_type": "multimodal_text", "parts": [pointer]}
    return {"id": id, "author": author, "content": content, "status": status, "metadata": metadata}


def promise(id: str = "d0", task: str = "task-1") -> dict[str, Any]:
    content = {"content_type": "text", "parts": ["Processing image"]}
    metadata = {"image_gen_task_id": task, "image_gen_async": True}
    return {"id": id, "author": {"role": "tool", "name": "image_gen"}, "content": content, "metadata": metadata}


def shown(one: dict[str, Any]) -> bytes:
    return snapshot(**one)


def told(answer: Answer, *frames: bytes) -> list[Event]:
    return [event for frame in frames for event in answer.receive(frame)]


def text(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# --- a handoff --------------------------------------------------------------------------------------------------------


def test_the_recorded_handoff_is_followed_from_its_beginning(capture: Any) -> None:
    answer = Answer()
    assert answer.receive(capture("delta-v1-handoff-2026-06-gpt55-thinking.sse")) == []
    assert answer.follow == Resume("6a22bbcc-fd54-83e8-a23c-5f2db5642f14", "REDACTED_JWT", 0)
    assert not answer.ended
    answer.reopen()
    assert answer.follow is None
    events = told(answer, V1, added(), append("42"), added("42", **END), DONE)
    assert (text(events), events[-1]) == ("42", Finished("stop"))


@pytest.mark.parametrize(
    ("frames", "follow"),
    [
        pytest.param([token(), handoff("resume_sse_endpoint")], Resume("c1", "t1", 0), id="a stream is offered"),
        pytest.param([token(), handoff()], Resume("c1", "t1", 0), id="nothing is said of how"),
        pytest.param([token("t0"), token(), handoff()], Resume("c1", "t1", 0), id="the newest token"),
        pytest.param(
            [token(), handoff("subscribe_ws_topic")],
            Socket("c1", "conversation-turn-x", "x"),
            id="only a socket is offered",
        ),
        pytest.param([handoff("resume_sse_endpoint")], Resume("c1", None, 0), id="no token came"),
        pytest.param([token(), handoff("something_new")], Poll("c1", "answer"), id="nothing we know is offered"),
    ],
)
@pytest.mark.parametrize("end", [DONE, b""])
def test_where_a_handoff_leads(frames: list[bytes], follow: object, end: bytes) -> None:
    answer = Answer()
    assert told(answer, V1, *frames, end) == []
    assert answer.follow == follow


def test_what_was_shown_before_a_handoff_is_not_shown_again() -> None:
    answer = Answer()
    before = told(answer, V1, token(), added("Let "), append("me"), handoff(), DONE)
    answer.reopen()
    after = told(answer, V1, added("Let "), append("me see"), added("Let me see.", **END), DONE)
    assert (text(before), text(after)) == ("Let me", " see.")
    assert sum(isinstance(event, Started) for event in (*before, *after)) == 1


def test_a_paused_answer_that_is_fed_on_is_a_failure() -> None:
    answer = Answer()
    told(answer, handoff(), DONE)
    (failed,) = answer.receive(b"")
    assert isinstance(failed, Failed)
    assert failed.error.code == "stream_handoff"
    assert answer.follow is None
    assert answer.ended


BOTH = handoff("subscribe_ws_topic", "resume_sse_endpoint")


@pytest.mark.parametrize("kept", [True, False])
def test_the_ways_are_gone_through_until_one_gives_the_answer(kept: bool) -> None:
    """Each repeats the handoff of its turn, which means nothing there, and ends without an answer."""
    answer = Answer(kept=kept)
    told(answer, V1, token(), BOTH, DONE)
    assert answer.follow == Resume("c1", "t1", 0)
    answer.reopen()
    told(answer, V1, token(), BOTH, DONE)
    assert answer.follow == Socket("c1", "conversation-turn-x", "x")
    answer.reopen()
    if kept:
        told(answer, V1, BOTH, DONE)
        assert answer.follow == Poll("c1", "answer")
        assert text(answer.read_conversation(held(tree(message("42", **END))))) == "42"
        return
    (failed,) = told(answer, V1, BOTH, DONE)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.http_status) == ("stream_handoff", 502)
    assert "KEPT_FOR_HANDOFF" in failed.error.message


def test_a_handoff_that_is_repeated_in_the_stream_it_led_to_means_nothing() -> None:
    answer = Answer()
    told(answer, V1, token(), handoff(), DONE)
    answer.reopen()
    events = told(answer, V1, token(), handoff(), added("42"), added("42", **END), DONE)
    assert (text(events), events[-1]) == ("42", Finished("stop"))


def test_a_preamble_before_a_handoff_that_cannot_be_followed_stays_and_is_no_answer() -> None:
    answer = Answer(kept=False)
    events = told(answer, V1, token(), added("Let me see."), handoff("something_new"), DONE)
    assert text(events) == "Let me see."
    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == "stream_handoff"


def test_the_token_of_the_responses_head_opens_the_stream_again() -> None:
    answer = Answer(token="head")
    told(answer, V1, handoff(), DONE)
    assert answer.follow == Resume("c1", "head", 0)
    assert "head" not in repr(answer.follow)
    answer.learn_token("newer")
    answer.reopen()
    told(answer, V1, added("4"), b"")
    assert answer.follow == Resume("c1", "newer", 2, 1)


# --- a lost stream ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", [lambda answer: answer.receive(b""), lambda answer: answer.abort(LOST)])
def test_a_lost_stream_is_resumed_where_it_was(lose: Any) -> None:
    """The offset counts what was read: the announcement, the token, the message, two appends; no pings, and no
    announcement that is only repeated."""
    answer = Answer()
    before = told(answer, V1, token(), b": ping\n\n" + frame({}, "ping"), added(), append("One, "), append("two"))
    assert lose(answer) == []
    assert answer.follow == Resume("c1", "t1", 5, attempt=1)
    answer.reopen()
    told(answer, V1, append(""))
    assert lose(answer) == []
    assert answer.follow == Resume("c1", "t1", 6, attempt=1)
    answer.reopen()
    after = told(answer, append(", three"), delta("."), added("One, two, three.", **END), DONE)
    assert text((*before, *after)) == "One, two, three."
    assert after[-1] == Finished("stop")


def test_half_of_a_repeated_announcement_counts_for_nothing() -> None:
    answer = Answer()
    told(answer, V1, token(), added("One, "), append("two"), b"")
    assert answer.follow == Resume("c1", "t1", 4, attempt=1)
    answer.reopen()
    told(answer, b'event: delta_encoding\ndata: "v', b"")
    assert answer.follow == Resume("c1", "t1", 4, attempt=2)


def test_a_marker_that_the_loss_has_cut_is_still_a_marker() -> None:
    answer = Answer()
    told(answer, V1, token(), added(), append("A fact\ue200cite\ue202tu"), b"")
    answer.reopen()
    assert text(told(answer, V1, append("rn0search0\ue201."), DONE)) == "."


@pytest.mark.parametrize(
    ("options", "frames", "end"),
    [
        ({"kept": False}, [added("One")], Failed),
        ({"kept": True}, [token(), added("One", **END)], Finished),
    ],
    ids=["neither kept nor a token", "whole already"],
)
def test_a_lost_stream_that_is_not_resumed(options: Any, frames: list[bytes], end: type[Event]) -> None:
    for lose in (lambda answer: answer.receive(b""), lambda answer: answer.abort(LOST)):
        answer = Answer(**options)
        told(answer, *frames)
        assert isinstance(lose(answer)[-1], end)
        assert answer.ended


def test_a_lost_stream_without_a_token_is_looked_for() -> None:
    answer = Answer()
    told(answer, added("One"), b"")
    assert answer.follow == Poll("c1", "answer")


def test_a_lost_stream_of_a_temporary_chat_is_resumed_too() -> None:
    answer = Answer(kept=False)
    told(answer, token(), added("One"), b"")
    assert answer.follow == Resume("c1", "t1", 2, attempt=1)


def test_any_event_starts_the_count_of_failures_anew() -> None:
    answer = Answer(kept=False)
    told(answer, token(), added("0"))
    for number in range(3 * RESUMES.attempts):
        assert answer.abort(LOST) == []
        assert isinstance(answer.follow, Resume)
        assert answer.follow.attempt == 1
        answer.reopen()
        told(answer, append(str(number)))
    answer.abort(LOST)
    for attempt in range(2, RESUMES.attempts + 1):
        assert answer.abort(LOST) == []
        assert isinstance(answer.follow, Resume)
        assert answer.follow.attempt == attempt
    assert isinstance(answer.abort(LOST)[-1], Failed)


def test_streams_that_always_break_off_come_to_an_end_though_each_brings_something() -> None:
    answer = Answer(kept=False)
    told(answer, token(), added("0"))
    opened = 0
    while not answer.abort(LOST):
        opened += 1
        assert opened < 1000
        answer.reopen()
        told(answer, append("x"))
    assert answer.ended
    assert opened > 3 * RESUMES.attempts


def test_what_is_not_the_networks_fault_is_not_resumed() -> None:
    answer = Answer()
    told(answer, token(), added("One"))
    assert isinstance(answer.abort(CredentialError("no"))[-1], Failed)


def test_a_final_failure_ends_a_paused_answer() -> None:
    answer = Answer()
    told(answer, token(), added("One"), b"")
    assert answer.abort(LOST, final=True) == [Failed(LOST)]
    assert answer.follow is None


@pytest.mark.parametrize("status", [408, 409, 425, 429, 502, 504])
def test_a_resume_that_is_refused_for_now_is_tried_again_and_then_polled_for(status: int) -> None:
    answer = Answer()
    told(answer, token(), handoff(), DONE)
    seen = []
    while isinstance(answer.follow, Resume):
        seen.append(answer.follow.attempt)
        assert answer.refused(HttpReply(status, {}, b"")) == []
    assert seen == list(range(RESUMES.attempts + 1))
    assert answer.follow == Poll("c1", "answer")


@pytest.mark.parametrize("status", [404, 410, 500, 503])
def test_what_cannot_be_resumed_is_polled_for(status: int) -> None:
    answer = Answer()
    told(answer, token(), handoff(), DONE)
    assert answer.refused(HttpReply(status, {}, b'{"detail":{"code":"persisted_final_available"}}')) == []
    assert answer.follow == Poll("c1", "answer")


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (403, "upstream_forbidden"), (200, None)])
def test_a_resume_that_is_refused_for_good(status: int, code: str | None) -> None:
    answer = Answer()
    told(answer, token(), handoff(), DONE)
    (failed,) = answer.refused(HttpReply(status, {}, b"{}"))
    assert isinstance(failed, Failed)
    assert failed.error.code == (code or "upstream_content_type")


# --- polls ------------------------------------------------------------------------------------------------------------


def polling(what: str = "answer") -> Answer:
    answer = Answer()
    call = message("{}", id="k1", recipient="image_gen")
    frames = [handoff("something_new")] if what == "answer" else [shown(call), shown(promise())]
    told(answer, *frames, DONE)
    assert answer.follow == Poll("c1", what)  # type: ignore[arg-type]
    return answer


def test_an_answer_grows_until_its_leaf_ends_the_turn() -> None:
    answer = polling()
    shown = [
        text(answer.read_conversation(held(body)))
        for body in (b"", tree(), tree(message("Let me")), b"<html>", tree(message("Let me see.", **END)))
    ]
    assert shown == ["", "", "Let me", "", " see."]
    assert answer.ended


def test_the_earlier_turn_is_not_read() -> None:
    answer = polling()
    assert answer.read_conversation(held(tree())) == []
    assert answer.follow == Poll("c1", "answer", attempt=1)


def test_a_leaf_that_is_not_the_end_is_waited_on() -> None:
    answer = polling()
    answer.read_conversation(held(tree(message("First."), message(id="k1", recipient="web.run"))))
    assert isinstance(answer.follow, Poll)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"mapping": []}',
        b"{" * 9000,
        b"\xff",
        json.dumps({"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}, "current_node": "a"}).encode(),
        json.dumps({"mapping": {"a": 7}, "current_node": "a"}).encode(),
        json.dumps({"mapping": {"a": {"message": {"author": 7}, "parent": ["a"]}}, "current_node": "a"}).encode(),
        json.dumps({"mapping": {}, "current_node": {}}).encode(),
    ],
)
def test_a_tree_that_cannot_be_read_is_asked_for_again(body: bytes) -> None:
    answer = polling()
    assert answer.read_conversation(held(body)) == []
    assert answer.follow == Poll("c1", "answer", attempt=1)


@pytest.mark.parametrize("what", ["answer", "picture"])
def test_polls_are_bounded(what: str) -> None:
    answer = polling(what)
    events: list[Event] = []
    looks = 0
    while not answer.ended:
        looks += 1
        events += answer.read_conversation(held(b"")) if looks % 2 else answer.abort(LOST)
    assert looks == POLLS[what].attempts
    assert isinstance(events[-1], Failed)


def test_reading_without_a_poll_reads_nothing() -> None:
    answer = Answer()
    assert answer.read_conversation(held(tree(message("x", **END)))) == []


# --- promised pictures ------------------------------------------------------------------------------------------------


def test_a_promised_picture_comes() -> None:
    answer = polling("picture")
    assert answer.read_conversation(held(tree(promise()))) == []
    (look,) = answer.read_conversation(held(tree(promise(), picture(status="in_progress"))))
    assert isinstance(look, Preview)
    assert (look.number, look.file.file_id) == (0, "file_d1")
    assert answer.read_conversation(held(tree(promise(), picture(status="in_progress")))) == []
    events = answer.read_conversation(held(tree(promise(), picture(async_task_type="image_gen"))))
    assert isinstance(events[0], Picture)
    assert (events[0].file.file_id, events[0].file.conversation_id) == ("file_d1", "c1")
    assert events[1:] == []
    assert answer.follow == Poll("c1", "picture", 4, wait=5.0)
    assert answer.read_conversation(held(tree(promise(), picture(async_task_type="image_gen")))) == [Finished("stop")]
    assert answer.message_id == "d1"


def test_the_picture_takes_the_place_of_its_promise() -> None:
    answer = polling("picture")
    events = read_twice(answer, tree(picture("d0", image_gen_task_id="task-1")))
    assert [type(event) for event in events] == [Picture, Finished]


def test_each_of_several_promises_is_waited_for() -> None:
    answer = Answer()
    told(answer, shown(promise("p1", "task-1")), shown(promise("p2", "task-2")), DONE)
    first = answer.read_conversation(held(tree(promise("p1", "task-1"), promise("p2", "task-2"), picture("x"))))
    assert [type(event) for event in first] == [Started, Picture]
    assert isinstance(answer.follow, Poll)
    then = read_twice(answer, tree(promise("p1", "task-1"), promise("p2", "task-2"), picture("x"), picture("y")))
    assert [type(event) for event in then] == [Picture, Finished]


def test_more_pictures_than_promised_are_waited_for_and_each_is_given_once() -> None:
    answer = polling("picture")
    shown = [picture(f"d{number}") for number in range(1, 5)]
    told_of = [answer.read_conversation(held(tree(promise(), *shown[:count]))) for count in (1, 3, 4, 4)]
    assert [[type(event) for event in events] for events in told_of] == [
        [Picture], [Picture, Picture], [Picture], [Finished]
    ]  # fmt: skip


def test_two_looks_do_not_count_while_upstream_is_at_work() -> None:
    answer = polling("picture")
    at_work = json.dumps(json.loads(tree(promise(), picture())) | {"async_status": 3}).encode()
    for _ in range(4):
        answer.read_conversation(held(at_work))
        assert isinstance(answer.follow, Poll)
    assert read_twice(answer, tree(promise(), picture())) == [Finished("stop")]


def test_a_promise_under_another_name_is_not_waited_for_when_the_conversation_is_at_rest() -> None:
    """The picture came, and its promise goes by another name when the conversation is read."""
    answer = polling("picture")
    body = tree(promise("d9", "task-9"), picture(), message("Here you are.", **END))
    assert [type(event) for event in read_twice(answer, body)] == [Picture, TextDelta, Finished]
    answer = polling("picture")
    body = json.dumps(json.loads(tree(promise("d9", "task-9"), picture())) | {"async_status": 4}).encode()
    assert [type(event) for event in read_twice(answer, body)] == [Picture, Finished]


def test_a_queue_notice_is_a_promise_although_it_ends_the_turn() -> None:
    notice = promise() | END
    notice["metadata"] = {"image_gen_task_id": "chatimagegen-1", "image_gen_async": False, "ui_card": True}
    answer = Answer()
    assert [type(event) for event in told(answer, shown(notice), DONE)] == []
    assert answer.follow == Poll("c1", "picture")
    assert read_twice(answer, tree(notice)) == []
    assert [type(event) for event in read_twice(answer, tree(notice, picture()))] == [Started, Picture, Finished]


def test_words_behind_a_promise_that_is_not_kept_are_the_tools_failure_after_a_while() -> None:
    answer = polling("picture")
    events: list[Event] = []
    looks = 0
    while not answer.ended:
        looks += 1
        events += answer.read_conversation(held(tree(promise(), message("The tool encountered an error.", **END))))
    assert (text(events), events[-1]) == ("The tool encountered an error.", Finished("stop"))
    assert 10 < looks < POLLS["picture"].attempts


def test_a_picture_that_is_filled_later() -> None:
    answer = polling("picture")
    empty = picture()
    empty["content"] = {"content_type": "multimodal_text", "parts": []}
    assert read_twice(answer, tree(promise(), empty)) == []
    assert [type(event) for event in read_twice(answer, tree(promise(), picture()))] == [Picture, Finished]


def test_a_promise_in_a_temporary_chat_is_told_of_by_the_socket_alone() -> None:
    answer = Answer(kept=False)
    told(answer, shown(promise()), DONE)
    assert answer.follow == Socket("c1")
    (failed,) = answer.abort(LOST)
    assert isinstance(failed, Failed)
    assert failed.error.http_status == 502


def test_a_socket_that_is_lost_before_a_promised_picture_came_is_not_opened_again_and_again() -> None:
    answer = Answer(kept=False)
    told(answer, shown(promise()), DONE)
    answer.reopen()
    (failed,) = answer.abort(LOST)
    assert isinstance(failed, Failed)
    assert answer.ended


@pytest.mark.parametrize("pictures", [0, 1, 2])
def test_the_end_of_a_picture_s_task_ends_the_wait_for_what_was_promised(pictures: int) -> None:
    """The promise has a name of its own, by which no picture comes."""
    answer = Answer(kept=False)
    told(answer, shown(promise()), DONE)
    answer.reopen()
    events = told(answer, *(shown(picture(f"d{number}")) for number in range(1, pictures + 1)), DONE)
    assert answer.ended
    assert sum(isinstance(event, Picture) for event in events) == pictures
    assert isinstance(events[-1], Finished if pictures else Failed)


def test_a_promise_that_is_kept_in_the_same_stream_is_not_followed() -> None:
    answer = Answer()
    events = told(answer, shown(promise()), shown(picture()), DONE)
    assert [type(event) for event in events] == [Started, Picture, Finished]


def test_a_promise_outlasts_the_end_of_the_turn() -> None:
    answer = Answer()
    told(answer, shown(promise()), shown(message("On its way.", **END)), DONE)
    assert answer.follow == Poll("c1", "picture")
    assert isinstance(answer.abort(LOST, final=True)[-1], Failed)


def test_a_promised_picture_that_fails_says_so() -> None:
    answer = polling("picture")
    error = {"content_type": "system_error", "name": "ImageGenError", "text": "No GPU today."}
    failed = {"id": "e1", "author": {"role": "tool", "name": "image_gen"}, "content": error}
    (event,) = answer.read_conversation(held(tree(promise(), failed)))
    assert isinstance(event, Failed)
    assert event.error.code == "ImageGenError"


def test_an_async_status_alone_is_waited_on() -> None:
    answer = Answer()
    told(answer, typed("conversation_async_status", async_status=4), DONE)
    assert answer.follow == Poll("c1", "answer")


# --- an answer that was cut for its length ----------------------------------------------------------------------------

CUT = {"status": "finished_partial_completion", "metadata": {"finish_details": {"type": "max_tokens"}}}


def test_a_cut_answer_goes_on_as_one_text() -> None:
    answer = Answer(continue_times=1)
    events = told(answer, shown(message("One, tw", **CUT)), DONE)
    assert answer.follow == Continue("c1", "a1")
    answer.reopen()
    events += told(answer, V1, added(id="a2"), append("o, three"), added("o, three", id="a2", **CUT), DONE)
    assert text(events) == "One, two, three"
    assert [event.opens for event in events if isinstance(event, TextDelta)] == [True, False]
    assert events[-1] == Finished("length")
    assert answer.message_id == "a2"


@pytest.mark.parametrize("times", [0, 1, 3])
def test_it_goes_on_as_often_as_is_wanted(times: int) -> None:
    answer = Answer(continue_times=times)
    for _ in range(times):
        told(answer, shown(message("x", **CUT)), DONE)
        assert isinstance(answer.follow, Continue)
        answer.reopen()
    assert told(answer, shown(message("xy", **CUT)), DONE)[-1] == Finished("length")


@pytest.mark.parametrize(
    "fail", [lambda a: a.abort(LOST), lambda a: a.refused(HttpReply(429, {}, b"")), lambda a: a.receive(b"")]
)
def test_where_it_cannot_go_on_it_was_cut_for_its_length(fail: Any) -> None:
    answer = Answer(continue_times=1)
    told(answer, shown(message("One", **CUT)), DONE)
    assert fail(answer) == [Finished("length")]


# --- the calls --------------------------------------------------------------------------------------------------------


def performed(steps: Any, *replies: HttpReply) -> tuple[list[Command], Any]:
    """The commands a generator yields, and what it returns."""
    commands: list[Command] = []
    waiting, reply = list(replies), None
    try:
        while True:
            commands.append(steps.send(reply))
            reply = waiting.pop(0) if isinstance(commands[-1], Send) else None
    except StopIteration as done:
        return commands, done.value


def path(command: Command | HttpRequest) -> str:
    request = command.request if isinstance(command, Send) else command
    assert isinstance(request, HttpRequest)
    return f"{request.method} {request.url.removeprefix('https://chatgpt.test/backend-anon/')}"


def test_resume_opens_a_stream() -> None:
    commands, request = performed(resume(UPSTREAM, Resume("c1", "t1", 7)))
    assert commands == []
    assert path(request) == "POST f/conversation/resume"
    assert json.loads(request.body) == {"conversation_id": "c1", "offset": 7}
    assert request.headers["x-conduit-token"] == "t1"
    assert request.headers["accept"] == "text/event-stream"


def test_resumes_wait_longer_and_longer() -> None:
    waits = [performed(resume(UPSTREAM, Resume("c1", "t1", 7, attempt)))[0] for attempt in (1, 2, 3, 12)]
    assert waits == [[Wait(0.45)], [Wait(pytest.approx(0.675))], [Wait(pytest.approx(1.0125))], [Wait(5.0)]]


def test_the_token_is_not_shown() -> None:
    assert "t1" not in repr(Resume("c1", "t1", 7))


OK = HttpReply(200, {}, b"{}")
COMPLETE = HttpReply(200, {}, b'{"status":"COMPLETE"}')
NONE = HttpReply(404, {}, b"")
SINGULAR, PLURAL = "GET conversation/c1", "GET conversations/c1?include_has_versions=true&num_turns=10"
STATUS = "GET conversation/c1/stream_status"


def test_a_resume_without_a_token_has_no_header_for_one() -> None:
    _, request = performed(resume(UPSTREAM, Resume("c1", None, 0)))
    assert "x-conduit-token" not in request.headers


def test_chance_halves_a_wait_at_most() -> None:
    waits = [performed(resume(UPSTREAM, Resume("c1", "t1", 7, 1), chance))[0][0] for chance in (0.0, 0.5, 1.0)]
    assert [wait.seconds for wait in waits if isinstance(wait, Wait)] == pytest.approx([0.225, 0.3375, 0.45])


@pytest.mark.parametrize("what", ["answer", "picture"])
@pytest.mark.parametrize(
    ("replies", "calls", "look"),
    [
        pytest.param([HttpReply(200, {}, b'{"status":"IS_STREAMING"}')], [STATUS], Look("streaming"), id="streaming"),
        pytest.param([COMPLETE, OK], [STATUS, SINGULAR], Look("complete", b"{}"), id="complete"),
        pytest.param(
            [HttpReply(200, {}, b'{"status":"FAILURE"}'), OK], [STATUS, SINGULAR], Look("failed", b"{}"), id="failed"
        ),
        pytest.param([NONE, OK], [STATUS, SINGULAR], Look("unknown", b"{}"), id="no status"),
        pytest.param([HttpReply(200, {}, b"["), OK], [STATUS, SINGULAR], Look("unknown", b"{}"), id="rubbish"),
        pytest.param([COMPLETE, NONE, OK], [STATUS, SINGULAR, PLURAL], Look("complete", b"{}"), id="plural"),
        pytest.param(
            [COMPLETE, HttpReply(405, {}, b""), OK], [STATUS, SINGULAR, PLURAL], Look("complete", b"{}"), id="405"
        ),
        pytest.param([NONE, NONE, NONE], [STATUS, SINGULAR, PLURAL], Look("unknown", gone=True), id="gone"),
        pytest.param([HttpReply(429, {"retry-after": "7"}, b"")], [STATUS], Look(later=7.0), id="too often"),
        pytest.param(
            [COMPLETE, HttpReply(429, {"retry-after": "86400"}, b"")],
            [STATUS, SINGULAR],
            Look("complete", later=300.0),
            id="far too often",
        ),
        pytest.param([HttpReply(503, {}, b"")], [STATUS], Look(), id="overloaded"),
    ],
)
def test_a_look(what: Any, replies: list[HttpReply], calls: list[str], look: Look) -> None:
    commands, seen = performed(poll(UPSTREAM, Poll("c1", what)), *replies)
    assert commands[0] == Wait(2.0)
    assert [path(command) for command in commands[1:]] == calls
    assert seen == look


def test_the_conversation_in_a_path_is_quoted() -> None:
    commands, _ = performed(poll(UPSTREAM, Poll("c/1", "answer")), COMPLETE, OK)
    assert path(commands[2]) == "GET conversation/c%2F1"


@pytest.mark.parametrize("status", [401, 403])
def test_a_poll_that_fails_for_good(status: int) -> None:
    for replies in ([HttpReply(status, {}, b"{}")], [COMPLETE, HttpReply(status, {}, b"{}")]):
        with pytest.raises(GatewayError):
            performed(poll(UPSTREAM, Poll("c1", "picture")), *replies)


def test_what_upstream_asks_for_is_waited_at_least() -> None:
    assert performed(poll(UPSTREAM, Poll("c1", "answer", 0, wait=7.0)), COMPLETE, OK)[0][0] == Wait(7.0)
    answer = polling()
    answer.read_conversation(Look(later=7.0))
    assert answer.follow == Poll("c1", "answer", 1, wait=7.0)
    answer.read_conversation(held(tree(message("x", metadata={"poll_interval_ms": 12_000}))))
    assert answer.follow == Poll("c1", "answer", 2, wait=12.0)


def test_how_long_is_waited() -> None:
    seconds = {what: [rhythm.wait(attempt) for attempt in range(rhythm.attempts)] for what, rhythm in POLLS.items()}
    assert 270 <= sum(seconds["picture"]) <= 310
    assert seconds["answer"][:4] == [2.0, 3.0, 4.5, 6.75]
    assert seconds["answer"][10] == 30.0
    assert seconds["answer"][40] == 60.0
    assert sum(seconds["answer"]) > 3600


# --- what ends a conversation that is read ----------------------------------------------------------------------------


def recap(created: float) -> dict[str, Any]:
    content = {"content_type": "reasoning_recap", "content": "Thought for 6s"}
    return message(id="r1", content=content, create_time=created, metadata={"reasoning_status": "reasoning_ended"})


def test_an_end_before_the_recap_is_a_preamble() -> None:
    preamble = message("I will look into it.", id="p1", create_time=1.0, **END)
    answer = polling()
    assert text(answer.read_conversation(held(tree(preamble, recap(5.0))))) == ""
    assert not answer.ended
    events = answer.read_conversation(held(tree(preamble, recap(5.0), message("42", create_time=6.0, **END))))
    assert (text(events), events[-1]) == ("42", Finished("stop"))


def test_the_newest_of_several_ends_counts_and_an_empty_one_is_none() -> None:
    answer = polling()
    empty = message("", id="e1", create_time=7.0, **END)
    answer.read_conversation(held(tree(empty)))
    assert not answer.ended
    assert answer.read_conversation(held(tree(empty, message("42", create_time=8.0, **END))))[-1] == Finished("stop")


@pytest.mark.parametrize("fields", [{"channel": "commentary"}, {"metadata": {"is_thinking_preamble_message": True}}])
def test_a_preamble_does_not_end_the_turn_although_it_says_so(fields: Any) -> None:
    answer = Answer()
    told(answer, shown(message("Let me see.", id="p1", **END | fields)), b"")
    assert not answer.ended
    answer = polling()
    answer.read_conversation(held(tree(message("Let me see.", id="p1", **END | fields))))
    assert not answer.ended


def test_a_status_of_streaming_in_the_conversation_is_no_end() -> None:
    answer = polling()
    body = json.dumps(json.loads(tree(message("42", **END))) | {"async_status": 3}).encode()
    assert text(answer.read_conversation(held(body))) == "42"
    assert isinstance(answer.follow, Poll)


def test_the_plural_read_has_the_branch_as_a_list() -> None:
    question = {"id": "u1", "author": {"role": "user"}, "content": {"content_type": "text", "parts": ["?"]}}
    before = message("of an earlier turn", id="old", **END)
    body = json.dumps({"messages": [before, question, message("42", **END)], "current_node": "a1"}).encode()
    assert text(polling().read_conversation(held(body))) == "42"


def test_a_failure_is_read_once() -> None:
    answer = polling()
    events = answer.read_conversation(held(tree(message("42", **END)), state="failed"))
    assert (text(events), events[-1]) == ("42", Finished("stop"))
    (failed,) = polling().read_conversation(held(tree(), state="failed"))
    assert isinstance(failed, Failed)
    assert (failed.error.http_status, failed.error.code) == (502, "upstream_failed")


def test_a_finished_conversation_without_an_answer_is_read_again_and_then_empty() -> None:
    answer, looks = polling(), 0
    events: list[Event] = []
    while not answer.ended:
        looks += 1
        events += answer.read_conversation(held(tree(), state="complete"))
    assert looks == 3
    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == "empty_stream"


def test_what_came_before_was_cut_off_where_the_conversation_has_no_more() -> None:
    answer = Answer()
    events = told(answer, token(), added("What came stays. "), handoff("something_new"), DONE)
    while not answer.ended:
        events += answer.read_conversation(held(tree(), state="complete"))
    assert text(events) == "What came stays. "
    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == "upstream_cut"


@pytest.mark.parametrize(("named", "code"), [(False, "stream_handoff"), (True, "conversation_not_found")])
def test_a_conversation_that_is_gone_is_nobodys_fault_who_did_not_name_it(named: bool, code: str) -> None:
    answer = Answer(named=named)
    events = told(answer, token(), added("What came stays. "), handoff("something_new"), DONE)
    events += answer.read_conversation(Look(gone=True))
    assert text(events) == "What came stays. "
    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == code


# --- questions to the user --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"recipient": "ask_user_input"}, "Which city?"),
        ({"recipient": "request_user_input"}, "Which city?"),
        ({"content": {"content_type": "super_widget"}, "metadata": {"ask_user_input": {"questions": []}}}, ""),
        ({"content": {"content_type": "code", "text": "{}"}, "metadata": {"codex_request_user_input": {}}}, ""),
    ],
)
def test_a_question_to_the_user_is_no_empty_answer(fields: Any, words: str) -> None:
    answer = Answer()
    events = told(answer, shown(message("Which city?", **END | fields)), DONE)
    assert text(events).startswith(words)
    assert "asked its user for input" in text(events)
    assert events[-1] == Finished("stop")


def test_continuation_is_the_same_turn_without_messages() -> None:
    asked = [SentMessage("u1", SentAuthor("user"), SentContent(["?"]), 1.0)]
    turn = Conversation(
        messages=asked,
        parent_message_id="p0",
        model="auto",
        history_and_training_disabled=False,
        websocket_request_id="w0",
    )
    body = json.loads(encode_conversation(continuation(turn, Continue("c1", "a1"), "w1")))
    before = json.loads(encode_conversation(turn))
    assert {key: body.get(key) for key in body | before if body.get(key) != before.get(key)} == {
        "action": "continue",
        "messages": None,
        "parent_message_id": "a1",
        "conversation_id": "c1",
        "websocket_request_id": "w1",
    }
    moment = Moment(datetime(2026, 1, 1, tzinfo=UTC), 1.0, "s")
    options = HandshakeOptions(ClientProfile(), conversation_only=True)
    _, opened = performed(open_turn(UPSTREAM, continuation(turn, Continue("c1", "a1"), "w1"), options, moment))
    assert isinstance(opened, OpeningCall)
    assert path(opened.request) == "POST conversation"


# --- whatever happens, it ends ----------------------------------------------------------------------------------------

HAPPENS = st.sampled_from(
    [
        *(("receive", frame) for frame in (V1, token(), handoff(), added("One"), append("!"), DONE, b"")),
        ("receive", shown(promise())),
        ("receive", shown(picture())),
        ("receive", shown(message("One", **CUT))),
        ("abort", LOST),
        ("abort", DeadlineError("late")),
        ("refused", HttpReply(404, {}, b"")),
        ("refused", HttpReply(502, {}, b"")),
        ("refused", HttpReply(403, {}, b"")),
        ("read_conversation", Look()),
        ("read_conversation", Look(gone=True)),
        ("read_conversation", Look("failed")),
        ("read_conversation", held(tree(promise(), message("One")))),
        ("read_conversation", held(tree(message("One", **END)), state="complete")),
        ("reopen", None),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(HAPPENS, max_size=30), st.booleans(), st.integers(0, 2))
def test_whatever_happens_there_is_one_end(happens: list[tuple[str, Any]], kept: bool, times: int) -> None:
    answer = Answer(kept=kept, continue_times=times)
    events: list[Event] = []
    for name, argument in happens:
        paused = answer.follow is not None
        if name == "reopen":
            if isinstance(answer.follow, Resume | Socket | Continue):
                answer.reopen()
        elif (name == "receive") is not paused or name == "abort":
            events += getattr(answer, name)(argument)
    events += answer.abort(LOST, final=True)
    ends = [event for event in events if isinstance(event, Finished | Failed)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    assert answer.ended
    assert answer.follow is None
    assert msgspec.structs.fields(ends[0])
