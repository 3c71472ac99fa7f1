"""What a script is made of: steps that start a message, change it, say something typed, fail, wait or break off.

Rule: a script knows nothing of encodings. `encode` turns the same steps into snapshots or into deltas.
"""

from random import Random
from typing import Any
from uuid import UUID

import msgspec

Json = dict[str, Any]


class Op(msgspec.Struct, frozen=True):
    """One change at a JSON Pointer below the root (protocol.md 5.2): o is append, replace, add or remove."""

    p: str
    o: str
    v: Any = None


class Start(msgspec.Struct, frozen=True):
    """A new message, on its own channel number."""

    message: Json
    channel: int


class Change(msgspec.Struct, frozen=True):
    """Changes to the message of one channel that become visible together."""

    ops: tuple[Op, ...]
    channel: int


class Typed(msgspec.Struct, frozen=True):
    """A typed event (protocol.md 5.3); `name` is the rarely used SSE event name."""

    event: Json
    name: str | None = None


class StreamError(msgspec.Struct, frozen=True):
    """An error inside the stream; `form` is one of the shapes of protocol.md 9.4: root, patched, detail, typed."""

    error: Any
    form: str = "root"
    code: str | None = None


class Pause(msgspec.Struct, frozen=True):
    """Silence for that many seconds."""

    seconds: float


class Cut(msgspec.Struct, frozen=True):
    """The body ends here, without [DONE]."""


Step = Start | Change | Typed | StreamError | Pause | Cut


class Made(msgspec.Struct, frozen=True):
    """A file the assistant has made: a picture, or something in the sandbox."""

    id: str
    name: str
    mime_type: str
    content: bytes


class Turn(msgspec.Struct):
    """One turn being answered: what was asked, by which plan, and the source of ids, time and chance.

    parts: into how many pieces script max_tokens cuts; rest: those not told yet. made: files made on the way.
    sandbox: paths and their file ids. later: what happens after the stream has ended, once it was looked for `polls`
    times (-1 = never). one_by_one: one of them each time. pictures: how many a script makes. options: what a handoff
    offers. forgetful: the chat is not to be remembered. asked_slug, effort: what the turn asked for.
    tool, use_case: what server_ste_metadata says.
    """

    question: str
    slug: str
    plan: str
    conversation_id: str
    parent_id: str
    user_message: Json | None
    rng: Random
    now: float
    words: int = 60
    say: str | None = None
    stall: float = 3600.0
    parts: int = 2
    polls: int = 2
    pictures: int = 4
    options: str = "both"
    forgetful: bool = False
    asked_slug: str = "auto"
    effort: str | None = None
    one_by_one: bool = False
    tool: str | None = None
    use_case: str = "text"
    gizmo_id: str | None = None
    channels: int = 0
    rest: list[str] = []
    made: list[Made] = []
    sandbox: dict[str, str] = {}
    textdocs: list[Json] = []
    later: list[Step] = []
    exchange_id: str = ""

    def __post_init__(self) -> None:
        self.exchange_id = self.exchange_id or self.new_id()

    def new_id(self) -> str:
        """A UUID v4 that the turn's seed decides."""
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def make_file(self, name: str, mime_type: str, content: bytes, *, sediment: bool = False) -> str:
        """Make a file and return its id, of the older form or of the one for sediment:// (protocol.md 6.4)."""
        digits = f"{self.rng.getrandbits(96):024x}"
        file_id = f"file_00000000{digits}" if sediment else f"file-{digits}"
        self.made.append(Made(file_id, name, mime_type, content))
        return file_id

    def start(self, message: Json) -> Start:
        """Begin a message on the next channel; it becomes the parent of the one after it."""
        self.parent_id = message["id"]
        self.channels += 1
        return Start(message, self.channels - 1)

    def message(self, role: str, content: Json, **fields: Any) -> Json:
        """A message object of protocol.md 5.1; `metadata` in fields is merged into the usual one."""
        author = {"role": role, "name": fields.pop("name", None), "metadata": {}}
        metadata = {"parent_id": self.parent_id, "turn_exchange_id": self.exchange_id} | fields.pop("metadata", {})
        return {
            "id": fields.pop("id", None) or self.new_id(),
            "author": author,
            "create_time": round(self.now + self.channels * 0.25, 6),
            "update_time": None,
            "content": content,
            "status": "in_progress",
            "end_turn": None,
            "weight": 1.0,
            "metadata": metadata,
            "recipient": "all",
            "channel": None,
        } | fields

    def answer(self, content: Json, **fields: Any) -> Json:
        """A message of the assistant with the metadata of one."""
        metadata: Json = {
            "citations": [],
            "content_references": [],
            "message_type": "next",
            "model_slug": self.slug,
            "default_model_slug": self.asked_slug,
            "model_switcher_deny": [],
        }
        if self.effort:
            metadata["thinking_effort"] = self.effort
        if self.gizmo_id:
            metadata["gizmo_id"] = self.gizmo_id
        return self.message("assistant", content, metadata=metadata | fields.pop("metadata", {}), **fields)


PART = "/message/content/parts/0"
CODE = "/message/content/text"


def append(path: str, text: Any) -> Op:
    """Append to a string or a list, or merge into an object."""
    return Op(path, "append", text)


def replace(path: str, value: Any) -> Op:
    """Set a value."""
    return Op(path, "replace", value)


def finish(
    kind: str = "stop", *, status: str = "finished_successfully", end_turn: bool | None = True
) -> tuple[Op, ...]:
    """The last changes of a message: status, end_turn and finish_details (protocol.md 5.1)."""
    details: Json = {"type": kind}
    if kind == "stop":
        details["stop_tokens"] = [200002 if end_turn else 200012]
    return (
        replace("/message/status", status),
        replace("/message/end_turn", end_turn),
        append("/message/metadata", {"finish_details": details, "is_complete": kind == "stop"}),
    )
