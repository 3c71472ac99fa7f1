"""Exchanges on live flows: the client's own call becomes the conversation call, and somebody else (a proxy) makes it.

    request ──cross──> Crossing ──call──> the proxy sends it as the flow's request
    head    ──stream_head──> headers of a streamed answer | None: it has to be whole first
    chunks  ──receive──> bytes for the client (`b""` is the end, both ways)
    body    ──whole──> an Answered, by the code the app uses: follow-ups, repair, other accounts
    the end ──end | lost──> lease and log line

Rule: a flow becomes the call only where this one call, run to its own end, is the whole exchange. A proxy can neither
end it early, nor put another one in its place once bytes have gone to the client, nor make two of it; what may need
that is for the app (`cross` returns None).
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from shim.accounts.outcomes import Tries
from shim.apis.chat.read import chat_request
from shim.apis.chat.wire import ChatRequest
from shim.cassettes.codings import CodingError, decoder_of
from shim.errors import GatewayError, UpstreamError
from shim.exchange.exchange import Exchange
from shim.exchange.gateway import Gateway
from shim.exchange.told import Told, body_of, chunks_of, completion_of
from shim.exchange.turns import Arranged, LiveAnswer, Wanted, is_event_stream
from shim.protocol.commands import HttpReply, HttpRequest
from shim.protocol.events import Event, Failed
from shim.protocol.render import STREAM_HEADERS, ChatChunks, Transcript
from shim.protocol.shaping.pipeline import stops_of
from shim.settings import Settings
from shim.transport.base import read_reply

log = logging.getLogger("chat2api")

_JSON = {"content-type": "application/json"}

# Models whose answers upstream likes to finish elsewhere (protocol.md 5.6).
_WANDERING = re.compile(r"thinking|research|(^|-)pro$|^o\d")


class Incoming(msgspec.Struct, frozen=True):
    """A client's call: its id (`x-request-id`), method and path, its `Authorization`, its body, and the address it
    reached us at."""

    id: str
    method: str
    path: str
    authorization: str | None
    body: bytes
    address: str


class Answered(msgspec.Struct, frozen=True):
    """A whole answer for the client."""

    status: int
    headers: dict[str, str]
    body: bytes


class Received:
    """An answer somebody else received, as a transport's `Response`. Header names are lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self._pieces = [body] if body else []

    async def chunk(self) -> bytes:
        """See `Response.chunk`."""
        return self._pieces.pop() if self._pieces else b""

    def close(self) -> None:
        """The connection is not ours."""

    def release(self, then: Callable[[], None]) -> None:
        """See `Response.release`."""
        then()


def refusal(error: GatewayError, id: str) -> Answered:
    """The answer to call `id` that tells of `error`."""
    return Answered(error.http_status, _JSON | {"x-request-id": id} | error.headers(time.time()), error.envelope())


def unforeseen() -> GatewayError:
    """What a client is told of a failure nobody foresaw."""
    text = "The gateway failed on this request; its log says more"
    return GatewayError(text, code="internal_error", status=502)


def has_room(settings: Settings) -> bool:
    """Whether a flow can be the call at all: it goes through no proxy of ours, is no replay and is not gone on with."""
    return not (settings.proxy_url or settings.replay or settings.continue_chats or settings.continue_times)


def is_one_call(request: ChatRequest, *, kept: bool) -> bool:
    """Whether one call, run to its own end, is all this request needs, as far as can be told beforehand. A whole answer
    may still be followed or repaired; of a streamed one the first bytes are gone by then."""
    if (request.n or 1) != 1 or stops_of(request) or request.max_completion_tokens or request.max_tokens:
        return False
    return not request.stream or not (
        kept
        or request.tools
        or request.response_format is not None
        or request.image_response_format == "b64_json"
        or request.reasoning_effort is not None
        or _WANDERING.search(request.model)
    )


async def cross(gateway: Gateway, incoming: Incoming) -> "Crossing | None":
    """The call, ready to go up; None where it is for the app. Raises GatewayError."""
    began = time.perf_counter()
    settings = gateway.settings
    is_chat = (incoming.method, incoming.path) == ("POST", f"{settings.root_path}/v1/chat/completions")
    if not is_chat or not has_room(settings) or len(incoming.body) > settings.max_request_bytes:
        return None
    caller = gateway.caller(incoming.authorization)
    request, ignored = chat_request(incoming.body, strict=settings.strict_params)
    if not is_one_call(request, kept=gateway.turns.kept):
        return None
    wanted = await gateway.wanted(request, caller)
    tries = gateway.turns.tries(wanted)
    arranged = await gateway.turns.arrange(wanted, tries)
    return Crossing(gateway, incoming, wanted, tries, arranged, ignored=ignored, began=began)


class Crossing:
    """One exchange on one flow. The first of `whole`, `end` and `lost` is its end."""

    def __init__(
        self,
        gateway: Gateway,
        incoming: Incoming,
        wanted: Wanted,
        tries: Tries,
        arranged: Arranged,
        *,
        ignored: list[str],
        began: float,
    ) -> None:
        self._gateway, self._incoming = gateway, incoming
        self._wanted, self._tries, self._arranged = wanted, tries, arranged
        self._ignored, self._began = ignored, began
        self._exchange: Exchange | None = None
        self._chunks: ChatChunks | None = None
        self._decode = decoder_of("")
        self._over = False  # the lease has been given back

    @property
    def call(self) -> HttpRequest:
        """What the flow becomes; nothing of what the client sent is left in it."""
        call = self._arranged.turn.request
        return msgspec.structs.replace(call, headers=call.headers | {"accept-encoding": "identity"})

    # --- streamed -----------------------------------------------------------------------------------------------------

    def stream_head(self, status: int, headers: Mapping[str, str]) -> dict[str, str] | None:
        """The headers of the client's answer, whose status is 200, where `receive` makes the body; None where
        upstream's has to be whole first, for `whole`: it is no answer stream, or the client did not ask for one."""
        response = Received(status, headers)
        if not self._wanted.request.stream or not is_event_stream(response):
            return None
        try:
            self._decode = decoder_of(response.headers.get("content-encoding", ""))
        except CodingError:
            return None
        exchange = self._open(self._gateway.turns.adopt(self._arranged, response))
        return STREAM_HEADERS | self._headers(exchange)

    def receive(self, chunk: bytes) -> bytes:
        """The client's bytes for a chunk of upstream's."""
        choice = self._under_way.choices[0]
        try:
            return self._render(choice.feed(self._decode(chunk) if chunk else b""))
        except CodingError:
            return self.break_off(UpstreamError("Upstream's answer can't be decoded", code="upstream_encoding"))

    def break_off(self, error: GatewayError) -> bytes:
        """The client's last bytes where the stream can't go on."""
        return self._render(self._under_way.choices[0].break_off(error))

    def end(self) -> None:
        """The streamed answer is over."""
        self._tell(self._chunks.transcripts if self._chunks is not None else [Transcript()])

    def _render(self, events: list[Event]) -> bytes:
        if not events:
            return b""
        if self._chunks is not None:
            return self._chunks.render(events)
        self._chunks = chunks_of(self._under_way)
        # What fails before it begins has no beginning; the app still has a status for it.
        head = b"" if isinstance(events[0], Failed) else self._chunks.head()
        return head + self._chunks.render(events)

    # --- whole --------------------------------------------------------------------------------------------------------

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> Answered:
        """The client's answer, where upstream's is there as a whole. Raises GatewayError."""
        exchange = self._open(await self._live(Received(status, headers, body)))
        if self._wanted.request.stream:
            return await self._streamed_late(exchange)
        completion = completion_of(exchange)
        try:
            answer = await body_of(exchange, completion)
        finally:
            self._tell(completion.transcripts)
        return Answered(200, _JSON | self._headers(exchange), answer)

    async def _live(self, response: Received) -> LiveAnswer:
        """The answer at its head: this one, or, where upstream refused, that of another try."""
        try:
            return await self._adopted(response)
        except GatewayError as error:
            self._over = True  # `instead` ends this lease, and any that it takes in vain
            return await self._gateway.turns.instead(
                error, self._wanted, self._arranged, self._tries, accepted=is_event_stream(response)
            )

    async def _adopted(self, response: Received) -> LiveAnswer:
        if not is_event_stream(response):
            raise self._arranged.turn.refused(await _reply(response))
        live = self._gateway.turns.adopt(self._arranged, await _decoded(response))
        await live.begin()
        return live

    async def _streamed_late(self, exchange: Exchange) -> Answered:
        """The stream in one piece: another try was needed, and a made answer can't be streamed."""
        chunks = chunks_of(exchange)
        lines = [chunks.head()]
        try:
            async for choice, events in exchange.events():
                lines.append(chunks.render(events, choice))
        finally:
            self._tell(chunks.transcripts)
        return Answered(200, STREAM_HEADERS | self._headers(exchange), b"".join(lines))

    # --- no end -------------------------------------------------------------------------------------------------------

    def lost(self, error: GatewayError | None) -> None:
        """The flow broke: the client is gone (None), or upstream is."""
        turns, place = self._gateway.turns, self._arranged.place
        if self._over:
            return
        if self._exchange is not None:
            if error is not None:
                self.break_off(error)
            self.end()
        elif error is not None:
            turns.gave_up(error, place)
        else:
            place.lease.left()
        self._over = True

    def _tell(self, transcripts: list[Transcript]) -> None:
        """AccountLease and log line, once."""
        if not self._over:
            self._over = True
            Told(self._incoming.id, self._under_way, self._began).end(transcripts)

    @property
    def _under_way(self) -> Exchange:
        assert self._exchange is not None  # noqa: S101  `stream_head` comes first
        return self._exchange

    def _open(self, live: LiveAnswer) -> Exchange:
        self._exchange, self._over = self._gateway.exchange(self._wanted, [live], self._incoming.address), False
        return self._exchange

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        ignored = [*self._ignored, *exchange.ignored]
        named = {"x-chat2api-ignored": ", ".join(ignored)} if ignored else {}
        return {"x-request-id": self._incoming.id} | named


Stream = Callable[[bytes], bytes | Iterable[bytes]]
"""What mitmproxy streams through: chunk in, chunks out. `b""` is the end of input; given out it would end the answer,
so that nothing to say is an empty list."""


def stream_of(crossing: Crossing, heard: Stream | None) -> Stream:
    """The stream of a crossing, behind another one that was there first (a recorder)."""
    broken = False

    def stream(chunk: bytes) -> bytes | Iterable[bytes]:
        nonlocal broken
        if broken:
            return []
        try:
            return _said(crossing, chunk, heard(chunk) if heard else chunk) or []
        except Exception:
            log.exception("unexpected failure within an answer")
            broken = True
            return b"data: " + unforeseen().envelope() + b"\n\n"

    return stream


def _said(crossing: Crossing, chunk: bytes, passed: bytes | Iterable[bytes]) -> bytes:
    """What to say to `chunk`, of which `passed` is left."""
    piece = passed if isinstance(passed, bytes) else b"".join(passed)
    said = crossing.receive(piece) if piece else b""
    return said if chunk else said + crossing.receive(b"")


async def _reply(response: Received) -> HttpReply:
    try:
        return await read_reply(await _decoded(response))
    except UpstreamError:
        return HttpReply(response.status, response.headers, b"")  # its status says enough


async def _decoded(response: Received) -> Received:
    """The same with its coding undone. Raises UpstreamError."""
    coding = response.headers.get("content-encoding", "")
    try:
        return Received(response.status, response.headers, decoder_of(coding)(await response.chunk()))
    except CodingError as error:
        raise UpstreamError("Upstream's answer can't be decoded", code="upstream_encoding") from error
