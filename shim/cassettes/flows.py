"""mitmproxy's flows, live or from a file, as calls that were heard.

Rule: mitmproxy is imported only to read a file; a flow is whatever has a request and a response of its shape.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shim.cassettes.format import CassetteError
from shim.cassettes.recording import Heard, Pairs, Tape


class MissingError(Exception):
    """mitmproxy is not installed here; the text says what to do."""


HOW_TO_INSTALL = "mitmproxy is not installed: run `scripts/setup mitmproxy`, or `pip install 'chat2api[mitmproxy]'`"


def heard_of_flow(flow: Any, tape: Tape, *, cut: bool = False) -> Heard:
    """A flow that has an answer, whose body is on `tape`."""
    body = flow.request.get_content(strict=False)
    return Heard(
        method=flow.request.method,
        url=flow.request.url,
        headers=pairs(flow.request.headers),
        body=body,
        status=flow.response.status_code,
        answer_headers=pairs(flow.response.headers),
        chunks=tape.whole_events(),
        kept=tape.kept,
        cut=cut,
    )


def pairs(headers: Any) -> Pairs:
    """mitmproxy's headers, several of a name apart."""
    return [(str(name), str(value)) for name, value in headers.items(multi=True)]


def read_flows(path: Path) -> Iterator[Heard]:
    """The HTTP calls of a flow file. Where it had streamed a body, mitmproxy kept nothing of it.

    Raises MissingError without mitmproxy, CassetteError where the file is none of its.
    """
    try:
        from mitmproxy import exceptions, http, io  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError as error:
        raise MissingError(HOW_TO_INSTALL) from error
    with path.open("rb") as file:
        try:
            for flow in io.FlowReader(file).stream():
                if isinstance(flow, http.HTTPFlow) and flow.response is not None:
                    yield heard_of_flow(flow, _tape_of(flow), cut=flow.error is not None)
        except exceptions.FlowReadException as error:
            raise CassetteError(f"{path.name} is not a flow file: {error}") from error


def _tape_of(flow: Any) -> Tape:
    """The body in one piece: a flow file knows no chunks."""
    response = flow.response
    tape = Tape(response.headers.get("content-encoding", ""))
    if response.raw_content is None:
        tape.kept = "none"
    else:
        took = (response.timestamp_end or 0.0) - (response.timestamp_start or 0.0)
        tape.note(max(0.0, took), response.raw_content)
    return tape
