"""Upstream's answers, spoiled: through the whole application, streamed and whole, over a transport that plays them.

Rule: whatever upstream sends, the client gets a proper answer: never a mistake of the gateway's own, one end, the same
text either way, and none of upstream's marks in it.
"""

import json
import time
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from shim.app import create_app
from shim.exchange import Clock
from shim.protocol.commands import HttpRequest
from shim.settings import Settings
from shim.standin.encode import Deltas, Encoder, Snapshots, encode
from shim.standin.scripts import SCRIPTS, play
from shim.standin.steps import Pause, Turn
from shim.standin.tree import Recorder, Tree
from shim.transport.base import ConnectionKey

CHAT = "/v1/chat/completions"
CONVERSATION = "11111111-1111-4111-8111-111111111111"
MARKS = {chr(code) for code in range(0xE200, 0xE207)}
MOST_SECONDS = 10.0  # for one call
NOW = 1741288944.0  # in links too, which are compared
# What the gateway says of upstream, and so may be what a spoiled answer becomes.
STATUSES = {200, 400, 401, 403, 404, 413, 429, 502, 503, 504}
LARGE = 100_000  # bytes; the two streams that are larger only take time
# What is asked for besides, which puts stages between the answer and the client.
FIELDS: list[dict[str, Any]] = [{}, {}, {"stop": ["a", " the"]}, {"max_tokens": 5}, {"stop": "\n\n", "max_tokens": 20}]
SHAPED: list[dict[str, Any]] = [
    {"tools": [{"type": "function", "function": {"name": "search"}}]},
    {"tools": [{"type": "function", "function": {"name": "python"}}], "tool_choice": "required"},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}, "n": 2},
]
Tool = Callable[..., Any]
# Litestar wants dependencies marked; those of the chat route are not yet.
pytestmark = pytest.mark.filterwarnings("ignore:.*Inferred dependency field.*")


def turn() -> Turn:
    return Turn(
        question="Hi",
        slug="gpt-4o",
        plan="free",
        conversation_id=CONVERSATION,
        parent_id="root",
        user_message=None,
        rng=Random(1),
        now=NOW,
        words=8,
    )


def stream_of(script: str, encoder: Encoder) -> list[bytes]:
    """What the stand-in sends: one bytes object for each event."""
    return [piece for piece in encode(play(script, turn()), encoder, Random(3)) if not isinstance(piece, Pause)]


def tree_of(script: str) -> dict[str, Any]:
    """The conversation as the stand-in keeps it, once all has happened."""
    tree, played = Tree("root"), turn()
    recorder = Recorder(tree)
    for step in [*play(script, played), *played.later]:
        recorder.record(step)
    return {"mapping": tree.mapping(), "current_node": tree.current, "conversation_id": CONVERSATION}


GOOD = {
    f"{script}-{form}": stream
    for script in SCRIPTS
    for form, encoder in (("snapshot", Snapshots(CONVERSATION)), ("v1", Deltas(CONVERSATION, Random(2))))
    if sum(map(len, stream := stream_of(script, encoder))) < LARGE
}
TREES = {script: tree_of(script) for script in ("text", "code", "citations", "image_gen", "image_async", "sandbox")}
EVENTS = [event for name in sorted(GOOD) for event in GOOD[name] if event.startswith((b"data: {", b"event: delta\n"))]


# A handoff to nothing but the conversation.
WITHOUT_A_STREAM = (
    b'data: {"type": "stream_handoff", "conversation_id": "%s", "options": [{"type": "subscribe_ws_topic"}]}\n\n'
    b"data: [DONE]\n\n"
) % CONVERSATION.encode()


class Played:
    """A response that is there already, in pieces."""

    def __init__(self, status: int, kind: str, pieces: list[bytes]) -> None:
        self.status, self.headers, self._pieces = status, {"content-type": kind}, iter(pieces)

    async def chunk(self) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        self._pieces = iter(())

    def release(self, then: Callable[[], None]) -> None:
        self.close()
        then()


class Upstream:
    """A transport: every turn is answered with `pieces`, every look at a conversation with `tree`, nothing else is
    there."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.tree = b"{}"

    async def send(self, request: HttpRequest, connection: ConnectionKey) -> Played:
        path = request.url.partition("/backend-anon/")[2]
        if path.endswith("resume") and json.loads(request.body or b"{}").get("offset"):
            return Played(404, "application/json", [b'{"detail":"Not Found"}'])  # what broke off is lost
        if path.endswith(("conversation", "resume")):
            return Played(200, "text/event-stream; charset=utf-8", self.pieces)
        if path == f"conversation/{CONVERSATION}":
            return Played(200, "application/json", [self.tree])
        return Played(404, "application/json", [b'{"detail":"Not Found"}'])


class Ends:
    """The text of one answer and its end, however it came."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.content = self.reasoning = ""
        self.annotations: list[Any] = []
        self.usage: Any = None
        self.finish: str | None = None
        self.code: str | None = None

    def told(self) -> dict[str, Any]:
        """What has to be the same, streamed or whole. An answer that failed keeps its text only in a stream."""
        if self.code is not None:
            return {"code": self.code}
        return {name: value for name, value in vars(self).items() if name != "status"}


def failed(body: Any, status: int) -> Ends:
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"]
    assert error["code"]
    ends = Ends(status)
    ends.code = error["code"]
    return ends


def whole(response: Any) -> Ends:
    assert response.status_code in STATUSES, response.text[:500]
    assert response.headers["content-type"].startswith("application/json")
    if response.status_code != 200:
        return failed(response.json(), response.status_code)
    ends = Ends(200)
    ends.usage = response.json()["usage"]
    for choice in response.json()["choices"]:
        message = choice["message"]
        ends.content += message["content"] or ""
        ends.reasoning += message.get("reasoning_content", "")
        ends.annotations += message["annotations"]
        ends.finish = choice["finish_reason"]
        assert bool(message.get("tool_calls")) == (ends.finish == "tool_calls")
    return ends


def streamed(response: Any) -> Ends:
    assert response.status_code in STATUSES, response.text[:500]
    if response.status_code != 200:
        return failed(response.json(), response.status_code)
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.content.split(b"\n\n") if block and not block.startswith(b":")]
    assert all(block.startswith(b"data: ") and len(block.decode().splitlines()) == 1 for block in blocks)
    lines = [block.removeprefix(b"data: ") for block in blocks]
    last = json.loads(lines[-1]) if lines[-1] != b"[DONE]" else None
    ends = Ends(200) if last is None else failed(last, 200)
    open_choices: set[int] = set()
    for chunk in map(json.loads, lines[:-1]):
        assert ends.usage is None, "something came after the usage"
        ends.usage = chunk.get("usage")
        for choice in chunk["choices"]:
            delta, place = choice["delta"], choice["index"]
            if "role" in delta:
                assert delta["role"] == "assistant"
                open_choices.add(place)
            assert place in open_choices, "something came before the role or after the finish reason"
            ends.content += delta.get("content") or ""
            ends.reasoning += delta.get("reasoning_content", "")
            ends.annotations += delta.get("annotations", [])
            if choice["finish_reason"] is not None:
                ends.finish = choice["finish_reason"]
                open_choices.discard(place)
    assert (ends.usage is None) == (ends.code is not None)
    assert ends.code is not None or (ends.finish is not None and not open_choices)
    return ends


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module", params=[False, True], ids=["temporary", "kept"])
def client(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[TestClient[Any]]:
    """The application over `upstream`, in this process. Waiting for what upstream does later takes no time."""
    with pytest.MonkeyPatch.context() as patch:

        async def no_wait(_seconds: float) -> None: ...

        patch.setattr("shim.transport.driver.asyncio", SimpleNamespace(sleep=no_wait))
        settings_ = Settings(
            data_dir=str(tmp_path_factory.mktemp("fuzz")),
            conversation_only=True,
            retry_times=0,
            enable_gateway=False,
            history_disabled=not request.param,
            continue_times=2,
            chatgpt_base_url=("http://upstream.test",),
        )
        app = create_app(settings_, transport=upstream, clock=Clock(now=lambda: NOW))
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield client


@pytest.fixture(scope="module")
def both(upstream: Upstream, client: TestClient[Any]) -> Callable[..., tuple[Ends, Ends]]:
    """`both(pieces, other_pieces, **fields)`: the same answer asked for as a stream and whole, and compared."""

    def ask(body: bytes, pieces: list[bytes], **fields: Any) -> tuple[Ends, Ends]:
        request = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], **fields}
        answers = []
        for cut, streams in ((pieces, True), ([body] if body else [], False)):
            upstream.pieces = cut
            began = time.monotonic()
            options = {"stream_options": {"include_usage": True}} if streams else {}
            answers.append(client.post(CHAT, json={**request, "stream": streams, **options}))
            assert time.monotonic() - began < MOST_SECONDS
        for answer in answers:
            assert not MARKS & set(said(answer))
        told, entire = streamed(answers[0]), whole(answers[1])
        if fields not in SHAPED:  # an answer in one piece may be asked for again, one that is streamed may not
            assert told.told() == entire.told()
            assert told.status in {200, entire.status}
        return told, entire

    return ask


def said(response: Any) -> str:
    """Everything that a response says, unescaped."""
    if response.headers["content-type"].startswith("application/json"):
        bodies = [response.json()]
    else:
        bodies = [json.loads(line[6:]) for line in response.content.split(b"\n\n") if line.startswith(b"data: {")]
    return json.dumps(bodies, ensure_ascii=False)


def cut(draw: Callable[[Any], Any], body: bytes) -> list[bytes]:
    """`body` in a few pieces, or in many small ones."""
    if draw(st.integers(0, 7)) == 0:
        size = draw(st.sampled_from((7, 64, 1000)))
        return [body[at : at + size] for at in range(0, len(body), size)]
    ends = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
    pieces = [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]
    return [piece for piece in pieces if piece]


_fields = st.sampled_from(FIELDS) | st.sampled_from(FIELDS + SHAPED)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_is_spoiled_here_is_good(name: str, both: Callable[..., tuple[Ends, Ends]]) -> None:
    """Unspoiled, every stream reads the same streamed and whole; those that should end well do."""
    told, _ = both(b"".join(GOOD[name]), GOOD[name])
    if name.startswith(("text-", "code-", "citations-", "reasoning-", "image_gen-")):
        assert told.finish == "stop"
        assert told.content


@settings(settings.get_profile("fuzz"))
@given(data=st.data(), name=st.sampled_from(sorted(GOOD)), times=st.integers(1, 3))
def test_broken_bytes(data: st.DataObject, name: str, times: int, both: Tool, break_bytes: Tool) -> None:
    body = b"".join(GOOD[name])
    for _ in range(times):
        body = break_bytes(data.draw, body)
    both(body, cut(data.draw, body), **data.draw(_fields))


@settings(settings.get_profile("fuzz"))
@given(data=st.data(), name=st.sampled_from(sorted(GOOD)), times=st.integers(1, 4))
def test_events_lost_doubled_swapped_and_strayed(data: st.DataObject, name: str, times: int, both: Tool) -> None:
    events = list(GOOD[name])
    for _ in range(times):
        place = data.draw(st.integers(0, len(events)))
        match data.draw(st.sampled_from(("lose", "double", "swap", "stray"))):
            case "lose":
                del events[place : place + data.draw(st.integers(1, 3))]
            case "double":
                events[place:place] = events[place : place + 2]
            case "swap":
                events[place : place + 2] = reversed(events[place : place + 2])
            case _:
                events.insert(place, data.draw(st.sampled_from(EVENTS)))
    body = b"".join(events)
    both(body, cut(data.draw, body), **data.draw(_fields))


@settings(settings.get_profile("fuzz"))
@given(data=st.data(), name=st.sampled_from(sorted(GOOD)), times=st.integers(1, 3))
def test_spoiled_events(data: st.DataObject, name: str, times: int, both: Tool, spoil: Tool, as_json: Tool) -> None:
    events = list(GOOD[name])
    for _ in range(times):
        place = data.draw(st.integers(0, len(events) - 1))
        head, mark, line = events[place].partition(b"data: ")
        if line.startswith(b"{"):
            spoiled = as_json(data.draw, spoil(data.draw, json.loads(line)))
            events[place] = head + mark + spoiled + b"\n\n"
    body = b"".join(events)
    both(body, cut(data.draw, body), **data.draw(_fields))


@settings(
    settings.get_profile("fuzz"), max_examples=settings.get_profile("fuzz").max_examples // 4
)  # each is looked for some hundred times
@given(
    data=st.data(),
    stream=st.sampled_from([WITHOUT_A_STREAM, b"".join(GOOD["image_async-v1"])]),
    kept=st.sampled_from(sorted(TREES)),
    times=st.integers(1, 3),
)
def test_spoiled_conversations(
    data: st.DataObject,
    stream: bytes,
    kept: str,
    times: int,
    upstream: Upstream,
    both: Tool,
    spoil: Tool,
    as_json: Tool,
) -> None:
    """Answers that are not in their stream, but in the conversation that upstream keeps."""
    tree = TREES[kept]
    for _ in range(times):
        tree = spoil(data.draw, tree)
    upstream.tree = as_json(data.draw, tree)
    both(stream, [stream])


def test_conversations_that_are_spoiled_here_are_good(
    upstream: Upstream, both: Tool, request: pytest.FixtureRequest
) -> None:
    upstream.tree = json.dumps(TREES["text"]).encode()
    told, _ = both(WITHOUT_A_STREAM, [WITHOUT_A_STREAM])
    if request.node.callspec.params["client"]:
        assert told.finish == "stop"
        assert told.content
    else:
        assert told.code is not None, "a temporary chat can't be read"
