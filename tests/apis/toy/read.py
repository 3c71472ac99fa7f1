"""A toy request becomes a prompt."""

import msgspec

from shim.apis.decoding import decode
from shim.protocol.api import Asked
from shim.protocol.prompt import Prompt, PromptMessage, Text
from tests.apis.toy.wire import EchoRequest

_decoder = msgspec.json.Decoder(EchoRequest)


def read(body: bytes) -> Asked:
    request = decode(_decoder, body)
    return Asked(Prompt("auto", (PromptMessage("user", (Text(request.say),)),), stream=request.stream))
