"""What an API is to the rest of the house: how a request is read, how an answer and a refusal are written.

    body ──read──> Asked(prompt, ignored fields, the API's own options)
    events ──writer──> this API's bytes, streamed;  transcripts ──whole──> this API's body, in one piece
    error ──refuse──> headers and body of a refusal

Rule: an API is a value of this shape in a folder of `shim.apis`; all of it is pure. It is handed to the exchange, which
knows none of them by name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from shim.errors import Field, GatewayError
from shim.protocol.counting.usage import Usage
from shim.protocol.events import Event, FileRef
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.pipeline import FilterDependencies
from shim.protocol.transcript import Transcript

LinkTo = Callable[[FileRef], str]
"""(file of the answer) -> the address under which the client can have it; a data URL where it asked for data"""


class Asked(msgspec.Struct, frozen=True):
    """A request that was read. `ignored` names its fields that have no effect here; `options` is what only the API
    itself has to know again when it writes the answer. `counts_first`: a streamed answer tells the prompt's tokens at
    its head, so they are counted before.

    `keeping` is how the answer is kept, where the client wants that; with `background` it goes on without its client,
    and `keeping` is a `BackgroundKeeping`. `refers` names kept answers that the request builds on: then `complete`
    makes the whole of it, once these are there (None for one that is not). `conversation` names a kept conversation
    that is wanted for that as well, and `appending` is how the answer is added to it, where it is."""

    prompt: Prompt
    ignored: list[str] = []
    options: Any = None
    counts_first: bool = False
    keeping: "Keeping | None" = None
    background: bool = False
    refers: frozenset[str] = frozenset()
    complete: "Callable[[Mapping[str, bytes | None]], Asked] | None" = None
    conversation: str | None = None
    appending: "Appending | None" = None


class Keeping(Protocol):
    """How an API keeps one answer, for its client to ask for it again."""

    def name(self, answer: "AnswerInfo") -> str:
        """What the client knows it by."""
        ...

    def record(self, answer: "AnswerInfo", place: "AnswerPlace | None") -> bytes:
        """All of it. `place` is where upstream has the same, to go on with; None where that is nowhere."""
        ...


class Appending(Protocol):
    """How an API adds one answer to a kept conversation."""

    def added(self, record: bytes, answer: "AnswerInfo", place: "AnswerPlace | None") -> bytes | None:
        """The conversation with what was asked and answered; None where there is nothing to add. `place` as in
        `Keeping.record`."""
        ...


JobState = Literal["queued", "in_progress", "failed", "cancelled"]


class BackgroundKeeping(Keeping, Protocol):
    """The same of an answer that goes on without its client, who asks how far it is."""

    @property
    def streamed(self) -> bool:
        """Whether its events are kept as well."""
        ...

    def known_as(self, id: str) -> str:
        """What the client knows it by, from `ClientCall.id`."""
        ...

    def without_end(
        self, id: str, created: int, state: JobState, *, answer: "AnswerInfo | None", error: GatewayError | None
    ) -> bytes:
        """The record of one that has not come to its own end: with what there is of the `answer`, and what it failed
        with."""
        ...

    def shown(self, record: bytes) -> bytes:
        """What a client is given of a record."""
        ...

    def told(self, record: bytes, number: int) -> bytes:
        """The events that say what a record says: the first ones of an answer that is queued, and else the last. They
        are numbered from `number` on."""
        ...


class AnswerPlace(msgspec.Struct, frozen=True):
    """Where an answer stands upstream, where chats are kept: what a client sends back to continue it. The conversation
    goes by the name we give it (`shim.protocol.owners`)."""

    conversation_id: str
    message_id: str


class AnsweredBy(msgspec.Struct, frozen=True):
    """What really answered, in upstream's words: its slug, the effort, whether `auto` turned to a model that thinks,
    and the conversation's name where the chat is kept. None where upstream did not say."""

    slug: str | None = None
    effort: str | None = None
    auto_switched: bool | None = None
    conversation_id: str | None = None


class AnswerInfo(Protocol):
    """What a writer may ask about the answer it writes. `id` is 32 hex digits without a prefix, `created` whole
    seconds since 1970, `model` the public name of the model that answers. `encoded` is for its API to note the body of
    an answer that is over, where that is needed again (for a record); None until then."""

    id: str
    created: int
    transcripts: Sequence[Transcript]
    encoded: bytes | None

    @property
    def model(self) -> str:
        """The model that answers, as far as upstream has said by now."""
        ...

    @property
    def usage(self) -> Usage:
        """Token counts of everything said so far."""
        ...

    @property
    def counted(self) -> Usage | None:
        """The same where it costs nothing to ask: None where it was not counted yet and would take long."""
        ...

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt where they were counted, or cost nothing to count."""
        ...

    @property
    def picture_tokens(self) -> int:
        """The tokens of the prompt's pictures, which the usage includes."""
        ...

    def answered_by(self, choice: int) -> AnsweredBy:
        """What really answers a choice, as far as upstream has said by now."""
        ...

    def place(self, choice: int) -> AnswerPlace | None:
        """Where a choice of the answer stands; None where chats are not kept, or upstream has not said."""
        ...

    def link(self, file: FileRef, choice: int) -> str:
        """As `LinkTo`, for a file that a transcript names."""
        ...


class Writer(Protocol):
    """Writes one streamed answer. The transcripts of the answer hold each event by the time it is written."""

    def head(self) -> bytes:
        """What comes before the first event."""
        ...

    def receive(self, events: Sequence[Event], choice: int) -> bytes:
        """The bytes for what has happened in one choice. With the last event of the last choice, or a Failed, they end
        the stream in this API's own way."""
        ...


class Api(Protocol):
    """One API. `fields` is what its clients call the fields that the core knows."""

    name: str
    fields: Mapping[Field, str]

    def credential(self, headers: Mapping[str, str]) -> str | None:
        """What the client proves with who it is; header names are lower case. None where it sent nothing."""
        ...

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The request. Raises RequestError (400) that names the field; with `strict` also for ignored ones."""
        ...

    def filters(self, prompt: Prompt, needs: FilterDependencies, link: LinkTo) -> list[Filter]:
        """Everything between the answer's events and the writer, for one choice."""
        ...

    def stream(self, answer: AnswerInfo, options: Any) -> Writer:
        """The writer of a streamed answer."""
        ...

    def whole(self, answer: AnswerInfo, options: Any) -> bytes:
        """The body of an answer in one piece, once all of it is in the transcripts."""
        ...

    def break_off(self, error: GatewayError) -> bytes:
        """All of a streamed answer that failed before it began, where its head is out already."""
        ...

    def refuse(self, error: GatewayError) -> tuple[dict[str, str], bytes]:
        """Headers and body of an answer that is an error; its status is the error's own."""
        ...
