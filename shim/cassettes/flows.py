"""mitmproxy's flows, live or from a file, as captured calls.

Rule: mitmproxy is imported only to read a file; a flow is whatever has a request and a response of its shape.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shim.cassettes.format import CassetteError
from shim.cassettes.recording import BodyCapture, CapturedCall, Pairs


class MissingError(Exception):
    """mitmproxy is not installed here; the text says what to do."""


HOW_TO_INSTALL = "mitmproxy is not installed: run `scripts/setup mitmproxy`, or `pip install 'chat2api[mitmproxy]'`"


def call_of_flow(flow: Any, capture: BodyCapture, *, cut: bool = False) -> CapturedCall:
    """A flow that has an answer, whose body is on `capture`."""
    # Not strict: a body that can't be decoded is better kept as it came than not at all.
    body = flow.request.get_content(strict=False)
    return CapturedCall(
        method=flow.request.method,
        url=flow.request.url,
        headers=pairs(flow.request.headers),
        body=body,
        status=flow.response.status_code,
        answer_headers=pairs(flow.response.headers),
        chunks=capture.whole_events(),
        kept=capture.kept,
        cut=cut,
    )


def pairs(headers: Any) -> Pairs:
    """mitmproxy's headers, several of a name apart."""
    return [(str(name), str(value)) for name, value in headers.items(multi=True)]


def read_flows(path: Path) -> Iterator[CapturedCall]:
    """The HTTP calls of a flow file. Where it had streamed a body, mitmproxy kept nothing of it.

    Raises MissingError without mitmproxy, CassetteError where the file is none of its.
    """
    try:
        # mitmproxy is an extra, so it is imported where a file of its own has to be read, and only there.
        from mitmproxy import exceptions, http, io  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError as error:
        raise MissingError(HOW_TO_INSTALL) from error
    with path.open("rb") as file:
        try:
            for flow in io.FlowReader(file).stream():
                if not isinstance(flow, http.HTTPFlow) or flow.response is None:
                    continue
                # In one piece: a flow file knows no chunks.
                response = flow.response
                capture = BodyCapture(response.headers.get("content-encoding", ""))
                if response.raw_content is None:
                    capture.kept = "none"
                else:
                    took = (response.timestamp_end or 0.0) - (response.timestamp_start or 0.0)
                    capture.receive(max(0.0, took), response.raw_content)
                yield call_of_flow(flow, capture, cut=flow.error is not None)
        except exceptions.FlowReadException as error:
            raise CassetteError(f"{path.name} is not a flow file: {error}") from error
