"""What the tests of recordings share: calls as they are heard, and cassettes made of them."""

from collections.abc import Callable

import pytest

from shim.cassettes.recording import CapturedCall


@pytest.fixture
def heard() -> Callable[..., CapturedCall]:
    """`heard(path, body, *chunks, ...)`: a call and its answer, chunks 10 ms apart."""

    def make(
        path: str = "/backend-api/conversation",
        body: bytes = b"",
        *chunks: bytes,
        method: str = "POST",
        status: int = 200,
        kind: str = "text/event-stream",
        headers: tuple[tuple[str, str], ...] = (),
        answer_headers: tuple[tuple[str, str], ...] = (),
    ) -> CapturedCall:
        return CapturedCall(
            method=method,
            url=f"https://chatgpt.com{path}",
            headers=[("content-type", "application/json"), *headers],
            body=body,
            status=status,
            answer_headers=[("content-type", kind), *answer_headers],
            chunks=[(0.01 * place, chunk) for place, chunk in enumerate(chunks)],
        )

    return make
