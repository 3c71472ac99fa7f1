"""Events as lines of text, or the whole transcript."""

from collections.abc import Sequence

import msgspec

from shim.errors import GatewayError
from shim.protocol.api import AnswerInfo
from shim.protocol.events import Event, Failed, Finished, TextDelta
from tests.apis.toy.wire import EchoAnswer


class EchoWriter:
    def head(self) -> bytes:
        return b"event: begin\n\n"

    def receive(self, events: Sequence[Event], _choice: int) -> bytes:
        return b"".join(map(self._line, events))

    def _line(self, event: Event) -> bytes:
        match event:
            case TextDelta(text=text):
                return b"data: " + msgspec.json.encode(text) + b"\n\n"
            case Finished(reason=reason):
                return f"event: end\ndata: {reason}\n\n".encode()
            case Failed(error=error):
                return refusal(error) + b"\n\n"
            case _:
                return b""


def whole(answer: AnswerInfo) -> bytes:
    return msgspec.json.encode(EchoAnswer(answer.transcripts[0].text, answer.model))


def refusal(error: GatewayError) -> bytes:
    return msgspec.json.encode({"oops": error.message, "where": error.param})
