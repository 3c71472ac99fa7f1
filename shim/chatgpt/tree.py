"""A conversation as upstream keeps it, in both its forms (protocol.md 5.8, 7.5): `GET conversation/{id}`, a tree of
messages, and `GET conversations/{id}`, the messages of the branch that is being looked at.

Rule: tolerant, like the stream. A node that can't be read is skipped, and a tree that goes in circles still ends.
"""

from typing import Any

import msgspec

from shim.chatgpt.stream import Message, decode_tolerantly


class Tree(msgspec.Struct, frozen=True):
    """The conversation: nodes by id and the newest one of the branch (`current_node`), or the branch itself
    (`messages`, oldest first)."""

    mapping: dict[str, Any] | None = None
    # A tree has branches: what is looked at is this node and its parents (7.5).
    current_node: Any = None
    messages: list[Any] | None = None
    # 3: it is being written, and what is there now is not the end (5.8).
    async_status: Any = None


class Node(msgspec.Struct, frozen=True):
    """One node. The root has no message."""

    message: Message | None = None
    parent: Any = None


def decode_tree(body: bytes) -> Tree | None:
    """The conversation in an answer's body, or None where there is none."""
    try:
        tree = decode_tolerantly(_decoder, body)
    except (ValueError, RecursionError):
        return None
    return tree if tree is not None and (tree.mapping is not None or tree.messages is not None) else None


def newest_turn(tree: Tree) -> list[Message]:
    """What was said since the user last spoke, oldest first."""
    messages: list[Message] = []
    for message in _branch(tree):
        if message is None:
            continue
        # The user's standing instructions have the user's role as well, and are no question.
        if message.author.role == "user" and message.content.content_type != "user_editable_context":
            break
        messages.append(message)
    return messages[::-1]


def _branch(tree: Tree) -> list[Message | None]:
    """The branch that is being looked at, newest first."""
    if tree.mapping is None:
        return [_read(raw, Message) for raw in reversed(tree.messages or [])]
    branch: list[Message | None] = []
    place, seen = tree.current_node, set[str]()
    # `seen`, because a tree that goes in circles would be walked for ever.
    while isinstance(place, str) and place not in seen and place in tree.mapping:
        seen.add(place)
        raw = tree.mapping[place]
        node = _read(raw, Node)
        branch.append(node.message if node is not None else None)
        place = raw.get("parent") if isinstance(raw, dict) else None
    return branch


def _read(raw: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        return None


_decoder = msgspec.json.Decoder(Tree)
