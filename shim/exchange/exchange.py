"""An exchange: one client call from its request to the end of its answer, with one or more choices.

Rule: whoever opened an exchange closes it, at any moment; that lets go of every turn of it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from shim import tokenizer
from shim.apis.chat.wire import Usage
from shim.exchange.choice import Choice
from shim.exchange.clock import Clock
from shim.exchange.turns import Wanted
from shim.protocol.counting.usage import prompt_tokens, readable_text, usage_of
from shim.protocol.events import Event, Failed
from shim.protocol.render import Transcript
from shim.protocol.turn.conversation import effort_for

_LARGE = 100_000  # characters; the tokenizer does some 30 a microsecond


class Exchange:
    """One answer under way, with all its choices at their head."""

    def __init__(self, wanted: Wanted, choices: Sequence[Choice], clock: Clock, *, kept: bool) -> None:
        self.request = wanted.request
        self.choices = choices
        self.lease = choices[0].live.lease
        self.id = f"chatcmpl-{clock.new_id().replace('-', '')}"
        self.created = int(clock.now())
        self._images = wanted.files.tokens
        self._kept = kept

    @property
    def model(self) -> str:
        """The model that answers, by its public name; upstream may name another one as it begins."""
        return self.choices[0].live.model

    @property
    def ignored(self) -> list[str]:
        """Fields of the request that turned out to have no effect on this answer."""
        unheard = self.request.reasoning_effort is not None and effort_for(self.request, self.lease.slug) is None
        return ["reasoning_effort"] if unheard else []

    def events(self) -> AsyncIterator[tuple[int, list[Event]]]:
        """(choice, its events), in the batches they arrived in; each choice's last one is Finished or Failed."""
        return _one(self.choices[0]) if len(self.choices) == 1 else _merged(self.choices)

    def ids(self, choice: int) -> dict[str, str]:
        """What a client goes on with, where chats are kept: the names of the conversation and of the answer in it."""
        return self.choices[choice].live.ids() if self._kept else {}

    def usage(self, transcripts: Sequence[Transcript]) -> Usage:
        """Token counts so far: the prompt once, and every choice."""
        prompt = prompt_tokens(
            self.request.messages, tokenizer.count, tools=self.request.tools or (), images=(self._images,)
        )
        return usage_of(prompt, transcripts, tokenizer.count)

    def is_large(self, transcripts: Sequence[Transcript]) -> bool:
        """Whether counting tokens should stay off the event loop."""
        answered = sum(transcript.size for transcript in transcripts)
        return answered + sum(len(readable_text(message)) for message in self.request.messages) > _LARGE

    def close(self) -> None:
        """Let go of upstream and of the accounts."""
        for choice in self.choices:
            choice.close()


async def _one(choice: Choice) -> AsyncIterator[tuple[int, list[Event]]]:
    async for events in choice.events():
        yield 0, events


async def _merged(choices: Sequence[Choice]) -> AsyncIterator[tuple[int, list[Event]]]:
    """The events of all choices as they come. One that fails ends them all: a stream has one error at most."""
    streams = [choice.events() for choice in choices]
    waiting = {asyncio.ensure_future(anext(stream, None)): place for place, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                place, events = waiting.pop(task), task.result()
                if events is None:
                    continue
                yield place, events
                if isinstance(events[-1], Failed):
                    return
                waiting[asyncio.ensure_future(anext(streams[place], None))] = place
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
