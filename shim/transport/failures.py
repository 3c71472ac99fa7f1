"""One exception map: every curl error code to the error a client is told (completeness is tested).

Rule: the text names what failed, never a URL's query, a header or a body.
"""

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
    CurlECode.UNSUPPORTED_PROTOCOL: (_CONNECT, "CHATGPT_BASE_URL must be an http or https URL"),
    CurlECode.URL_MALFORMAT: (_CONNECT, "CHATGPT_BASE_URL is not a URL"),
    CurlECode.PARTIAL_FILE: (_BROKEN, "Upstream closed the connection before the end"),
    CurlECode.GOT_NOTHING: (_BROKEN, "Upstream closed the connection without an answer"),
    CurlECode.RECV_ERROR: (_BROKEN, "The connection to upstream broke while reading"),
    CurlECode.SEND_ERROR: (_BROKEN, "The connection to upstream broke while sending"),
    CurlECode.BAD_CONTENT_ENCODING: (_BROKEN, "Upstream's content encoding can't be decoded"),
}


def failure_of_curl(error: CurlError) -> GatewayError:
    """The error for what libcurl reported."""
    code = int(error.code)
    if code == CurlECode.OPERATION_TIMEDOUT:
        return DeadlineError(
            "Upstream could not be reached in time", code="connect_timeout", about=About.ROUTE, sent=Sent.NEVER
        )
    kind, sentence = _CODES.get(code, (_BROKEN, "The exchange with upstream failed"))
    about, sent = _FACTS[kind]
    return UpstreamError(f"{sentence} (curl {code})", code=kind, about=about, sent=sent)
