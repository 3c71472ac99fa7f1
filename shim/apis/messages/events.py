"""One line of a stream: every event goes under the name that is its type."""

import msgspec

from shim.apis.data_lines import data_line


def event(told: msgspec.Struct) -> bytes:
    """An event. What it tells is a struct with a tag."""
    return f"event: {told.__struct_config__.tag}\n".encode() + data_line(msgspec.json.encode(told))
