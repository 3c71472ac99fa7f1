"""What a conversation is recognised by when a client sends it again: one key for every message it may have ended with.

    who asks, model, instructions ──> key ──message──> key ──message──> key ...

Rule: a key stands for everything that was sent upstream before it, and for who sent it. What clients alter when they
send an answer back makes no difference: white space around a text, an empty content or none, text as a string or as a
part, the layout of a call's arguments, and whatever is not sent upstream (reasoning, annotations). Anything else is
another conversation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from shim.protocol.prompt import Call, Continues, Image, Part, Prompt, PromptMessage, Result, Text
from shim.protocol.turn.conversation import instructions_for

Digest = Callable[[bytes], bytes]
"""A cryptographic hash, such as SHA-256"""

MOST_PREFIXES = 3
"""A client that has dropped or altered more of the newest answers than this sends its history whole."""


class Prefix(msgspec.Struct, frozen=True):
    """The first `length` messages of a request, which end with an answer."""

    length: int
    key: str


class History:
    """The keys of one request. `scope` names who asks, so that no other caller gets the same keys.

    The instructions are sent again with every turn. Those of earlier turns stay in the conversation though, so other
    tools, another choice among them or another form of the answer make another conversation. Only the key of their
    marks is new each time.
    """

    def __init__(self, prompt: Prompt, scope: str, digest: Digest) -> None:
        self._messages = prompt.messages
        self._digest = digest
        instructions = instructions_for(msgspec.structs.replace(prompt, mark_key=""))
        self._links = [digest(_encode([scope, prompt.model, instructions]))]
        for message in prompt.messages:
            self._links.append(self._next(message))

    def prefixes(self) -> list[Prefix]:
        """The newest prefixes after which the rest could be sent alone, the longest first."""
        messages = self._messages
        found: list[Prefix] = []
        # Not the whole request: at least one message has to be left to send.
        for end in range(len(messages) - 1, 0, -1):
            if messages[end - 1].role == "assistant" and _are_in_order(messages, end):
                found.append(Prefix(end, self._links[end].hex()))
                if len(found) == MOST_PREFIXES:
                    break
        return found

    def key_with(self, answer: PromptMessage) -> str:
        """The key of all messages with their answer behind them."""
        return self._next(answer).hex()

    def _next(self, message: PromptMessage) -> bytes:
        form = [
            message.role,
            message.name or "",
            _form_of_parts(message.parts),
            [[call.id, call.name, _form_of_arguments(call.arguments)] for call in message.calls],
        ]
        return self._digest(self._links[-1] + _encode(form))


def rest_of(prompt: Prompt, length: int, conversation_id: str, message_id: str) -> Prompt:
    """What is still to be said after the first `length` messages, as a turn of the conversation they stand in."""
    return msgspec.structs.replace(
        prompt, messages=prompt.messages[length:], continues=Continues(conversation_id, message_id)
    )


def _are_in_order(messages: Sequence[PromptMessage], end: int) -> bool:
    """Whether the results behind an answer are those of its calls, in their order. Upstream knows the calls as they
    were written, without ids: only the order tells which result is whose."""
    called = [call.id for call in messages[end - 1].calls if call.id]
    # One more than there were calls, so that a result too many shows.
    behind = messages[end : end + len(called) + 1]
    results = [part for message in behind for part in message.parts if isinstance(part, Result)]
    # A result without an id answers the older convention's single call, which has no id to compare either.
    return [result.call_id for result in results if result.call_id is not None] == called


# --- what counts: lists for JSON, the same for every way to write a message down --------------------------------------


def _form_of_parts(parts: Sequence[Part]) -> list[Any]:
    """Texts (strings), files and results (lists) in their order. Texts that follow each other are one, as they are for
    upstream."""
    pieces: list[Any] = []
    texts: list[str] = []
    for part in parts:
        match part:
            case Text(text=text):
                texts.append(text)
            case Call():  # they have a list of their own: where between texts they stood is lost upstream
                continue
            case Result(call_id=id, name=name, content=content):
                pieces += [*_joined(texts), ["result", id or "", name or "", _form_of_parts(content)]]
                texts = []
            case Image(source=source):  # its `detail` only decides how many tokens it counts
                pieces += [*_joined(texts), ["image", source.strip()]]
                texts = []
            case _:
                pieces += [*_joined(texts), ["file", part.source, part.name or ""]]
                texts = []
    return pieces + _joined(texts)


def _joined(texts: list[str]) -> list[str]:
    text = "\n".join(texts).strip()
    return [text] if text else []


def _form_of_arguments(text: str) -> list[Any]:
    """Clients decode the arguments and encode them again, each with spaces and escapes of its own."""
    try:
        return [msgspec.json.decode(text)]
    except (ValueError, RecursionError):
        return [text.strip(), "not JSON"]  # marked, so that it is not taken for the JSON string of the same text


_encode = msgspec.json.Encoder(order="deterministic").encode
