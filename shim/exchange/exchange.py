"""An exchange: one client call from its prompt to the end of its answer, with one or more choices.

    app:    run(send)                          each choice's steps, as they come, until the answer's end
    addon:  receive(chunk), `b""` at the end    the same object, pushed by whoever holds the stream

Rule: what the client reads is written here and nowhere else, by the writer of its API; both drivers get the same bytes
because it is the same machine. Whoever opened an exchange closes it, at any moment; that lets go of every turn of it.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from shim import tokenizer
from shim.accounts.credentials import Caller
from shim.errors import Field, GatewayError, UpstreamError
from shim.exchange.choice import Choice, FetchPicture, Repair
from shim.exchange.clock import Clock
from shim.exchange.continuations import KnownChat
from shim.exchange.conversations import HeldConversation
from shim.exchange.counting import AnswerTokens
from shim.exchange.kept import KeptAnswers
from shim.exchange.live_turn import Wanted
from shim.exchange.next_account import Attempted
from shim.exchange.services import AnswerServices
from shim.protocol.api import AnsweredBy, AnswerPlace, Api, Asked, Writer
from shim.protocol.counting.usage import Usage, call_tokens, usage_of
from shim.protocol.events import Event, Failed, FileRef
from shim.protocol.transcript import Transcript

_LARGE = 20_000  # characters, about half a millisecond's counting

Send = Callable[[bytes], Awaitable[None]]


async def _to_nobody(_data: bytes) -> None:
    """For an answer that is read from its transcripts, once it is whole."""


class ClientCall(msgspec.Struct, frozen=True):
    """What a client asks, who it is, in which API, and where it reaches this gateway (an address without a slash at its
    end)."""

    asked: Asked
    caller: Caller
    api: Api
    address: str
    attempted: Attempted = msgspec.field(default_factory=Attempted)
    is_large: bool = False
    # What the answer is called where that was told beforehand, and since when (seconds since 1970).
    id: str | None = None
    created: int | None = None
    # The kept conversation that it goes on with, which is nobody else's meanwhile.
    held: HeldConversation | None = None


class Exchange:
    """One answer under way, with all its choices at their head. It is the `AnswerInfo` of its writer."""

    def __init__(
        self,
        call: ClientCall,
        wanted: Wanted,
        choices: Sequence[Choice],
        services: AnswerServices,
        *,
        clock: Clock,
        chat: KnownChat | None = None,
        kept: KeptAnswers | None = None,
    ) -> None:
        self.prompt = wanted.prompt
        self.choices = choices
        self.transcripts: Sequence[Transcript] = [choice.transcript for choice in choices]
        self.id = call.id or clock.new_id().replace("-", "")
        self.created = int(clock.now()) if call.created is None else call.created
        self._api, self._options = call.api, call.asked.options
        self._services, self._chat = services, chat
        self._caller, self._keeping, self._kept = call.caller, call.asked.keeping, kept
        self._held, self._appending = call.held, call.asked.appending
        self._wanted = wanted
        self._usage: Usage | None = None  # counted, once everything has been said
        self._counting: dict[int, AnswerTokens] = {}  # by choice, of those that are long
        self._counts_first = call.asked.counts_first
        self._prompt_tokens: int | None = None  # where they were counted before the answer began
        self._writer: Writer | None = None
        self.encoded: bytes | None = None
        self._failed: int | None = None  # the choice whose error was written: a stream has one, and nothing after it

    # --- what a writer may ask ----------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """The model that answers, by its public name, or by the alias that was asked for; upstream may name another
        one as it begins."""
        model = self.choices[0].turn.model
        return self.prompt.asked_model or model if model == self.prompt.model else model

    @property
    def usage(self) -> Usage:
        """Token counts so far: the prompt once, and every choice. Counted beforehand where the loop may not wait for it
        (`run`); a driver that pushes has it counted here."""
        return self._usage or usage_of(self._wanted.tokens(tokenizer.count), self.transcripts, tokenizer.count)

    @property
    def picture_tokens(self) -> int:
        """The tokens of the prompt's pictures, which `usage` includes."""
        return self._wanted.files.tokens

    def answered_by(self, choice: int) -> AnsweredBy:
        """What really answers a choice."""
        return self.choices[choice].turn.answered_by()

    def place(self, choice: int) -> AnswerPlace | None:
        """What a client continues with, where chats are kept."""
        return self.choices[choice].turn.place()

    def link(self, file: FileRef, choice: int) -> str:
        """The address under which the client can have a file of the answer."""
        return self.choices[choice].link(file)

    # --- about it -----------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the answer is over: each choice has ended, or one has failed, for a stream has one error at most."""
        whole = True
        for one in self.transcripts:
            if one.error is not None:
                return True
            whole = whole and one.finish_reason is not None
        return whole

    @property
    def error(self) -> GatewayError | None:
        """What it failed with."""
        for one in self.transcripts:
            if one.error is not None:
                return one.error
        return None

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that turned out to have no effect on this answer."""
        unheard = self.prompt.effort is not None and self.choices[0].turn.conversation.thinking_effort is UNSET
        return [self._api.fields[Field.EFFORT]] if unheard else []

    @property
    def counted(self) -> Usage | None:
        """The usage where it costs nothing to ask (for a log line, or a stream's head): None where it was not counted
        yet and would take long."""
        return self._usage or (self.usage if self._size() <= _LARGE else None)

    @property
    def prompt_tokens(self) -> int | None:
        """Those of the prompt alone: where they were counted first, or cost nothing to count."""
        if self._prompt_tokens is None and (counted := self.counted) is not None:
            return counted.prompt
        return self._prompt_tokens

    # --- pushed -------------------------------------------------------------------------------------------------------

    def receive(self, chunk: bytes) -> bytes:
        """The client's bytes for a chunk of upstream's (`b""` is the end), for a driver that can't do what a choice may
        need on the way: then a picture stays a link, and an answer that goes on elsewhere fails."""
        choice = self.choices[0]
        events = choice.receive(chunk)
        while choice.needs is not None and not choice.ended:
            match choice.needs:
                case FetchPicture():
                    events += choice.fetched(None)
                case Repair():
                    events += choice.give_up(UpstreamError("The model's answer is not what was asked for"))
                case _:
                    events += choice.receive(b"")  # nobody follows, and the machine ends it
        return self._written(events, 0)

    def break_off(self, error: GatewayError) -> bytes:
        """The client's last bytes where the stream can't go on."""
        return self._written(self.choices[0].fail(error, final=True), 0)

    def cut_off(self, error: GatewayError) -> bytes:
        """The same whatever the answer is waiting for: it ends now."""
        for place, choice in enumerate(self.choices):
            if not choice.ended:
                return self._written(choice.give_up(error), place)
        return b""

    def _written(self, events: list[Event], choice: int) -> bytes:
        """The client's bytes for events of one choice; nothing where it wants its answer in one piece."""
        if not events or self._failed is not None:
            return b""
        # A failure is the last event of its choice, so no other place has to be looked at.
        if type(events[-1]) is Failed:
            self._failed = choice
        if not self.prompt.stream:
            return b""
        if self._writer is not None:
            return self._writer.receive(events, choice)
        # Made only now, because the first event tells which model answers. What fails before it begins has no head.
        self._writer = self._api.stream(self, self._options)
        head = b"" if type(events[0]) is Failed else self._writer.head()
        return head + self._writer.receive(events, choice)

    def keep_soon(self) -> None:
        """Keep the answer, where that is wanted; for a driver that pushes, at its end."""
        if self._kept is not None and self._keeping is not None and self.ended:
            self._kept.keep_soon(self._caller, self._keeping, self, self._known_place())

    def _known_place(self) -> AnswerPlace | None:
        """Where upstream has the same as the client was given."""
        choice = self.choices[0]
        return choice.turn.place() if choice.is_as_upstream_has_it else None

    # --- driven -------------------------------------------------------------------------------------------------------

    def run(self, send: Send = _to_nobody) -> Coroutine[Any, Any, bytes]:
        """Go through the whole answer, giving the client's bytes to `send` as they come, and returning the last of
        them. Where it fails, these say so, and `error` is set."""
        if self._counts_first and self.prompt.stream and self._size() > tokenizer.SLICE:
            return self._run_counted(send)
        # Nearly always one; a task for each of many costs what a task costs.
        return self._run_choice(0, send) if len(self.choices) == 1 else self._run_all(send)

    async def _run_counted(self, send: Send) -> bytes:
        self._prompt_tokens = await tokenizer.total_by(self._wanted.tokens)
        self._counts_first = False
        return await self.run(send)

    async def _run_all(self, send: Send) -> bytes:
        lock = asyncio.Lock()  # first come, first served: bytes go out in the order they were written in

        async def send_in_turn(data: bytes) -> None:
            async with lock:
                await send(data)

        async def pump(place: int) -> None:
            if data := await self._run_choice(place, send_in_turn):
                await send_in_turn(data)

        pumps = [asyncio.ensure_future(pump(place)) for place in range(len(self.choices))]
        waiting = set(pumps)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
                # Not as soon as a choice has failed: its pump may still be sending the line that says so.
                if self._failed is not None and pumps[self._failed].done():
                    break
        finally:
            # Whatever has ended the loop: nobody is there any more to read what the others say.
            for one in pumps:
                one.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        return b""

    async def _run_choice(self, place: int, send: Send) -> bytes:
        """What one read brought is one pass through the choice and one `send`. No task, generator or coroutine stands
        between the two: each costs a streamed piece half a microsecond to a microsecond, of 20."""
        choice, others = self.choices[place], len(self.choices) > 1
        said, events = choice.transcript, choice.begin()
        counted = tokenizer.SLICE  # characters from which it is counted on the way
        while True:
            if said.ended:
                await self._before_last_bytes(choice)
                return self._written(events, place)
            if data := self._written(events, place):
                await send(data)
            if said.size >= counted:
                self._tokens(place).go_on()
                counted = said.size + tokenizer.SLICE
            if others and self.error is not None:
                return b""  # another choice has failed, and that was the stream's last line
            if choice.reads_on:
                try:
                    chunk = await choice.turn.response.chunk()
                except GatewayError as error:
                    events = choice.fail(error)
                else:
                    events = choice.receive(chunk)
            else:
                events = await self._services.step(choice)
            if others and self.error is not None and not said.ended:
                return b""

    def _tokens(self, place: int) -> AnswerTokens:
        if place not in self._counting:
            self._counting[place] = AnswerTokens(self.transcripts[place])
        return self._counting[place]

    async def _before_last_bytes(self, choice: Choice) -> None:
        if self._chat is not None:
            await self._chat.note(choice)
        if not self.ended:
            return
        # Everything has been said, so the usage can be counted. Short ones on the spot: gathering texts for a thread
        # that is not needed costs as much as counting them.
        if self._size() <= tokenizer.SLICE:
            self._usage = self.usage
        else:
            # Longer ones in slices that let the loop in.
            prompt = self._prompt_tokens
            if prompt is None:
                prompt = await tokenizer.total_by(self._wanted.tokens)
            text = reasoning = 0
            for place in range(len(self.choices)):
                said, thought = await self._tokens(place).total()
                text, reasoning = text + said, reasoning + thought
            called = await tokenizer.total_by(
                lambda count: sum(call_tokens(one.calls, count) for one in self.transcripts)
            )
            self._usage = Usage(prompt, reasoning + text + called, reasoning)
        if self._held is not None and self._appending is not None:
            await self._held.add(self._appending, self, self._known_place())
        if self._kept is not None and self._keeping is not None:
            await self._kept.keep(self._caller, self._keeping, self, self._known_place())

    async def whole(self) -> bytes:
        """The whole answer, waited for. Raises the GatewayError it failed with."""
        await self.run()
        if self.error is not None:
            raise self.error
        return self._api.whole(self, self._options)

    def close(self) -> None:
        """Let go of upstream and of the accounts."""
        for choice in self.choices:
            choice.close()
        self._writer = None  # which knows us: whatever goes in a circle waits for the collector (115 objects)

    def _size(self) -> float:
        """Characters to count, roughly; without end where functions are described, for these may be of any size."""
        if self.prompt.callable_functions:
            return math.inf
        characters = 0
        for message in self.prompt.all_messages:
            characters += len(message.text)
        for transcript in self.transcripts:
            characters += transcript.size
        return characters
