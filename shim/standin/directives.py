"""How a test or a user steers one answer: `[[name=value ...]]` in the prompt, or a plan made beforehand.

Rule: only names listed here are directives; any other text in double brackets is just text.
"""

import re
from typing import Any, Literal

import msgspec

from shim.standin.chunks import Chunking
from shim.standin.encode import Encoding, Escapes
from shim.standin.failures import FAILURES, Failure, RefusedError, failure_for_status, page_for_status, with_clears_in
from shim.standin.scripts import SCRIPTS


class Directives(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What may be asked of one turn; None means "as the options say".

    status, html, failure, clears_in: refuse with a row of protocol.md 9.1. delay: seconds after each event.
    say: the exact answer text, its <tool_call> marks as they were taught. words: length of script long.
    stall: seconds of silence in script stall.
    parts: pieces of script max_tokens. then: the script a handoff promises. polls: looks until something that happens
    later has happened. gone: status of a resume with script handoff_poll. gzip: compress the stream where accepted.
    options: what a handoff offers. token: where its resume token is. resume: the failure every resume gets.
    temporary_resume: what one of a temporary chat gets. breaks: how often the turn's streams break off in the middle.
    repeat: what is handed off begins with the preamble and the handoff again. announce: a resume announces the encoding
    again. state: what stream_status says. socket: how the topic is told (`plain`; or with `noise`: catch-ups,
    duplicates, foreign frames; `silent`; `lost`: nothing is kept; `undone`: no [DONE]; `endless`: no `done`).
    pictures: how many a script makes. resumes: how many
    resumes are answered before there is nothing to resume.
    """

    script: str | None = None
    status: int | None = None
    html: int | None = None
    failure: str | None = None
    clears_in: int | None = None
    delay: float | None = None
    chunks: Chunking | None = None
    encoding: Encoding | None = None
    escapes: Escapes | None = None
    words: int | None = None
    stall: float | None = None
    seed: int | None = None
    say: str | None = None
    parts: int | None = None
    then: str | None = None
    polls: int | None = None
    gone: Literal[404, 410] | None = None
    gzip: bool | None = None
    options: Literal["both", "resume", "socket", "none"] | None = None
    token: Literal["event", "header", "both", "neither"] | None = None
    resume: Literal["not_found", "tokenless_resume_unavailable", "conduit_miss", "internal"] | None = None
    temporary_resume: Literal["ok", "404"] | None = None
    breaks: int | None = None
    repeat: bool | None = None
    announce: bool | None = None
    state: Literal["IS_STREAMING", "COMPLETE", "FAILURE"] | None = None
    socket: Literal["plain", "noise", "silent", "lost", "undone", "endless"] | None = None
    pictures: int | None = None
    resumes: int | None = None

    def __post_init__(self) -> None:
        for script in (self.script, self.then):
            if script is not None and script not in SCRIPTS:
                raise ValueError(f"unknown script {script!r}; known: {', '.join(SCRIPTS)}")
        if self.parts is not None and self.parts < 1:
            raise ValueError("parts starts at 1")
        if self.failure is not None and self.failure not in FAILURES:
            raise ValueError(f"unknown failure {self.failure!r}; known: {', '.join(FAILURES)}")

    def refusal(self) -> Failure | None:
        """The refusal asked for, if one is."""
        found = self._row()
        return with_clears_in(found, self.clears_in) if found and self.clears_in is not None else found

    def _row(self) -> Failure | None:
        if self.failure is not None:
            return FAILURES[self.failure]
        if self.html is not None:
            return page_for_status(self.html)
        return None if self.status is None else failure_for_status(self.status)

    def over(self, planned: "Directives | None") -> "Directives":
        """These, completed by what was planned."""
        if planned is None:
            return self
        return msgspec.convert(msgspec.to_builtins(planned) | msgspec.to_builtins(self), Directives)


_names = "|".join(Directives.__struct_fields__)
_DIRECTIVE = re.compile(rf"\[\[\s*((?:{_names})=.*?)\]\]", re.DOTALL)


def read_directives(prompt: str) -> tuple[Directives, str]:
    """The directives in a prompt, and the prompt without them; refuses a wrong value with 400 and says why."""
    fields: dict[str, Any] = {}
    for found in _DIRECTIVE.findall(prompt):
        fields |= _pairs(found)
    try:
        directives = msgspec.convert(fields, Directives, strict=False)
    except msgspec.ValidationError as error:
        raise RefusedError(Failure(400, f"stand-in directive: {error}")) from error
    return directives, _DIRECTIVE.sub("", prompt).strip()


def _pairs(found: str) -> dict[str, str]:
    """`say=` takes the rest of the brackets as it is; other values end at a space."""
    before, say, text = found.partition("say=")
    pairs = dict(pair.partition("=")[::2] for pair in before.split())
    return pairs | ({"say": text} if say else {})
