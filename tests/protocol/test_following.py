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
from shim.protocol.answer.follow_up import POLLS, RESUMES, Continue, Poll, Resume, continuation, poll, resume
from shim.protocol.answer.machine import Answer
from shim.protocol.commands import Command, HttpReply, HttpRequest, Send, Wait
from shim.protocol.events import Event, Failed, Finished, Picture, Started, TextDelta
from shim.protocol.turn.conversation import encode_conversation
from shim.protocol.turn.handshake import HandshakeOptions, Moment, OpeningCall, open_turn
from shim.protocol.upstream import Identity, Upstream
from tests.servers import REAL_POLLS
from tests.upstream_says import DONE, END, V1, added, append, delta, frame, message, snapshot, typed

UPSTREAM = Upstream("https://chatgpt.test", Identity("device"), ClientProfile())
LOST = UpstreamError("the network is gone", code="upstream_connection")


@pytest.fixture(autouse=True)
def real_rhythms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever gateways of other tests run in this process: they look more often."""
    for what, rhythm in REAL_POLLS.items():
        monkeypatch.setitem(POLLS, what, rhythm)


def token(value: str = "t1") -> bytes:
    return typed("resume_conversation_token", token=value)


def handoff(*kinds: str) -> bytes:
    options = [{"type": kind, "topic_id": "conversation-turn-x"} for kind in kinds]
    return typed("stream_handoff", options=options)


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


def picture(id: str = "d1", status: str = "finished_successfully", **metadata: Any) -> dict[str, Any]:
    pointer = {"content_type": "image_asset_pointer", "asset_pointer": f"sediment://file_{id}"}
    author = {"role": "tool", "name": "image_gen"}
    content = {"content_type": "multimodal_text", "parts": [pointer]}
    return {"id": id, "author": author, "content": content, "status": status, "metadata": metadata}


def promise(id: str = "d0", task: str = "task-1") -> dict[str, Any]:
    content = {"content_type": "text", "parts": ["Processing image"]}
    metadata = {"image_gen_task_id": task, "image_gen_async": True}
    return {"id": id, "author": {"role": "tool", "name": "image_gen"}, "content": content, "metadata": metadata}


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
        pytest.param([token(), handoff("subscribe_ws_topic")], Poll("c1", "answer"), id="only a socket is offered"),
        pytest.param([handoff("resume_sse_endpoint")], Poll("c1", "answer"), id="no token came"),
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


def test_a_stream_that_is_handed_on_for_ever_ends_in_polls() -> None:
    answer = Answer()
    for _ in range(RESUMES.attempts):
        told(answer, token(), handoff(), DONE)
        assert isinstance(answer.follow, Resume)
        answer.reopen()
    told(answer, token(), handoff(), DONE)
    assert answer.follow == Poll("c1", "answer")


# --- a lost stream ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", [lambda answer: answer.receive(b""), lambda answer: answer.abort(LOST)])
def test_a_lost_stream_is_resumed_where_it_was(lose: Any) -> None:
    """The offset counts what was read: token, message, two appends; neither the encoding nor pings."""
    answer = Answer(resumable=True)
    before = told(answer, V1, token(), b": ping\n\n" + frame({}, "ping"), added(), append("One, "), append("two"))
    assert lose(answer) == []
    assert answer.follow == Resume("c1", "t1", 4, attempt=1)
    answer.reopen()
    after = told(answer, V1, append(", three"), delta("."), added("One, two, three.", **END), DONE)
    assert text((*before, *after)) == "One, two, three."
    assert after[-1] == Finished("stop")


def test_a_marker_that_the_loss_has_cut_is_still_a_marker() -> None:
    answer = Answer(resumable=True)
    told(answer, V1, token(), added(), append("A fact\ue200cite\ue202tu"), b"")
    answer.reopen()
    assert text(told(answer, V1, append("rn0search0\ue201."), DONE)) == "."


@pytest.mark.parametrize(
    ("options", "frames", "end"),
    [
        ({}, [token(), added("One")], Failed),
        ({"resumable": True}, [added("One")], Failed),
        ({"resumable": True}, [token(), added("One", **END)], Finished),
    ],
    ids=["not kept", "no token", "whole already"],
)
def test_a_lost_stream_that_is_not_resumed(options: Any, frames: list[bytes], end: type[Event]) -> None:
    for lose in (lambda answer: answer.receive(b""), lambda answer: answer.abort(LOST)):
        answer = Answer(**options)
        told(answer, *frames)
        assert isinstance(lose(answer)[-1], end)
        assert answer.ended


def test_what_is_not_the_networks_fault_is_not_resumed() -> None:
    answer = Answer(resumable=True)
    told(answer, token(), added("One"))
    assert isinstance(answer.abort(CredentialError("no"))[-1], Failed)


def test_a_final_failure_ends_a_paused_answer() -> None:
    answer = Answer(resumable=True)
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
    frames = [handoff()] if what == "answer" else [snapshot(**call), snapshot(**promise())]
    told(answer, *frames, DONE)
    assert answer.follow == Poll("c1", what)  # type: ignore[arg-type]
    return answer


def test_an_answer_grows_until_its_leaf_ends_the_turn() -> None:
    answer = polling()
    shown = [
        text(answer.read_conversation(body))
        for body in (b"", tree(), tree(message("Let me")), b"<html>", tree(message("Let me see.", **END)))
    ]
    assert shown == ["", "", "Let me", "", " see."]
    assert answer.ended


def test_the_earlier_turn_is_not_read() -> None:
    answer = polling()
    assert answer.read_conversation(tree()) == []
    assert answer.follow == Poll("c1", "answer", attempt=1)


def test_a_leaf_that_is_not_the_end_is_waited_on() -> None:
    answer = polling()
    answer.read_conversation(tree(message("First."), message(id="k1", recipient="web.run")))
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
    assert answer.read_conversation(body) == []
    assert answer.follow == Poll("c1", "answer", attempt=1)


@pytest.mark.parametrize("what", ["answer", "picture"])
def test_polls_are_bounded(what: str) -> None:
    answer = polling(what)
    events: list[Event] = []
    looks = 0
    while not answer.ended:
        looks += 1
        events += answer.read_conversation(b"") if looks % 2 else answer.abort(LOST)
    assert looks == POLLS[what].attempts
    assert isinstance(events[-1], Failed)


def test_reading_without_a_poll_reads_nothing() -> None:
    answer = Answer()
    assert answer.read_conversation(tree(message("x", **END))) == []


# --- promised pictures ------------------------------------------------------------------------------------------------


def test_a_promised_picture_comes() -> None:
    answer = polling("picture")
    assert answer.read_conversation(tree(promise())) == []
    assert answer.read_conversation(tree(promise(), picture(status="in_progress"))) == []
    events = answer.read_conversation(tree(promise(), picture(async_task_type="image_gen")))
    assert isinstance(events[0], Picture)
    assert (events[0].file.file_id, events[0].file.conversation_id) == ("file_d1", "c1")
    assert events[1:] == [Finished("stop")]
    assert answer.message_id == "d1"


def test_the_picture_takes_the_place_of_its_promise() -> None:
    answer = polling("picture")
    events = answer.read_conversation(tree(picture("d0", image_gen_task_id="task-1")))
    assert [type(event) for event in events] == [Picture, Finished]


def test_each_of_several_promises_is_waited_for() -> None:
    answer = Answer()
    told(answer, snapshot(**promise("p1", "task-1")), snapshot(**promise("p2", "task-2")), DONE)
    first = answer.read_conversation(tree(promise("p1", "task-1"), promise("p2", "task-2"), picture("x")))
    assert [type(event) for event in first] == [Started, Picture]
    assert isinstance(answer.follow, Poll)
    then = answer.read_conversation(tree(promise("p1", "task-1"), promise("p2", "task-2"), picture("x"), picture("y")))
    assert [type(event) for event in then] == [Picture, Finished]


def test_a_promise_that_is_kept_in_the_same_stream_is_not_followed() -> None:
    answer = Answer()
    events = told(answer, snapshot(**promise()), snapshot(**picture()), DONE)
    assert [type(event) for event in events] == [Started, Picture, Finished]


def test_a_promise_outlasts_the_end_of_the_turn() -> None:
    answer = Answer()
    told(answer, snapshot(**promise()), snapshot("On its way.", **END), DONE)
    assert answer.follow == Poll("c1", "picture")
    assert isinstance(answer.abort(LOST, final=True)[-1], Failed)


def test_a_promised_picture_that_fails_says_so() -> None:
    answer = polling("picture")
    error = {"content_type": "system_error", "name": "ImageGenError", "text": "No GPU today."}
    failed = {"id": "e1", "author": {"role": "tool", "name": "image_gen"}, "content": error}
    (event,) = answer.read_conversation(tree(promise(), failed))
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
    events = told(answer, snapshot("One, tw", **CUT), DONE)
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
        told(answer, snapshot("x", **CUT), DONE)
        assert isinstance(answer.follow, Continue)
        answer.reopen()
    assert told(answer, snapshot("xy", **CUT), DONE)[-1] == Finished("length")


@pytest.mark.parametrize(
    "fail", [lambda a: a.abort(LOST), lambda a: a.refused(HttpReply(429, {}, b"")), lambda a: a.receive(b"")]
)
def test_where_it_cannot_go_on_it_was_cut_for_its_length(fail: Any) -> None:
    answer = Answer(continue_times=1)
    told(answer, snapshot("One", **CUT), DONE)
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
    assert waits == [[Wait(0.3)], [Wait(pytest.approx(0.45))], [Wait(pytest.approx(0.675))], [Wait(5.0)]]


def test_the_token_is_not_shown() -> None:
    assert "t1" not in repr(Resume("c1", "t1", 7))


OK = HttpReply(200, {}, b"{}")


def test_poll_for_an_answer_asks_for_the_status_first() -> None:
    commands, body = performed(poll(UPSTREAM, Poll("c/1", "answer")), HttpReply(200, {}, b'{"status":"COMPLETE"}'), OK)
    assert commands[0] == Wait(2.0)
    assert [*map(path, commands[1:])] == ["GET conversation/c%2F1/stream_status", "GET conversation/c%2F1"]
    assert body == b"{}"


def test_poll_does_not_read_what_is_still_streaming() -> None:
    commands, body = performed(poll(UPSTREAM, Poll("c1", "answer")), HttpReply(200, {}, b'{"status":"IS_STREAMING"}'))
    assert (len(commands), body) == (2, b"")


def test_poll_goes_on_without_a_status() -> None:
    assert performed(poll(UPSTREAM, Poll("c1", "answer")), HttpReply(404, {}, b""), OK)[1] == b"{}"


def test_poll_for_a_picture() -> None:
    commands, body = performed(poll(UPSTREAM, Poll("c1", "picture", attempt=32)), OK)
    assert [commands[0], path(commands[1])] == [Wait(10.0), "GET conversation/c1"]
    assert body == b"{}"


@pytest.mark.parametrize("status", [408, 409, 425, 429, 502, 504])
def test_a_poll_that_fails_for_now(status: int) -> None:
    assert performed(poll(UPSTREAM, Poll("c1", "picture")), HttpReply(status, {}, b""))[1] == b""


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_poll_that_fails_for_good(status: int) -> None:
    with pytest.raises(GatewayError):
        performed(poll(UPSTREAM, Poll("c1", "picture")), HttpReply(status, {}, b'{"detail":"no"}'))


def test_how_long_is_waited_in_all() -> None:
    seconds = {what: sum(map(rhythm.wait, range(rhythm.attempts))) for what, rhythm in POLLS.items()}
    assert 270 <= seconds["picture"] <= 310
    assert 1700 <= seconds["answer"] <= 1900


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
        ("receive", snapshot(**promise())),
        ("receive", snapshot(**picture())),
        ("receive", snapshot("One", **CUT)),
        ("abort", LOST),
        ("abort", DeadlineError("late")),
        ("refused", HttpReply(404, {}, b"")),
        ("refused", HttpReply(502, {}, b"")),
        ("refused", HttpReply(403, {}, b"")),
        ("read_conversation", b""),
        ("read_conversation", tree(promise(), message("One"))),
        ("read_conversation", tree(message("One", **END))),
        ("reopen", None),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(HAPPENS, max_size=30), st.booleans(), st.integers(0, 2))
def test_whatever_happens_there_is_one_end(happens: list[tuple[str, Any]], resumable: bool, times: int) -> None:
    answer = Answer(resumable=resumable, continue_times=times)
    events: list[Event] = []
    for name, argument in happens:
        paused = answer.follow is not None
        if name == "reopen":
            if isinstance(answer.follow, Resume | Continue):
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
