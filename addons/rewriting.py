"""What a flow is made into: the upstream call, a request to the app in this process, or an answer.

Rule: a request that goes on is built anew, or goes to this process, or was sent to where it goes; so nothing of what a
client says to us, its Authorization first, is carried to anybody else.
"""

from urllib.parse import urlsplit

from mitmproxy import http  # type: ignore[import-not-found,unused-ignore]
from mitmproxy.proxy.mode_specs import ReverseMode  # type: ignore[import-not-found,unused-ignore]

from addons.crossing import Incoming
from shim.apis.chat import CHAT
from shim.apis.messages import MessagesApi
from shim.apis.messages.callers import is_anthropics
from shim.errors import About, RequestError, UpstreamError
from shim.http.intake import PageCheck
from shim.http.origins import is_loopback
from shim.http.tickets import TICKET, Visitor
from shim.protocol.api import Api
from shim.protocol.commands import HttpReply, HttpRequest
from shim.server.embedded import Embedded
from shim.settings import Settings

_LOOPBACK = "127.0.0.1"
_FRAMED = (b"h2", b"h3")  # these have frames of their own
_VERSION = "chat2api_http_version"  # that the client's request came in
_OURS = ("authorization", "proxy-authorization", "cookie")


def id_of(flow: http.HTTPFlow) -> str:
    """The `x-request-id` of the answer."""
    return f"req_{flow.id.replace('-', '')}"


def incoming(flow: http.HTTPFlow, settings: Settings) -> Incoming:
    """What the client sent."""
    address = settings.address(f"{_scheme(flow)}://{flow.request.host_header or flow.request.host}")
    # As it came: mitmproxy would decode it without a limit, and a stranger's bomb before it is known who calls.
    body: bytes = flow.request.raw_content or b""
    return Incoming(
        id=id_of(flow),
        method=flow.request.method,
        path=flow.request.path.partition("?")[0],
        headers={name.lower(): value for name, value in flow.request.headers.items()},
        body=body,
        address=address,
    )


def called(flow: http.HTTPFlow, settings: Settings) -> Api:
    """The API that the client speaks, as far as its errors differ from OpenAI's."""
    names = [(name.lower().encode(), b"") for name in flow.request.headers]
    scope = {"path": flow.request.path.partition("?")[0], "headers": names}
    return MessagesApi(id_of(flow)) if is_anthropics(scope, settings.root_path) else CHAT


def check_client(flow: http.HTTPFlow, settings: Settings, host: str) -> None:
    """Without a key to ask for, only this machine is let in, wherever mitmproxy listens, and no other web page that is
    open on it; `host` names the APIs' that we answer for. Raises RequestError."""
    if settings.authorization:
        return
    if not is_loopback(flow.client_conn.peername[0]):
        raise RequestError("Without AUTHORIZATION only clients on the gateway's own machine are answered", status=403)
    request = flow.request
    path = request.path.partition("?")[0].removeprefix(settings.root_path)
    name, colon, port = (request.host_header or request.host).partition(":")
    named = name.rstrip(".") + colon + port  # a name may be spelled with the root's dot
    # What a header that is there twice says is joined, and so names no origin.
    headers = {key.lower().encode(): request.headers[key].encode(errors="surrogateescape") for key in request.headers}
    PageCheck(settings, hosts=hosts_of(host)).check(request.method, path, named, headers)


def become(flow: http.HTTPFlow, call: HttpRequest) -> None:
    """The flow is the upstream call from here on."""
    flow.metadata[_VERSION] = flow.request.http_version
    headers = call.headers | {"host": urlsplit(call.url).netloc}
    flow.request = http.Request.make(call.method, call.url, call.body, headers)


def hand_over(flow: http.HTTPFlow, embedded: Embedded) -> None:
    """The flow goes on to the app, as the client sent it."""
    request, host = flow.request, flow.request.host_header
    request.headers[TICKET] = embedded.inside.ticket(Visitor(tuple(flow.client_conn.peername[:2]), _scheme(flow)))
    request.scheme, request.host, request.port = "http", _LOOPBACK, embedded.port
    request.host_header = host or _LOOPBACK


def let_pass(flow: http.HTTPFlow) -> None:
    """The flow goes on to where it was sent. In reverse mode that was us, so credentials stay here, and the Host it is
    for takes the place of ours."""
    if is_reverse(flow):
        for name in _OURS:
            flow.request.headers.pop(name, None)
        # A Host names no port where it is the usual one.
        default = {"http": 80, "https": 443}[flow.request.scheme]
        port = "" if flow.request.port == default else f":{flow.request.port}"
        flow.request.host_header = f"{flow.request.host}{port}"


def received(flow: http.HTTPFlow) -> tuple[int, dict[str, str], bytes]:
    """Upstream's answer: status, headers and body, as it came."""
    return flow.response.status_code, dict(flow.response.headers), flow.response.raw_content or b""


def answer(flow: http.HTTPFlow, answered: HttpReply) -> None:
    """This is the answer, whatever there was of one."""
    flow.response = http.Response.make(answered.status, answered.body, answered.headers)


def begin_stream(flow: http.HTTPFlow, headers: dict[str, str]) -> None:
    """The answer is a stream of ours, with nothing of upstream's head. In HTTP/1.1 it is chunked, so that a cut shows;
    clients of HTTP/1.0 don't know chunks, and theirs ends with the connection."""
    framing = {} if flow.client_conn.alpn in _FRAMED else {"transfer-encoding": "chunked"}
    if flow.metadata.get(_VERSION) == "HTTP/1.0":
        framing, flow.response.http_version = {"connection": "close"}, "HTTP/1.0"
    flow.response.headers.clear()
    flow.response.headers.update(headers | framing)


def failure_of(flow: http.HTTPFlow) -> UpstreamError | None:
    """What broke a flow; None where the client is gone."""
    if "client" in flow.error.msg.lower():
        return None
    return UpstreamError(
        "Upstream closed the connection before its answer was over", code="upstream_connection", about=About.ORIGIN
    )


def _scheme(flow: http.HTTPFlow) -> str:
    """As the client sees it."""
    return "https" if flow.client_conn.tls_established else "http"


def is_ours(flow: http.HTTPFlow, host: str) -> bool:
    """Whether the client means us: it calls us by our own address, or an API at a `host` that we answer for."""
    # Names are the same in every case, and with the dot of the root behind them.
    return is_reverse(flow) or _plain(flow.request.pretty_host) in map(_plain, hosts_of(host))


def hosts_of(option: str) -> list[str]:
    """The hosts that an option names, by comma."""
    return [host.strip() for host in option.split(",")]


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")


def is_reverse(flow: http.HTTPFlow) -> bool:
    """Whether the client calls us by our own address."""
    return isinstance(flow.client_conn.proxy_mode, ReverseMode)
