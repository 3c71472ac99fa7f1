"""An answer's events as what an Anthropic client reads: the events of a message, or one message.

    message_start, ping, one block after the other, message_delta, message_stop
    a block: content_block_start, content_block_delta..., content_block_stop

Rule: blocks come one after the other, as in the whole message: words and thinking in the order they were written, then
the calls. Or one `error` and nothing after it.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from shim.apis.answered_by import answered_by
from shim.apis.data_lines import line_safe
from shim.apis.messages.errors import event_of
from shim.apis.messages.events import event
from shim.apis.messages.read import CALL, TOOL_USE, MessageOptions
from shim.apis.messages.wire import (
    AddedCitation,
    AddedInput,
    AddedText,
    AddedThinking,
    AnswerMessage,
    CitedPage,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    FoundPage,
    FoundPages,
    MessageDelta,
    MessageEnd,
    MessageStart,
    MessageStop,
    MessageUsage,
    OwnSearch,
    OwnToolsUsed,
    Ping,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from shim.protocol.api import AnswerInfo
from shim.protocol.events import (
    Called,
    Citation,
    Event,
    Failed,
    Finished,
    Link,
    Picture,
    ReasoningDelta,
    Searched,
    TextDelta,
)
from shim.protocol.transcript import Transcript, thought_piece

_STOP_REASONS: dict[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
}


class MessageWriter:
    """Writes a streamed answer: `head` first, then `receive` for whatever has happened. `id` is the request's."""

    def __init__(self, answer: AnswerInfo, options: MessageOptions, id: str | None = None) -> None:
        self._answer, self._options, self._id = answer, options, id
        self._index = 0  # of the block that is open, or comes next
        self._open: type[ContentBlock] | None = None
        self._around = (b"", b"")  # the bytes around the text of a delta of the open block

    def head(self) -> bytes:
        """The message without its content. What the prompt counts is known here, because this API asks to have it
        counted first; where a driver can't wait for that, it is told at the end."""
        usage = MessageUsage(self._answer.prompt_tokens or 0, 0)
        return line_safe(event(MessageStart(_message(self._answer, [], usage)))) + _PING

    def receive(self, events: Sequence[Event], _choice: int) -> bytes:
        """The events of this API for `events`, joined: what has arrived together is sent together."""
        written: list[bytes] = []
        for one in events:
            match one:
                case TextDelta(text=text):
                    self._add(TextBlock, text, written)
                case Citation(text=text, links=links):
                    self._add(TextBlock, text, written)
                    # One without words is nowhere in the text, so that there is nothing to cite for.
                    shown = links if text and self._options.search else ()
                    written += [event(ContentBlockDelta(self._index, AddedCitation(_cited(link)))) for link in shown]
                case ReasoningDelta() if self._options.thinking:
                    thought = thought_piece(one, goes_on=self._open is ThinkingBlock)
                    self._add(ThinkingBlock, thought, written)
                case Searched() | Picture():
                    self._stand_between(one, written)
                case Called():
                    self._close(written)
                    # Clients put the arguments together from deltas, and begin with an empty object.
                    empty = msgspec.structs.replace(_tool_use(one), input=msgspec.Raw(b"{}"))
                    written.append(event(ContentBlockStart(self._index, empty)))
                    written.append(event(ContentBlockDelta(self._index, AddedInput(one.arguments))))
                    self._open = ToolUseBlock
                case Finished():
                    self._close(written)
                    end = MessageEnd(*_end_of(self._answer.transcripts[0]))
                    told = MessageDelta(end, _usage(self._answer, self._options), answered_by(self._answer))
                    written += event(told), _STOP
                case Failed(error=error):
                    written.append(event_of(error, self._id))
        return line_safe(b"".join(written))

    def _stand_between(self, aside: Searched | Picture, written: list[bytes]) -> None:
        """A search in blocks of its own, where they are wanted; and a thought behind it, or behind a picture, is
        another, as in the transcript."""
        if isinstance(aside, Searched) and self._options.search:
            self._close(written)
            use, found = _search(aside, self._answer, self._index)
            written.append(event(ContentBlockStart(self._index, msgspec.structs.replace(use, input={}))))
            written.append(event(ContentBlockDelta(self._index, AddedInput(_encode(use.input).decode()))))
            self._open = OwnSearch
            self._close(written)
            written.append(event(ContentBlockStart(self._index, found)))
            self._open = FoundPages
            self._close(written)
        elif self._open is ThinkingBlock:
            self._close(written)

    def _add(self, kind: type[TextBlock | ThinkingBlock], text: str, written: list[bytes]) -> None:
        """More text of a block of this kind, which begins with it where none is open."""
        if not text:
            return
        if self._open is not kind:
            self._close(written)
            self._open = kind
            written.append(event(ContentBlockStart(self._index, kind(""))))
            # Only the text differs from delta to delta, so the bytes around it are made once.
            delta, hole = (AddedText(""), b'"text":') if kind is TextBlock else (AddedThinking(""), b'"thinking":')
            before, after = event(ContentBlockDelta(self._index, delta)).split(hole + b'""')
            self._around = before + hole, after
        before, after = self._around
        written += before, _encode(text), after

    def _close(self, written: list[bytes]) -> None:
        if self._open is not None:
            written.append(event(ContentBlockStop(self._index)))
            self._index, self._open = self._index + 1, None


def message(answer: AnswerInfo, options: MessageOptions) -> bytes:
    """The whole answer as one message."""
    transcript = answer.transcripts[0]
    whole = _message(answer, _blocks(answer, options), _usage(answer, options))
    reason, stop = _end_of(transcript)
    told = answered_by(answer)
    return _encode(msgspec.structs.replace(whole, stop_reason=reason, stop_sequence=stop, chatgpt=told))


def _blocks(answer: AnswerInfo, options: MessageOptions) -> list[ContentBlock]:
    transcript = answer.transcripts[0]
    blocks: list[ContentBlock] = []
    told, end = 0, len(transcript.text)
    for place, aside in (*transcript.asides, (end, None)):
        if isinstance(aside, Picture) or (isinstance(aside, str) and not options.thinking):
            continue
        if isinstance(aside, Searched) and not options.search:
            continue
        if place > told:
            # A citation belongs to the block that has all of its words.
            cited = [_cited(one.link) for one in transcript.cited if told <= one.start < one.end <= place]
            blocks.append(TextBlock(transcript.text[told:place], (options.search and cited) or None))
            told = place
        if isinstance(aside, Searched):
            blocks += _search(aside, answer, len(blocks))
        elif aside is not None:
            blocks.append(ThinkingBlock(aside))
    return [*blocks, *map(_tool_use, transcript.calls)]


def _search(searched: Searched, answer: AnswerInfo, index: int) -> tuple[OwnSearch, FoundPages]:
    use = OwnSearch(f"srvtoolu_{answer.id}_{index}", {"query": searched.query})
    return use, FoundPages(use.id, [FoundPage(link.url, link.title) for link in searched.found])


def _cited(link: Link) -> CitedPage:
    return CitedPage(link.url, link.title)


def _tool_use(called: Called) -> ToolUseBlock:
    id = TOOL_USE + called.id.removeprefix(CALL)
    # As the model wrote it: that it is JSON was seen to before it became a call.
    return ToolUseBlock(id, called.name, msgspec.Raw(called.arguments.encode()))


def _end_of(transcript: Transcript) -> tuple[StopReason, str | None]:
    if transcript.stop is not None:
        return "stop_sequence", transcript.stop
    return _STOP_REASONS[transcript.finish_reason or "stop"], None


def _message(answer: AnswerInfo, content: list[ContentBlock], usage: MessageUsage) -> AnswerMessage:
    return AnswerMessage(f"msg_{answer.id}", answer.model, content, usage)


def _usage(answer: AnswerInfo, options: MessageOptions) -> MessageUsage:
    usage = answer.usage
    searches = sum(isinstance(aside, Searched) for _, aside in answer.transcripts[0].asides)
    used = OwnToolsUsed(searches) if options.search else UNSET
    return MessageUsage(usage.prompt, usage.completion, server_tool_use=used)


_encode = msgspec.json.Encoder().encode
_PING, _STOP = event(Ping()), event(MessageStop())
