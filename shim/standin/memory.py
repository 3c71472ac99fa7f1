"""A dictionary that forgets.

Rule: whatever the stand-in remembers about callers goes through here, so nothing grows without limit.
"""

from typing import TypeVar

LIMIT = 10_000
Value = TypeVar("Value")


def remember(memory: dict[str, Value], key: str, value: Value, limit: int = LIMIT) -> None:
    """Keep a value as the newest; the oldest beyond the limit is forgotten."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > limit:
        del memory[next(iter(memory))]
