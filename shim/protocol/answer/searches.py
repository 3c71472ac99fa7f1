"""Searches of the web that the model makes by itself: what was asked, told once the tool has answered.

Rule: a search is a call of a tool in which the client has no part. It is told for the APIs that show such calls.
"""

import re
from typing import Any

import msgspec

from shim.chatgpt.stream import Message
from shim.protocol.answer.citations import pages_of
from shim.protocol.events import Searched

_SEARCHERS = ("web", "web.run", "browser")  # a tuple: what is compared may not be text
_LONGEST = 1000  # characters of a query
_MOST = 8  # queries of one call, joined
# `search("words")`, in which quotes are escaped as in JSON.
_CALL = re.compile(r'\bsearch\(\s*("(?:[^"\\]|\\.)*")')


class Searches(msgspec.Struct, eq=False):
    """The searches of one answer."""

    _call: Any = None  # the last call of a searching tool: its JSON, which grows where it is kept
    _told: set[Any] = set()  # ids of the tools' messages, which may be heard more than once

    def heard(self, message: Message, root: Any) -> list[Searched]:
        """What `message` says of searches. `root` is its JSON, which goes on growing."""
        author = message.author
        if author.role == "assistant" and message.recipient in _SEARCHERS:
            self._call = root
        elif author.role == "tool" and author.name in _SEARCHERS:
            key = message.id if isinstance(message.id, str) else None
            if key not in self._told:
                self._told.add(key)
                query, self._call = query_of(_text(self._call)), None
                return [Searched(query, pages_of(message.metadata.search_result_groups))] if query else []
        return []


def query_of(text: str) -> str:
    """What a call asks for, in the forms there have been: `search("…")`, or JSON with `search_query`, `queries` or
    `query`. "" where it opens a page or says nothing that is known."""
    found: list[str] = []
    try:
        call = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        for match in _CALL.finditer(text):
            try:
                found.append(msgspec.json.decode(match[1], type=str))
            except ValueError:
                continue
    else:
        named = [call.get(name) for name in ("search_query", "queries", "query")] if isinstance(call, dict) else []
        for given in named:
            for one in given if isinstance(given, list) else [given]:
                word = one.get("q") if isinstance(one, dict) else one
                found += [word] if isinstance(word, str) and word else []
    return "; ".join(found[:_MOST])[:_LONGEST]


def _text(root: Any) -> str:
    """The text of a message's JSON: of a `text` its parts, of `code` its text."""
    message = root.get("message", root) if isinstance(root, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, dict):
        return ""
    parts = content.get("parts")
    pieces = [content.get("text"), *(parts if isinstance(parts, list) else [])]
    return "".join(piece for piece in pieces if isinstance(piece, str))
