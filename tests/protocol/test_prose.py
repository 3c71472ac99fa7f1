"""Text with markers and addresses in it: however it is cut, the same comes out, and nothing private does."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.chatgpt.stream import Metadata
from shim.protocol.answer.citations import Sources
from shim.protocol.answer.machine import Answer
from shim.protocol.answer.text_filter import PATIENCE, MarkdownTextFilter
from shim.protocol.events import Citation, Event, FileLink, FileRef, Finished, Link, ReasoningDelta, TextDelta
from tests.upstream_says import bytewise

FILE = FileRef("c1", "a1")
CITE = "\ue200cite\ue202turn0search0\ue201"
MARKS = {chr(code) for code in range(0xE200, 0xE207)}


def sifted(*pieces: str, file: FileRef | None = FILE, metadata: Metadata | None = None) -> list[Event]:
    """What a message of these pieces becomes; neighbouring text is joined."""
    length = 0
    prose = MarkdownTextFilter(TextDelta if file else ReasoningDelta, file, length=lambda: length)
    prose.receive_metadata(metadata or Metadata())
    events: list[Event] = []
    for piece in pieces:
        length += len(piece)
        events += prose.receive(piece)
    return joined([*events, *prose.rest()])


def joined(events: list[Event]) -> list[Event]:
    result: list[Event] = []
    for event in events:
        if result and isinstance(event, TextDelta) and isinstance(result[-1], TextDelta):
            result[-1] = TextDelta(result[-1].text + event.text, result[-1].opens)
        else:
            result.append(event)
    return result


def link(path: str) -> FileLink:
    return FileLink(FileRef("c1", "a1", sandbox_path=path))


LINKS = {
    "a link": ("[a](sandbox:/mnt/data/a.csv).", ["[a](", link("/mnt/data/a.csv"), ")."]),
    "two": ("(sandbox:/mnt/data/a)(sandbox:/mnt/data/b)", ["(", link("/mnt/data/a"), ")(", link("/mnt/data/b"), ")"]),
    "with a title": ('(sandbox:/mnt/data/a "t")', ["(", link("/mnt/data/a"), ' "t")']),
    "in angle brackets": ("(<sandbox:/mnt/data/a b.csv>)", ["(<", link("/mnt/data/a b.csv"), ">)"]),
    "with brackets in it": ("(sandbox:/mnt/data/a(1).csv)", ["(", link("/mnt/data/a(1).csv"), ")"]),
    "with escapes in it": ("(sandbox:/mnt/data/a%20b.csv)", ["(", link("/mnt/data/a b.csv"), ")"]),
    "cut by the end": ("(sandbox:/mnt/data/a.csv", ["(", link("/mnt/data/a.csv")]),
    "too long": (f"(sandbox:/mnt/data/{'a' * 2000})", [f"(sandbox:/mnt/data/{'a' * 2000})"]),
    "nearly": ("(sandbox) (sand (sandbox:a) <s> ((", ["(sandbox) (sand (sandbox:a) <s> (("]),
    "of another folder": ("[a](sandbox:/etc/passwd)", ["[a](sandbox:/etc/passwd)"]),
    "out of the folder": ("(sandbox:/mnt/data/../../x)", ["(sandbox:/mnt/data/../../x)"]),
    "out of it by escapes": ("(<sandbox:/mnt/data/%2e%2e/x>)", ["(<sandbox:/mnt/data/%2e%2e/x>)"]),
    "with dots in a name": ("(sandbox:/mnt/data/a..b)", ["(", link("/mnt/data/a..b"), ")"]),
    "not a target": ("sandbox:/mnt/data/a.csv", ["sandbox:/mnt/data/a.csv"]),
    "brackets that never close": ("(sandbox:/a(b(c)", ["(sandbox:/a(b(c)"]),
}


@pytest.mark.parametrize(("text", "expected"), LINKS.values(), ids=LINKS)
def test_addresses(text: str, expected: list[Any]) -> None:
    events = [TextDelta(one, opens=not place) if isinstance(one, str) else one for place, one in enumerate(expected)]
    for pieces in ([text], [*text], [text[:7], text[7:]]):
        assert sifted(*pieces) == events


def test_reasoning_links_to_nothing() -> None:
    (event,) = sifted(f"(sandbox:/a) {CITE}【4:0†a】x", file=None)
    assert event == ReasoningDelta("(sandbox:/a) x", opens=True)


def test_plain_text_is_not_held() -> None:
    prose = MarkdownTextFilter(TextDelta, FILE)
    assert not prose.clear
    assert prose.receive("Hello") == [TextDelta("Hello", opens=True)]
    assert prose.clear
    assert prose.receive(" (") == [TextDelta(" ")]
    assert not prose.clear
    assert prose.receive("x") == [TextDelta("(x")]
    assert prose.clear


def test_a_marker_waits_for_its_source_only_so_long() -> None:
    prose = MarkdownTextFilter(TextDelta, FILE)
    assert prose.receive(f"A{CITE}" + "b" * (PATIENCE - 1)) == [TextDelta("A", opens=True)]
    assert prose.receive("c") == [TextDelta("b" * (PATIENCE - 1) + "c")]


def test_a_marker_is_replaced_as_soon_as_its_source_is_told() -> None:
    prose = MarkdownTextFilter(TextDelta, FILE)
    prose.receive(f"A{CITE}b")
    prose.receive_metadata(Metadata(content_references=[{"matched_text": CITE, "type": "hidden", "invalid": True}]))
    assert prose.receive("") == []
    prose.receive_metadata(
        Metadata(content_references=[{"matched_text": CITE, "type": "webpage", "alt": "([x](https://x.test/))"}])
    )
    assert prose.receive("") == [Citation("([x](https://x.test/))", (Link("x", "https://x.test/"),)), TextDelta("b")]


def test_a_reference_that_is_done_has_nothing_more_to_tell() -> None:
    prose = MarkdownTextFilter(TextDelta, FILE)
    prose.receive_metadata(Metadata(content_references=[{"matched_text": CITE, "type": "video", "status": "done"}]))
    assert prose.receive(f"A{CITE}b") == [TextDelta("A", opens=True), TextDelta("b")]


def test_an_endless_marker_is_given_up() -> None:
    text = "A\ue200" + "x" * 20000 + "B"
    assert sifted(text) == sifted(*text) == [TextDelta("A" + text[-(len(text) - 1 - 16384) :], opens=True)]


@pytest.mark.parametrize(
    "value",
    [None, 7, "x", {}, [None], [[]], [{"matched_text": CITE, "alt": 7, "items": 7}], [{"entries": [{"ref_id": []}]}]],
)
def test_sources_of_another_shape_are_none(value: Any) -> None:
    sources = Sources()
    sources.receive(Metadata(content_references=value, search_result_groups=value, citations=value))
    assert sources.settled(CITE) is None
    assert sources.best(CITE) == Citation("")
    assert sources.ranged(0, 1) is None


@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://x.test", None, 7, "//x.test"])
def test_only_pages_of_the_web_are_linked(url: Any) -> None:
    sources = Sources()
    sources.receive(Metadata(content_references=[{"matched_text": CITE, "items": [{"title": "x", "url": url}]}]))
    assert sources.best(CITE) == Citation("")


# --- the recordings, with the message that they lack put before them --------------------------------------------------


def completed(before: str, excerpt: bytes) -> bytes:
    message = {
        "id": "a1",
        "author": {"role": "assistant"},
        "content": {"content_type": "text", "parts": [before]},
        "metadata": {"content_references": []},
        "recipient": "all",
        "channel": "final",
    }
    root = {"p": "", "o": "add", "v": {"message": message, "conversation_id": "c1"}}
    text = {"p": "/message/content/parts/0", "o": "append", "v": ""}
    frames = [b"event: delta\ndata: %s\n\n" % json.dumps(one).encode() for one in (root, text)]
    return b"".join(frames) + excerpt


def heard(chunks: list[bytes]) -> list[Event]:
    answer = Answer()
    return [event for chunk in (*chunks, b"") for event in answer.receive(chunk)]


def test_the_recorded_citation(capture: Any) -> None:
    """The second key of the marker and its end are missing in the reduced recording; they are put back."""
    stream = completed("", capture("delta-v1-cite-marker-2026-08.reduced.sse"))
    tail = [
        {"p": "", "o": "patch", "v": [
            {"p": "/message/content/parts/0", "o": "append", "v": "\ue201 More."},
            {"p": "/message/metadata/content_references/0/matched_text", "o": "append", "v": "\ue201"},
        ]},
    ]  # fmt: skip
    stream += b"".join(b"event: delta\ndata: %s\n\n" % json.dumps(one).encode() for one in tail) + b"data: [DONE]\n\n"
    for events in (heard([stream]), heard(bytewise(stream))):
        text = "([inflection.ai](https://inflection.ai/?utm_source=chatgpt.com))"
        assert joined(events[1:]) == [
            TextDelta("定位为 Personal Intelligence partner。", opens=True),
            Citation(text, (Link("inflection.ai", "https://inflection.ai/"),)),
            TextDelta(" More."),
            Finished("stop"),
        ]


def test_the_recorded_entity(capture: Any) -> None:
    before = "x" * 90
    stream = completed(before, capture("delta-v1-entity-references-2026-02.excerpt.sse")) + b"data: [DONE]\n\n"
    for events in (heard([stream]), heard(bytewise(stream))):
        kinds = [event for event in events if isinstance(event, Citation)]
        assert kinds == [Citation("Node.js")]
        text = "".join(event.text for event in events if isinstance(event, TextDelta | Citation))
        assert "It works with Node.js, which lets you run JavaScript outside the browser" in text
        assert not MARKS & {*text}


# --- however it is cut ------------------------------------------------------------------------------------------------

BITS = st.sampled_from(
    ["a", " ", "\n", "(", ")", "<", ">", "sandbox:", "/mnt/x", "(sandbox:/y)", "s", "【", "】", "†", "4:0", "【4:0†x】",
     CITE, "\ue200", "\ue201", "\ue202", "\ue203", "\ue206", '\ue200entity\ue202["a","B"]\ue201', "turn0search0"]
)  # fmt: skip
KNOWN = Metadata(content_references=[{"matched_text": CITE, "alt": "([x](https://x.test))"}])


@settings(max_examples=300, deadline=None)
@given(st.lists(BITS, max_size=12).map("".join), st.lists(st.integers(0, 60), max_size=8))
def test_however_text_is_cut_the_same_comes_out(text: str, places: list[int]) -> None:
    ends = sorted({place for place in places if place < len(text)})
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    whole = sifted(text, metadata=KNOWN)
    assert sifted(*pieces, metadata=KNOWN) == whole
    assert sifted(*text, metadata=KNOWN) == whole
    said = "".join(event.text for event in whole if isinstance(event, TextDelta | Citation))
    assert not MARKS & {*said}
