"""Records live flows as scrubbed cassettes: `mitmdump -s addons/recorder.py`, or `chat2api record`.

It takes either side: a browser's traffic with ChatGPT, or this gateway's with upstream. Beside an addon that rewrites
(`bridge`) it comes first, to hear what upstream sent; that addon passes chunks through the callable it finds.

Rule: it changes nothing. It hands every chunk on as it came, and a flow it fails on goes its way unrecorded.
"""

import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from mitmproxy import ctx, exceptions, http  # type: ignore[import-not-found,unused-ignore]
from mitmproxy.addonmanager import Loader  # type: ignore[import-not-found,unused-ignore]

from shim.cassettes.flows import heard_of_flow
from shim.cassettes.recording import MAX_BODY_BYTES, Tape
from shim.cassettes.scribe import Scribe

PATHS = r"^/(backend-(api|anon)|public-api|api/auth|oauth)/"
_EVENTS = "text/event-stream"
Stream = Callable[[bytes], bytes | Iterable[bytes]]


class Take:
    """One answer being heard."""

    def __init__(self, response: http.Response, limit: int) -> None:
        self.tape = Tape(response.headers.get("content-encoding", ""), limit)
        self.heard = False
        self._began = time.monotonic()

    def hear(self, chunk: bytes) -> None:
        """A piece of the body, now."""
        self.heard = True
        self.tape.note(time.monotonic() - self._began, chunk)

    def tee(self, onwards: Stream | None) -> Stream:
        """A stream callable that hears each chunk and hands it on. The last one is `b""` and handed on as well."""

        def hear(chunk: bytes) -> bytes | Iterable[bytes]:
            self.hear(chunk)
            return onwards(chunk) if onwards else chunk

        return hear


class Recorder:
    """The addon."""

    def __init__(self) -> None:
        self._takes: dict[str, Take] = {}
        self._paths = re.compile(PATHS)
        self._scribe: Scribe | None = None

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("record_folder", str, "cassettes", "Folder for recordings.")
        loader.add_option("record_name", str, "", "Name of the recording (none: the time).")
        loader.add_option("record_redact_text", bool, False, "Replace message text by text of its shape.")
        loader.add_option("record_limit", int, MAX_BODY_BYTES, "Bytes of a body that are recorded at most.")
        loader.add_option("record_paths", str, PATHS, "Record calls whose path matches this.")

    def configure(self, updated: set[str]) -> None:
        """Take over changed options."""
        if "record_paths" in updated:
            try:
                self._paths = re.compile(ctx.options.record_paths)
            except re.error as error:
                raise exceptions.OptionsError(f"record_paths: {error}") from error
        if updated & {"record_folder", "record_name", "record_redact_text"}:
            self.done()
            name = ctx.options.record_name or f"recording-{datetime.now(UTC):%Y%m%d-%H%M%S}"
            self._scribe = Scribe(
                Path(ctx.options.record_folder) / f"{name}.json", redact=ctx.options.record_redact_text
            )

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Begin to hear an answer. Event streams are passed on as they come, all else as it would be without us."""
        response = flow.response
        if response is None or not self._paths.search(flow.request.path):
            return
        take = self._takes[flow.id] = Take(response, ctx.options.record_limit)
        if response.stream or response.headers.get("content-type", "").startswith(_EVENTS):
            response.stream = take.tee(response.stream if callable(response.stream) else None)

    def response(self, flow: http.HTTPFlow) -> None:
        """The answer is over. One that was not streamed, also because another addon wanted it whole, is heard now."""
        take = self._takes.get(flow.id)
        if take is not None and not take.heard and flow.response is not None:
            take.hear(flow.response.raw_content or b"")
        self._write(flow, cut=False)

    def error(self, flow: http.HTTPFlow) -> None:
        """The connection broke; what was heard so far is a recording of that."""
        self._write(flow, cut=True)

    def done(self) -> None:
        """Write what is still to be written."""
        if self._scribe is not None:
            self._scribe.close()

    def _write(self, flow: http.HTTPFlow, *, cut: bool) -> None:
        take = self._takes.pop(flow.id, None)
        if take is not None and self._scribe is not None:
            self._scribe.write(heard_of_flow(flow, take.tape, cut=cut))


addons = [Recorder()]
