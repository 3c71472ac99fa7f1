"""Asks the operator's own token service for an Arkose token (protocol.md 3).

Rule: one POST, one deadline, one bounded answer; every way this can fail becomes an `ArkoseError`.
"""

import asyncio
from typing import Literal

import msgspec
from curl_cffi.curl import CURL_WRITEFUNC_ERROR, CurlError
from curl_cffi.requests import AsyncSession, Response

from arkose.errors import FETCH_FAILED, SERVICE_REQUIRED, ArkoseError

MAX_CLIENTS = 1000
"""Transfers at a time; curl_cffi's own default of 10 would make the eleventh exchange wait."""
# A token has some hundred characters; what is longer than this is none.
MAX_ANSWER_BYTES = 1 << 20


class _TokenRequest(msgspec.Struct):
    blob: str | None
    method: Literal["chat35", "chat4"]


class _TokenResponse(msgspec.Struct):
    token: str | None = None
    solved: bool = True


class ArkoseClient:
    """Fetches tokens from one URL; `timeout` is in seconds and covers a whole fetch.

    Without a URL every fetch is an `ArkoseError` with the message "Arkose service required".
    """

    def __init__(self, url: str | None, *, timeout: float = 15.0) -> None:
        self._url = url
        self._timeout = timeout
        self._session: AsyncSession[Response] | None = None

    async def fetch(self, *, blob: str | None, method: Literal["chat35", "chat4"]) -> str:
        """Return a token for `blob`, the `arkose.dx` of the requirements (protocol.md 2.1).

        `method` is "chat35" for persona `chatgpt-freeaccount` and "chat4" for every other. Raises `ArkoseError`.
        """
        if not self._url:
            raise ArkoseError(SERVICE_REQUIRED, reason="no token service is configured")
        status, body = await self._post(self._url, _ENCODER.encode(_TokenRequest(blob, method)))
        if status != 200:
            raise ArkoseError(FETCH_FAILED, reason=f"the service answered {status}")
        try:
            answer = _DECODER.decode(body)
        except (ValueError, RecursionError):  # not chained: this is the one place that has seen the token
            raise ArkoseError(FETCH_FAILED, reason="the answer is not the JSON object it should be") from None
        if not answer.solved:
            raise ArkoseError(FETCH_FAILED, reason="the service says it is not solved")
        if not answer.token:
            raise ArkoseError(FETCH_FAILED, reason="the answer has no token")
        # A line break in it would end the header, and begin another one of the service's choosing.
        if not (answer.token.isascii() and answer.token.isprintable()):
            raise ArkoseError(FETCH_FAILED, reason="the token cannot be sent in a header")
        return answer.token

    async def close(self) -> None:
        """Close the connections to the service."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, url: str, content: bytes) -> tuple[int, bytes]:
        answer = _BoundedAnswer()
        try:
            async with asyncio.timeout(self._timeout):
                if self._session is None:  # not in __init__: a session belongs to the running loop
                    self._session = AsyncSession(max_clients=MAX_CLIENTS)
                # A callback instead of stream mode: cancelling this ends the transfer at once and returns its handle,
                # while an unfinished stream runs on. `timeout=None`, as the deadline is ours and includes the wait for
                # a handle.
                response = await self._session.post(
                    url,
                    content=content,
                    headers={"content-type": "application/json"},
                    content_callback=answer.write,
                    timeout=None,
                    allow_redirects=False,  # the blob is meant for this URL only
                )
        except TimeoutError:
            raise ArkoseError(FETCH_FAILED, reason=f"no answer within {self._timeout:g} s") from None
        except CurlError as error:  # not chained: curl's text may quote the URL
            reason = "the answer is too large" if answer.overflowed else f"{type(error).__name__} ({error.code})"
            raise ArkoseError(FETCH_FAILED, reason=reason) from None
        return int(response.status_code), bytes(answer.body)


class _BoundedAnswer:
    """Collects an answer in the form of a curl write callback, and ends the transfer when it grows too large."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.overflowed = False

    def write(self, chunk: bytes) -> int:
        if len(self.body) + len(chunk) > MAX_ANSWER_BYTES:
            self.overflowed = True
            return int(CURL_WRITEFUNC_ERROR)
        self.body += chunk
        return len(chunk)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_TokenResponse)
