"""Text, code and output as one Markdown text: fences open and close, whatever follows."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.protocol.events import CodeDelta, TextDelta, ToolOutput
from shim.protocol.markdown import MarkdownText

Shown = TextDelta | CodeDelta | ToolOutput


def written(*deltas: Shown) -> str:
    markdown = MarkdownText()
    return "".join(markdown.add(delta) for delta in deltas) + markdown.close()


CODE = CodeDelta("print(1)", "python", opens=True)
OUTPUT = ToolOutput("1\n", opens=True)
TEXT = TextDelta("So it is.", opens=True)


@pytest.mark.parametrize(
    ("deltas", "text"),
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
        pytest.param([ToolOutput("x"), TextDelta("y")], "```output\nx\n```\n\ny", id="another kind opens by itself"),
    ],
)
def test_markdown(deltas: list[Shown], text: str) -> None:
    assert written(*deltas) == text


def test_closing_twice_closes_once() -> None:
    markdown = MarkdownText()
    markdown.add(CODE)
    assert markdown.close() == "\n```"
    assert markdown.close() == ""


PROSE = st.text("ab \n", min_size=1, max_size=6)  # without backticks, so that every fence in the result is ours
DELTAS = st.lists(
    st.one_of(
        st.builds(TextDelta, PROSE, st.booleans()),
        st.builds(CodeDelta, PROSE, st.sampled_from(["python", ""]), st.booleans()),
        st.builds(ToolOutput, PROSE, st.booleans()),
    ),
    max_size=10,
)


@settings(max_examples=200)
@given(DELTAS)
def test_every_fence_that_opens_closes_on_a_line_of_its_own(deltas: list[Shown]) -> None:
    is_open = False
    for line in written(*deltas).split("\n"):
        if "```" in line:
            assert re.fullmatch("```" if is_open else "```(python|text|output)", line)
            is_open = not is_open
    assert not is_open


@settings(max_examples=200)
@given(DELTAS)
def test_nothing_that_was_said_is_lost(deltas: list[Shown]) -> None:
    text = written(*deltas)
    place = 0
    for delta in deltas:
        place = text.index(delta.text, place) + len(delta.text)
