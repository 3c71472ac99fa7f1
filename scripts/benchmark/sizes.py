"""How much is measured: enough to be steady, or just enough to see that the bench works."""

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Counts of requests, streams and chunks; seconds of a run."""

    repeats: int = 3
    # Of each kind: streamed or whole.
    small_requests: int = 480
    small_at_once: int = 16
    burst_streams: int = 50
    burst_chunks: int = 1000
    paced_streams: int = 200
    paced_chunks: int = 100
    # Seconds between two chunks of one stream: no two of them come together.
    pace: float = 0.01
    latency_requests: int = 30
    crowd_streams: int = 500
    crowd_chunks: int = 100
    crowd_pace: float = 0.021
    rush_streams: int = 1000
    open_streams: int = 200
    # Until libcurl has closed what a crowd left behind, and the C library has given memory back.
    settle_seconds: float = 3.0
    # Beside hard proofs, of each kind.
    hard_requests: int = 300
    starts: int = 7
    attempts: int = 200_000
    # More than a thousand ticks, so that a p99 means something, and many proofs, each as long as chance will have it.
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
    crowd_streams=10,
    crowd_chunks=10,
    rush_streams=20,
    open_streams=20,
    settle_seconds=0.1,
    hard_requests=10,
    starts=1,
    attempts=5_000,
    solving_seconds=0.3,
)
