"""Records live flows as scrubbed cassettes: `mitmdump -s addons/recorder.py`, or `chat2api record`.

It takes either side: a browser's traffic with ChatGPT, or this gateway's with upstream. Beside an addon that rewrites
(`bridge`) it comes first, to hear what upstream sent; that addon passes chunks through the callable it finds.

Rule: it changes nothing. It hands every chunk on as it came, and a flow it fails on goes its way unrecorded.
"""

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from mitmproxy import ctx, exceptions, http  # type: ignore[import-not-found,unused-ignore]
from mitmproxy.addonmanager import Loader  # type: ignore[import-not-found,unused-ignore]

from addons.listening import is_streamed, listen
from shim.cassettes.background_writer import BackgroundWriter
from shim.cassettes.flows import call_of_flow
from shim.cassettes.recording import MAX_BODY_BYTES, BodyCapture

# Those of the API, by all the names its hosts have for it (protocol.md 1, 8); pages and telemetry are not recorded.
PATHS = r"^/(backend-(api|anon)|public-api|api/auth|oauth)/"


class AnswerCapture:
    """One answer as it is heard."""

    def __init__(self, flow: http.HTTPFlow, response: http.Response, limit: int) -> None:
        self.flow = flow
        self.body = BodyCapture(response.headers.get("content-encoding", ""), limit)
        self.heard = self.ended = False
        self._began = time.monotonic()

    def receive(self, chunk: bytes) -> None:
        """A piece of the body, now."""
        self.heard = True
        self.ended = not chunk  # mitmproxy ends a stream so
        self.body.receive(time.monotonic() - self._began, chunk)


class Recorder:
    """Writes one cassette, a call at a time."""

    def __init__(self) -> None:
        self._answers: dict[str, AnswerCapture] = {}
        self._paths = re.compile(PATHS)
        self._writer: BackgroundWriter | None = None

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("record_folder", str, "cassettes", "Folder for recordings.")
        loader.add_option("record_name", str, "", "Name of the recording (empty: the time).")
        loader.add_option("record_redact_text", bool, False, "Replace message text by text of its shape.")
        loader.add_option("record_limit", int, MAX_BODY_BYTES, "Bytes of a body that are recorded at most.")
        loader.add_option("record_paths", str, PATHS, "Record calls whose path matches this.")

    def configure(self, updated: set[str]) -> None:
        """Start a new cassette where an option that concerns it has changed."""
        if "record_paths" in updated:
            try:
                self._paths = re.compile(ctx.options.record_paths)
            except re.error as error:
                raise exceptions.OptionsError(f"record_paths: {error}") from error
        if updated & {"record_folder", "record_name", "record_redact_text"}:
            if self._writer is not None:
                self._writer.close()
            name = ctx.options.record_name or f"recording-{datetime.now(UTC):%Y%m%d-%H%M%S}"
            self._writer = BackgroundWriter(
                Path(ctx.options.record_folder) / f"{name}.json", redact=ctx.options.record_redact_text
            )

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Start capturing an answer. Event streams are passed on as they come, everything else as without us."""
        response = flow.response
        if response is None or not self._paths.search(flow.request.path):
            return
        answer = self._answers[flow.id] = AnswerCapture(flow, response, ctx.options.record_limit)
        if is_streamed(response):
            listen(response, answer.receive)

    def response(self, flow: http.HTTPFlow) -> None:
        """The answer is complete. If it was not streamed (another addon may want it whole), its body is taken now."""
        # Nothing was heard of an answer that came in one piece.
        answer = self._answers.get(flow.id)
        if answer is not None and not answer.heard and flow.response is not None:
            answer.receive(flow.response.raw_content or b"")
        self._write(flow, cut=False)

    def error(self, flow: http.HTTPFlow) -> None:
        """The connection broke: the recording holds what came before."""
        self._write(flow, cut=True)

    def done(self) -> None:
        """Finish writing, and say what there is now."""
        for answer in tuple(self._answers.values()):
            # mitmproxy ends its addons before the calls that are under way. What was heard of one is kept: its client
            # may have had all that it wanted, and left the end of the body to come.
            if answer.heard:
                self._write(answer.flow, cut=not answer.ended)
        writer, self._writer = self._writer, None
        if writer is not None:
            # Not to the log, whose end mitmproxy has shown already when it ends the addons.
            sys.stderr.write(f"{writer.close()}\n")

    def _write(self, flow: http.HTTPFlow, *, cut: bool) -> None:
        answer = self._answers.pop(flow.id, None)
        if answer is not None and self._writer is not None:
            self._writer.write(call_of_flow(flow, answer.body, cut=cut))


addons = [Recorder()]
