"""Anthropic's tools that the client runs itself: their schemas, which its models know and others have to be told.

Rule: a tool is here where all that a call of it may say is published; `type` names end in a date, and a newer one means
the newest form that is known.
"""

import re
from typing import Any

from shim.apis.messages.wire import GivenTool

_DATED = re.compile(r"(bash|text_editor|memory|computer)_(\d{8})")
_STRING: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "integer"}
_RANGE: dict[str, Any] = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_POINT = _RANGE
_EDITS = ("view", "create", "str_replace", "insert")
_MOVES = ("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click")
_LOOKS = ("screenshot", "cursor_position")
_LATER = ("left_mouse_down", "left_mouse_up", "triple_click", "scroll", "hold_key", "wait")
# From these dates on.
_INSERTS_TEXT, _NO_UNDO, _SCROLLS = 20250728, 20250429, 20250124


def tool_of(tool: GivenTool, kind: str) -> tuple[str, dict[str, Any]] | None:
    """(description, schema of the input) of such a tool, whose type is `kind`; None for any other."""
    match = _DATED.fullmatch(kind)
    if match is None:
        return None
    date = int(match[2])
    match match[1]:
        case "bash":
            told = "Runs a command in a bash session that lasts; `restart` begins another session."
            return told, _schema(command=_STRING, restart={"type": "boolean"})
        case "text_editor":
            return _text_editor(date)
        case "memory":
            told = (
                "Keeps files in /memories, which outlast this conversation: look there before you begin, and note what "
                "will be needed later. `view` shows a folder or a file; `create` writes `file_text`; `str_replace`, "
                "`insert`, `delete` and `rename` (`old_path` to `new_path`) change what is there."
            )
            texts = ("path", "old_path", "new_path", "file_text", "old_str", "new_str", "insert_text")
            commands = _one_of((*_EDITS, "delete", "rename"))
            fields = dict.fromkeys(texts, _STRING)
            return told, _schema("command", command=commands, insert_line=_NUMBER, view_range=_RANGE, **fields)
        case _:
            return _computer(tool, date)


def _text_editor(date: int) -> tuple[str, dict[str, Any]]:
    told = (
        "Views, creates and edits files. `view` shows a file (`view_range`: first and last line, -1 for the end) or a "
        "folder; `create` writes `file_text`; `str_replace` puts `new_str` in the place of the only `old_str`; "
        "`insert` adds lines behind the line `insert_line` (0: at the beginning)."
    )
    commands = _EDITS if date >= _NO_UNDO else (*_EDITS, "undo_edit")
    inserted = {"insert_text": _STRING} if date >= _INSERTS_TEXT else {}
    edits = {"file_text": _STRING, "old_str": _STRING, "new_str": _STRING, "insert_line": _NUMBER, "view_range": _RANGE}
    return told, _schema("command", "path", command=_one_of(commands), path=_STRING, **edits, **inserted)


def _computer(tool: GivenTool, date: int) -> tuple[str, dict[str, Any]]:
    size = ""
    if tool.display_width_px and tool.display_height_px:
        size = f" The screen is {tool.display_width_px} pixels wide and {tool.display_height_px} high."
    told = f"Uses a screen, a mouse and a keyboard; `coordinate` is [x, y] in pixels.{size} Look by `screenshot` first."
    if date < _SCROLLS:
        return told, _schema("action", action=_one_of((*_MOVES, *_LOOKS)), coordinate=_POINT, text=_STRING)
    return told, _schema(
        "action",
        action=_one_of((*_MOVES, *_LOOKS, *_LATER)),
        coordinate=_POINT,
        start_coordinate=_POINT,
        text=_STRING,
        duration={"type": "number"},
        scroll_direction=_one_of(("up", "down", "left", "right")),
        scroll_amount=_NUMBER,
    )


def _one_of(names: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}


def _schema(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}
