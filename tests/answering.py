"""An answer as a writer may ask about it, without an exchange behind it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from shim.apis.chat import CHAT
from shim.apis.chat.read import ChatOptions
from shim.protocol.api import AnsweredBy, AnswerPlace, Api
from shim.protocol.counting.usage import Usage
from shim.protocol.events import Event, FileRef
from shim.protocol.transcript import Transcript

Count = Callable[[Sequence[Transcript]], Usage]


class FakeAnswer:
    """See `shim.protocol.api.AnswerInfo`. Its events come by `write` and `whole`."""

    def __init__(
        self,
        *,
        id: str = "1",
        created: int = 1_700_000_000,
        model: str = "auto",
        count: Count | None = None,
        choices: int = 1,
        place: AnswerPlace | None = None,
        api: Api = CHAT,
        options: Any = None,
        answered_by: AnsweredBy | None = None,
    ) -> None:
        self.id, self.created, self.model = id, created, model
        self.encoded: bytes | None = None
        self.transcripts = [Transcript() for _ in range(choices)]
        self._count = count or (lambda _transcripts: Usage(0, 0))
        self._place = place
        self._answered_by = answered_by or AnsweredBy()
        self._api = api
        self._options = ChatOptions() if options is None else options
        self.writer = api.stream(self, self._options)

    @property
    def usage(self) -> Usage:
        return self._count(self.transcripts)

    @property
    def counted(self) -> Usage | None:
        return self.usage

    @property
    def prompt_tokens(self) -> int | None:
        return self.usage.prompt

    @property
    def picture_tokens(self) -> int:
        return 0

    def answered_by(self, _choice: int) -> AnsweredBy:
        return self._answered_by

    def place(self, _choice: int) -> AnswerPlace | None:
        return self._place

    def link(self, file: FileRef, _choice: int) -> str:
        return f"http://gateway.test/{file.file_id}"

    def head(self) -> bytes:
        """What a stream begins with."""
        return self.writer.head()

    def write(self, events: Iterable[Event], choice: int = 0) -> bytes:
        """The stream's bytes for these events."""
        events = list(events)
        self.add(events, choice)
        return self.writer.receive(events, choice)

    def add(self, events: Iterable[Event], choice: int = 0) -> None:
        """Take events in. Raises what the answer failed with."""
        for event in events:
            self.transcripts[choice].add(event)

    def whole(self) -> bytes:
        """The body in one piece. Raises what the answer failed with."""
        for transcript in self.transcripts:
            if transcript.error is not None:
                raise transcript.error
        return self._api.whole(self, self._options)
