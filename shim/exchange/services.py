"""What an exchange has done for it while its answers are under way: links, a choice's next step, the repair turn."""

import base64
from contextlib import suppress

import msgspec

from shim.errors import GatewayError
from shim.exchange.calls import Calls
from shim.exchange.choice import Choice, FetchPicture, Repair
from shim.exchange.links import Links
from shim.exchange.live_turn import LiveTurn, Wanted
from shim.exchange.turns import Turns
from shim.protocol.events import Event, FileRef
from shim.protocol.prompt import Continues, PromptMessage, Text
from shim.transport.base import read_reply


class AnswerServices:
    """The services of one exchange. `address` is where its client reaches this gateway."""

    def __init__(
        self, wanted: Wanted, address: str, *, turns: Turns, calls: Calls, links: Links, max_bytes: int
    ) -> None:
        self._wanted, self._address = wanted, address
        self._turns, self._calls, self._links = turns, calls, links
        self._max_bytes = max_bytes

    def link(self, file: FileRef, turn: LiveTurn) -> str:
        """The address under which a client can have `file`."""
        turn.linked = True
        return self._address + self._links.path_of(file, turn.lease.account_id, self._turns.now())

    async def step(self, choice: Choice) -> list[Event]:
        """Do what a choice needs next, be it to read on; the events that come of it. Whatever fails becomes the
        choice's last event."""
        match choice.needs:
            case FetchPicture(file=file):
                data = None
                with suppress(GatewayError):  # then it stays a link, as what is no picture does
                    reply = await read_reply(await self._calls.file(choice.turn.lease.identity, file), self._max_bytes)
                    media_type = reply.headers.get("content-type", "").partition(";")[0].strip()
                    if media_type.startswith("image/"):
                        data = f"data:{media_type};base64,{base64.b64encode(reply.body).decode()}"
                return choice.fetched(data)
            case Repair(unusable=unusable):
                # Before another turn is opened: its account may be the only one.
                choice.turn.close()
                complaint, place = PromptMessage("user", (Text(unusable.complaint),)), choice.turn.place()
                prompt = self._wanted.prompt
                if place is not None:  # upstream knows the answer: only the complaint is new
                    continues = Continues(place.conversation_id, place.message_id)
                    prompt = msgspec.structs.replace(prompt, messages=(complaint,), continues=continues)
                else:
                    answer = PromptMessage("assistant", (Text(unusable.answer),))
                    prompt = msgspec.structs.replace(prompt, messages=(*prompt.messages, answer, complaint))
                try:
                    turn = await self._turns.open(msgspec.structs.replace(self._wanted, prompt=prompt))
                    return choice.repaired(turn)
                except GatewayError as error:
                    return choice.give_up(error)
            case _:
                return choice.take(await self._turns.advance(choice.turn))
