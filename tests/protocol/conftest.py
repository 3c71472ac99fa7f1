"""What the protocol tests share: the recorded traffic, and ways to cut a stream into chunks.

Rule: no sockets, no clocks, no sleeps; the core is fed bytes and asked what it makes of them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Recorded traffic is not part of the repository; it lies beside it where it is at hand at all.
CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"


@pytest.fixture(scope="session")
def capture() -> Callable[[str], bytes]:
    """Reads a recorded stream by its file name, and skips the test where recordings are absent.

    An `.events.json` file is a list of parsed events whose `event:` lines are lost; here they are put back: what has
    a `v` is a delta, the rest is unnamed.
    """

    def read(name: str) -> bytes:
        path = CAPTURES / name
        if not path.exists():
            pytest.skip(f"the recorded traffic ({name}) is not at hand beside this repository")
        body = path.read_bytes()
        return b"".join(map(_framed, json.loads(body))) if name.endswith(".events.json") else body

    return read


def _framed(event: dict[str, Any]) -> bytes:
    if "raw" in event:
        return b"data: %s\n\n" % event["raw"].encode()
    if "parsed" in event:
        return b"event: delta_encoding\ndata: %s\n\n" % json.dumps(event["parsed"]).encode()
    name = b"event: delta\n" if "v" in event else b""
    return name + b"data: %s\n\n" % json.dumps(event).encode()
