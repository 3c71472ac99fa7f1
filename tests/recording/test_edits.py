"""Edits and literals: whatever is cut where, the pieces' results joined are the whole's."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shim.cassettes.edits import Edit, decoded, edited, encoded, split_edited, within
from shim.cassettes.literals import literals


def test_an_edit_over_a_boundary_is_shared_out():
    edits = [Edit(2, 8, "ABCD")]
    assert edited("0123456789", edits) == "01ABCD89"
    assert split_edited(b"0123456789", edits, [3, 3, 4]) == [b"01A", b"BCD", b"89"]


def test_a_boundary_inside_a_character_survives():
    body = "a€secret€".encode()
    pieces = split_edited(body, [Edit(2, 8, "x")], [2, 4, len(body) - 6])
    assert pieces[0] == body[:2]
    assert b"".join(pieces) == "a€x€".encode()


@st.composite
def edited_texts(draw):
    text = draw(st.text(min_size=1, max_size=60))
    marks = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    return text, [Edit(start, end, draw(st.text(max_size=9))) for start, end in pairs]


@given(edited_texts(), st.data())
def test_pieces_joined_are_the_whole(made, data):
    text, edits = made
    body = text.encode("utf-8", "surrogatepass") if text.isascii() else text.encode(errors="replace")
    if decoded(body) != text:
        return
    marks = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=6)) | {0, len(body)})
    sizes = [end - start for start, end in pairwise(marks)]
    pieces = split_edited(body, edits, sizes)
    assert len(pieces) == len(sizes)
    assert b"".join(pieces) == edited(text, edits).encode(errors="surrogateescape")


@given(edited_texts(), st.integers(0, 60))
def test_what_lies_within_is_what_the_whole_has_there(made, cut):
    text, edits = made
    cut = min(cut, len(text))
    first = edited(text[:cut], within(edits, 0, cut))
    assert first + edited(text[cut:], within(edits, cut, len(text))) == edited(text, edits)


@given(st.binary())
def test_any_bytes_are_a_text_and_back(body):
    assert encoded(decoded(body)) == body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
)


def strings_of(value, path=()):
    match value:
        case str():
            yield path, value
        case dict():
            for key, inside in value.items():
                yield from strings_of(inside, (*path, key))
        case list():
            for place, inside in enumerate(value):
                yield from strings_of(inside, (*path, place))


@given(JSON, st.booleans())
def test_every_string_is_found_at_its_place(value, ascii):
    text = json.dumps(value, ensure_ascii=ascii)
    found = [(one.path, one.value) for one in literals(text) if one.value is not None and not one.is_key]
    assert found == list(strings_of(value))


@given(st.text(min_size=1), st.booleans())
def test_a_string_can_be_rewritten_anywhere(text, ascii):
    source = json.dumps([text], ensure_ascii=ascii)
    (literal,) = literals(source)
    for place in range(len(text)):
        edits = [Edit(place, place + 1, '"\\é')]
        assert json.loads(edited(source, list(literal.rewritten(edits)))) == [edited(text, edits)]


@given(JSON, st.integers(0, 200))
def test_what_breaks_off_is_still_seen_to_its_end(value, cut):
    text = json.dumps({"k": value})[:cut]
    for one in literals(text):
        assert text[one.start : one.start + len(one.source)] == one.source
    places = [place for one in literals(text) for place in range(one.start, one.start + len(one.source))]
    unseen = {text[place] for place in set(range(len(text))) - set(places)}
    assert unseen <= set(' \t{}[]:,truefalsn"')
