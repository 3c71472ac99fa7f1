"""What upstream says, in the words of its two encodings: one builder of answer streams for every test that plays them.

Frames first (`snapshot`, `added`, `append`, `changed`, `typed`): bytes that can be joined in any order. Then stories:
the states of messages, told in snapshots (`as_snapshots`) or in deltas (`as_deltas`). Then ways to cut a stream.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]
Story = list[Json]
"""What upstream has, step by step: the whole state of a message, or (with a `type` in it) a typed event."""

CONVERSATION = "c1"
DONE = b"data: [DONE]\n\n"
V1 = b'event: delta_encoding\ndata: "v1"\n\n'
PART = "/message/content/parts/0"
END: Json = {"status": "finished_successfully", "end_turn": True}


# --- messages ---------------------------------------------------------------------------------------------------------


def message(text: str = "", **fields: Any) -> Json:
    """An assistant's text message under way, or whatever `fields` make of it."""
    return {
        "id": "a1",
        "author": {"role": "assistant"},
        "content": {"content_type": "text", "parts": [text]},
        "status": "in_progress",
        "end_turn": None,
        "metadata": {},
        "recipient": "all",
        **fields,
    }


def content(kind: str, **fields: Any) -> Json:
    """The field `content` of a message, as an argument of what makes messages."""
    return {"content": {"content_type": kind, **fields}}


def rooted(message: Json, conversation: str = CONVERSATION) -> Json:
    """What a snapshot shows, and what the operations of a delta change: a message in its conversation."""
    return {"message": message, "conversation_id": conversation, "error": None}


# --- frames -----------------------------------------------------------------------------------------------------------


def frame(value: object, name: str = "") -> bytes:
    """One event. Unnamed it is a typed event, a snapshot or an error."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def typed(kind: str, /, **fields: Any) -> bytes:
    return frame({"type": kind, "conversation_id": CONVERSATION, **fields})


def snapshot(text: str = "", /, conversation: str = CONVERSATION, **fields: Any) -> bytes:
    return frame(rooted(message(text, **fields), conversation))


def delta(value: Any = ..., /, **operation: Any) -> bytes:
    """One operation; `delta(" more")` is bare text."""
    if value is not ...:
        operation["v"] = value
    return frame(operation, "delta")


def added(text: str = "", /, c: int = 0, conversation: str = CONVERSATION, **fields: Any) -> bytes:
    """A new message in the delta encoding."""
    return delta(rooted(message(text, **fields), conversation), p="", o="add", c=c)


def append(text: str, path: str = PART, **more: Any) -> bytes:
    return delta(text, p=path, o="append", **more)


def changed(*changes: tuple[str, Any]) -> bytes:
    """A batch that sets fields of the message."""
    return delta([{"p": f"/message/{path}", "o": "replace", "v": value} for path, value in changes], p="", o="patch")


ENDED = changed(*END.items())


# --- stories ----------------------------------------------------------------------------------------------------------


def as_snapshots(story: Story) -> list[bytes]:
    return [*(frame(step if "type" in step else rooted(step)) for step in story), DONE]


def as_deltas(story: Story) -> list[bytes]:
    """Each message on a channel of its own; text that grows is told as shortly as can be."""
    frames, known, said = [V1], dict[str, tuple[int, Json]](), None
    for step in story:
        if "type" in step:
            frames.append(frame(step))
            continue
        channel, before = known.get(step["id"], (len(known), None))
        known[step["id"]] = (channel, step)
        if before is None:
            frames.append(delta(rooted(step), p="", o="add", c=channel))
            said = None
            continue
        changes = list(_difference(before, step, "/message"))
        match changes:
            case []:
                continue
            case [{"o": "append", "p": path, "v": str(piece)}]:
                short = said == (channel, path)
                frames.append(delta(piece) if short else delta(**changes[0], c=channel))
                said = (channel, path)
            case _:
                frames.append(delta(changes, p="", o="patch", c=channel))
                said = None
    return [*frames, DONE]


def _difference(old: Any, new: Any, path: str) -> Iterator[Json]:
    """The operations that make `old` into `new`."""
    match old, new:
        case (dict(), dict()):
            for key in new:
                if key in old:
                    yield from _difference(old[key], new[key], f"{path}/{key}")
                else:
                    yield {"p": f"{path}/{key}", "o": "add", "v": new[key]}
            yield from ({"p": f"{path}/{key}", "o": "remove"} for key in old if key not in new)
        case (list(), list()) if len(new) >= len(old):
            for place, (one, other) in enumerate(zip(old, new, strict=False)):
                yield from _difference(one, other, f"{path}/{place}")
            if len(new) > len(old):
                yield {"p": path, "o": "append", "v": new[len(old) :]}
        case (str(), str()) if new.startswith(old) and new != old:
            yield {"p": path, "o": "append", "v": new[len(old) :]}
        case _ if new != old:
            yield {"p": path, "o": "replace", "v": new}


# --- chunks -----------------------------------------------------------------------------------------------------------


def bytewise(stream: bytes) -> list[bytes]:
    """The stream, one byte at a time."""
    return [bytes([byte]) for byte in stream]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream, cut at these places (taken modulo its length). No chunk is empty: that would be the end of input."""
    ends = sorted({place % len(stream) for place in places} - {0}) if stream else []
    return [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True) if b > a]
