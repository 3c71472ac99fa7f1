LANES: int

def find(
    seed: bytes,
    head: bytes,
    middle: bytes,
    tail: bytes,
    start: int,
    stop: int,
    highest: bytes,
    lanes: int = 0,
    niceness: int = 0,
    /,
) -> int | None: ...
def digest(message: bytes, lanes: int = 0, /) -> bytes: ...
