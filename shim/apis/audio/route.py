"""`POST /v1/audio/speech`, `/transcriptions` and `/translations`.

Rule: who calls is known before the body is read, and each call ends in one line of the log.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any

from litestar import Request, post
from litestar.response.base import ASGIResponse

from shim import tokenizer
from shim.accounts.credentials import Caller
from shim.apis.audio.read import AskedSpeech, AskedTranscript, read_recording, read_speech
from shim.apis.audio.translation import TranslationApi
from shim.apis.audio.write import sound_end, sound_line, transcript, transcript_lines
from shim.apis.openai_errors import error_line
from shim.errors import GatewayError
from shim.exchange import Gateway
from shim.exchange.audio import Spoken
from shim.http.answering import ApiCall
from shim.http.presence import ClientGoneError, while_present
from shim.http.provided import TheGateway
from shim.http.responses import LOGGED, STREAM_HEADERS, ByteStream, answer_headers, read_body, request_id
from shim.keys import Pass
from shim.logs import log_fields
from shim.protocol.turn.audio import SoundFile
from shim.usage import CallRecord

log = logging.getLogger("chat2api.exchange")

# What is done at the account for a text to be read, said to whoever wonders.
_CHAT = {"x-chat2api-chat": "kept for this call, then deleted"}

AnyRequest = Request[Any, Any, Any]


@post("/v1/audio/speech", status_code=200)
async def create_speech(request: AnyRequest, gateway: TheGateway) -> ASGIResponse:
    """A text read aloud."""
    line = _LogLine(request, gateway)
    try:
        caller, body = await _taken_in(request, gateway, line)
        asked = read_speech(body, strict=gateway.settings.strict_params)
        line.model = asked.model
        gateway.keys.check_model(caller.key, asked.model)
        spoken = await while_present(request, gateway.audio.read_aloud(asked.speech, caller))
    except GatewayError as error:
        line.end(error)
        raise
    except BaseException:
        line.end()
        raise
    line.account = spoken.account

    def finish() -> None:
        spoken.close()
        line.end()

    headers = (
        (STREAM_HEADERS if asked.events else {"content-type": spoken.media_type}) | _CHAT | _ignored(asked.ignored)
    )
    return ByteStream(
        request,
        _sound(spoken, asked, line),
        finish,
        headers=headers,
        longest=gateway.settings.total_timeout,
        break_off=error_line if asked.events else None,
    )


async def _sound(spoken: Spoken, asked: AskedSpeech, line: "_LogLine") -> AsyncGenerator[bytes]:
    """The sound as it comes, bare or as events. What breaks off bare sound breaks the answer off."""
    try:
        while chunk := await spoken.response.chunk():
            yield sound_line(chunk) if asked.events else chunk
    except GatewayError as error:
        line.failure = error
        raise
    if asked.events:
        yield sound_end(await tokenizer.total([asked.speech.text]))


@post("/v1/audio/transcriptions", status_code=200)
async def create_transcription(request: AnyRequest, gateway: TheGateway) -> ASGIResponse:
    """A recording written down."""
    line = _LogLine(request, gateway)
    try:
        caller, body = await _taken_in(request, gateway, line)
        asked = await _recording(request, gateway, body)
        line.model = asked.model
        gateway.keys.check_model(caller.key, asked.model)
        text, line.account = await while_present(request, _written_down(gateway, asked, caller))
    except GatewayError as error:
        line.end(error)
        raise
    except BaseException:
        line.end()
        raise
    line.end()
    kind, content = transcript(asked, text)
    headers = _ignored(asked.ignored)
    if asked.stream:
        kind, content, headers = STREAM_HEADERS["content-type"], transcript_lines(text), STREAM_HEADERS | headers
    headers.pop("content-type", None)
    return ASGIResponse(body=content, media_type=kind, headers=answer_headers(request, headers))


@post("/v1/audio/translations", status_code=200)
async def create_translation(request: AnyRequest, gateway: TheGateway) -> ASGIResponse:
    """A recording written down in English."""
    line = _LogLine(request, gateway)
    call: ApiCall | None = None
    try:
        caller, body = await _taken_in(request, gateway, line)
        asked = await _recording(request, gateway, body, translates=True)
        line.model = asked.model
        gateway.keys.check_model(caller.key, asked.model)
        text, line.account = await while_present(request, _written_down(gateway, asked, caller))
        api = TranslationApi(asked, text)
        if not text.strip():
            line.end()
            kind, content = transcript(asked, "", translated=True)
            return ASGIResponse(body=content, media_type=kind, headers=answer_headers(request, _ignored(asked.ignored)))
        line.leave()  # the call that translates counts itself
        headers = {"authorization": request.headers.get("authorization", "")}
        call = ApiCall(gateway, api, id=request_id(request), headers=headers, address="")
        content = await while_present(request, _answered(call))
    except GatewayError as error:
        (call or line).end(error)
        raise
    except BaseException:
        (call or line).end()
        raise
    call.end()
    return ASGIResponse(body=content, media_type=api.media_type, headers=call.answer_headers())


async def _answered(call: ApiCall) -> bytes:
    return await (await call.open(call.read(b""))).whole()


async def _taken_in(request: AnyRequest, gateway: Gateway, line: "_LogLine") -> tuple[Caller, bytes]:
    """Who calls, and the body. Raises GatewayError, LimitError where the key is over one of its limits."""
    caller = line.caller = gateway.caller(request.headers.get("authorization"))
    line.entered = await gateway.keys.enter(caller.key)
    length = request.headers.get("content-length")
    return caller, await read_body(request, gateway.settings.max_request_bytes, length)


async def _recording(
    request: AnyRequest, gateway: Gateway, body: bytes, *, translates: bool = False
) -> AskedTranscript:
    """The form, read in a thread: looking at a large one would stop the loop."""
    content_type, strict = request.headers.get("content-type", ""), gateway.settings.strict_params
    return await asyncio.to_thread(read_recording, body, content_type, translates=translates, strict=strict)


async def _written_down(gateway: Gateway, asked: AskedTranscript, caller: Caller) -> tuple[str, str | None]:
    boundary = gateway.clock.new_id() + gateway.clock.new_id()
    recording = SoundFile(asked.name, asked.mime_type, asked.content, boundary, asked.language)
    return await gateway.audio.write_down(recording, caller)


def _ignored(names: list[str]) -> dict[str, str]:
    return {"x-chat2api-ignored": ", ".join(names)} if names else {}


class _LogLine:
    """The one line that a call leaves in the log and in the usage, where it also lets go of its key's limits."""

    def __init__(self, request: AnyRequest, gateway: Gateway) -> None:
        request.scope["state"][LOGGED] = True
        self._request, self._gateway, self._began = request, gateway, time.perf_counter()
        self.caller: Caller | None = None
        self.entered: Pass | None = None
        self.model = ""
        self.account: str | None = None
        self.failure: GatewayError | None = None

    def leave(self) -> None:
        """The call does not count as under way any more."""
        entered, self.entered = self.entered, None
        if entered is not None:
            self._gateway.keys.leave(entered, 0)

    def end(self, error: GatewayError | None = None) -> None:
        """`error` is what the call failed with."""
        self.leave()
        failed = error or self.failure
        status = "ok" if failed is None else failed.code or failed.error_type
        if isinstance(failed, ClientGoneError):
            status = "client_gone"
        key = None
        if self.caller is not None:
            key = "own" if self.caller.own is not None else self.caller.key
        record = CallRecord(
            request_id(self._request),
            time.time(),
            "audio",
            status,
            (time.perf_counter() - self._began) * 1000,
            code=error.http_status if error is not None else 200,
            failed=failed is not None,
            model=self.model[:100] or None,
            account=self.account,
            key=key,
        )
        self._gateway.usage.note(record)
        log_fields(
            log,
            logging.INFO,
            record.id,
            {
                "api": record.api,
                "path": self._request.scope["path"][:100],
                "model": record.model,
                "key": record.key,
                "status": record.status,
                "code": record.code,
                "account": record.account,
                "ms": record.ms,
            },
        )
