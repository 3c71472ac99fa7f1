"""`POST /v1/audio/speech`, `/transcriptions` and `/translations`.

Rule: who calls is known before the body is read, and each call ends in one line of the log.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from litestar import post
from litestar.types import ASGIApp

from shim import tokenizer
from shim.accounts.credentials import Caller
from shim.apis.audio.read import AskedSpeech, AskedTranscript, read_recording, read_speech
from shim.apis.audio.translation import TranslationApi
from shim.apis.audio.write import sound_end, sound_line, transcript, transcript_lines
from shim.apis.openai_errors import error_line
from shim.errors import Field, GatewayError
from shim.exchange import Gateway
from shim.exchange.audio import Spoken
from shim.http.answering import ApiCall, ending_failed, note_call
from shim.http.presence import ClientGoneError, while_present
from shim.http.provided import TheGateway
from shim.http.responses import (
    LOGGED,
    STREAM_HEADERS,
    BytesResponse,
    ByteStream,
    answer_headers,
    each_of,
    read_body,
    request_id,
)
from shim.http.routing import AnyRequest
from shim.keys import Pass
from shim.protocol.turn.audio import SoundFile
from shim.usage import CallRecord

# What is done at the account for a text to be read, said to whoever wonders.
_CHAT = {"x-chat2api-chat": "kept for this call, then deleted"}
# What this API calls what the core has something against.
_SPEECH_FIELDS = {Field.PROMPT: "input", Field.MODEL: "model", Field.EFFORT: "model"}


@post("/v1/audio/speech", status_code=200)
async def create_speech(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """A text read aloud."""
    call = _AudioCall(request, gateway, "speech")
    with _naming(_SPEECH_FIELDS), ending_failed(call.fail):
        caller, body = await call.enter()
        asked = read_speech(body, strict=gateway.settings.strict_params)
        call.asks_for(asked.model)
        tokens = await tokenizer.total([asked.speech.text])
        spoken = await while_present(request, gateway.audio.read_aloud(asked.speech, caller))
    call.account, call.tokens = spoken.account, (tokens, 0)

    def finish() -> None:
        spoken.close()
        call.end()

    headers = (
        (STREAM_HEADERS if asked.events else {"content-type": spoken.media_type}) | _CHAT | _ignored(asked.ignored)
    )
    return ByteStream(
        request,
        each_of(_sound(spoken, asked, call)),
        finish,
        headers=headers,
        longest=gateway.settings.total_timeout,
        break_off=partial(error_line, fields=_SPEECH_FIELDS) if asked.events else None,
    )


async def _sound(spoken: Spoken, asked: AskedSpeech, call: "_AudioCall") -> AsyncGenerator[bytes]:
    """The sound as it comes, bare or as events. What breaks off bare sound breaks the answer off."""
    begun = asked.events
    try:
        while chunk := await spoken.response.chunk():
            begun = True
            yield sound_line(chunk) if asked.events else chunk
    except GatewayError as error:
        call.failure, call.has_begun = error, begun
        raise
    if asked.events:
        yield sound_end(sum(call.tokens))


@post("/v1/audio/transcriptions", status_code=200)
async def create_transcription(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """A recording written down."""
    call = _AudioCall(request, gateway, "transcription")
    with _naming(TranslationApi.fields), ending_failed(call.fail):
        asked, text = await _written_down(request, call)
    call.end()
    if asked.stream:
        content, headers = transcript_lines(text), STREAM_HEADERS
    else:
        kind, content = transcript(asked, text)
        headers = {"content-type": kind}
    return BytesResponse(content, answer_headers(request, headers | _ignored(asked.ignored)))


@post("/v1/audio/translations", status_code=200)
async def create_translation(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """A recording written down in English."""
    call = _AudioCall(request, gateway, "translation")
    with _naming(TranslationApi.fields), ending_failed(call.fail):
        asked, text = await _written_down(request, call, translates=True)
    # Nothing was said: a model that is to translate nothing would make something up.
    if not text.strip():
        call.end()
        kind, content = transcript(asked, "", translated=True)
        headers = {"content-type": kind} | _ignored(asked.ignored)
        return BytesResponse(content, answer_headers(request, headers))
    api, headers = TranslationApi(asked, text), {"authorization": request.headers.get("authorization", "")}
    turn = ApiCall(gateway, api, id=request_id(request), headers=headers, address="")
    turn.go_on_for(*call.hand_over())  # its key has made one call, which has one line in the log
    with _naming(TranslationApi.fields), ending_failed(turn.end):
        exchange = await while_present(request, turn.open(turn.read(b"")))
        content = await while_present(request, exchange.whole())
    turn.end()
    return BytesResponse(content, turn.answer_headers() | {"content-type": api.media_type})


@contextmanager
def _naming(fields: Mapping[Field, str]) -> Iterator[None]:
    """What fails in the block names the field as its API does: it is told at the edge, which knows no API."""
    try:
        yield
    except GatewayError as error:
        if isinstance(error.param, Field):
            error.param = fields[error.param]
        raise


async def _written_down(
    request: AnyRequest, call: "_AudioCall", *, translates: bool = False
) -> tuple[AskedTranscript, str]:
    """What is asked, and the words of the recording. Raises GatewayError."""
    gateway = call.gateway
    caller, body = await call.enter()
    content_type, strict = request.headers.get("content-type", ""), gateway.settings.strict_params
    # In a thread: looking at a large form would stop the loop.
    asked = await asyncio.to_thread(read_recording, body, content_type, translates=translates, strict=strict)
    call.asks_for(asked.model)
    # Random, and long enough that no recording holds it, by chance or on purpose.
    boundary = gateway.clock.new_id() + gateway.clock.new_id()
    recording = SoundFile(asked.name, asked.mime_type, asked.content, boundary, asked.language)
    text, call.account = await while_present(request, gateway.audio.write_down(recording, caller))
    call.tokens = 0, await tokenizer.total([text])
    return asked, text


def _ignored(names: list[str]) -> dict[str, str]:
    return {"x-chat2api-ignored": ", ".join(names)} if names else {}


class _AudioCall:
    """One call that makes no prompt: who calls, and what it leaves in the log, the usage and the limits of its key."""

    def __init__(self, request: AnyRequest, gateway: Gateway, api: str) -> None:
        request.scope["state"][LOGGED] = True
        self.gateway, self._request, self._api, self._began = gateway, request, api, time.perf_counter()
        self.account: str | None = None
        self.failure: GatewayError | None = None  # of an answer that was at its head
        self.has_begun = True  # whether that answer's head was out
        self.tokens = 0, 0  # of the text to be read aloud, of the text written down; sound has none
        self._caller: Caller | None = None
        self._pass: Pass | None = None
        self._model: str | None = None

    async def enter(self) -> tuple[Caller, bytes]:
        """Who calls, and the body. Raises GatewayError, LimitError where the key is over one of its limits."""
        request, gateway = self._request, self.gateway
        self._caller = caller = gateway.caller(request.headers.get("authorization"))
        self._pass = await gateway.keys.enter(caller.key)
        length = request.headers.get("content-length")
        return caller, await read_body(request, gateway.settings.max_request_bytes, length)

    def asks_for(self, model: str) -> None:
        """The model is known now. Raises RequestError (403) where the key may not use it."""
        # It stands in the log, and a client may send any.
        self._model = model[:100]
        self.gateway.keys.check_model(self._caller.key if self._caller is not None else None, model)

    def hand_over(self) -> tuple[Pass | None, int]:
        """What another goes on with in its place: how its key was let in, and the tokens it has used."""
        entered, self._pass = self._pass, None
        return entered, sum(self.tokens)

    def fail(self, error: GatewayError | None) -> None:
        """The call came to nothing: by `error`, or because it was given up."""
        self.end(error or ClientGoneError("The call was given up"))

    def end(self, error: GatewayError | None = None) -> None:
        """The call is over. `error` is what it failed with before its answer began."""
        entered, tokens = self.hand_over()
        if entered is not None:
            self.gateway.keys.leave(entered, tokens)
        failed = error or self.failure
        record = CallRecord(
            request_id(self._request),
            time.time(),
            self._api,
            "ok" if failed is None else failed.code or failed.error_type,
            (time.perf_counter() - self._began) * 1000,
            code=failed.http_status if failed is not None and (error is not None or not self.has_begun) else 200,
            failed=failed is not None,
            model=self._model,
            account=self.account,
            key=self._caller.label if self._caller is not None else None,
            tokens=self.tokens if any(self.tokens) else None,
        )
        note_call(self.gateway, record, is_read=self._model is not None)
