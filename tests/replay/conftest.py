"""What the replay tests share: every cassette, answered by the core alone, by the app, and by flows.

Rule: upstream is what was recorded and nothing else; time stands still and ids are counted, so that bytes can be equal.
Nothing here shapes an answer: the drivers are the real ones, and the core's is as short as a driver can be.
"""

import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from litestar.types import Empty

from addons.crossing import Crossing, Incoming, cross, refusal
from addons.streaming import stream_of
from pow import Challenge, ClientProfile, search
from shim import tokenizer
from shim.apis.chat import CHAT as CHAT_API
from shim.apis.completions import COMPLETIONS
from shim.apis.messages import MESSAGES
from shim.apis.responses import RESPONSES
from shim.app import create_app
from shim.cassettes.format import Cassette, Interaction, RecordedResponse, load_cassette
from shim.cassettes.matching import Miss, Player
from shim.cassettes.transport import ReplayResponse, ReplayTransport
from shim.errors import GatewayError, UpstreamError
from shim.exchange import Clock, Gateway
from shim.exchange.assembly import open_gateway
from shim.protocol.answer.follow_up import Resume, resume
from shim.protocol.answer.machine import Answer
from shim.protocol.api import AnsweredBy, Api, Asked
from shim.protocol.commands import Command, Handshake, HttpReply, HttpRequest, Reply, Send, SolvePow, Wait
from shim.protocol.counting.usage import Usage, prompt_tokens, usage_of
from shim.protocol.events import Event, Failed, FileRef, Started
from shim.protocol.models import answered_model
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.pipeline import FilterDependencies
from shim.protocol.transcript import Transcript
from shim.protocol.turn.conversation import Chosen, conversation_for
from shim.protocol.turn.handshake import HandshakeOptions, Moment, open_turn
from shim.protocol.upstream import Identity, Upstream
from shim.schemas import validate
from shim.settings import Settings
from shim.standin import make_access_token
from shim.transport import ConnectionKey
from tests.answering import FakeAnswer

T = TypeVar("T")
CASSETTES = Path(__file__).parents[1] / "cassettes"
GOLDEN = Path(__file__).parent / "golden"
NAMES = [path.stem for path in sorted(CASSETTES.glob("*.json"))]
CHAT = "/v1/chat/completions"
UPSTREAM = "http://upstream.test"
ACCOUNT = make_access_token("recorded", "plus")
NOW = 1_800_000_000.0
# What differs from call to call, or is the server's: not in a golden, and not compared.
_OWN = frozenset({"x-request-id", "content-length", "date", "server", "connection", "transfer-encoding"})
# What a golden shows of a head besides the status: everything the core decides.
_DECIDED = ("retry-after", "x-should-retry")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `name` runs for each cassette, one that takes `streamed` for both kinds of answer, unless it
    says itself which, and one that takes `api` for each API beside chat, which has tests of its own."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", NAMES)
    if "api" in metafunc.fixturenames:
        metafunc.parametrize("api", [name for name in SPOKEN if name != "chat"])
    if "streamed" in metafunc.fixturenames and metafunc.definition.get_closest_marker("parametrize") is None:
        metafunc.parametrize("streamed", [True, False], ids=["streamed", "whole"])


class Told(msgspec.Struct, frozen=True):
    """What a client was told: its answer's status, headers (names in lower case, without `_OWN`) and body. `broken`:
    then its connection broke (only a proxy's does; with status 0 it says itself what broke)."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False

    @classmethod
    def of(cls, status: int, headers: Any, body: bytes) -> "Told":
        """From an answer as it came."""
        return cls(status, {name: value for name, value in dict(headers).items() if name not in _OWN}, body)

    @property
    def decided(self) -> dict[str, str]:
        """The headers that are the core's."""
        return {name: self.headers[name] for name in _DECIDED if name in self.headers}


class Question(msgspec.Struct, frozen=True):
    """A client's call of which the cassette holds what became of it."""

    prompt: str
    token: str | None

    @property
    def headers(self) -> dict[str, str]:
        """What it says who asks."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def body(self, *, streamed: bool) -> bytes:
        """As `scripts/record` asked it; whether it streams is nothing that upstream hears of."""
        return SPOKEN["chat"].body(self.prompt, streamed=streamed)


class Spoken(msgspec.Struct, frozen=True):
    """An API that tells cassettes: where it is asked, and with what besides the prompt, which `ask` puts in."""

    api: Api
    path: str
    ask: Callable[[str], dict[str, Any]]

    def body(self, prompt: str, *, streamed: bool) -> bytes:
        """The request."""
        return msgspec.json.encode({"model": "auto", "stream": streamed, **self.ask(prompt)})


SPOKEN = {
    "chat": Spoken(CHAT_API, CHAT, lambda prompt: {"messages": [{"role": "user", "content": prompt}]}),
    "completions": Spoken(COMPLETIONS, "/v1/completions", lambda prompt: {"prompt": prompt}),
    "messages": Spoken(
        MESSAGES,
        "/v1/messages",
        lambda prompt: {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 32_000,
            "thinking": {"type": "adaptive"},
        },
    ),
    "responses": Spoken(
        RESPONSES,
        "/v1/responses",
        lambda prompt: {"input": prompt, "reasoning": {"summary": "auto"}, "store": False},
    ),
}


def questions_of(cassette: Cassette) -> list[Question]:
    """The questions of a cassette, in their order."""
    return [_question(one) for one in cassette.interactions if one.request.path.endswith("/conversation")]


def _question(turn: Interaction) -> Question:
    (message,) = turn.request.body["messages"]
    own = turn.request.path.startswith("/backend-api")
    return Question(message["content"]["parts"][0], ACCOUNT if own else None)


class Ids:
    """Ids that are counted, anew for each question: what an answer that failed used up changes no other's."""

    def __init__(self) -> None:
        self._question = self._id = 0

    def begin(self) -> None:
        """The next question is asked."""
        self._question, self._id = self._question + 1, 0

    def new(self) -> str:
        """The next id."""
        self._id += 1
        return f"{self._question:08}-0000-4000-8000-{self._id:012}"

    @property
    def clock(self) -> Clock:
        """These, and a time that stands still."""
        return Clock(now=lambda: NOW, new_id=self.new)


# --- by the core alone ------------------------------------------------------------------------------------------------


class Core:
    """The protocol core, driven by hand: no loop, no socket, no clock."""

    def __init__(self, cassette: Cassette, spoken: Spoken) -> None:
        self._player = Player([cassette])
        self._ids = Ids()
        self._spoken, self._api = spoken, spoken.api

    def tell(self, question: Question, *, streamed: bool) -> Told:
        """What the client is told."""
        self._ids.begin()
        asked = self._api.read(self._spoken.body(question.prompt, streamed=streamed), strict=False)
        upstream = Upstream(UPSTREAM, Identity("device", question.token), ClientProfile())
        try:
            return Told(200, {}, self._body(asked, upstream))
        except GatewayError as error:
            return Told.of(error.http_status, *self._api.refuse(error))

    def _body(self, asked: Asked, upstream: Upstream) -> bytes:
        prompt = asked.prompt
        batches = [batch for batch in self._events(prompt, upstream) if batch]
        begun = batches[0][0]
        if isinstance(begun, Failed):
            raise begun.error
        assert isinstance(begun, Started)
        observed = self._answer.observed
        answer = FakeAnswer(
            id=self._ids.new().replace("-", ""),
            created=int(NOW),
            model=answered_model(prompt.model, prompt.model, begun.slug),
            count=lambda transcripts: _usage(prompt, transcripts),
            api=self._api,
            options=asked.options,
            answered_by=AnsweredBy(observed.slug, observed.effort, observed.switched),
        )
        shaped = map(partial(_through, self._api.filters(prompt, _NEEDS, _no_link)), batches)
        if prompt.stream:
            return answer.head() + b"".join(map(answer.write, shaped))
        for events in shaped:
            answer.add(events)
        return answer.whole()

    def _events(self, prompt: Prompt, upstream: Upstream) -> Iterator[list[Event]]:
        """The events of a turn, in the batches they arrive in, wherever upstream goes on with it."""
        answer, pieces = Answer(kept=False), self._open(prompt, upstream)
        self._answer = answer
        while not answer.ended:
            if isinstance(answer.follow, Resume):
                response = self._play(self._run(resume(upstream, answer.follow)))
                if response.status != 200:
                    yield answer.refused(HttpReply(response.status, response.headers, response.body()))
                    continue
                pieces = _pieces(response)
                answer.reopen()
            assert answer.follow is None, "no cassette has a conversation that is polled for"
            try:
                yield answer.receive(next(pieces))
            except UpstreamError as broken:
                yield answer.abort(broken)

    def _open(self, prompt: Prompt, upstream: Upstream) -> Iterator[bytes]:
        conversation = conversation_for(prompt, Chosen(prompt.model), {}, temporary=True, now=NOW, new_id=self._ids.new)
        moment = Moment(datetime.fromtimestamp(NOW, UTC), 0.0, "session")
        turn = self._run(
            open_turn(upstream, conversation, HandshakeOptions(ClientProfile(), sentinel="one-step"), moment)
        )
        response = self._play(turn.request)
        if response.status != 200:
            raise turn.refused(HttpReply(response.status, response.headers, response.body()))
        return _pieces(response)

    def _run(self, handshake: Handshake[T]) -> T:
        reply: Reply = None
        try:
            while True:
                reply = self._perform(handshake.send(reply))
        except StopIteration as done:
            result: T = done.value
            return result

    def _perform(self, command: Command) -> Reply:
        match command:
            case Send(request=request):
                response = self._play(request)
                return HttpReply(response.status, response.headers, response.body())
            case SolvePow(challenge=challenge, config=config):
                return search(challenge, config)
            case Wait():
                return None  # time stands still
            case _:
                raise AssertionError(f"no cassette asks for {command}")

    def _play(self, call: HttpRequest) -> RecordedResponse:
        path = call.url.removeprefix(UPSTREAM)
        found = self._player.play(call.method, path, call.headers.items(), call.body)
        if isinstance(found, Miss) and path.endswith("/f/conversation/resume"):
            return RecordedResponse(404, {}, [])  # as the replay transport has it
        assert isinstance(found, Interaction), str(found)
        return found.response


def _pieces(response: RecordedResponse) -> Iterator[bytes]:
    """The chunks, and how they end: with `b""`, or broken off."""
    yield from (chunk.content() for chunk in response.chunks)
    if response.cut:
        raise UpstreamError("The recorded connection broke off here", code="upstream_connection")
    yield b""


def _through(filters: Sequence[Filter], events: list[Event]) -> list[Event]:
    for one in filters:
        events = one.receive(events)
    return events


def _usage(prompt: Prompt, transcripts: Sequence[Transcript]) -> Usage:
    return usage_of(prompt_tokens(prompt.messages, tokenizer.count), transcripts, tokenizer.count)


def _no_link(file: FileRef) -> str:
    raise AssertionError(f"no cassette has a file: {file}")


_NEEDS = FilterDependencies(tokenizer.count, tokenizer.cut, tokenizer.certain, lambda: "", validate)


def by_core(cassette: Cassette, *, streamed: bool, api: str = "chat") -> list[Told]:
    """What the core makes of a cassette."""
    core = Core(cassette, SPOKEN[api])
    return [core.tell(question, streamed=streamed) for question in questions_of(cassette)]


# --- by the drivers ---------------------------------------------------------------------------------------------------


class InlineSolver:
    """Proofs without the process they are searched in: that one takes half a second to start."""

    def __init__(self, workers: int) -> None:
        """As `pow.Solver`."""

    async def start(self) -> None:
        """There is nothing to start."""

    async def solve(self, challenge: Challenge, config: list[object]) -> str:
        """The proof token."""
        return search(challenge, config) or ""

    async def close(self) -> None:
        """There is nothing to close."""


class Drivers:
    """The app and flows on a cassette, each in a new gateway that finds an empty folder. The application around it is
    one, as it takes longer to make than most cassettes to tell."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = Settings(data_dir=str(folder), retry_times=0, chatgpt_base_url=(UPSTREAM,))
        self._played, self._ids = ReplayTransport(), Ids()
        self._app = create_app(self._settings, transport=self, clock=Clock(now=lambda: NOW, new_id=self._new_id))

    def _new_id(self) -> str:
        return self._ids.new()

    async def send(self, request: HttpRequest, connection: ConnectionKey) -> ReplayResponse:
        """See `Transport.send`: from the cassette that is told."""
        return await self._played.send(request, connection)

    def _begin(self, cassette: Cassette) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._played, self._ids = ReplayTransport(cassette), Ids()
        for provided in self._app.dependencies.values():
            provided.value = Empty  # Litestar keeps the first gateway it was given

    async def by_app(self, cassette: Cassette, *, streamed: bool, api: str = "chat") -> list[Told]:
        """What the app tells clients over ASGI."""
        spoken, told = SPOKEN[api], []
        self._begin(cassette)
        async with self._app.lifespan(), _client_of(self._app) as client:
            for question in questions_of(cassette):
                self._ids.begin()
                body = spoken.body(question.prompt, streamed=streamed)
                answer = await client.post(spoken.path, content=body, headers=question.headers)
                id = answer.headers["x-request-id"]
                assert id.startswith("req_")
                # Another one each time, where an API tells it in its errors; the core alone knows none.
                content = answer.content.replace(f'"{id}"'.encode(), b"null")
                told.append(Told.of(answer.status_code, answer.headers, content))
        assert self._played.leftovers == []
        return told

    async def by_flows(self, cassette: Cassette, *, streamed: bool) -> list[Told]:
        """What the addon's flows tell clients, the proxy's part played here."""
        told = []
        self._begin(cassette)
        async with open_gateway(self._settings, self._played, self._ids.clock) as gateway:
            for question in questions_of(cassette):
                self._ids.begin()
                told.append(await Flow(gateway, self._played, question, streamed=streamed).tell())
        return told


def _client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


class Flow:
    """One flow as mitmproxy leads it through the addon's hooks (`addons/bridge.py`)."""

    def __init__(self, gateway: Gateway, transport: ReplayTransport, question: Question, *, streamed: bool) -> None:
        self._gateway, self._transport = gateway, transport
        body = question.body(streamed=streamed)
        self._incoming = Incoming("req_flow", "POST", CHAT, question.headers, body, "http://localhost")

    async def tell(self) -> Told:
        """What the client is told."""
        try:
            return await self._cross()
        except GatewayError as error:
            return _told(refusal(error, self._incoming.id))

    async def _cross(self) -> Told:
        crossing = await cross(self._gateway, self._incoming)
        assert crossing is not None, "the app answers this"
        response = await self._transport.send(crossing.call, ConnectionKey("flow"))
        headers = crossing.stream_head(response.status, response.headers)
        said: list[bytes] = []
        hear = said.append if headers is None else _streaming(crossing, said)
        try:
            while piece := await response.chunk():
                hear(piece)
        except UpstreamError as broken:  # so does the client's connection: the hook `error`
            crossing.lost(broken)
            told = Told(0, {}, b"") if headers is None else Told.of(200, headers, b"".join(said))
            return msgspec.structs.replace(told, broken=True)
        if headers is None:
            return _told(await crossing.whole(response.status, response.headers, b"".join(said)))
        hear(b"")
        crossing.end()
        return Told.of(200, headers, b"".join(said))


def _streaming(crossing: Crossing, said: list[bytes]) -> Callable[[bytes], None]:
    """What mitmproxy does with a piece of a streamed body."""
    stream = stream_of(crossing, None)
    return lambda piece: said.append(_joined(stream(piece)))


def _joined(said: bytes | Iterable[bytes]) -> bytes:
    return said if isinstance(said, bytes) else b"".join(said)


def _told(answered: HttpReply) -> Told:
    return Told.of(answered.status, answered.headers, answered.body)


# --- fixtures ---------------------------------------------------------------------------------------------------------


@cache
def load(name: str) -> Cassette:
    """A cassette by its name."""
    return load_cassette(CASSETTES / f"{name}.json")


@pytest.fixture
def cassette(name: str) -> Cassette:
    """The cassette of this test."""
    return load(name)


@pytest.fixture(scope="session")
def _drivers(tmp_path_factory: pytest.TempPathFactory) -> Drivers:
    return Drivers(tmp_path_factory.mktemp("gateway") / "data")


@pytest.fixture
def drivers(_drivers: Drivers, monkeypatch: pytest.MonkeyPatch) -> Drivers:
    """The app and flows, without processes of their own."""
    monkeypatch.setattr("shim.exchange.driving.Solver", InlineSolver)
    return _drivers


Answers = dict[tuple[str, str, bool], list[Told]]
Telling = Callable[[], Awaitable[list[Told]]]


@pytest.fixture(scope="session")
def kept_answers() -> Answers:
    """What the drivers have told already of a cassette as it was recorded."""
    return {}


@pytest.fixture
def app_told(name: str, streamed: bool, cassette: Cassette, drivers: Drivers, kept_answers: Answers) -> Telling:
    """`await app_told()`: what the app tells of the cassette of this test."""
    return _once(kept_answers, ("app", name, streamed), lambda: drivers.by_app(cassette, streamed=streamed))


@pytest.fixture
def flows_told(name: str, streamed: bool, cassette: Cassette, drivers: Drivers, kept_answers: Answers) -> Telling:
    """`await flows_told()`: what flows tell of it."""
    return _once(kept_answers, ("flows", name, streamed), lambda: drivers.by_flows(cassette, streamed=streamed))


def _once(kept: Answers, key: tuple[str, str, bool], tell: Telling) -> Telling:
    async def told() -> list[Told]:
        if key not in kept:
            kept[key] = await tell()
        return kept[key]

    return told


@pytest.fixture(scope="session")
def players() -> SimpleNamespace:
    """What the modules share besides: functions, names and places."""
    return SimpleNamespace(
        by_core=by_core,
        load=load,
        questions_of=questions_of,
        names=NAMES,
        cassettes=CASSETTES,
        golden=GOLDEN,
        chat=CHAT,
        spoken=SPOKEN,
    )
