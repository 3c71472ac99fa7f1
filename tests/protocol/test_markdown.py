"""Text, code, output, pictures and files as one Markdown text: fences open and close, whatever is in them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.errors import UpstreamError
from shim.protocol.events import (
    Called,
    Citation,
    CodeDelta,
    Event,
    Failed,
    FileLink,
    FileRef,
    Finished,
    Picture,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolOutput,
)
from shim.protocol.shaping.markdown import Markdown

END = Finished("stop")


def address(file: FileRef) -> str:
    return f"https://x.test/{file.file_id or file.sandbox_path}"


def fed(*events: Event, at_once: bool = False) -> list[Event]:
    markdown = Markdown(address)
    return markdown.receive([*events]) if at_once else [one for event in events for one in markdown.receive([event])]


def written(*events: Event) -> str:
    """The text of an answer of these events; the same in one batch as in many."""
    many, one = (fed(*events, END, at_once=at_once) for at_once in (False, True))
    assert many == one
    assert many[-1] == END
    assert {type(event) for event in many} <= {TextDelta, Citation, Finished}
    return "".join(event.text for event in many if isinstance(event, TextDelta | Citation))


CODE = CodeDelta("print(1)", "python", opens=True)
OUTPUT = ToolOutput("1\n", opens=True)
TEXT = TextDelta("So it is.", opens=True)
CAT = Picture(FileRef(file_id="cat", title="A [cat]\nasleep"))


@pytest.mark.parametrize(
    ("events", "text"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([TEXT, TextDelta(" Yes.")], "So it is. Yes.", id="text alone is left as it is"),
        pytest.param([TEXT, TEXT], "So it is.\n\nSo it is.", id="two messages are two paragraphs"),
        pytest.param([CODE], "```python\nprint(1)\n```", id="the end closes code"),
        pytest.param([CODE, CodeDelta("\n")], "```python\nprint(1)\n```", id="a line end that is there is not doubled"),
        pytest.param([CODE, TEXT], "```python\nprint(1)\n```\n\nSo it is.", id="text closes code"),
        pytest.param([TEXT, CODE], "So it is.\n\n```python\nprint(1)\n```", id="code after text"),
        pytest.param([CODE, OUTPUT], "```python\nprint(1)\n```\n\n```output\n1\n```", id="output after code"),
        pytest.param([CODE, CODE], "```python\nprint(1)\n```\n\n```python\nprint(1)\n```", id="code after code"),
        pytest.param(
            [TEXT, CODE, OUTPUT, TEXT],
            "So it is.\n\n```python\nprint(1)\n```\n\n```output\n1\n```\n\nSo it is.",
            id="all of it",
        ),
        pytest.param([CodeDelta("x", opens=True)], "```text\nx\n```", id="a language nobody named"),
        pytest.param([CodeDelta("x", "a`b\nc", opens=True)], "```text\nx\n```", id="a language that is none"),
        pytest.param([ToolOutput("x"), TextDelta("y")], "```output\nx\n```\n\ny", id="another kind opens by itself"),
        pytest.param([CAT], "![A \\[cat\\] asleep](https://x.test/cat)", id="a picture"),
        pytest.param(
            [TEXT, Picture(FileRef(file_id="a")), Picture(FileRef(file_id="b")), TextDelta("And.")],
            "So it is.\n\n![image](https://x.test/a)\n\n![image](https://x.test/b)\n\nAnd.",
            id="pictures stand alone",
        ),
        pytest.param([CODE, CAT], f"```python\nprint(1)\n```\n\n{written(CAT)}", id="a picture closes code"),
        pytest.param(
            [TextDelta("[a]("), FileLink(FileRef(sandbox_path="/a")), TextDelta(")")],
            "[a](https://x.test//a)",
            id="a link to a file",
        ),
        pytest.param([TEXT, Citation(" (x)"), TextDelta(".")], "So it is. (x).", id="a citation is in the text"),
        pytest.param([CODE, Citation("x")], "```python\nprint(1)\n```\n\nx", id="a citation closes code"),
    ],
)
def test_markdown(events: list[Event], text: str) -> None:
    assert written(*events) == text


def test_what_is_no_text_passes_in_its_place() -> None:
    passing = [Started("c", "m", "s"), ReasoningDelta("hm", opens=True), Called("1", "f", "{}")]
    assert fed(*passing, CODE, ReasoningDelta("hm"), CodeDelta("!"), END) == [
        *passing,
        TextDelta("```python\nprint(1)"),
        ReasoningDelta("hm"),
        TextDelta("!"),
        TextDelta("\n```"),
        END,
    ]


def test_a_failure_is_the_end_as_it_stands() -> None:
    failed = Failed(UpstreamError("x"))
    assert fed(CODE, failed)[-1] is failed


def test_plain_text_is_handed_through_as_it_is() -> None:
    markdown = Markdown(address)
    markdown.receive([TEXT])
    batch: list[Event] = [TextDelta("a"), TextDelta("b")]
    assert markdown.receive(batch) is batch


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("```", "    ```"),
        ("```\n", "    ```\n"),
        ("a\n   ````  \nb", "a\n       ````  \nb"),
        ("```\r\nb", "    ```\r\nb"),
        ("    ```\nb", "    ```\nb"),
        ("```python\nb", "```python\nb"),
        ("x```\n``\n` ` `", "x```\n``\n` ` `"),
        ("~~~", "~~~"),
        ("   ", "   "),
    ],
)
def test_a_line_that_would_close_the_fence_is_indented(code: str, shown: str) -> None:
    end = "" if shown.endswith("\n") else "\n"
    whole = f"```python\n{shown}{end}```"
    assert written(CodeDelta(code, "python", opens=True)) == whole
    assert written(CodeDelta("", "python", opens=True), *(CodeDelta(char, "python") for char in code)) == whole


PROSE = st.text("ab \n", min_size=1, max_size=6)  # without backticks, so that every fence outside code is ours
INSIDE = st.text("a `\n", min_size=1, max_size=8)
EVENTS = st.lists(
    st.one_of(
        st.builds(TextDelta, PROSE, st.booleans()),
        st.builds(CodeDelta, INSIDE, st.sampled_from(["python", ""]), st.booleans()),
        st.builds(ToolOutput, INSIDE, st.booleans()),
        st.just(Picture(FileRef(file_id="cat"))),
    ),
    max_size=10,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_every_fence_that_opens_closes_where_it_should(events: list[Event]) -> None:
    """Read as CommonMark does: in a block only backticks, three or more, indented by no more than three, close it."""
    blocks: list[list[str]] = []
    block: list[str] | None = None
    for line in written(*events).split("\n"):
        if block is None and re.fullmatch("```(python|text|output)", line):
            block = []
        elif block is not None and re.fullmatch(r" {0,3}`{3,}[ \t]*", line):
            blocks.append(block)
            block = None
        elif block is not None:
            block.append(line)
    assert block is None
    assert [unindented(block) for block in blocks] == [unindented(lines) for lines in blocks_of(events)]


def unindented(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines]


def blocks_of(events: list[Event]) -> list[list[str]]:
    """The code of each block that these events ask for."""
    blocks: list[list[str]] = []
    kind: type[Event] | None = None
    for event in events:
        if isinstance(event, CodeDelta | ToolOutput):
            if event.opens or type(event) is not kind:
                blocks.append([""])
            blocks[-1][0] += event.text
        kind = type(event)
    return [code.removesuffix("\n").split("\n") if code != "\n" else [""] for (code,) in blocks]


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_nothing_that_was_said_is_lost(events: list[Event]) -> None:
    said = re.sub(r"\s", "", written(*events))
    place = 0
    for event in events:
        if isinstance(event, TextDelta | CodeDelta | ToolOutput):
            text = re.sub(r"\s", "", event.text)
            place = said.index(text, place) + len(text)
