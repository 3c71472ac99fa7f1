"""Half surrogate pairs in JSON, as programs leave them that cut texts in UTF-16 (half an emoji).

JSON's grammar allows them (RFC 8259, 8.2), JavaScript and Python read them, msgspec does not, and no UTF-8 can hold
them. So they become what the Unicode standard has for it: U+FFFD.
"""

import re

# In JSON's own escapes: a pair, half of one, and every other escape, so that an escaped backslash hides what follows.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD](?P<half>[89a-fA-F])[0-9a-fA-F]{2}|.)", re.S
)


def mend_halves(text: bytes) -> bytes:
    """JSON with U+FFFD in the place of every half."""
    return _ESCAPE.sub(lambda found: found[0] if found["half"] is None else b"\\ufffd", text)
