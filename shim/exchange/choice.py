"""One choice of an answer: a turn's events through the stages that make them what the client asked for.

    turn ──events──> pictures ──> markdown ──> stop, limit ──> tool calls | JSON ──> events for the renderer
       <──────────── one more turn, where the last stage says that the answer is unusable

Rule: the stages are pure and in `shim.protocol`; here they stand in line, and what they can't do is done: fetching
pictures that are wanted as data, and the repair turn.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from shim.errors import GatewayError
from shim.exchange.turns import LiveAnswer
from shim.protocol.events import Event, Failed, FileRef, Picture, Unusable
from shim.protocol.shaping.filter import Stage
from shim.protocol.shaping.markdown import Markdown


class World(Protocol):
    """What a choice needs done for it."""

    def link(self, file: FileRef, live: LiveAnswer) -> str:
        """The address under which a client can have `file`."""
        ...

    async def fetch(self, file: FileRef, live: LiveAnswer) -> str:
        """`file` as a data URL. Raises GatewayError."""
        ...

    async def repair(self, unusable: Unusable, live: LiveAnswer) -> LiveAnswer:
        """Another turn, told what was wrong with the last. Raises GatewayError."""
        ...


class Choice:
    """One choice. `inline` says that pictures are wanted as data rather than as links."""

    def __init__(self, live: LiveAnswer, stages: Sequence[Stage], world: World, *, inline: bool = False) -> None:
        self.live = live
        self._world = world
        self._inline = inline
        self._pictures: dict[FileRef, str] = {}
        self._markdown = Markdown(link=self._link)
        self._stages = stages
        self._closed = False

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events for the renderer, in batches; the last one is Finished or Failed."""
        while True:
            unusable: Unusable | None = None
            async for batch in self.live.events():
                events = self._shape(await self._prepared(batch))
                if events and isinstance(last := events[-1], Unusable):
                    unusable = last
                    events.pop()
                if events:
                    yield events
                if any(stage.decided for stage in self._stages):
                    break
            if unusable is None:
                self.close()
                return
            failure = await self._go_again(unusable)
            if failure is not None:
                yield [Failed(failure)]
                return

    def feed(self, chunk: bytes) -> list[Event]:
        """The events for the renderer that `chunk` completes (`b""` is the end), for a driver that is handed the bytes.
        What needs another call can't be had there: pictures as data, and the repair turn."""
        return self._shape(self.live.feed(chunk))

    def break_off(self, error: GatewayError) -> list[Event]:
        """The same where the bytes end with a failure."""
        return self._shape(self.live.break_off(error))

    def close(self) -> None:
        """Let go of upstream; closing again does nothing."""
        if not self._closed:
            self._closed = True
            self.live.close()

    def _shape(self, events: Sequence[Event]) -> list[Event]:
        shaped = self._markdown.feed(events)
        for stage in self._stages:
            shaped = stage.feed(shaped)
        return shaped

    async def _prepared(self, batch: Sequence[Event]) -> Sequence[Event]:
        """The same events, with the pictures in them fetched where they are wanted as data; one that can't be fetched
        stays a link."""
        if self._inline:
            for event in batch:
                if isinstance(event, Picture):
                    try:
                        self._pictures[event.file] = await self._world.fetch(event.file, self.live)
                    except GatewayError:
                        continue
        return batch

    def _link(self, file: FileRef) -> str:
        return self._pictures.get(file) or self._world.link(file, self.live)

    async def _go_again(self, unusable: Unusable) -> GatewayError | None:
        """Replace the turn by one that is told what was wrong; the error where that can't be had."""
        self.live.close()
        try:
            self.live = await self._world.repair(unusable, self.live)
        except GatewayError as error:
            self._closed = True
            return error
        except BaseException:
            self._closed = True
            raise
        for stage in self._stages:
            stage.again()
        return None
