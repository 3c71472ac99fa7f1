"""Both encodings of every script leave a reader with the same messages, however the bytes are cut."""

import json
from itertools import pairwise
from random import Random

import msgspec
import pytest

from shim.standin import StandinOptions
from shim.standin.chunks import CHUNKINGS
from shim.standin.encode import Deltas, Snapshots, encode
from shim.standin.scripts import SCRIPTS, play
from shim.standin.steps import Pause, Turn
from shim.standin.upstream import Upstream

DEVICE = "a22491d1-7d0c-452a-96e3-916f2457b083"


def turn_of(seed):
    message = {"id": DEVICE, "content": {"content_type": "text", "parts": ["Hi “you” 👋"]}, "metadata": {}}
    return Turn(
        question="Hi “you” 👋",
        slug="gpt-5-2",
        plan="plus",
        conversation_id="f9df19ef-b8b1-4e37-8494-da8c043d33ca",
        parent_id="client-created-root",
        user_message=message,
        rng=Random(seed),
        now=1_700_000_000.0,
        words=400,
        stall=0.0,
    )


def parts_of(script, encoding, *, seed=1, coding=7, **options):
    turn = turn_of(seed)
    encoder = Deltas(turn.conversation_id, Random(coding)) if encoding == "v1" else Snapshots(turn.conversation_id)
    return encode(play(script, turn), encoder, Random(coding), **options)


def body_of(*arguments, **options):
    return b"".join(part for part in parts_of(*arguments, **options) if isinstance(part, bytes))


def test_both_encodings_of_every_script_give_the_same_messages(read):
    for seed, script in enumerate(SCRIPTS):
        snapshot = read(body_of(script, "snapshot", seed=seed, coding=seed))
        delta = read(body_of(script, "v1", seed=seed, coding=seed + 100))
        assert (delta.encoding, snapshot.encoding) == ("v1", "snapshot"), script
        assert delta.messages == snapshot.messages, script
        assert list(delta.messages) == list(snapshot.messages), script
        for what in ("typed", "errors", "done"):
            assert getattr(delta, what) == getattr(snapshot, what), (script, what)


def test_chunking_changes_no_byte():
    for chunking, cut in CHUNKINGS.items():
        pieces = list(cut(parts_of("unicode", "v1"), Random(3)))
        assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == body_of("unicode", "v1"), chunking


def test_split_cuts_inside_lines_and_inside_characters():
    parts = parts_of("unicode", "v1", escapes="raw")
    pieces = [piece for piece in CHUNKINGS["split"](parts, Random(3)) if isinstance(piece, bytes)]
    assert sum(not piece.endswith(b"\n\n") for piece in pieces) > 10
    inside = [piece for piece in pieces if piece[:1] >= b"\x80" and piece[:1] < b"\xc0"]
    assert inside


def test_one_byte_at_a_time():
    pieces = [piece for piece in CHUNKINGS["bytes"](parts_of("text", "v1"), Random(3)) if isinstance(piece, bytes)]
    assert {len(piece) for piece in pieces} == {1}


def test_whole_is_one_piece():
    assert len(list(CHUNKINGS["whole"](parts_of("text", "v1"), Random(3)))) == 1


def test_the_same_seed_gives_the_same_bytes():
    assert body_of("reasoning", "v1") == body_of("reasoning", "v1")
    assert body_of("reasoning", "v1", coding=1) != body_of("reasoning", "v1", coding=2)


@pytest.mark.parametrize("escapes", ["ascii", "mixed", "raw"])
def test_escapes(escapes, read):
    body = body_of("unicode", "v1", escapes=escapes)
    assert body.isascii() == (escapes == "ascii")
    assert read(body).messages == read(body_of("unicode", "snapshot")).messages


def test_deltas_look_like_the_captures(read):
    """As recorded in 2025-03: root add, one full append, then bare strings; patch at the end."""
    deltas = read(body_of("long", "v1")).deltas
    assert list(deltas[0]) == ["p", "o", "v", "c"]
    assert any(list(delta) == ["v", "c"] and "message" in delta["v"] for delta in deltas)
    assert {"p", "o", "v"} in [set(delta) for delta in deltas]
    bare = [delta for delta in deltas if list(delta) == ["v"] and isinstance(delta["v"], str)]
    assert len(bare) > len(deltas) / 2
    assert [operation["p"] for operation in deltas[-1]["v"]][:2] == ["/message/content/parts/0", "/message/status"]


def test_a_bare_list_follows_a_patch(read):
    """As recorded in 2026-02: after a patch a bare list is another patch."""
    readings = [read(body_of("citations", "v1", coding=coding)) for coding in range(5)]
    assert any(list(delta) == ["v"] and isinstance(delta["v"], list) for one in readings for delta in one.deltas)


def test_thoughts_are_bare_strings_too(read):
    """Protocol.md 5.2: a bare string is text only if the inherited path is a text path."""
    last, bare_thoughts = "", 0
    for delta in read(body_of("reasoning", "v1")).deltas:
        last = delta.get("p", last)
        bare_thoughts += list(delta) == ["v"] and last.startswith("/message/content/thoughts/")
    assert bare_thoughts > 3


def test_padding_comments_and_empty_data_lines():
    body = body_of("long", "v1")
    lines = body.decode().split("\n")
    padding = {len(line) - len(line.rstrip(" ")) for line in lines if line.startswith("data: {")}
    assert padding == set(range(9))
    assert any(line.startswith(": ping - ") for line in lines)
    assert "data: " in lines
    assert "data: [DONE]" in lines


def test_without_noise_every_line_is_an_event():
    lines = body_of("long", "v1", noise=False).decode().split("\n")
    assert not any(line.endswith(" ") or line.startswith(":") for line in lines)


def test_snapshots_grow(read):
    body = body_of("text", "snapshot", noise=False)
    events = [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith('data: {"message": {')]
    texts = [
        event["message"]["content"]["parts"][0] for event in events if event["message"]["author"]["role"] == "assistant"
    ]
    assert texts[0] == ""
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert texts[-1] == read(body).answers[0]


def test_pauses_are_kept_between_events():
    assert [part for part in parts_of("stall", "v1") if isinstance(part, Pause)] == [Pause(0.0)]


async def test_reuse_makes_equal_turns_once(conversation):
    upstream = Upstream(StandinOptions(require_sentinel=False, reuse=True))
    caller = upstream.accounts.anonymous(None, DEVICE)
    bodies = []
    for _ in range(2):
        body = msgspec.json.encode(conversation("the same"))
        told = upstream.answer(caller, "/x", {"content-type": "application/json"}, body)
        bodies.append(b"".join([part async for part in told.parts]))
    assert bodies[0] == bodies[1]
