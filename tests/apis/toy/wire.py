"""What a toy API speaks: a prompt in, the transcript of its answer out."""

import msgspec


class EchoRequest(msgspec.Struct, frozen=True):
    say: str
    stream: bool = False


class EchoAnswer(msgspec.Struct, frozen=True):
    transcript: str
    model: str
