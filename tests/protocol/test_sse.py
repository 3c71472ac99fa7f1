"""Framing, rule by rule of protocol.md 5.0; every example also one byte at a time."""

import time
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shim.protocol.answer.sse import ServerSentEvent, SSEDecoder
from tests.upstream_says import bytewise, cut

BOM = b"\xef\xbb\xbf"


def read(chunks: Iterable[bytes]) -> list[ServerSentEvent]:
    """All events of a stream that arrives in these chunks and then ends."""
    decoder = SSEDecoder()
    events = [event for chunk in chunks for event in decoder.receive(chunk)]
    return events + decoder.receive(b"")


def message(data: bytes) -> ServerSentEvent:
    return ServerSentEvent(b"message", data)


EXAMPLES = {
    "one event": (b"event: delta\ndata: 1\n\n", [ServerSentEvent(b"delta", b"1")]),
    "an unnamed event is a message": (b"data: 1\n\n", [message(b"1")]),
    "an empty name is a message too": (b"event:\ndata: 1\n\n", [message(b"1")]),
    "the last name wins": (b"event: a\nevent: b\ndata: 1\n\n", [ServerSentEvent(b"b", b"1")]),
    "the name may follow the data": (b"data: 1\nevent: a\n\n", [ServerSentEvent(b"a", b"1")]),
    "a name serves one event only": (b"event: a\ndata: 1\n\ndata: 2\n\n", [ServerSentEvent(b"a", b"1"), message(b"2")]),
    "CRLF": (b"event: delta\r\ndata: 1\r\n\r\n", [ServerSentEvent(b"delta", b"1")]),
    "LF and CRLF mixed": (
        b"event: delta\ndata: 1\r\n\ndata: 2\n\r\n",
        [ServerSentEvent(b"delta", b"1"), message(b"2")],
    ),
    "a CR that belongs to no line end": (b"data: a\r\r\n\ndata: b\n\n", [message(b"a\r"), message(b"b")]),
    "comments say nothing": (b": ping - 2025-03-06 19:22:41.128196+00:00\n\ndata: 1\n\n", [message(b"1")]),
    "a comment inside an event": (b"event: delta\n: x\ndata: 1\n\n", [ServerSentEvent(b"delta", b"1")]),
    "a named ping without data": (b"event: ping\n\ndata: 1\n\n", [message(b"1")]),
    "a named ping with data": (b"event: ping\ndata: {}\n\n", [ServerSentEvent(b"ping", b"{}")]),
    "an empty data line": (b"data: \n\ndata:\n\ndata\n\ndata: 1\n\n", [message(b"1")]),
    "an empty delta": (b"event: delta\ndata: \n\nevent: delta\ndata:    \n\n", []),
    "padding": (b"data: [DONE]        \n\n", [message(b"[DONE]")]),
    "padding of a delta": (b'event: delta\ndata: {"v":"a "}   \n\n', [ServerSentEvent(b"delta", b'{"v":"a "}')]),
    "no space after the colon": (b"event:delta\ndata:1\n\n", [ServerSentEvent(b"delta", b"1")]),
    "several spaces after the colon": (b"event: delta\ndata:   1\n\n", [ServerSentEvent(b"delta", b"1")]),
    "several data lines": (b"data: a\ndata: b\n\n", [message(b"a\nb")]),
    "several data lines, one empty": (b"data: a\ndata:\ndata: b\n\n", [message(b"a\nb")]),
    "several data lines of a delta": (b"event: delta\ndata: a\ndata: b\n\n", [ServerSentEvent(b"delta", b"a\nb")]),
    "other fields": (b"id: 7\nretry: 5\nfoo: bar\ndata: 1\nbaz\n\n", [message(b"1")]),
    "a colon in the data": (b"data: a: b\n\n", [message(b"a: b")]),
    "many blank lines": (b"\n\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n", [message(b"1"), message(b"2")]),
    "a byte order mark": (BOM + b"data: 1\n\n", [message(b"1")]),
    "a byte order mark is one at the start only": (b"\n\n" + BOM + b"data: 1\n\ndata: 2\n\n", [message(b"2")]),
    "half a byte order mark": (BOM[:2] + b"data: 1\n\ndata: 2\n\n", [message(b"2")]),
    "no final blank line": (b"data: 1\n\ndata: [DONE]", [message(b"1"), message(b"[DONE]")]),
    "one final line end": (b"data: [DONE]\n", [message(b"[DONE]")]),
    "final CR": (b"data: [DONE]\r\n\r", [message(b"[DONE]")]),
    "nothing": (b"", []),
    "only a byte order mark": (BOM, []),
    "only line ends": (b"\r\n\r\n\n\n\r", []),
    "text outside ASCII": ("data: 你好 🎉\n\n".encode(), [message("你好 🎉".encode())]),
    "bytes that are not UTF-8 pass through": (b"data: \xff\xfe\n\n", [message(b"\xff\xfe")]),
    "separators that are none here": (
        "data: a\u2028b\x85c\x0bd\n\n".encode(),
        [message("a\u2028b\x85c\x0bd".encode())],
    ),
}


@pytest.mark.parametrize(("stream", "events"), EXAMPLES.values(), ids=EXAMPLES)
def test_example(stream: bytes, events: list[ServerSentEvent]) -> None:
    assert read([stream] if stream else []) == events
    assert read(bytewise(stream)) == events
    for place in range(1, len(stream)):
        assert read([stream[:place], stream[place:]]) == events


def test_an_event_is_given_when_its_blank_line_is_there_and_not_before() -> None:
    decoder = SSEDecoder()
    assert decoder.receive(b"data: 1\n") == []
    assert decoder.receive(b"\ndata: 2\r\n\r") == [message(b"1")]
    assert decoder.receive(b"\n") == [message(b"2")]
    assert decoder.flush() == []


def test_several_events_in_one_chunk_come_at_once() -> None:
    assert SSEDecoder().receive(b"data: 1\n\ndata: 2\n\ndata: 3") == [message(b"1"), message(b"2")]


def test_the_end_of_input_gives_what_was_pending_once() -> None:
    decoder = SSEDecoder()
    decoder.receive(b"data: 1")
    assert decoder.receive(b"") == [message(b"1")]
    assert decoder.receive(b"") == []


# Streams built from lines a server might send, and from bytes it should not.
LINE = st.one_of(
    st.sampled_from([b"", b"", b": ping", b"event: delta", b"event:", b"data:", b"data", b"id: 1", b"data: [DONE]  "]),
    st.text(max_size=6).map(lambda text: b"data: " + text.encode("utf-8", "replace")),
    st.binary(max_size=6),
)
STREAM = st.one_of(
    st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r"])), max_size=12).map(
        lambda lines: b"".join(line + end for line, end in lines)
    ),
    st.lists(st.sampled_from([b"\r", b"\n", BOM, b"\xef", b"\xbb", b"data: x", b"event: delta\ndata: x", b" "])).map(
        b"".join
    ),
)
PLACES = st.lists(st.integers(0, 400), max_size=20)


@settings(max_examples=300)
@given(st.tuples(st.booleans(), STREAM).map(lambda pair: BOM * pair[0] + pair[1]), PLACES)
@example(b"data: a\r\r\n\n", [9])
@example(b"\n\n" + BOM + b"data: x\n\n", [2])
@example(b"data: x\n\r\n", [8])
def test_the_network_cannot_change_the_events(stream: bytes, places: list[int]) -> None:
    whole = read([stream] if stream else [])
    assert read(bytewise(stream)) == whole
    assert read(cut(stream, places)) == whole


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from([b"", b"delta", b"x"]), st.text("ab:{}é🎉 ", min_size=1)), max_size=8), PLACES
)
def test_what_was_written_is_what_is_read(events: list[tuple[bytes, str]], places: list[int]) -> None:
    said = [(name, text.strip().encode()) for name, text in events if text.strip()]
    stream = b"".join((b"event: %s\n" % name if name else b"") + b"data: %s\n\n" % data for name, data in said)
    assert read(cut(stream, places)) == [ServerSentEvent(name or b"message", data) for name, data in said]


# A megabyte in single bytes. The quadratic way (join what is pending at every byte, or at every line) takes minutes;
# the linear one well under a second. The bound is generous on purpose.
BIG = 1_000_000
SECONDS = 20.0


@pytest.mark.parametrize(
    ("stream", "length"),
    [
        pytest.param(b"data: " + b"x" * BIG + b"\n\n", BIG, id="one long line"),
        pytest.param(b"data: x\n" * (BIG // 8) + b"\n", 2 * (BIG // 8) - 1, id="very many lines"),
        pytest.param(b": ping\r\n" * (BIG // 8) + b"data: x\r\n\r\n", 1, id="very many comments"),
    ],
)
def test_a_megabyte_one_byte_at_a_time_is_linear(stream: bytes, length: int) -> None:
    began = time.perf_counter()
    (event,) = read(bytewise(stream))
    assert len(event.data) == length
    assert time.perf_counter() - began < SECONDS


def test_events_that_are_over_are_not_kept() -> None:
    decoder = SSEDecoder()
    for _ in range(1000):
        assert len(decoder.receive(b"data: %s\n\nda" % (b"x" * 1000))) == 1
        assert sum(map(len, decoder._pending)) == 2
        decoder.receive(b"ta: y\n\n")


def test_an_event_without_an_end_is_not_held_for_ever(monkeypatch):
    from shim.protocol.answer import sse
    from shim.protocol.answer.machine import Answer
    from shim.protocol.events import Failed

    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    answer = Answer()
    seen = []
    for _ in range(30):
        seen += answer.receive(b"data: " + b"x" * 60)
    assert [type(event) for event in seen] == [Failed]
    assert seen[0].error.code == "upstream_too_large"


def test_many_events_below_the_bound_are_never_too_many(monkeypatch):
    from shim.protocol.answer import sse

    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    decoder = sse.SSEDecoder()
    assert sum(len(decoder.receive(b"data: " + b"x" * 60 + b"\n\n")) for _ in range(200)) == 200
