"""The lines of an event stream, as all of OpenAI's APIs send them: JSON after `data: `, and an empty line."""

import re

DONE = b"data: [DONE]\n\n"
"""The last line of a stream that went well"""

# NEL, LINE SEPARATOR, PARAGRAPH SEPARATOR: JSON lets them stand as they are. (The ASCII ones it does not.)
_ESCAPED = {char.encode(): b"\\u%04x" % ord(char) for char in "\x85\u2028\u2029"}
_LINE_ENDS = re.compile(b"|".join(_ESCAPED))


def line_safe(encoded: bytes) -> bytes:
    """JSON in which no character ends a line for anybody: many clients split as `str.splitlines` does."""
    return encoded if encoded.isascii() else _LINE_ENDS.sub(lambda match: _ESCAPED[match[0]], encoded)


def data_line(encoded: bytes) -> bytes:
    """One event whose data is this JSON."""
    return b"data: " + line_safe(encoded) + b"\n\n"
