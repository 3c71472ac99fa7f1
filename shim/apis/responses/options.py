"""What only the writer of a response has to know again of its request."""

import msgspec

from shim.apis.responses import wire
from shim.apis.responses.tools import ToolNames


class ResponseOptions(msgspec.Struct, frozen=True):
    """What is told back; whether thinking is shown; whether the first events were told before (of an answer in the
    background); whether pictures are items of their own; the names of tools."""

    echoed: wire.Echoed = wire.Echoed()
    thinking: bool = False
    queued: bool = False
    pictures: bool = False
    names: ToolNames = ToolNames()
