"""Where time and ids come from."""

import os
import random
import time
from collections.abc import Callable

import msgspec

_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def random_uuid() -> str:
    """A UUID v4 (RFC 9562 5.4), as `str(uuid.uuid4())` makes it in twice the time: a small request has four of them."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


class Clock(msgspec.Struct, frozen=True):
    """The real ones; tests put their own in. `now` is in seconds since 1970, `new_id` makes a UUID v4, `chance` a
    number from 0 to 1 that decides nothing but how long to wait."""

    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = random_uuid
    chance: Callable[[], float] = random.random
