"""Shows the conversation behind a flow: `mitmweb -s addons/view.py`, `mitmproxy`, or `mitmdump` for the comments alone.

A content view for conversation calls, upstream's and this gateway's own, a comment on each flow, and two commands:

    chat2api.export FLOWS PATH    the flows as a cassette, scrubbed
    chat2api.curl FLOW            a curl command, with shell variables in the place of secrets

(`chat.export` and `chat.curl` are the same.)

A streamed body is not kept by mitmproxy, so the chunks are noted as they go by, in the flow's metadata (plain lists and
bytes, so that flow files hold them). Beside an addon that rewrites (`bridge`) this one comes first, as the recorder.

Rule: it changes nothing on the wire, and what fails in here ends in here. Message text is in the view and nowhere else.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import mitmproxy.types  # type: ignore[import-not-found,unused-ignore]
import msgspec
from mitmproxy import (  # type: ignore[import-not-found,unused-ignore]
    command,
    contentviews,
    ctx,
    exceptions,
    flow,
    http,
)
from mitmproxy.addonmanager import Loader  # type: ignore[import-not-found,unused-ignore]
from mitmproxy.hooks import UpdateHook  # type: ignore[import-not-found,unused-ignore]

from addons.listening import is_streamed, listen
from shim.cassettes.curl_commands import curl_command
from shim.cassettes.flows import call_of_flow, pairs
from shim.cassettes.format import dump_cassette
from shim.cassettes.recording import MAX_BODY_BYTES, BodyCapture, CapturedCall, cassette_of
from shim.cassettes.timeline import Timeline, is_conversation_call, timeline_of
from shim.cassettes.transcripts import headline, transcript

log = logging.getLogger(__name__)

# Keys in a flow's metadata: the answer as it was heard, and what we said of the flow.
NOTE = "chat2api"
_COMMENT = "chat2api_comment"
# Of one answer: small ones would fit by the thousand into the limit of bytes, and cost more as objects than as bytes.
_MAX_CHUNKS = 100_000
Hook = Callable[..., None]


def guarded(hook: Hook) -> Hook:
    """A hook that never fails. What an error says may quote a body, so only its kind is logged."""

    @functools.wraps(hook)
    def run(*arguments: Any) -> None:
        try:
            hook(*arguments)
        except Exception as error:  # noqa: BLE001  a view must not break what it looks at; its text may quote a body
            log.warning("the debug view failed in %s: %s", hook.__name__, type(error).__name__)

    return run


# --- what was captured ------------------------------------------------------------------------------------------------


class AnswerNote:
    """An answer as it is heard, noted in its flow: the chunks as they are on the wire, and seconds since the head."""

    def __init__(self, seen: http.HTTPFlow, limit: int) -> None:
        self._limit = limit
        self._began = time.monotonic()
        self._chunks: list[tuple[float, bytes]] = []
        self._size = 0
        self._note = seen.metadata[NOTE] = _note_of(seen.response, self._chunks)

    @guarded
    def receive(self, chunk: bytes) -> None:
        """A piece of the body, now. The first that would exceed the limit, and all after it, are dropped."""
        self._size += len(chunk)
        if self._size > self._limit or len(self._chunks) >= _MAX_CHUNKS:
            self._note["kept"] = "head"
        elif chunk and self._note["kept"] == "all":
            self._chunks.append((time.monotonic() - self._began, chunk))


def call_of(seen: http.HTTPFlow) -> CapturedCall:
    """The call behind a flow, as far as it has come. Status 0 is no answer."""
    if seen.response is not None:
        note = seen.metadata.get(NOTE) or _whole(seen.response)
        capture = BodyCapture(note["coding"])
        for at, piece in note["chunks"]:
            capture.receive(at, piece)
        if capture.kept == "all":
            capture.kept = note["kept"]
        call = call_of_flow(seen, capture, cut=seen.error is not None)
        # As noted, because an addon after us may have made another answer of it.
        return msgspec.structs.replace(call, status=note["status"], answer_headers=list(map(tuple, note["headers"])))
    request = seen.request
    body = request.get_content(strict=False)
    return CapturedCall(request.method, request.url, pairs(request.headers), body, 0, [], [])


def timeline_of_flow(seen: http.HTTPFlow, call: CapturedCall) -> Timeline:
    """When its answer said what, since the request was sent."""
    sent, response = seen.request.timestamp_end or seen.request.timestamp_start, seen.response
    over = seen.error is not None or (response is not None and response.timestamp_end is not None)
    waited = max(0.0, response.timestamp_start - sent) if response is not None else 0.0
    return timeline_of(call, over=over, waited=waited)


def _note_of(response: http.Response, chunks: list[tuple[float, bytes]]) -> dict[str, Any]:
    """An answer as upstream gave it: who comes after us may make another of it."""
    coding, status = response.headers.get("content-encoding", ""), response.status_code
    return {"status": status, "headers": pairs(response.headers), "coding": coding, "chunks": chunks, "kept": "all"}


def _whole(response: http.Response) -> dict[str, Any]:
    """What we would have noted of a body that its flow has in one piece."""
    if response.raw_content is None:
        return _note_of(response, []) | {"kept": "none"}
    took = (response.timestamp_end or response.timestamp_start) - response.timestamp_start
    return _note_of(response, [(max(0.0, took), response.raw_content)])


# --- the content view: what it shows, and the two ways mitmproxy wants it ---------------------------------------------


def is_shown(seen: Any) -> bool:
    """Whether the view has something to say of this flow."""
    return isinstance(seen, http.HTTPFlow) and is_conversation_call(seen.request.method, seen.request.url)


def page_of(seen: http.HTTPFlow) -> str:
    """The conversation behind a flow, to read; the same on the side of the request and of the answer."""
    try:
        call = call_of(seen)
        return transcript(call, timeline_of_flow(seen, call))
    except Exception as error:  # noqa: BLE001 - its text may quote a body, and mitmproxy would log it
        return f"This conversation can't be shown ({type(error).__name__}); choose another view.\n"


class ConversationView:
    """For mitmproxy 12: a content view by its shape."""

    name = "ChatGPT conversation"
    syntax_highlight = "none"

    def render_priority(self, data: bytes, metadata: Any) -> float:
        """Above JSON for what it knows, never for anything else."""
        return 2.0 if is_shown(metadata.flow) else -1.0

    def prettify(self, data: bytes, metadata: Any) -> str:
        """The page; a body of any other flow as text."""
        return page_of(metadata.flow) if is_shown(metadata.flow) else data.decode(errors="replace")


class LegacyConversationView:
    """The same for mitmproxy 11, which calls a view and takes it line by line."""

    name = ConversationView.name

    def render_priority(self, data: bytes, *, flow: Any = None, **_: Any) -> float:
        """As above."""
        return 2.0 if is_shown(flow) else -1.0

    def __call__(self, data: bytes, *, flow: Any = None, **_: Any) -> tuple[str, Iterable[list[tuple[str, str]]]]:
        """Its description, and the page as lines of styled pieces."""
        page = page_of(flow) if is_shown(flow) else data.decode(errors="replace")
        return self.name, ([("text", line)] for line in page.splitlines())

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


def register() -> None:
    """Offer the view, in the way this mitmproxy wants it."""
    # mitmproxy 12 brought the name with its new way. In 11 an addon that is loaded again must not add its view again.
    if hasattr(contentviews, "Contentview"):
        contentviews.add(ConversationView())
    elif contentviews.get(LegacyConversationView.name) is None:
        contentviews.add(LegacyConversationView())


# --- the addon --------------------------------------------------------------------------------------------------------


class DebugView:
    """The hooks and commands. It keeps nothing itself: what it hears is in the flows."""

    def load(self, loader: Loader) -> None:
        """Declare the option, offer the view."""
        loader.add_option("chat2api_view_limit", int, MAX_BODY_BYTES, "Bytes of an answer the view keeps at most.")
        register()

    @guarded
    def requestheaders(self, seen: http.HTTPFlow) -> None:
        """A flow that is sent again begins anew; one from a file, which has its answer, does not."""
        if seen.response is None:
            seen.metadata.pop(NOTE, None)

    @guarded
    def responseheaders(self, seen: http.HTTPFlow) -> None:
        """Begin to hear an answer. Event streams are passed on as they come, all else as it would be without us."""
        response = seen.response
        if response is None or response.timestamp_end is not None or not is_shown(seen):
            return  # an answer that has its end already is from a file
        if is_streamed(response):
            listen(response, AnswerNote(seen, ctx.options.chat2api_view_limit).receive)

    @guarded
    def response(self, seen: http.HTTPFlow) -> None:
        """The answer is over."""
        _end(seen)

    @guarded
    def error(self, seen: http.HTTPFlow) -> None:
        """The connection broke; what came so far can be seen."""
        _end(seen)

    @command.command("chat2api.export")  # type: ignore[untyped-decorator,unused-ignore]
    def export(self, flows: Sequence[flow.Flow], path: mitmproxy.types.Path) -> None:
        """Write flows as a cassette, scrubbed of secrets; message text is kept."""
        calls = []
        for one in flows:
            if not isinstance(one, http.HTTPFlow) or one.response is None:
                raise exceptions.CommandError("a flow without an answer can't be exported")
            calls.append(call_of(one))
        try:
            place = Path(path)
            place.touch(mode=0o600)  # before there is message text in it
            place.write_bytes(dump_cassette(cassette_of(calls)))
        except OSError as error:
            raise exceptions.CommandError(f"can't write {path}: {error.strerror}") from error
        log.info("%d calls written to %s", len(calls), path)

    @command.command("chat2api.curl")  # type: ignore[untyped-decorator,unused-ignore]
    def curl(self, flow: flow.Flow) -> str:
        """A curl command that makes a call again, with $ACCESS_TOKEN and the like in the place of secrets."""
        if not isinstance(flow, http.HTTPFlow):
            raise exceptions.CommandError("this is no HTTP flow")
        return curl_command(call_of(flow))

    # mitmweb's command bar takes no name with a digit in it.
    _export = command.command("chat.export")(export)
    _curl = command.command("chat.curl")(curl)


def _end(seen: http.HTTPFlow) -> None:
    """Give the flow the body that was streamed, or mitmproxy would ask no view to show it, and a comment."""
    if not is_shown(seen):
        return
    response = seen.response
    if response is not None:
        note = seen.metadata.setdefault(NOTE, _whole(response))
        if response.raw_content is None and note["kept"] == "all":
            response.raw_content = b"".join(piece for _, piece in note["chunks"])
        elif response.raw_content and not note["chunks"]:  # somebody wanted it in one piece after all
            seen.metadata[NOTE] = _whole(response)
    if seen.comment and seen.comment != seen.metadata.get(_COMMENT):
        return  # a person's own comment stays
    call = call_of(seen)
    seen.comment = seen.metadata[_COMMENT] = headline(call, timeline_of_flow(seen, call))
    ctx.master.addons.trigger(UpdateHook([seen]))


addons = [DebugView()]
