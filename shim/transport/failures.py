"""One exception map: every curl error code to the error a client is told (completeness is tested).

Rule: the text names what failed, never a URL's query, a header or a body.
"""

import msgspec
from curl_cffi import CurlError
from curl_cffi.const import CurlECode

from shim.errors import About, DeadlineError, GatewayError, Sent, UpstreamError

_CONNECT = "upstream_unreachable"
_TLS = "upstream_tls"
_PROXY = "upstream_proxy"
_BROKEN = "upstream_connection"

_FACTS = {
    _CONNECT: (About.ROUTE, Sent.NEVER),
    _TLS: (About.ORIGIN, Sent.NEVER),
    _PROXY: (About.PROXY, Sent.NEVER),
    _BROKEN: (About.ORIGIN, Sent.MAYBE_TAKEN),  # also where the request was still on its way: that can't be known
}

# What is not in here is a failure of the exchange itself: `_BROKEN`.
_CODES: dict[int, tuple[str, str]] = {
    CurlECode.COULDNT_RESOLVE_HOST: (_CONNECT, "Upstream's host name can't be resolved"),
    CurlECode.COULDNT_CONNECT: (_CONNECT, "Upstream can't be reached"),
    CurlECode.COULDNT_RESOLVE_PROXY: (_PROXY, "The proxy's host name can't be resolved"),
    CurlECode.PROXY: (_PROXY, "The proxy refused the connection"),
    CurlECode.SSL_CONNECT_ERROR: (_TLS, "No TLS connection to upstream"),
    CurlECode.PEER_FAILED_VERIFICATION: (_TLS, "Upstream's certificate is not trusted"),
    CurlECode.SSL_CERTPROBLEM: (_TLS, "The client certificate can't be used"),
    CurlECode.SSL_CIPHER: (_TLS, "No common TLS cipher with upstream"),
    CurlECode.SSL_CACERT_BADFILE: (_TLS, "The file of trusted certificates can't be read"),
    CurlECode.SSL_ISSUER_ERROR: (_TLS, "Upstream's certificate has an unexpected issuer"),
    CurlECode.SSL_PINNEDPUBKEYNOTMATCH: (_TLS, "Upstream's public key is not the pinned one"),
    CurlECode.SSL_INVALIDCERTSTATUS: (_TLS, "Upstream's certificate status is invalid"),
    CurlECode.SSL_CLIENTCERT: (_TLS, "Upstream wants a client certificate"),
    # Not the scheme of a URL, which the settings have checked: an answer that begins like none of HTTP's.
    CurlECode.UNSUPPORTED_PROTOCOL: (_BROKEN, "Upstream did not speak HTTP"),
    CurlECode.URL_MALFORMAT: (_CONNECT, "CHATGPT_BASE_URL is not a URL"),
    CurlECode.PARTIAL_FILE: (_BROKEN, "Upstream closed the connection before the end"),
    CurlECode.GOT_NOTHING: (_BROKEN, "Upstream closed the connection without an answer"),
    CurlECode.RECV_ERROR: (_BROKEN, "The connection to upstream broke while reading"),
    CurlECode.SEND_ERROR: (_BROKEN, "The connection to upstream broke while sending"),
    CurlECode.BAD_CONTENT_ENCODING: (_BROKEN, "Upstream's content encoding can't be decoded"),
}


_REFUSED = "The proxy asks for other credentials (407): check PROXY_URL"
_TLS_CODES = frozenset(code for code, (kind, _) in _CODES.items() if kind == _TLS)
_CUT_CODES = frozenset({CurlECode.GOT_NOTHING, CurlECode.RECV_ERROR, CurlECode.SEND_ERROR})


class ProxyState(msgspec.Struct, frozen=True):
    """What became of the proxy in a call that failed. `tunnels`: it was asked for a connection to upstream (CONNECT),
    and `status` is what it answered to that (0: nothing). `fresh`: the call had a connection of its own, so that a
    missing `status` means something."""

    scheme: str
    tunnels: bool = False
    fresh: bool = False
    status: int = 0

    def failure(self, code: int) -> tuple[str, Sent] | None:
        """What the proxy is to blame for, and whether the call went out; None: it is not the proxy's fault."""
        unanswered = self.fresh and not self.status
        if code == CurlECode.COULDNT_CONNECT and self.status:
            answered = f"The proxy answered {self.status} when it was asked for a connection to upstream"
            return _REFUSED if self.status == 407 else answered, Sent.NEVER
        if code == CurlECode.UNSUPPORTED_PROTOCOL or (code == CurlECode.COULDNT_CONNECT and self.fresh):
            sent = Sent.NEVER if self.tunnels else Sent.MAYBE_TAKEN
            return "The proxy does not speak HTTP: check the scheme of PROXY_URL (socks5 for SOCKS)", sent
        if code == CurlECode.COULDNT_CONNECT:
            return "The proxy can't be reached: check PROXY_URL", Sent.NEVER
        if code in _TLS_CODES and self.scheme == "https" and unanswered:
            return "No TLS connection to the proxy: check PROXY_URL and its scheme", Sent.NEVER
        if code in _CUT_CODES and self.tunnels and unanswered:
            return "The proxy closed the connection: check PROXY_URL and its scheme", Sent.NEVER
        return None


def refused_by_proxy() -> GatewayError:
    """A call to a plain http upstream that the proxy answered itself, with 407."""
    return UpstreamError(_REFUSED, code=_PROXY, about=About.PROXY, sent=Sent.DECLINED)


def not_begun(error: CurlError | ValueError, *, running: bool) -> GatewayError:
    """The error for a call that could not be handed to libcurl, or (`running`) was, and could not be begun."""
    # The ValueError's own text would quote a header.
    why = f"curl {int(error.code)}" if isinstance(error, CurlError) else "it holds what no HTTP request can"
    return UpstreamError(
        f"The call to upstream can't be made ({why})",
        code="upstream_request",
        about=About.UPSTREAM,
        sent=Sent.MAYBE_TAKEN if running else Sent.NEVER,
    )


def failure_of_curl(error: CurlError, proxy: ProxyState | None = None) -> GatewayError:
    """The error for what libcurl reported of a call, through a proxy where there is one."""
    code = int(error.code)
    if proxy is not None and (blamed := proxy.failure(code)) is not None:
        sentence, sent = blamed
        return UpstreamError(f"{sentence} (curl {code})", code=_PROXY, about=About.PROXY, sent=sent)
    if code == CurlECode.OPERATION_TIMEDOUT:
        return DeadlineError(
            "Upstream could not be reached in time", code="connect_timeout", about=About.ROUTE, sent=Sent.NEVER
        )
    kind, sentence = _CODES.get(code, (_BROKEN, "The exchange with upstream failed"))
    about, sent = _FACTS[kind]
    return UpstreamError(f"{sentence} (curl {code})", code=kind, about=about, sent=sent)
