"""The messages of one saved conversation as a tree, as GET conversation/{id} shows them (protocol.md 7.5).

Rule: it is fed with the same steps as the stream, so that what is stored is what was told.
"""

from copy import deepcopy

import msgspec

from shim.standin.encode import apply
from shim.standin.steps import Change, Json, Start, Step, Typed

MAX_MESSAGES = 2000


class Node(msgspec.Struct):
    """One place in the tree; only the root has no message."""

    id: str
    message: Json | None
    parent: str | None
    children: list[str]


class Tree:
    """Messages by id, each below its parent; `current` is the newest."""

    def __init__(self, root_id: str) -> None:
        self._root_id = root_id
        self._nodes: dict[str, Node] = {root_id: Node(root_id, None, None, [])}
        self.current = root_id

    @property
    def full(self) -> bool:
        """Whether it takes no further turn."""
        return len(self._nodes) > MAX_MESSAGES

    def message(self, message_id: str) -> Json | None:
        """One message, if it is here."""
        node = self._nodes.get(message_id)
        return node.message if node else None

    def add(self, message: Json, parent_id: str) -> None:
        """Put a message below its parent, or below the root when the parent was never said."""
        parent = self._nodes.get(parent_id) or self._nodes[self._root_id]
        known = self._nodes.get(message["id"])
        if known is None:
            self._nodes[message["id"]] = Node(message["id"], deepcopy(message), parent.id, [])
            parent.children.append(message["id"])
        else:
            known.message = deepcopy(message)
        self.current = message["id"]

    def mapping(self) -> Json:
        """All nodes, JSON-ready."""
        built: Json = msgspec.to_builtins(self._nodes)
        return built


class Recorder:
    """Puts the steps of one stream into a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._ids: dict[int, str] = {}
        self.title: str | None = None

    def record(self, step: Step) -> None:
        """Note what one step changes; typed events say nothing but the title."""
        if isinstance(step, Start):
            self._ids[step.channel] = step.message["id"]
            self._tree.add(step.message, step.message["metadata"]["parent_id"])
        elif isinstance(step, Change):
            root = {"message": self._tree.message(self._ids[step.channel])}
            for op in step.ops:
                # A copy: the encoder changes the same values in its own root.
                apply(root, msgspec.structs.replace(op, v=deepcopy(op.v)))
        elif isinstance(step, Typed) and step.event.get("type") == "title_generation":
            self.title = step.event["title"]
