"""Token counts by OpenAI's published rule: 3 a message, its role, content and name, 1 for a name, 3 for the reply."""

import json
from typing import Any

import pytest

from shim.openai.decode import chat_request
from shim.protocol.usage import prompt_tokens, usage_of


def words(text: str) -> int:
    """A tokenizer one can check by eye: a token is a word."""
    return len(text.split())


def prompt(*messages: dict[str, Any]) -> int:
    request, _ = chat_request(json.dumps({"model": "m", "messages": messages}).encode())
    return prompt_tokens(request.messages, words)


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        pytest.param([], 3, id="the reply alone"),
        pytest.param([{"role": "user", "content": "one two"}], 3 + (3 + 1 + 2), id="a message"),
        pytest.param([{"role": "user", "content": ""}], 3 + (3 + 1), id="an empty one"),
        pytest.param([{"role": "assistant"}], 3 + (3 + 1), id="one without content"),
        pytest.param([{"role": "user", "content": "one", "name": "Ann Lee"}], 3 + (3 + 1 + 1) + (1 + 2), id="a name"),
        pytest.param([{"role": "user", "content": "one", "name": ""}], 3 + (3 + 1 + 1), id="an empty name"),
        pytest.param(
            [{"role": "system", "content": "one"}, {"role": "user", "content": "two"}], 3 + 2 * (3 + 1 + 1), id="two"
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "text", "text": "a b"}, {"type": "text", "text": "c"}]}],
            3 + (3 + 1 + 3),
            id="parts",
        ),
    ],
)
def test_prompt(messages: list[dict[str, Any]], tokens: int) -> None:
    assert prompt(*messages) == tokens


def test_usage_adds_up() -> None:
    usage = usage_of(10, "one two three", "", words)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (10, 3, 13)
    assert usage.completion_tokens_details.reasoning_tokens == 0


def test_reasoning_is_part_of_the_completion() -> None:
    usage = usage_of(10, "one two three", "hm hm", words)
    assert (usage.completion_tokens, usage.total_tokens) == (5, 15)
    assert usage.completion_tokens_details.reasoning_tokens == 2


def test_an_empty_answer_costs_the_prompt() -> None:
    assert usage_of(10, "", "", words).total_tokens == 10
