"""Reading aloud and writing down: what both need of accounts, turns and calls.

    a text ──> a kept chat with it as the assistant's message ──> read aloud ──> sound; then the chat is deleted
    a recording ──> a call of an account ──> its words

Both are tried with another account where one fails, as turns are: nothing has been told to the client by then.

Rule: whoever opened a reading closes it, at any moment; that lets go of upstream and the account, and deletes the chat.
"""

from contextlib import ExitStack

import msgspec

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease
from shim.accounts.outcomes import Attempt
from shim.errors import CredentialError, GatewayError, LimitError, RequestError, UpstreamError
from shim.exchange.calls import Calls, Route
from shim.exchange.live_turn import LiveTurn, Wanted
from shim.exchange.turns import Turns
from shim.files.intake import Gathered
from shim.protocol.events import Failed
from shim.protocol.models import AUTO
from shim.protocol.prompt import Prompt, PromptMessage, Text, Wishes
from shim.protocol.refusals import refusal_of
from shim.protocol.turn.audio import SoundFile, Speech, speech_of, write_down
from shim.protocol.turn.downloads import bytes_of
from shim.transport.base import Response, read_reply

_JSON = "application/json"
_SOUND = ("audio/", "application/octet-stream", "application/ogg")


class Spoken:
    """One text that is being read aloud, at the head of its sound."""

    def __init__(self, live: LiveTurn, response: Response) -> None:
        self._live, self.response = live, response
        self.account = live.lease.account_id
        self.media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    def close(self) -> None:
        """Let go of it, and have the chat deleted."""
        self.response.close()
        self._live.close()


class Audio:
    """One for each worker."""

    def __init__(self, turns: Turns, calls: Calls) -> None:
        self._turns, self._calls = turns, calls

    async def read_aloud(self, speech: Speech, caller: Caller) -> Spoken:
        """The sound of a text. Raises GatewayError."""
        prompt = Prompt(
            AUTO,
            (PromptMessage("assistant", (Text(speech.text),)),),
            wishes=Wishes(passing=True, account="Speech needs an account"),
        )
        wanted = Wanted(prompt, Gathered(), caller)
        tries = self._turns.tries(wanted.seeker)
        while True:
            live = await self._turns.open(wanted, tries)
            with ExitStack() as undo:
                undo.callback(live.close)
                try:
                    spoken = Spoken(live, await self._sound(live, speech))
                except GatewayError as error:
                    # The last try raises.
                    self._turns.accounts.failed(error, live.lease, live.route, _attempt(error), tries)
                    continue
                undo.pop_all()
                return spoken

    async def _sound(self, live: LiveTurn, speech: Speech) -> Response:
        """The sound of the message that the turn was opened with. What upstream answers to it is of no interest; where
        the message can't be read yet, it can once the turn is over."""
        while live.answer.conversation_id is None and not live.answer.ended:
            await self._advance(live)
        response = await self._ask(live, speech)
        if response.status == 404:
            response.close()
            while not live.answer.ended:
                await self._advance(live)
            response = await self._ask(live, speech)
        if response.status == 200 and response.headers.get("content-type", "").lower().startswith(_JSON):
            call = bytes_of(live.route.upstream, await read_reply(response))
            response = await self._calls.send(call, live.route)
        if response.status != 200:
            reply = await read_reply(response)
            raise refusal_of(reply.status, reply.headers, reply.body)
        if not response.headers.get("content-type", "").lower().startswith(_SOUND):
            response.close()
            raise UpstreamError("Upstream sent something that is no sound", code="upstream_speech")
        return response

    async def _advance(self, live: LiveTurn) -> None:
        events = await self._turns.advance(live)
        if events and isinstance(failed := events[-1], Failed):
            raise failed.error

    async def _ask(self, live: LiveTurn, speech: Speech) -> Response:
        conversation_id, messages = live.answer.conversation_id, live.conversation.messages
        if conversation_id is None or not messages:
            raise UpstreamError("Upstream began no chat to read from", code="upstream_speech")
        call = speech_of(live.route.upstream, conversation_id, messages[-1].id, speech)
        return await self._calls.send(call, live.route)

    async def write_down(self, recording: SoundFile, caller: Caller) -> tuple[str, str | None]:
        """The words of a recording, and the account that wrote them down. Raises GatewayError."""
        wanted = Wanted(Prompt(AUTO, ()), Gathered(), caller)

        async def attempt(lease: AccountLease, route: Route, made: Attempt) -> tuple[str, str | None]:
            if lease.identity.access_token is None:
                raise RequestError("Transcription needs an account: send an access token.", code="account_needed")
            try:
                text = await self._calls.driver.run(write_down(route.upstream, recording), route.connection)
            except GatewayError as error:
                made.sent = _attempt(error).sent
                raise
            lease.left()
            return text, lease.account_id

        # A quota of recordings is none of turns.
        seeker = msgspec.structs.replace(wanted.seeker, is_turn=False)
        return await self._turns.accounts.run(seeker, self._turns.tries(seeker), attempt)


def _attempt(error: GatewayError) -> Attempt:
    """How far it got that failed with `error`. Twice does no harm, for nothing stays with an account, so that it counts
    as never sent where nobody knows; a refusal uses a try up, or a large pool would be asked account by account."""
    return Attempt(sent=isinstance(error, CredentialError | LimitError))
