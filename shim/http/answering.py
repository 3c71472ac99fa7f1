"""One client call of any API, from who calls to the log line: the one handler of them all.

    request ──> who calls ──> read ──> open (at its head) ──> the answer, streamed or whole ──> close, log
                   └───────────────────────┴── GatewayError ──> the API's own refusal ──> log

Rule: every call ends in exactly one log line, and everything that was opened for it is closed before that line. The app
runs a call by `CallResponse`; the mitmproxy addon does the same steps with the same `ApiCall`.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

from litestar import Request
from litestar.response.base import ASGIResponse

from shim.accounts.credentials import account_hash
from shim.errors import GatewayError
from shim.exchange import ClientCall, Exchange, Gateway
from shim.http.presence import Presence
from shim.http.responses import EventStream, json_answer, read_body, request_id
from shim.protocol.api import Api, Asked
from shim.protocol.transcript import Transcript

log = logging.getLogger("chat2api.exchange")


class ApiCall:
    """One call. `headers` are the client's (names in lower case), `address` is where it reaches this gateway."""

    def __init__(self, gateway: Gateway, api: Api, *, id: str, headers: Mapping[str, str], address: str) -> None:
        self.gateway, self.api = gateway, api
        self.id, self._address = id, address
        self.asked: Asked | None = None
        self.exchange: Exchange | None = None
        self._headers = headers
        self._began = time.perf_counter()
        self._over = False

    def read(self, body: bytes) -> ClientCall:
        """What is asked, and by whom. Raises GatewayError."""
        caller = self.gateway.caller(self.api.credential(self._headers))
        self.asked = self.api.read(body, strict=self.gateway.settings.strict_params)
        return ClientCall(self.asked, caller, self.api, self._address)

    async def open(self, body: bytes) -> Exchange:
        """Begin; the answer is at its head when this returns. Raises GatewayError."""
        self.exchange = await self.gateway.open(self.read(body))
        return self.exchange

    def answer_headers(self) -> dict[str, str]:
        """`x-request-id`, and what was ignored of the request."""
        ignored = list(self.asked.ignored) if self.asked is not None else []
        ignored += self.exchange.ignored if self.exchange is not None else []
        named = {"x-chat2api-ignored": ", ".join(ignored)} if ignored else {}
        return {"x-request-id": self.id} | named

    def refusal(self, error: GatewayError) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer that is an error."""
        headers, body = self.api.refuse(error)
        return error.http_status, {"x-request-id": self.id} | headers, body

    def end(self, error: GatewayError | None = None) -> None:
        """Let go of everything, and write the log line. `error` is what the call failed with before its answer began;
        what an answer failed with it knows itself. Ending again does nothing."""
        if self._over:
            return
        self._over = True
        if self.exchange is not None:
            self.exchange.close()
        if log.isEnabledFor(logging.INFO):
            log.info("%s %s", self.id, self._line(error))

    def _line(self, error: GatewayError | None) -> str:
        """`status` is what became of the call, `ms` from the request to the last byte."""
        elapsed = (time.perf_counter() - self._began) * 1000
        prompt = self.asked.prompt if self.asked is not None else None
        if self.exchange is None:
            status = (error.code or error.error_type) if error is not None else "client_gone"
            asked = f"model={prompt.model[:100]!r} stream={prompt.stream} " if prompt is not None else ""
            return f"api={self.api.name} {asked}status={status} ms={elapsed:.0f}"
        exchange, lease = self.exchange, self.exchange.choices[0].turn.lease
        status = ",".join(dict.fromkeys(_status(transcript) for transcript in exchange.transcripts))
        usage = exchange.counted
        tokens = f"{usage.prompt}+{usage.completion}" if usage is not None else "many"
        return (
            f"model={exchange.model[:100]!r} slug={lease.slug} account={account_hash(lease.identity)} "
            f"stream={exchange.prompt.stream} status={status} ms={elapsed:.0f} tokens={tokens}"
        )


async def answer(request: Request[Any, Any, Any], gateway: Gateway, api: Api) -> ASGIResponse:
    """The answer to one request of `api`. The body is read here, so that from here on all the client can still say is
    that it is gone."""
    # As bytes, for Litestar's own dictionary of them costs 50 microseconds.
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.scope["headers"]}
    host = headers.get("host") or request.url.netloc
    address = f"{request.scope['scheme']}://{host}{gateway.settings.root_path}"
    call = ApiCall(gateway, api, id=request_id(request), headers=headers, address=address)
    body = await read_body(request, gateway.settings.max_request_bytes, headers.get("content-length"))
    try:
        with Presence(request.receive) as presence:
            exchange = await call.open(body)
            if exchange.prompt.stream:
                presence.keep()
                answered = call.answer_headers()
                return EventStream(request, exchange.run, call.end, headers=answered, presence=presence)
            whole = await exchange.whole()
    except GatewayError as error:
        call.end(error)
        status, refusal_headers, refusal = call.refusal(error)
        return ASGIResponse(body=refusal, status_code=status, headers=refusal_headers)
    except BaseException:
        call.end()
        raise
    call.end()
    return json_answer(request, whole, headers=call.answer_headers())


def _status(transcript: Transcript) -> str:
    if transcript.error is not None:
        return transcript.error.code or "error"
    return transcript.finish_reason or "client_gone"
