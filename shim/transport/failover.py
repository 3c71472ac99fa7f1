"""Which of several origins or proxies to take: the same one for the same identity, as long as it works.

Rule: a choice that failed is left out for a while, then tried again. Each identity has its own order of preference, so
that one failing URL moves only those that had it. Pure: the clock is an argument.
"""

import hashlib
from collections.abc import Sequence

# Whatever ails a proxy is mostly over after half a minute (it starts anew). Tried again at least every five minutes, as
# nobody tells that it is back.
_REST_SECONDS = 30.0
_MAX_REST_SECONDS = 300.0


class FailoverList:
    """One list of URLs. Times are in seconds."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._only = self._urls[0] if len(self._urls) == 1 else None
        self._rests_until: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._urls)

    def pick(self, identity: str, now: float) -> str | None:
        """The URL for this identity: by its own order of preference the first that is not resting; where all are, the
        first. None where there are none."""
        if self._only is not None or not self._urls:
            return self._only
        ordered = sorted(self._urls, key=lambda url: hashlib.sha256(f"{identity} {url}".encode()).digest())
        healthy = (url for url in ordered if self._rests_until.get(url, 0.0) <= now)
        return next(healthy, ordered[0])

    def failed(self, url: str, now: float) -> None:
        """`url` did not work: it rests, longer each time in a row."""
        count = self._failures[url] = self._failures.get(url, 0) + 1
        # The power has an end of its own: an upstream that is away for a night fails some thousand times, and 2.0 **
        # 1024 is no number any more.
        self._rests_until[url] = now + min(_REST_SECONDS * 2.0 ** min(count - 1, 10), _MAX_REST_SECONDS)

    def worked(self, url: str) -> None:
        """`url` worked: what was held against it is forgotten."""
        if self._failures.pop(url, None) is not None:
            self._rests_until.pop(url, None)
