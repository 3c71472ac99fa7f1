"""Pictures that tools make: pointers in their messages, now or promised for later (protocol.md 6.5).

Rule: only a tool's pointers are results (a user's are what they sent), and a picture is shown once, when finished. Each
preview is told once; the last is kept for each generation, for the case that nothing better ever comes.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from shim.chatgpt.stream import Message
from shim.protocol.answer.citations import without_marks
from shim.protocol.events import FileRef, Picture, Preview

_POINTER = re.compile(r"(?:file-service|sediment)://([\w.-]+)", re.ASCII)
_MAKERS = ("dalle", "image_gen", "t2uay3k")


class Sight(msgspec.Struct, frozen=True):
    """A picture as one message shows it. `generation` is the same for its previews and for the finished one."""

    picture: Picture
    generation: str
    finished: bool


def is_maker(name: Any) -> bool:
    """Whether a tool of this name makes pictures."""
    return isinstance(name, str) and name.startswith(_MAKERS)


def sights_in(message: Message, conversation_id: str | None) -> list[Sight]:
    """The pictures in a message, none where it is not a tool's. Their weight says nothing: finished ones have come with
    a weight of 0."""
    if message.author.role != "tool" or message.metadata.is_visually_hidden_from_conversation is True:
        return []
    title = message.metadata.image_gen_title
    finished = message.status != "in_progress"
    where = FileRef(
        conversation_id,
        message.id if isinstance(message.id, str) else None,
        title=without_marks(title) if isinstance(title, str) and title else None,
    )
    return [
        Sight(
            Picture(msgspec.structs.replace(where, file_id=one.id), one.width, one.height, one.prompt),
            one.generation or one.id,
            finished,
        )
        for one in _pointers(message)
    ]


def promise_in(message: Message) -> str | None:
    """The name of a picture that is being made elsewhere and will come later, where the message says so."""
    metadata = message.metadata
    task = metadata.image_gen_task_id
    if message.author.role != "tool":
        return None
    if isinstance(task, str) and task:
        return task
    if metadata.image_gen_async is not True and metadata.async_task_type != "image_gen":
        return None
    return message.id if isinstance(message.id, str) else ""


class Gallery(msgspec.Struct, eq=False):
    """The pictures of one answer: which have been shown, which only as a preview, which are still promised."""

    shown: int = 0
    files: set[str] = set()  # ids of the pictures that were shown
    _hung: set[str] = set()  # files and generations
    _previews: dict[str, Picture] = {}
    _looks: dict[str, set[str]] = {}  # generation -> the files of its previews that were told
    _promises: set[str] = set()
    _kept: set[str] = set()  # promises that need no more waiting

    @property
    def waits(self) -> bool:
        """Whether a promised picture has not come."""
        return bool(self._promises)

    def promise(self, name: str) -> None:
        """A picture will come. The same promise is heard again whenever the conversation is read."""
        # One that was kept, or given up, must not hold the answer up for a second time.
        if name not in self._kept:
            self._promises.add(name)

    def forget(self) -> None:
        """The tool failed: nothing that was promised will come."""
        self._kept |= self._promises
        self._promises.clear()

    def hang(self, sights: Iterable[Sight], promise: str | None = None) -> list[Picture]:
        """The pictures to show now. `promise` is the one their message names; where it names none known, any is kept
        by them."""
        # A picture that came under another name than was promised keeps a promise all the same: else the answer would
        # wait for one that never comes.
        pictures: list[Picture] = []
        for sight in sights:
            names = {sight.generation, sight.picture.file.file_id or ""}
            # The finished picture has a file of its own and the same generation as its previews; in a conversation that
            # is read again both may be met once more.
            if names & self._hung:
                continue
            if not sight.finished:
                self._previews[sight.generation] = sight.picture  # shown only where nothing better comes
                continue
            self._previews.pop(sight.generation, None)
            self._hung |= names
            pictures.append(sight.picture)
        for _ in pictures:
            if self._promises:
                name = promise if promise in self._promises else next(iter(self._promises))
                self._promises.discard(name)
                self._kept.add(name)
        self.shown += len(pictures)
        self.files |= {picture.file.file_id or "" for picture in pictures}
        return pictures

    def looks(self, sights: Iterable[Sight]) -> list[Preview]:
        """The previews to tell of now: those that have not been, of pictures that are not finished."""
        told = []
        for sight in sights:
            id = sight.picture.file.file_id or ""
            seen = self._looks.setdefault(sight.generation, set())
            if not sight.finished and sight.generation not in self._hung and id not in seen:
                told.append(Preview(sight.picture.file, len(seen)))
                seen.add(id)
        return told

    def leftovers(self) -> list[Picture]:
        """Previews of pictures that were never finished."""
        pictures = list(self._previews.values())
        self._previews.clear()
        self.shown += len(pictures)
        return pictures


class PicturePointer(msgspec.Struct, frozen=True):
    """What stands upstream for one picture. `generation` is what its previews and the finished one have in common."""

    id: str
    generation: str | None = None
    width: int | None = None
    height: int | None = None
    prompt: str | None = None


def _pointers(message: Message) -> Iterator[PicturePointer]:
    """Every picture: among the parts, or, for the interpreter's charts, in what its run left in the metadata."""
    parts = message.content.parts
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and part.get("content_type") == "image_asset_pointer":
            yield from _pointer(part.get("asset_pointer"), part)
    # Charts of the interpreter are no parts, and have no generation: each run draws anew.
    run = message.metadata.aggregate_result
    printed = run.get("messages") if isinstance(run, dict) else None
    for one in printed if isinstance(printed, list) else ():
        if isinstance(one, dict) and one.get("message_type") == "image":
            yield from _pointer(one.get("image_url"), {})


def _pointer(pointer: Any, part: dict[Any, Any]) -> Iterator[PicturePointer]:
    if isinstance(pointer, str) and (match := _POINTER.match(pointer)):
        yield PicturePointer(
            match[1],
            _said_of(part, "gen_id"),
            _pixels(part.get("width")),
            _pixels(part.get("height")),
            _said_of(part, "prompt"),
        )


def _said_of(part: dict[Any, Any], name: str) -> str | None:
    """What a part's metadata say of how it was made, which DALL-E and its successor keep in different places."""
    metadata = part.get("metadata")
    for maker in ("generation", "dalle"):
        made = metadata.get(maker) if isinstance(metadata, dict) else None
        word = made.get(name) if isinstance(made, dict) else None
        if isinstance(word, str) and word:
            return word
    return None


def _pixels(size: Any) -> int | None:
    return size if isinstance(size, int) and 0 < size < 1_000_000 else None
