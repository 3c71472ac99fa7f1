"""Listening to a streamed answer: what the recorder and the debug view have in common.

Rule: the answer stays as it was. Each chunk is heard as it came off the wire and then goes on as it would have without
us, through the stream callable of another addon where there is one.
"""

from collections.abc import Callable, Iterable

from mitmproxy import http  # type: ignore[import-not-found,unused-ignore]

_EVENTS = "text/event-stream"


def is_streamed(response: http.Response) -> bool:
    """Whether its body is to be passed on as it comes: event streams, and what another addon streams already."""
    return bool(response.stream) or response.headers.get("content-type", "").startswith(_EVENTS)


def listen(response: http.Response, hear: Callable[[bytes], None]) -> None:
    """Stream the answer past `hear`. mitmproxy ends a stream with `b""`, which is heard and handed on as well."""
    # `stream` may also be True, which only says that chunks go on as they are.
    onwards = response.stream if callable(response.stream) else None

    def tee(chunk: bytes) -> bytes | Iterable[bytes]:
        hear(chunk)
        return onwards(chunk) if onwards else chunk

    response.stream = tee
