"""One line of a stream: every event goes under the name that is its type."""

import msgspec


def event(told: msgspec.Struct) -> bytes:
    """An event, which `line_safe` has still to look at. What it tells is a struct with a tag."""
    return b"event: %b\ndata: %b\n\n" % (str(told.__struct_config__.tag).encode(), _encode(told))


_encode = msgspec.json.Encoder().encode
