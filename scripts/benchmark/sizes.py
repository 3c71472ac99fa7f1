"""How much is measured: enough to be steady, or just enough to see that the bench works."""

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Counts of requests, streams and chunks; seconds of a run."""

    repeats: int = 5
    small_requests: int = 500  # of each kind: streamed or whole, one at a time or many
    small_at_once: int = 20
    burst_streams: int = 50
    burst_chunks: int = 2000
    paced_streams: int = 200
    paced_chunks: int = 300
    pace: float = 0.01  # seconds between two chunks of one stream
    latency_requests: int = 40
    open_streams: int = 200
    hard_requests: int = 300  # beside hard proofs, of each kind
    attempts: int = 200_000
    solving_seconds: float = 8.0


FULL = Sizes()
QUICK = Sizes(
    repeats=1,
    small_requests=8,
    small_at_once=4,
    burst_streams=3,
    burst_chunks=100,
    paced_streams=5,
    paced_chunks=20,
    latency_requests=10,
    open_streams=20,
    hard_requests=10,
    attempts=5_000,
    solving_seconds=0.3,
)
