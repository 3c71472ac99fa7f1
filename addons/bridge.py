"""OpenAI calls on live flows, answered by ChatGPT: the second driver of the same core.

    mitmdump -s addons/bridge.py --mode reverse:https://chatgpt.com    clients use it as their base URL
    mitmdump -s addons/bridge.py                                       clients trust the proxy and call api.openai.com

A plain chat completion becomes the conversation call itself, on the same flow. What needs more than that one call
(`addons.crossing`), and every other path, goes to the app, served inside this process. All settings of `chat2api
serve` are options here, in lower case, and beat the environment. Where to listen is mitmproxy's to say; without
AUTHORIZATION only clients on this machine are answered.

What mitmproxy does not allow: on a streamed flow the head is out before upstream's first event, so an answer that fails
before it begins is told in the stream and not by a status; where the connection to upstream can't be made, or breaks,
so does the client's; silence ends by `tcp_timeout`, also behind the end of an answer; an early head (1xx) is taken for
the answer's, and a head without end is collected before any hook is called; an upstream that sends trailers (ChatGPT
sends none) makes mitmproxy itself fail, and the client waits for its own time-out. With `bridge_inline=false` the app
answers all, free of these.

Rule: every hook is guarded. A failure is answered here, and a client's Authorization goes nowhere it was not sent to.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

from mitmproxy import ctx, http  # type: ignore[import-not-found,unused-ignore]
from mitmproxy.addonmanager import Loader  # type: ignore[import-not-found,unused-ignore]

from addons import options, rewriting
from addons.crossing import Crossing, cross, refusal
from addons.owning import own
from addons.streaming import stream_of
from shim.errors import GatewayError
from shim.http.errors import unforeseen
from shim.protocol.commands import HttpReply
from shim.server.embedded import Embedded, serve_embedded

log = logging.getLogger("chat2api.bridge")
Hook = Callable[["Bridge", http.HTTPFlow], Awaitable[None]]


def guarded(hook: Hook) -> Hook:
    """A hook whose failure is the client's answer. mitmproxy itself would let the flow go on as it stands."""

    @functools.wraps(hook)
    async def safe(self: "Bridge", flow: http.HTTPFlow) -> None:
        try:
            await hook(self, flow)
        except GatewayError as error:
            self.fail(flow, error)
        except Exception:  # the outermost edge: mitmproxy would pass the flow on, to an origin that is not meant
            log.exception("unexpected failure in %s", hook.__name__)
            self.fail(flow, unforeseen(502))

    return safe


class Bridge:
    """The addon."""

    def __init__(self) -> None:
        self._serving: asyncio.Task[None] | None = None
        self._crossings: dict[str, Crossing] = {}  # by the id of their flow, as the next two
        self._handed: set[str] = set()
        self._failed: dict[str, HttpReply] = {}

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        self._embedded: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        options.declare(loader)

    def configure(self, _updated: set[str]) -> None:
        """Take over the options. The gateway keeps those it was opened with."""
        self._settings, self._passed = options.read()

    def running(self) -> None:
        """Begin to serve."""
        options.adapt(self._settings)
        log.info("%s", options.which_upstream(self._settings))
        self._serving = asyncio.create_task(self._serve())

    def done(self) -> None:
        """Stop serving; mitmdump ends when that is done."""
        if self._serving is not None:
            self._serving.cancel()

    async def _serve(self) -> None:
        try:
            async with serve_embedded(self._settings) as embedded:
                self._embedded.set_result(embedded)
                await asyncio.Event().wait()
        except Exception:  # the outermost edge of a task: a proxy without its gateway must not look as if it served
            log.exception("the gateway can't be opened")
            ctx.master.shutdown()

    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        """Answer what is meant for us: as the upstream call, or by the app."""
        if (mapped := ctx.master.addons.get("maplocal")) is not None:
            mapped.request(flow)  # mitmproxy asks it only after scripts, when the call would be upstream's already
        if flow.response is not None or flow.error is not None or not flow.live:
            return  # another addon has answered or ended it (proxyauth, block_list, map_local): mitmproxy's convention
        if not rewriting.is_ours(flow, ctx.options.bridge_host):
            return
        if self._passed.search(flow.request.path):
            rewriting.let_pass(flow)
            return
        rewriting.check_client(flow, self._settings, ctx.options.bridge_host)
        # Shielded: a client that leaves meanwhile must not cancel what all others wait for.
        embedded, incoming = await asyncio.shield(self._embedded), rewriting.incoming(flow, self._settings)
        if ctx.options.bridge_inline and (crossing := await cross(embedded.gateway, incoming)):
            self._crossings[flow.id] = crossing
            rewriting.become(flow, crossing.call)
        else:
            self._handed.add(flow.id)
            rewriting.hand_over(flow, embedded)

    @guarded
    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Stream what can be streamed."""
        response, crossing = flow.response, self._crossings.get(flow.id)
        if flow.id in self._handed:
            response.stream = True
        elif crossing is not None:
            headers = crossing.stream_head(response.status_code, dict(response.headers))
            heard = response.stream if callable(response.stream) else None
            if headers is not None:
                rewriting.begin_stream(flow, headers)
            own(response, stream_of(crossing, heard) if headers is not None else None)

    @guarded
    async def response(self, flow: http.HTTPFlow) -> None:
        """Upstream's answer is over: so is the client's, or it is made now."""
        self._handed.discard(flow.id)
        failed, crossing = self._failed.pop(flow.id, None), self._crossings.get(flow.id)
        if failed is not None:
            rewriting.answer(flow, failed)
        elif crossing is not None and crossing.is_streaming:
            crossing.end()
        elif crossing is not None:
            rewriting.answer(flow, await crossing.whole(*rewriting.received(flow)))
        self._crossings.pop(flow.id, None)  # only now: what fails before is ended by `fail`

    @guarded
    async def error(self, flow: http.HTTPFlow) -> None:
        """The flow broke. mitmproxy has told the client already, where there is one."""
        self._handed.discard(flow.id)
        self._failed.pop(flow.id, None)
        if (crossing := self._crossings.pop(flow.id, None)) is not None:
            crossing.lost(rewriting.failure_of(flow))

    def fail(self, flow: http.HTTPFlow, error: GatewayError) -> None:
        """Answer with `error`, as far as that can be; where upstream is sending its answer, at the end of it."""
        refused = refusal(error, rewriting.id_of(flow), rewriting.called(flow, self._settings))
        if (crossing := self._crossings.pop(flow.id, None)) is not None:
            crossing.lost(error)
        # Upstream is still sending, and mitmproxy would take what comes for the answer.
        if flow.error is None and (flow.response is None or flow.response.timestamp_end is None):
            self._failed[flow.id] = refused
        rewriting.answer(flow, refused)


addons = [Bridge()]
