"""An exchange as it is told: its answer's renderers, whole or streamed, and the one log line at its end.

Rule: the app and the mitmproxy addon both tell an exchange through here, so that neither says it in its own way.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from shim.accounts.credentials import account_hash
from shim.exchange.exchange import Exchange
from shim.protocol.render import ChatChunks, Completion, Transcript

log = logging.getLogger("chat2api.exchange")


def chunks_of(exchange: Exchange) -> ChatChunks:
    """The renderer of a streamed answer."""
    options = exchange.request.stream_options
    return ChatChunks(
        id=exchange.id,
        created=exchange.created,
        model=exchange.model,
        count=exchange.usage,
        ids=exchange.ids,
        choices=len(exchange.choices),
        include_usage=bool(options and options.include_usage),
    )


def completion_of(exchange: Exchange) -> Completion:
    """The renderer of an answer in one piece."""
    return Completion(
        id=exchange.id,
        created=exchange.created,
        model=exchange.model,
        count=exchange.usage,
        ids=exchange.ids,
        choices=len(exchange.choices),
    )


async def body_of(exchange: Exchange, completion: Completion) -> bytes:
    """The whole answer, waited for. Raises the GatewayError it failed with."""
    async for choice, events in exchange.events():
        completion.add(events, choice)
    if exchange.is_large(completion.transcripts):
        return await asyncio.to_thread(completion.body)
    return completion.body()


class Told:
    """The end of an exchange: upstream is let go, its one log line is written. `began` is of `time.perf_counter`."""

    def __init__(self, identifier: str, exchange: Exchange, began: float) -> None:
        self._identifier = identifier
        self._account = account_hash(exchange.lease.identity)
        self._exchange = exchange
        self._began = began

    def end(self, transcripts: Sequence[Transcript]) -> None:
        """`status` is what became of the answer, `ms` from the request to the last byte."""
        self._exchange.close()
        if not log.isEnabledFor(logging.INFO):
            return
        log.info(
            "%s model=%.100r slug=%s account=%s stream=%s status=%s ms=%d tokens=%s",
            self._identifier,
            self._exchange.model,
            self._exchange.lease.slug,
            self._account,
            bool(self._exchange.request.stream),
            ",".join(dict.fromkeys(_status(transcript) for transcript in transcripts)),
            (time.perf_counter() - self._began) * 1000,
            self._tokens(transcripts),
        )

    def _tokens(self, transcripts: Sequence[Transcript]) -> str:
        """Prompt and completion; not for what takes long to count."""
        if self._exchange.is_large(transcripts):
            return "many"
        usage = self._exchange.usage(transcripts)
        return f"{usage.prompt_tokens}+{usage.completion_tokens}"


def _status(transcript: Transcript) -> str:
    if transcript.error is not None:
        return transcript.error.code or "error"
    return transcript.finish_reason or "client_gone"
