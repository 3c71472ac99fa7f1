"""Whole answers as clients read them: each story in snapshots and in deltas, whole and one byte at a time, gives the
Markdown in its golden file, byte for byte.

A golden file has two lines about the answer (how it ended, what was reasoning), an empty line, and the text to the end.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.apis.openai_errors import envelope
from shim.errors import GatewayError
from shim.protocol.answer.machine import Answer
from shim.protocol.events import Citation, Event, Failed, FileRef, Finished, ReasoningDelta, TextDelta
from shim.protocol.shaping.markdown import Markdown
from tests.upstream_says import Json, Story, as_deltas, as_snapshots, bytewise, message

GOLDEN = Path(__file__).parent / "golden"


# --- how upstream tells a story ---------------------------------------------------------------------------------------


def state_of(id: str, content: Json, role: str = "assistant", name: str | None = None, **fields: Any) -> Json:
    author = {"role": role, "name": name}
    return message(id=id, author=author, content=content, **{"weight": 1.0, "channel": None} | fields)


def changed(state: Json, **fields: Any) -> Json:
    return json.loads(json.dumps(state)) | fields  # type: ignore[no-any-return]


def growing(state: Json, pieces: Iterable[str], *keys: str | int) -> Iterator[Json]:
    """The message while its text at `keys` (of the content) grows by these pieces."""
    yield state
    for piece in pieces:
        state = changed(state)
        *way, last = keys
        place: Any = state["content"]
        for key in way:
            place = place[key]
        place[last] += piece
        yield state


def text(id: str, *pieces: str, end: bool | None = None, **fields: Any) -> Story:
    """A message of text. `end` is its end_turn once it is finished."""
    states = [*growing(state_of(id, {"content_type": "text", "parts": [""]}, **fields), pieces, "parts", 0)]
    return [*states, changed(states[-1], status="finished_successfully", end_turn=end)]


def last(*pieces: str, **fields: Any) -> Story:
    """The message that ends the turn."""
    return text("last", *pieces, end=True, channel="final", **fields)


def code(id: str, *pieces: str, recipient: str = "python", language: str = "unknown", **fields: Any) -> Story:
    content = {"content_type": "code", "language": language, "response_format_name": None, "text": ""}
    states = [*growing(state_of(id, content, recipient=recipient, end_turn=False, **fields), pieces, "text")]
    return [*states, changed(states[-1], status="finished_successfully")]


def printed(id: str, *pieces: str, **fields: Any) -> Story:
    output = state_of(id, {"content_type": "execution_output", "text": ""}, role="tool", name="python", **fields)
    states = [*growing(output, pieces, "text")]
    return [*states, changed(states[-1], status="finished_successfully")]


def tool(id: str, name: str, content: Json, **fields: Any) -> Json:
    return state_of(id, content, **{"role": "tool", "name": name, "status": "finished_successfully"} | fields)


def pointer(address: str, generation: str | None = None, maker: str = "dalle") -> Json:
    about = {maker: {"gen_id": generation}} if generation else {}
    return {"content_type": "image_asset_pointer", "asset_pointer": address, "width": 1, "height": 1, "metadata": about}


def drawn(id: str, *parts: Json, name: str = "dalle.text2im", **fields: Any) -> Json:
    return tool(id, name, {"content_type": "multimodal_text", "parts": list(parts)}, **fields)


def typed(kind: str, **fields: Any) -> Json:
    return {"type": kind, "conversation_id": "c1", **fields}


def cited(id: str, steps: list[tuple[str, Any]], **more: Any) -> Story:
    """A message whose text and references grow together: (more text, the references then)."""
    state = state_of(id, {"content_type": "text", "parts": [""]}, channel="final", metadata={"content_references": []})
    story = [state]
    for piece, references in steps:
        state = changed(state)
        state["content"]["parts"][0] += piece
        state["metadata"] |= {"content_references": references, **more}
        story.append(state)
    return [*story, changed(state, status="finished_successfully", end_turn=True)]


# --- how a client reads it --------------------------------------------------------------------------------------------


def address(file: FileRef) -> str:
    return f"https://gateway.test/{file.file_id or file.message_id}{file.sandbox_path or ''}"


def read(chunks: Iterable[bytes]) -> str:
    """The answer in these chunks, as a golden file has it."""
    answer, markdown = Answer(), Markdown(address)
    events: list[Event] = []
    for chunk in (*chunks, b""):
        events += markdown.receive(answer.receive(chunk))
        if answer.follow is not None:
            return written(events, f"follow {answer.follow!r}")
    end = events[-1]
    assert isinstance(end, Finished | Failed)
    assert sum(isinstance(event, Finished | Failed) for event in events) == 1
    return written(events, end.reason if isinstance(end, Finished) else f"{end.error.http_status} {end.error.code}")


def written(events: list[Event], end: str) -> str:
    shown = "".join(event.text for event in events if isinstance(event, TextDelta | Citation))
    reasoning = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    return f"end: {end}\nreasoning: {json.dumps(reasoning, ensure_ascii=False)}\n\n{shown}"


# --- the stories ------------------------------------------------------------------------------------------------------

CITE = "\ue200cite\ue202turn0search0\ue202turn0news1\ue201"
NAVLIST = "\ue200navlist\ue202More\ue202turn0news1\ue201"
ENTITY = '\ue200entity\ue202["software","Node.js","javascript runtime"]\ue201'
FILECITE = "\ue200filecite\ue202turn0file0\ue202L3-L8\ue201"
PAGE = {"title": "A [page]", "url": "https://example.test/a?utm_source=chatgpt.com&x=1#top"}
GROUPS = [
    {
        "type": "search_result_group",
        "domain": "example.test",
        "entries": [
            {**PAGE, "ref_id": {"turn_index": 0, "ref_type": "search", "ref_index": 0}},
            {
                "title": None,
                "url": "https://example.test/(b)",
                "ref_id": {"turn_index": 0, "ref_type": "news", "ref_index": 1},
            },
        ],
    }
]
HIDDEN = {"matched_text": CITE, "start_idx": 9, "type": "hidden", "invalid": True, "alt": None}
NAMED = {**HIDDEN, "type": "grouped_webpages", "alt": "([example.test](https://example.test/?utm_source=chatgpt.com))"}
FENCED_CODE = 'print("""\n```python\nx = 1\n```\n  ```` \n""")\n```'
THOUGHTS = state_of("t1", {"content_type": "thoughts", "thoughts": []}, status="in_progress", end_turn=False)
THOUGHT = {"summary": "Checking", "content": "Let me ", "chunks": [], "finished": False}
OLD_CITES = [
    {"start_ix": 6, "end_ix": 17, "metadata": {"type": "webpage", "title": "A", "url": "https://example.test/a"}}
]
CARD = {"image_gen_task_id": "task-1", "image_gen_async": True}
INSTRUCTIONS = {"content_type": "text", "parts": ["You are responding immediately after an image generation result."]}

STORIES: dict[str, Story] = {
    "code_and_output": [
        *text("a1", "Let me ", "compute.", channel="commentary"),
        *code("k1", "pri", "nt(", "6 * 7)"),
        *printed("o1", "42", "\n"),
        *last("It is ", "42."),
    ],
    "code_left_open": [*last("Look:"), *code("k1", "while True:", "\n    pass", language="python3")],
    "code_with_fences": [
        *code("k1", *FENCED_CODE.partition("\n```")),
        *printed("o1", "```", "\n", "``", "`", "\nx"),
        *last("Done."),
    ],
    "code_with_marks": [*code("k1", "x = '\ue200cite\ue201'"), *last("Done.")],
    "code_with_a_chart": [
        *code("k1", "plot()"),
        *printed("o1", "<Figure>"),
        tool(
            "o1",
            "python",
            {"content_type": "execution_output", "text": "<Figure>"},
            metadata={
                "aggregate_result": {"messages": [{"message_type": "image", "image_url": "file-service://file-Chart"}]}
            },
        ),
        *last("As plotted."),
    ],
    "code_that_failed": [
        *code("k1", "1/0"),
        tool("o1", "python", {"content_type": "system_error", "name": "Timeout", "text": "Took too long"}),
        *last("Sorry."),
    ],
    "files": last(
        "Here: [a](sand",
        "box:/mnt/da",
        "ta/a.csv) and ![b](<sandbox:/mnt/data/my b.png>), [c](sandbox:/mnt/data/c(1).txt ",
        '"c"), [d](sandbox:/mnt/data/d%20d.txt).\n',
        "(sand",
        "box) (sandboxes) <s",
        "an> (sandbox:x) sandbox:/mnt/data/e f(",
        "x)",
    ),
    "file_at_the_end": last("[a](sandbox:/mnt/data/a.csv"),
    "pictures_of_dalle": [
        *code("k1", '{"prompt":"two ', 'cats"}', recipient="dalle.text2im", language="json"),
        drawn(
            "d1",
            pointer("file-service://file-One", "g1"),
            pointer("file-service://file-Two", "g2"),
            metadata={"image_gen_title": "Cats [two]"},
        ),
        *last("Two cats."),
    ],
    "picture_alone": [
        drawn("d1", pointer("sediment://file_0001", "g1", "generation"), name="image_gen", weight=0.0),
        tool("d2", "image_gen", INSTRUCTIONS),
    ],
    "picture_after_previews": [
        *text("a1", "Drawing."),
        *(
            drawn("d1", pointer(f"sediment://file_{n}", "g1", "generation"), name="image_gen", status=status)
            for n, status in [(1, "in_progress"), (2, "in_progress"), (3, "finished_successfully")]
        ),
        drawn("d2", pointer("sediment://file_3", "g1"), name="image_gen"),
        *last("Done."),
    ],
    "picture_only_previewed": [
        drawn("d1", pointer("sediment://file_1", "g1"), name="t2uay3k.sj1i4kz", status="in_progress"),
        drawn("d1", pointer("sediment://file_2", "g1"), name="t2uay3k.sj1i4kz", status="in_progress"),
    ],
    "pictures_that_are_input": [
        state_of(
            "u1", {"content_type": "multimodal_text", "parts": [pointer("file-service://file-In"), "?"]}, role="user"
        ),
        typed("input_message", input_message=drawn("u2", pointer("file-service://file-In"))),
        *last("I see a cat."),
    ],
    "picture_failed": [
        *code("k1", "{}", recipient="image_gen"),
        tool("d1", "image_gen", {"content_type": "system_error", "name": "ImageGenError", "text": "No GPU today."}),
    ],
    "picture_failed_and_explained": [
        tool("d1", "image_gen", {"content_type": "system_error", "name": "ImageGenError", "text": "No GPU today."}),
        *last("I could not draw that."),
    ],
    "picture_refused_by_policy": [
        tool(
            "d1", "dalle.text2im", {"content_type": "system_error", "name": "content_policy_violation", "text": "No."}
        ),
    ],
    "picture_promised": [
        *code("k1", '{"skipped_mainline":true}', recipient="image_gen"),
        tool("d1", "image_gen", {"content_type": "text", "parts": ["Processing image"]}, metadata=CARD),
        typed("conversation_async_status", async_status=4),
    ],
    "thinking": [
        THOUGHTS,
        changed(THOUGHTS, content={"content_type": "thoughts", "thoughts": [THOUGHT]}),
        changed(THOUGHTS, content={"content_type": "thoughts", "thoughts": [{**THOUGHT, "content": "Let me see."}]}),
        state_of(
            "r1", {"content_type": "reasoning_recap", "content": "Thought for 6s"}, status="finished_successfully"
        ),
        *text("p1", "Searching ", f"{CITE}the web.", channel="commentary"),
        *text("p2", "Nearly.", metadata={"is_thinking_preamble_message": True}),
        *last("42."),
    ],
    "thinking_of_o1": [
        *text("t1", "Counting ", "sheep", role="tool", name="a8km123", metadata={"initial_text": "Thinking"}),
        *last("Zzz."),
    ],
    "citation_named_while_open": cited(
        "last",
        [
            ("A fact. \ue200cite\ue202turn0", [{**HIDDEN, "matched_text": "\ue200cite\ue202turn0"}]),
            (CITE[len("\ue200cite\ue202turn0") :], [HIDDEN]),
            (" More", [NAMED]),
            (" text.", [NAMED]),
        ],
    ),
    "citation_named_after_more_text": cited(
        "last", [(f"A fact {CITE}", []), (" and", [HIDDEN]), (" more", [HIDDEN]), (" text.", [NAMED])]
    ),
    "citation_with_items": cited(
        "last", [(f"A fact {CITE}.", [{**HIDDEN, "type": "grouped_webpages", "items": [PAGE, PAGE]}])]
    ),
    "citation_with_fallback_items": cited(
        "last", [(f"A fact {CITE}.", [{**HIDDEN, "items": [], "fallback_items": [PAGE]}])]
    ),
    "citation_by_search_results": cited("last", [(f"A fact {CITE}; see {NAVLIST}.", [])], search_result_groups=GROUPS),
    "citation_of_nothing": cited("last", [(f"A fact{CITE}, a file{FILECITE}, ", []), ("end.", [])]),
    "citation_never_named": cited("last", [(f"A fact{CITE} and", []), *[(" and so on" * 5, [])] * 8, (".", [NAMED])]),
    "citation_first": cited("last", [(f"{ENTITY} runs.", [])]),
    "citation_of_entity": cited("last", [(f"It is {ENTITY[:9]}", []), (f"{ENTITY[9:]}, which", []), (" runs.", [])]),
    "citation_left_open": cited("last", [("A fact", []), (" \ue200cite\ue202turn0", [])]),
    "citation_of_2023": cited("last", [("A fact【11†sour", []), ("ce】. 【Title】 【1:2】", [])], citations=OLD_CITES),
    "citation_of_2023_unknown": cited("last", [("A fact【4:0†report.pdf】.", [])]),
    "stray_marks": cited("last", [("a\ue201b\ue203\ue204c\ue202d\ue206e", [])]),
    "canvas_document": [
        *code(
            "k1",
            '{"name":"poem","ty',
            'pe":"document","con',
            'tent":"# Roses\\',
            "nare \\u00",
            "e9 \\ud83c",
            '\\udf89 \\"red\\""}',
            recipient="canmore.create_textdoc",
            language="json",
        ),
        tool(
            "k2", "canmore.create_textdoc", {"content_type": "text", "parts": ["Successfully created text document."]}
        ),
        *last("I wrote a poem."),
    ],
    "canvas_code": [
        *text(
            "k1",
            '{"name":"x","type":"code/python","content":"pri',
            'nt(1)\\n"',
            ',"z":1}',
            recipient="canmore.create_textdoc",
        ),
        *last("There."),
    ],
    "canvas_cut": code(
        "k1", '{"name":"poem","type":"document","content":"Roses \\ud83c', recipient="canmore.create_textdoc"
    ),
    "canvas_changed": [
        *code("k1", '{"updates":[{"pattern":".*","replacement":"x"}]}', recipient="canmore.update_textdoc"),
        *code("k2", '{"comments":[]}', recipient="canmore.comment_textdoc"),
        *last("Changed."),
    ],
    "tools_unknown": [
        *code("k1", '{"q":', '"x"}', recipient="gizmo_action.example", language="json"),
        tool("k2", "gizmo_action.example", {"content_type": "text", "parts": ['{"secret":1}']}),
        tool("k3", "browser", {"content_type": "tether_browsing_display", "result": "secret", "summary": ""}),
        *code("k4", 'search("x")', recipient="web.run"),
        state_of("k5", {"content_type": "super_widget", "parts": ["secret"]}),
        *last("Found it."),
    ],
    "cut_for_length": [
        *text("a1", "One, two"),
        changed(text("a1", "One, two")[-1], metadata={"finish_details": {"type": "max_tokens"}}),
    ],
    "interrupted": [changed(last("One")[-1], metadata={"finish_details": {"type": "interrupted"}})],
    "blocked": [
        *text("a1", "One, ", "two"),
        typed("moderation", moderation_response={"blocked": True}),
        *last("three"),
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_golden(name: str) -> None:
    golden = (GOLDEN / f"{name}.txt").read_bytes().decode()
    for frames in (as_snapshots(STORIES[name]), as_deltas(STORIES[name])):
        stream = b"".join(frames)
        assert read([stream]) == golden
        assert read(frames) == golden
        assert read(bytewise(stream)) == golden


def test_every_golden_file_has_its_story() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(STORIES)


def test_no_mark_ever_leaves() -> None:
    for path in GOLDEN.glob("*.txt"):
        assert not {*path.read_text()} & set(map(chr, range(0xE200, 0xE207)))


ENCODINGS: list[Callable[[Story], list[bytes]]] = [as_snapshots, as_deltas]
ANY_STORY = st.builds(
    lambda name, encode: encode(STORIES[name]), st.sampled_from([*STORIES]), st.sampled_from(ENCODINGS)
)


@settings(max_examples=80, deadline=None)
@given(ANY_STORY, st.lists(st.integers(1, 20000), max_size=20))
def test_the_network_cannot_change_what_is_read(frames: list[bytes], places: list[int]) -> None:
    stream = b"".join(frames)
    ends = sorted({place for place in places if place < len(stream)})
    chunks = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]
    assert read(chunks) == read([stream])


# --- streams that are wrong -------------------------------------------------------------------------------------------

ODD = st.sampled_from([None, True, -1, "", "x", "\ue200", [], [[]], {}, {"a": 1}, "sandbox:/", "file-service://x"])


def mutated(frames: list[bytes], data: st.DataObject) -> list[bytes]:
    frames = list(frames)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(frames) - 1))
        match data.draw(st.sampled_from(["drop", "repeat", "swap", "flip", "value"])):
            case "drop" if len(frames) > 1:
                del frames[place]
            case "repeat":
                frames.insert(place, frames[place])
            case "swap":
                frames[place], frames[-1 - place] = frames[-1 - place], frames[place]
            case "flip":
                frames[place] = flipped(frames[place], data)
            case _:
                frames[place] = replaced(frames[place], data)
    return frames


def flipped(frame: bytes, data: st.DataObject) -> bytes:
    place = data.draw(st.integers(0, max(0, len(frame) - 1)))
    return frame[:place] + bytes([data.draw(st.integers(0, 255))]) + frame[place + 1 :]


def replaced(frame: bytes, data: st.DataObject) -> bytes:
    """The frame with one value somewhere in its JSON replaced."""
    head, _, rest = frame.partition(b"data: ")
    try:
        value = json.loads(rest)
    except ValueError:
        return frame
    places = [*containers(value)]
    if not places:
        return frame
    place = data.draw(st.sampled_from(places))
    keys = [*place] if isinstance(place, dict) else [*range(len(place))]
    place[data.draw(st.sampled_from(keys))] = data.draw(ODD)
    return head + b"data: " + json.dumps(value).encode() + b"\n\n"


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


@settings(max_examples=200, deadline=None)
@given(ANY_STORY, st.data())
def test_no_mutation_breaks_the_reader(frames: list[bytes], data: st.DataObject) -> None:
    """Whatever came: no exception, no mark, and one end or a pause; the same one byte at a time."""
    stream = b"".join(mutated(frames, data))
    whole = read([stream] if stream else [])
    assert read(bytewise(stream)) == whole
    assert not {*whole} & set(map(chr, range(0xE200, 0xE207)))


@settings(max_examples=100, deadline=None)
@given(ANY_STORY, st.integers(0, 20000))
def test_a_cut_stream_ends_with_an_error_that_can_be_told(frames: list[bytes], place: int) -> None:
    stream = b"".join(frames)
    answer = Answer(continue_times=1)
    cut = stream[: place % len(stream)]
    events = answer.receive(cut) if cut else []
    while not answer.ended:
        events += answer.receive(b"")
    assert isinstance(events[-1], Finished | Failed)
    if isinstance(events[-1], Failed):
        assert isinstance(events[-1].error, GatewayError)
        assert msgspec.json.decode(envelope(events[-1].error))
