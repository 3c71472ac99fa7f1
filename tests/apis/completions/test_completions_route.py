"""`/v1/completions` through the real gateway: echo, choices, and upstream's failures in this API's own way."""

import json

import pytest
from openai.types import Completion

PATH = "/v1/completions"


@pytest.fixture
def ask(gateway):
    def run(prompt, **more):
        return gateway.post(more.pop("path", PATH), {"model": "auto", "prompt": prompt, **more})

    return run


@pytest.mark.parametrize("path", [PATH, "/completions", "/v1/v1/completions"])
def test_the_whole_answer(ask, path):
    answer = ask("[[say=one two]]", path=path)
    completion = Completion.model_validate(answer.json(), strict=True)
    assert (answer.status_code, completion.choices[0].text, completion.model) == (200, "one two", "auto")


def test_choices_with_their_prompt_before_them(ask):
    answer = ask("[[say=one STOP two]]", n=2, echo=True, stop="STOP").json()
    assert [(one["index"], one["text"]) for one in answer["choices"]] == [
        (place, "[[say=one STOP two]]one ") for place in range(2)
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_several_prompts_are_answered_in_their_order(ask, stream):
    prompts = ["[[say=one]]", "[[say=two]]", "[[say=three]]"]
    answer = ask(prompts, n=2, echo=True, stream=stream)
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
    choices = [choice for part in (lines if stream else [answer.json()]) for choice in part["choices"]]
    texts = ["".join(one["text"] for one in choices if one["index"] == place) for place in range(6)]
    assert texts == [
        f"{prompt}{word}" for prompt, word in zip(prompts, ("one", "two", "three"), strict=True) for _ in range(2)
    ]
    alone = ask(prompts[0], n=2).json()["usage"]["prompt_tokens"]
    assert stream or answer.json()["usage"]["prompt_tokens"] > 2 * alone


def test_one_of_several_prompts_that_fails_fails_the_call(ask):
    answer = ask(["[[say=one]]", "[[status=429 clears_in=77]] hi"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "model_cap_exceeded")


def test_a_limit_ends_the_answer(ask):
    (choice,) = ask("[[say=one two three four five]]", max_tokens=2).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("one two", "length")


def test_what_is_ignored_is_said(ask):
    assert ask("[[say=a]]", logprobs=2).headers["x-chat2api-ignored"] == "logprobs"


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("[[status=429 clears_in=77]] hi", 429, "model_cap_exceeded"),
        ("[[failure=sentinel]] hi", 403, None),
        (["a"] * 9, 400, "array_above_max_length"),
        ([1, 2], 400, "unsupported_content"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_a_status(ask, prompt, status, code, stream):
    answer = ask(prompt, stream=stream)
    assert answer.status_code == status
    assert code in {None, answer.json()["error"]["code"]}
    assert ("retry-after" in answer.headers) == (status == 429)


def test_a_failure_within_the_stream_is_its_last_line(ask):
    *lines, last = ask("[[script=error]] hi", stream=True).text.rstrip().split("\n\n")
    assert lines
    assert set(json.loads(last.removeprefix("data: "))) == {"error"}


def test_a_moderated_answer_says_so(ask):
    assert ask("[[script=moderation_blocked]] hi").json()["choices"][0]["finish_reason"] == "content_filter"
