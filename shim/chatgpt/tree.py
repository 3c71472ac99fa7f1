"""A conversation as upstream keeps it: `GET conversation/{id}`, a tree of messages (protocol.md 7.5).

Rule: tolerant, like the stream. A node that can't be read is skipped, and a tree that goes in circles still ends.
"""

from typing import Any

import msgspec

from shim.chatgpt.stream import Message, decode_tolerantly


class Tree(msgspec.Struct, frozen=True):
    """The tree: nodes by id, and the newest one of the branch that is being looked at."""

    mapping: dict[str, Any]
    current_node: Any = None


class Node(msgspec.Struct, frozen=True):
    """One node. The root has no message."""

    message: Message | None = None
    parent: Any = None


def decode_tree(body: bytes) -> Tree | None:
    """The tree in an answer's body, or None where there is none."""
    try:
        return decode_tolerantly(_decoder, body)
    except (ValueError, RecursionError):
        return None


def newest_turn(tree: Tree) -> list[Message]:
    """What was said since the user last spoke, oldest first: the walk from the newest node up to the user's message."""
    messages: list[Message] = []
    place, seen = tree.current_node, set[str]()
    while isinstance(place, str) and place not in seen and place in tree.mapping:
        seen.add(place)
        raw = tree.mapping[place]
        message = _message(raw)
        if message is not None and _is_question(message):
            break
        if message is not None:
            messages.append(message)
        place = raw.get("parent") if isinstance(raw, dict) else None
    return messages[::-1]


def _message(raw: Any) -> Message | None:
    try:
        return msgspec.convert(raw, Node).message
    except msgspec.ValidationError:
        return None


def _is_question(message: Message) -> bool:
    """The user's own message. Their standing instructions have the same role."""
    return bool(message.author.role == "user" and message.content.content_type != "user_editable_context")


_decoder = msgspec.json.Decoder(Tree)
