"""Exchanges on live flows: the client's own call becomes the conversation call, and mitmproxy makes it.

    request ──cross──> Crossing ──call──> mitmproxy sends it as the flow's request
    head    ──stream_head──> headers of a streamed answer | None: it has to be whole first
    chunks  ──receive──> bytes for the client (`b""` is the end, both ways)
    body    ──whole──> an HttpReply, by the code the app uses: follow-ups, repair, other accounts
    the end ──end | lost──> lease and log line

Rule: a flow becomes the call only where this one call, run to its own end, is the whole exchange; `NOT_INLINE` says
what is not, and why. All of that is for the app inside this process (`cross` returns None).
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from shim.accounts.outcomes import Tries
from shim.apis.chat import CHAT
from shim.apis.messages import MESSAGES
from shim.apis.responses import RESPONSES
from shim.errors import GatewayError, UpstreamError
from shim.exchange import ClientCall, Exchange, Gateway
from shim.exchange.live_turn import LiveTurn, PreparedTurn, Wanted
from shim.exchange.turns import is_temporary
from shim.http.answering import ApiCall, ending_failed, is_large
from shim.http.intake import decoded_body
from shim.http.responses import STREAM_HEADERS
from shim.protocol.api import Api
from shim.protocol.commands import HttpReply, HttpRequest
from shim.protocol.prompt import Prompt
from shim.protocol.turn.handshake import is_event_stream
from shim.settings import Settings
from shim.transport.base import read_reply
from shim.transport.codings import CodingError, Decoder, TooLargeError

_JSON = {"content-type": "application/json"}
_PIECE = 64 * 1024  # of a whole answer: what upstream says is read in pieces, and a piece can't be endless

INLINE: dict[str, Api] = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSES}
"""The paths whose calls become upstream's own, with their APIs. `/v1/messages` can't be one: each of its requests has
`max_tokens`, and a flow's call can't be ended early."""

# Models whose answers upstream likes to finish elsewhere (protocol.md 5.6).
_WANDERING = re.compile(r"thinking|research|(^|-)pro$|^o\d")

# What a flow can't be, and what of mitmproxy's is in the way. The first column is asked of every prompt, the second
# only of streamed ones: a whole answer is still in our hands when it turns out to need another call.
NOT_INLINE: tuple[tuple[Callable[[Prompt], bool], str], ...] = (
    (lambda prompt: prompt.limits.choices != 1, "one flow is one call"),
    (lambda prompt: bool(prompt.limits.stop or prompt.limits.max_tokens), "a flow's call can't be ended early"),
)
NOT_INLINE_STREAMED: tuple[tuple[Callable[[Prompt], bool], str], ...] = (
    (lambda prompt: bool(prompt.functions), "calls that turn out wrong are asked for again, in a second call"),
    (lambda prompt: prompt.answer_form is not None, "so is JSON"),
    (lambda prompt: prompt.pictures == "data", "a stream callable can't wait for a picture to be fetched"),
    (lambda prompt: prompt.effort is not None, "thinking answers go on elsewhere, and can't be followed there"),
    (lambda prompt: _WANDERING.search(prompt.model) is not None, "so do those of these models"),
    (lambda prompt: "research" in prompt.wishes.hints, "a report is waited for elsewhere"),
    (
        lambda prompt: prompt.wishes.memory is False,
        "upstream is told of it in a second call, as soon as the chat has a name",
    ),
)


class Incoming(msgspec.Struct, frozen=True):
    """A client's call: its id (`x-request-id`), method, path, headers (names in lower case) and body (still in its
    content coding), and the address it reached us at."""

    id: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    address: str


class ReceivedResponse:
    """An answer mitmproxy received, as a transport's `Response`. Header names are lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self._blocks = _blocks_of(body, self.headers)

    async def chunk(self) -> bytes:
        """See `Response.chunk`. The body is decoded as it is read, so that a bomb costs neither memory nor the loop."""
        # A large body is many blocks, and other flows have to be served between them.
        await asyncio.sleep(0)
        try:
            return next(self._blocks, b"")
        except CodingError as error:
            raise _undecodable(error) from error

    def close(self) -> None:
        """The connection is not ours."""

    def release(self, then: Callable[[], None]) -> None:
        """See `Response.release`."""
        then()


def inline_api(method: str, path: str, settings: Settings) -> Api | None:
    """The API whose answers flows can make, by what is called; None where that is the app's."""
    if method != "POST" or not path.startswith(settings.root_path):
        return None
    return INLINE.get(path[len(settings.root_path) :])


def refusal(error: GatewayError, id: str, api: Api = CHAT) -> HttpReply:
    """The answer to call `id` that tells of `error`, in the way of `api`."""
    headers, body = api.refuse(error)
    named = {"x-request-id": id} | ({"request-id": id} if api.name == MESSAGES.name else {})
    return HttpReply(error.http_status, named | headers, body)


def is_one_call(prompt: Prompt, settings: Settings) -> bool:
    """Whether one call, run to its own end, is all this prompt needs, as far as can be told beforehand."""
    if settings.proxy_url or settings.replay or settings.continue_chats or settings.continue_times:
        return False  # the flow's call goes through no proxy of ours, is not replayed, and is not continued
    if any(applies(prompt) for applies, _ in NOT_INLINE):
        return False
    if not prompt.stream:
        return True
    # A kept chat can be resumed where its stream is lost, which a flow can't.
    return is_temporary(prompt, settings) and not any(applies(prompt) for applies, _ in NOT_INLINE_STREAMED)


async def cross(gateway: Gateway, incoming: Incoming) -> "Crossing | None":
    """The call, ready to go up; None where it is for the app. Raises GatewayError."""
    settings = gateway.settings
    api = inline_api(incoming.method, incoming.path, settings)
    if api is None or len(incoming.body) > settings.max_request_bytes:
        return None
    call = ApiCall(gateway, api, id=incoming.id, headers=incoming.headers, address=incoming.address)
    with ending_failed(call.end):
        call.admit()  # nothing is decoded for a stranger
        coding = incoming.headers.get("content-encoding", "")

        def read() -> ClientCall:
            return call.read(decoded_body(incoming.body, coding, settings.max_request_bytes))

        # As the app, off the loop from some size on; a packed one may be of any.
        asked = await asyncio.to_thread(read) if coding or is_large(incoming.body) else read()
        if asked.asked.background or asked.asked.complete is not None or not is_one_call(asked.asked.prompt, settings):
            return None  # what goes on without its client has no flow; what was kept may tell of a conversation
        await call.enter()
        wanted = await gateway.wanted(asked.asked.prompt, asked.caller, asked.attempted, is_large=asked.is_large)
        tries = gateway.turns.tries(wanted.seeker)
        prepared = await gateway.turns.prepare(wanted, tries)
    return Crossing(call, asked, wanted, tries, prepared)


class Crossing:
    """One exchange on one flow. The first of `whole`, `end` and `lost` is its end."""

    def __init__(self, call: ApiCall, asked: ClientCall, wanted: Wanted, tries: Tries, prepared: PreparedTurn) -> None:
        self._call, self._asked = call, asked
        self._wanted, self._tries, self._prepared = wanted, tries, prepared
        self._turns = call.gateway.turns
        self._decoder = Decoder("")
        self._over = False  # the lease has been given back
        self._streaming = False

    @property
    def call(self) -> HttpRequest:
        """What the flow becomes; nothing of what the client sent is left in it."""
        # mitmproxy hands chunks on in their coding, so that none is asked for.
        call = self._prepared.call.request
        return msgspec.structs.replace(call, headers=call.headers | {"accept-encoding": "identity"})

    @property
    def is_streaming(self) -> bool:
        """Whether the client's answer is being made chunk by chunk."""
        return self._streaming

    # --- streamed -----------------------------------------------------------------------------------------------------

    def stream_head(self, status: int, headers: Mapping[str, str]) -> dict[str, str] | None:
        """The headers of the client's answer, whose status is 200, where `receive` makes the body; None where
        upstream's has to be whole first, for `whole`: it is not an answer stream, or the client did not ask for one."""
        response = ReceivedResponse(status, headers)
        if not self._wanted.prompt.stream or not is_event_stream(status, response.headers):
            return None
        if response.headers.get("content-length", "").strip() == "0":
            return None  # mitmproxy asks no stream callable about an empty body
        try:
            self._decoder = Decoder(response.headers.get("content-encoding", ""))
        except CodingError:
            return None
        self._open(self._turns.adopt(self._prepared, response))
        self._streaming = True
        return STREAM_HEADERS | self._call.answer_headers()

    def receive(self, chunk: bytes) -> bytes:
        """The client's bytes for a chunk of upstream's."""
        exchange = self._under_way
        if not chunk or exchange.ended:
            return exchange.receive(b"")
        said: list[bytes] = []
        try:
            for block in self._decoder.blocks(chunk):
                said.append(exchange.receive(block))
                if exchange.ended:
                    break
        except CodingError as error:
            said.append(exchange.break_off(_undecodable(error)))
        return b"".join(said)

    def end(self) -> None:
        """The answer is over."""
        self._over = True
        if self._streaming:
            self._under_way.keep_soon()
        self._call.end()

    # --- whole --------------------------------------------------------------------------------------------------------

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> HttpReply:
        """The client's answer, where upstream's is there as a whole. Raises GatewayError."""
        exchange = self._open(await self._live(ReceivedResponse(status, headers, body)))
        try:
            if not self._wanted.prompt.stream:
                return HttpReply(200, _JSON | self._call.answer_headers(), await exchange.whole())
            # The stream in one piece: another try was needed, and a made answer can't be streamed.
            lines: list[bytes] = []

            async def keep(data: bytes) -> None:
                lines.append(data)

            lines.append(await exchange.run(keep))
            return HttpReply(200, STREAM_HEADERS | self._call.answer_headers(), b"".join(lines))
        finally:
            self.end()

    async def _live(self, response: ReceivedResponse) -> LiveTurn:
        """The answer at its head: this one, or, where upstream refused, that of another try."""
        accepted = is_event_stream(response.status, response.headers)
        try:
            if not accepted:
                raise self._prepared.call.refused(await _reply(response))
            live = self._turns.adopt(self._prepared, response)
            await self._turns.begin(live)
        except GatewayError as error:
            self._over = True  # `instead` ends this lease, and any that it takes in vain
            return await self._turns.instead(error, self._wanted, self._prepared, self._tries, accepted=accepted)
        return live

    # --- no end -------------------------------------------------------------------------------------------------------

    def lost(self, error: GatewayError | None) -> None:
        """The flow broke: the client is gone (None), or upstream is."""
        if self._over:
            return
        self._over = True
        if self._call.exchange is not None:
            if error is not None:
                self._call.exchange.break_off(error)
        elif error is not None:
            self._turns.gave_up(error, self._prepared)
        else:
            self._prepared.lease.left()
        self._call.end(error)

    @property
    def _under_way(self) -> Exchange:
        assert self._call.exchange is not None  # noqa: S101  `stream_head` comes first
        return self._call.exchange

    def _open(self, live: LiveTurn) -> Exchange:
        self._call.exchange, self._over = self._call.gateway.exchange(self._asked, self._wanted, [live]), False
        return self._call.exchange


async def _reply(response: ReceivedResponse) -> HttpReply:
    try:
        return await read_reply(response)
    except UpstreamError:
        return HttpReply(response.status, response.headers, b"")  # its status says enough


def _blocks_of(body: bytes, headers: Mapping[str, str]) -> Iterator[bytes]:
    """A body with its coding undone, block by block. Raises CodingError."""
    decoder = Decoder(headers.get("content-encoding", ""))
    for start in range(0, len(body), _PIECE):
        yield from decoder.blocks(body[start : start + _PIECE])
    if body:
        decoder.finish()


def _undecodable(error: CodingError) -> UpstreamError:
    if isinstance(error, TooLargeError):
        return UpstreamError("Upstream's answer is larger than this gateway reads", code="upstream_too_large")
    return UpstreamError("Upstream's answer can't be decoded", code="upstream_encoding")
