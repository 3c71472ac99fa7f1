"""Where an answer is ended by its request: stop sequences and a number of tokens, whatever pieces it comes in."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shim import tokenizer
from shim.errors import UpstreamError
from shim.protocol.events import Called, Citation, Event, Failed, Finished, Link, ReasoningDelta, Started, TextDelta
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.stop import StopMatcher, StopSequences
from shim.protocol.shaping.token_limit import SEAM, TokenLimit

STARTED = Started("conversation 1", "message 1", "auto")
PAGE = (Link("A page", "https://example.com/"),)
BROKEN = Failed(UpstreamError("Upstream broke off", code="upstream_connection"))


def limit_of(tokens: int) -> TokenLimit:
    return TokenLimit(tokens, tokenizer.count, tokenizer.cut, tokenizer.certain)


# --- what both filters are asked --------------------------------------------------------------------------------------


def outcome(events: Iterable[Event]) -> tuple[str, str, list[Event]]:
    """Content, reasoning, and everything else in its order."""
    text, reasoning, rest = "", "", []
    for event in events:
        match event:
            case TextDelta() | Citation():
                text += event.text
            case ReasoningDelta(opens=opens):
                reasoning += "\n\n" * (opens and bool(reasoning)) + event.text
            case _:
                rest.append(event)
    return text, reasoning, rest


def ended(filter: Filter, *batches: Sequence[Event]) -> list[Event]:
    """All events the filter gives; once it has decided it has to be silent."""
    given: list[Event] = []
    for batch in batches:
        decided = filter.decided
        more = filter.receive(batch)
        assert not (decided and more)
        given += more
    return given


def pieces(event: Event, sizes: Iterator[int]) -> Iterator[Event]:
    """A delta cut into pieces; what is no delta stays whole."""
    if not isinstance(event, TextDelta | ReasoningDelta):
        yield event
        return
    rest, opens = event.text, event.opens
    while len(rest) > (size := next(sizes)):
        yield type(event)(rest[:size], opens)
        rest, opens = rest[size:], False
    yield type(event)(rest, opens)


def in_pieces(events: Sequence[Event], sizes: Iterator[int]) -> list[list[Event]]:
    return [[piece] for event in events for piece in pieces(event, sizes)]


def ones() -> Iterator[int]:
    while True:
        yield 1


def chances(seed: int) -> Iterator[int]:
    chance = random.Random(seed)
    while True:
        yield chance.choice((1, 2, 3, 5, 17))


CUTS: list[Callable[[Sequence[Event]], list[list[Event]]]] = [
    lambda events: [list(events)],
    lambda events: [[event] for event in events],
    lambda events: in_pieces(events, ones()),
    lambda events: in_pieces(events, chances(7)),
]
HOW = ["at once", "one by one", "character by character", "in pieces"]


# --- stop sequences ---------------------------------------------------------------------------------------------------

STOPPED = Finished("stop", "END")


@pytest.mark.parametrize("cut", CUTS, ids=HOW)
@pytest.mark.parametrize(
    ("stops", "text", "kept"),
    [
        pytest.param(["END"], "before END after", "before ", id="a stop"),
        pytest.param(["END"], "END", "", id="at the start"),
        pytest.param(["END"], "EEND", "E", id="a false start"),
        pytest.param(["END"], "EN EN END", "EN EN ", id="halves"),
        pytest.param(["aab"], "aaab", "a", id="a start within a start"),
        pytest.param(["abab"], "ababab", "", id="the first of two that overlap"),
        pytest.param(["abcabd"], "abcabcabd", "abc", id="falls back to a shorter beginning"),
        pytest.param(["\n\n"], "a\nb\n\n\nc", "a\nb", id="line breaks"),
        pytest.param(["x", "END"], "an END, x", "an ", id="the earliest of several"),
        pytest.param(["abc", "b"], "abc", "a", id="the one complete first"),
        pytest.param(["bc", "abc", "c"], "_abc", "_", id="complete at once: the longest"),
        pytest.param(["ab", "abc"], "abc", "", id="a beginning of another"),
        pytest.param(["終わり"], "終わ終わり", "終わ", id="any characters"),
        pytest.param(["🧑\u200d🚀"], "🧑\u200d🚀", "", id="several code points"),
    ],
)
def test_stops(cut: Any, stops: list[str], text: str, kept: str) -> None:
    filter = StopSequences(tuple(stops))
    events = ended(filter, *cut([STARTED, TextDelta(text, opens=True), Finished("length")]))
    assert outcome(events) == (kept, "", [STARTED, Finished("stop", first_stop(text, stops)[1])])
    assert filter.decided


@pytest.mark.parametrize("cut", CUTS, ids=HOW)
@pytest.mark.parametrize("end", [Finished("length"), BROKEN, Called("call 1", "f", "{}")])
@pytest.mark.parametrize("text", ["", "nothing", "E", "an EN", "ENEEN"])
def test_what_was_held_comes_before_the_end(cut: Any, end: Event, text: str) -> None:
    filter = StopSequences(("END", "EN?"))
    events = ended(filter, *cut([TextDelta(text), end]))
    assert outcome(events) == (text, "", [end])
    assert events[-1] is end
    assert not filter.decided


def test_only_what_may_begin_a_stop_is_held() -> None:
    filter = StopSequences(("END", "\n\nEN"))
    given = [outcome(filter.receive([TextDelta(text)]))[0] for text in ("a", "bE", "N", "o", "\n", "\nE", "Dx")]
    assert given == ["a", "b", "", "ENo", "", "", "\n\nEDx"]


def test_the_first_piece_still_opens() -> None:
    filter = StopSequences(("END",))
    first = filter.receive([TextDelta("so E", opens=True)])
    assert [*first, *filter.receive([TextDelta("!")])] == [TextDelta("so ", opens=True), TextDelta("E"), TextDelta("!")]


def test_a_held_piece_still_opens() -> None:
    filter = StopSequences(("END",))
    assert filter.receive([TextDelta("E", opens=True)]) == []
    assert filter.receive([TextDelta("!")]) == [TextDelta("E", opens=True), TextDelta("!")]


def test_a_citation_is_given_whole() -> None:
    filter = StopSequences(("END",))
    assert filter.receive([TextDelta("see "), Citation("[1] E", PAGE)]) == [TextDelta("see ")]
    assert filter.receive([TextDelta(".")]) == [Citation("[1] E", PAGE), TextDelta(".")]


def test_a_stop_inside_a_citation_cuts_it() -> None:
    filter = StopSequences(("]",))
    given = ended(filter, [TextDelta("see "), Citation("[1] there", PAGE), TextDelta(".")])
    assert given == [TextDelta("see "), Citation("[1", PAGE), Finished("stop", "]")]


def test_a_stop_that_begins_a_citation_leaves_nothing_of_it() -> None:
    given = ended(StopSequences(("[1",)), [TextDelta("see "), Citation("[1]", PAGE)])
    assert given == [TextDelta("see "), Finished("stop", "[1")]


def test_a_citation_of_no_text_stays_where_it_is() -> None:
    given = ended(StopSequences(("END",)), [TextDelta("E"), Citation("", PAGE), TextDelta("ND")])
    assert given == [STOPPED]
    given = ended(StopSequences(("END",)), [TextDelta("E"), Citation("", PAGE), TextDelta(".")])
    assert given == [TextDelta("E"), Citation("", PAGE), TextDelta(".")]


def test_reasoning_is_not_searched_and_interrupts_no_stop() -> None:
    thought = ReasoningDelta("END")
    assert ended(StopSequences(("END",)), [thought, TextDelta("EN"), thought, TextDelta("D")]) == [
        thought,
        thought,
        STOPPED,
    ]


def test_no_stop_goes_on_over_a_call() -> None:
    call = Called("call 1", "f", "{}")
    given = ended(StopSequences(("END",)), [TextDelta("EN"), call, TextDelta("D"), Finished("stop")])
    assert given == [TextDelta("EN"), call, TextDelta("D"), Finished("stop")]


def first_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The slow and certain way: the shortest beginning that ends with a stop, without the longest such stop; and that
    stop."""
    for end in range(len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            stop = max(hits, key=len)
            return text[: end - len(stop)], stop
    return text, None


@settings(max_examples=300)
@given(
    st.text("abE\n", max_size=40),
    st.lists(st.text("abE\n", min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_stops_of_any_kind_in_any_pieces(text: str, stops: list[str], seed: int) -> None:
    filter = StopSequences(tuple(stops))
    events = ended(filter, *in_pieces([TextDelta(text), Finished("length")], chances(seed)))
    kept, stop = first_stop(text, stops)
    assert outcome(events)[::2] == (kept, [Finished("stop", stop) if stop else Finished("length")])
    assert filter.decided == (stop is not None)


@given(st.text("ab", max_size=40), st.text("ab", min_size=1, max_size=6), st.integers(1, 5))
def test_what_is_held_is_the_longest_end_that_begins_a_stop(text: str, stop: str, size: int) -> None:
    matcher = StopMatcher(stop)
    for place in range(0, len(text), size):
        if matcher.find(text[place : place + size]) is not None:
            return
        seen = text[: place + size]
        assert matcher.matched == max(length for length in range(len(stop)) if seen.endswith(stop[:length]))


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_each_character_is_looked_at_once(size: int) -> None:
    """A long stop that nearly comes all the time: looking again at what is held would take hours."""
    filter = StopSequences(("a" * 100_000 + "b",))
    text = "a" * 1_000_000
    given = sum(
        len(outcome(filter.receive([TextDelta(text[place : place + size])]))[0]) for place in range(0, len(text), size)
    )
    assert given == 900_000
    assert outcome(filter.receive([TextDelta("b")])) == ("", "", [Finished("stop", "a" * 100_000 + "b")])


# --- a number of tokens -----------------------------------------------------------------------------------------------

FULL = Finished("length")


@pytest.mark.parametrize("cut", CUTS, ids=HOW)
@pytest.mark.parametrize(
    ("limit", "events", "text", "reasoning", "end"),
    [
        pytest.param(3, [TextDelta("one two three")], "one two three", "", "stop", id="exactly the limit"),
        pytest.param(2, [TextDelta("one two three")], "one two", "", "length", id="one too many"),
        pytest.param(1, [TextDelta("one two three")], "one", "", "length", id="the least"),
        pytest.param(9, [TextDelta("one two three")], "one two three", "", "stop", id="room left"),
        pytest.param(1, [TextDelta("")], "", "", "stop", id="nothing"),
        pytest.param(3, [ReasoningDelta("hm, so"), TextDelta("yes")], "", "hm, so", "length", id="all thought"),
        pytest.param(4, [ReasoningDelta("hm, so"), TextDelta("yes")], "yes", "hm, so", "stop", id="both"),
        pytest.param(4, [ReasoningDelta("hm, so"), TextDelta("yes no")], "yes", "hm, so", "length", id="both, cut"),
        pytest.param(2, [ReasoningDelta("hm, so"), TextDelta("yes")], "", "hm,", "length", id="in a thought"),
        pytest.param(
            4,
            [ReasoningDelta("hm", True), ReasoningDelta("so what", True)],
            "",
            "hm\n\nso what",
            "stop",
            id="the blank line counts",
        ),
        pytest.param(
            3,
            [ReasoningDelta("hm", True), ReasoningDelta("so what", True)],
            "",
            "hm\n\nso",
            "length",
            id="the blank line counts, cut",
        ),
        pytest.param(
            3, [TextDelta("un"), ReasoningDelta("hm"), TextDelta("happy")], "unhappy", "hm", "stop", id="goes on"
        ),
        pytest.param(2, [TextDelta("a𓀀b")], "a", "", "length", id="inside a character"),
        pytest.param(5, [TextDelta("a𓀀b")], "a𓀀", "", "length", id="after a character"),
        pytest.param(3, [TextDelta("see"), Citation(" [1]", PAGE)], "see [1", "", "length", id="in a citation"),
    ],
)
def test_limits(cut: Any, limit: int, events: list[Event], text: str, reasoning: str, end: str) -> None:
    filter = limit_of(limit)
    given = ended(filter, *cut([STARTED, *events, Finished("stop")]))
    assert outcome(given) == (text, reasoning, [STARTED, Finished(end)])
    assert filter.decided == (end == "length")


def test_a_citation_is_cut_only_by_the_end() -> None:
    filter = limit_of(3)
    assert filter.receive([TextDelta("see"), Citation(" [1]", PAGE)]) == [TextDelta("see")]
    assert filter.receive([Finished("stop")]) == [Citation(" [1", PAGE), FULL]


def test_a_failure_beyond_the_limit_is_none() -> None:
    assert outcome(ended(limit_of(1), [TextDelta("one two"), BROKEN])) == ("one", "", [FULL])
    assert outcome(ended(limit_of(2), [TextDelta("one two"), BROKEN])) == ("one two", "", [BROKEN])


def test_a_call_passes_when_what_was_said_before_it_fits() -> None:
    call = Called("call 1", "f", "{}")
    assert outcome(ended(limit_of(2), [TextDelta("one two"), call, Finished("tool_calls")])) == (
        "one two",
        "",
        [call, Finished("tool_calls")],
    )
    assert outcome(ended(limit_of(1), [TextDelta("one two"), call, Finished("tool_calls")])) == ("one", "", [FULL])


def test_the_limit_is_known_as_soon_as_the_next_word_begins() -> None:
    filter = limit_of(2)
    given = [outcome(filter.receive([TextDelta(text)])) for text in ("one", " two", " ", "three")]
    assert given == [("", "", []), ("one", "", []), (" two", "", [FULL]), ("", "", [])]


def test_nothing_is_counted_while_the_bytes_are_too_few() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return tokenizer.count(text)

    filter = TokenLimit(1000, count, tokenizer.cut, tokenizer.certain)
    for _ in range(250):
        assert filter.receive([TextDelta("four")]) == [TextDelta("four")]
    assert counted == []
    filter.receive([TextDelta("."), TextDelta(" five")])
    assert sum(map(len, counted)) > 0


@pytest.mark.parametrize("text", ["word and word. ", "終わりの文です。"])
def test_a_long_text_is_counted_on_the_way_and_not_all_at_once(text: str) -> None:
    """The limit comes into sight only after 100,000 bytes, and the event loop waits for whoever counts."""
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return tokenizer.count(text)

    filter = TokenLimit(100_000, count, tokenizer.cut, tokenizer.certain)
    while not filter.decided:
        filter.receive([TextDelta(text)])
    assert sum(counted) > 100_000
    assert max(counted) < 5000


@pytest.mark.parametrize("limit", [100, 3000, 8000, 60_000])
@pytest.mark.parametrize("text", ["-" * 120_000, "a" * 120_000, "天地" * 40_000, "ACGTTG" * 15_000, "𝟞" * 20_000])
def test_one_endless_word_is_counted_on_the_way_too(text: str, limit: int) -> None:
    """Nothing that reads a text reads much of it at once, and the end is where it is in the whole text."""
    read: list[int] = []

    def reading(reads: Any) -> Any:
        def read_it(text: str, *more: int) -> Any:
            read.append(len(text))
            return reads(text, *more)

        return read_it

    filter = TokenLimit(limit, reading(tokenizer.count), reading(tokenizer.cut), reading(tokenizer.certain))
    pieces = [TextDelta(text[start : start + 100]) for start in range(0, len(text), 100)]
    kept, _, said = outcome([*filter.receive([]), *(e for piece in pieces for e in filter.receive([piece]))])
    if not said:
        kept, _, said = outcome([TextDelta(kept), *filter.receive([Finished("stop")])])
    assert kept == tokenizer.cut(text, limit)
    assert max(read) < 25_000
    assert sum(read) < 12 * len(text)


def test_one_piece_that_is_far_too_long_is_cut_all_the_same() -> None:
    filter = limit_of(2)
    assert outcome(filter.receive([TextDelta("one two three " * 1000)])) == ("one two", "", [FULL])


@pytest.mark.parametrize(
    "text", ["word and word. " * 4000, "終わりの文です。" * 4000, "a" * 40_000, "\n" * 40_000, "12" * 20_000]
)
@pytest.mark.parametrize("limit", [10, 3000, 100_000])
def test_counting_is_linear(text: str, limit: int) -> None:
    """However near the limit: each character is counted a few times at most, one character at a time."""
    worked = 0

    def count(text: str) -> int:
        nonlocal worked
        worked += len(text)
        return tokenizer.count(text)

    def cut(text: str, tokens: int) -> str:
        nonlocal worked
        worked += len(text)
        return tokenizer.cut(text, tokens)

    filter = TokenLimit(limit, count, cut, tokenizer.certain)
    kept = outcome(ended(filter, *in_pieces([TextDelta(text), Finished("stop")], ones())))[0]
    assert kept == tokenizer.cut(text, limit)
    assert worked <= 6 * len(text)


@pytest.mark.parametrize("text", ["a" * 20_000, "\n" * 20_000, "=" * 20_000, "1" * 20_000, "ab" * 10_000])
def test_one_endless_word_is_stopped_before_its_end(text: str) -> None:
    filter = limit_of(10)
    fed = 0
    while not filter.decided:
        filter.receive([TextDelta(text[fed : fed + 10])])
        fed += 10
        assert fed <= 2100


def test_an_endless_word_that_just_fits_is_not_cut() -> None:
    """Its first 1024 characters, where it is looked through, are more tokens than it is in the end."""
    text = ("internationalization" * 52)[8:][:1025]
    limit = tokenizer.count(text)
    assert tokenizer.count(text[:1024]) > limit
    events = ended(limit_of(limit), *in_pieces([TextDelta(text), Finished("stop")], ones()))
    assert outcome(events) == (text, "", [Finished("stop")])


# Pieces of text that o200k joins and splits in surprising ways.
ODD = (
    *("hello", " world", "'re", "don't", "'", "un", "happy", "Straße", "A", "b", "3", "1234", "é", "e\u0301"),
    *(" ", "  ", "\n", "\n\n", " \n", "\r\n", "\t", "\u00a0", "\u2028", "\x85", "\x1c", "/", "//", "_"),
    *(
        ".",
        ",",
        "!\n",
        "?!",
        "...",
        "(",
        ")",
        '"',
        "#",
        "====",
        "，",
        "。",
        "中文",
        "です",
        "ก็",
        "𓀀",
        "🧑\u200d🚀",
        "\ud83d",
    ),
)
odd_text = st.lists(st.sampled_from(ODD), max_size=30).map("".join)
said = st.one_of(
    st.builds(TextDelta, odd_text),
    st.builds(ReasoningDelta, odd_text, st.booleans()),
    st.builds(Citation, odd_text, st.just(PAGE)),
)


@settings(max_examples=500)
@given(odd_text, st.integers(1, 60), st.integers(0, 99))
@example("hello \n", 1, 0)
@example("hello'", 1, 0)
def test_one_text_is_cut_as_the_tokenizer_would_cut_it(text: str, limit: int, seed: int) -> None:
    kept = tokenizer.cut(text, limit)
    end = Finished("stop") if kept == text else FULL
    for cut in (ones(), chances(seed)):
        events = ended(limit_of(limit), *in_pieces([TextDelta(text), Finished("stop")], cut))
        assert outcome(events) == (kept, "", [end])


@settings(max_examples=500)
@given(st.lists(said, max_size=6), st.integers(1, 60), st.integers(0, 99))
def test_the_end_does_not_depend_on_the_pieces(events: list[Event], limit: int, seed: int) -> None:
    everything = [STARTED, *events, Finished("stop")]
    whole = ended(limit_of(limit), everything)
    text, reasoning, rest = outcome(whole)
    for cut in (ones(), chances(seed)):
        assert outcome(ended(limit_of(limit), *in_pieces(everything, cut))) == (text, reasoning, rest)
    assert tokenizer.count(text) + tokenizer.count(reasoning) <= limit
    if rest[-1] != FULL:
        assert outcome(everything)[:2] == (text, reasoning)


@settings(max_examples=1000)
@given(st.one_of(odd_text, st.text(max_size=20)))
def test_tokens_add_up_at_seams(text: str) -> None:
    for match in re.finditer(SEAM, text):
        seam = match.start()
        assert tokenizer.count(text[:seam]) + tokenizer.count(text[seam:]) == tokenizer.count(text)
