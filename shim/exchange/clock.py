"""Where time and ids come from."""

import random
import time
from collections.abc import Callable

import msgspec

from shim.random_ids import random_uuid


class Clock(msgspec.Struct, frozen=True):
    """The real ones; tests put their own in. `now` is in seconds since 1970, `new_id` makes a UUID v4, `chance` a
    number from 0 to 1 that decides nothing but how long to wait."""

    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = random_uuid
    chance: Callable[[], float] = random.random
