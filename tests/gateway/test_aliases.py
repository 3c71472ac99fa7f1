"""MODEL_ALIASES: other names for models, in every API that asks for one."""

import pytest

ALIASES = "claude-*=gpt-5.2-thinking:high, fast = gpt-4o-mini, gone=gpt-0, claude-never=auto, gpt-image-1=gpt-5-2"


@pytest.fixture(scope="module")
def aliasing(start_gateway, shared_standin):
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, MODEL_ALIASES=ALIASES)


@pytest.fixture
def ask(aliasing, upstream, make_account):
    token = make_account("aliased", plan="plus")

    def run(path, **body):
        answer = aliasing.post(path, body, authorization=f"Bearer {token}")
        turns = upstream.get("/standin/stats").json()["recent_turns"]
        return answer, turns[-1]["conversation"] if turns else None

    return run


def chat(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "[[say=hi]]"}], **more}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat("claude-opus")),
        ("/v1/messages", chat("claude-opus", max_tokens=9)),
        ("/v1/completions", {"model": "claude-opus", "prompt": "[[say=hi]]"}),
    ],
)
def test_an_alias_answers_under_its_own_name(ask, path, body):
    answer, sent = ask(path, **body)
    assert (answer.status_code, answer.json()["model"]) == (200, "claude-opus")
    assert (sent["model"], sent["thinking_effort"]) == ("gpt-5-2-thinking", "extended")


def test_a_model_for_pictures_can_have_one(ask):
    _, sent = ask("/v1/images/generations", model="gpt-image-1", prompt="a cat [[script=image_gen]]")
    assert sent["model"] == "gpt-5-2"


def test_the_clients_own_effort_counts(ask):
    _, sent = ask("/v1/chat/completions", **chat("claude-opus", reasoning_effort="low"))
    assert sent["thinking_effort"] == "min"


def test_a_stream_says_the_same_name(ask):
    answer, sent = ask("/v1/chat/completions", **chat("fast", stream=True))
    assert '"model":"fast"' in answer.text
    assert sent["model"] == "gpt-4o-mini"


def test_an_alias_of_what_is_not_there_is_a_404(ask):
    answer, _ = ask("/v1/chat/completions", **chat("gone"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_aliases_are_listed_where_their_model_is_there(aliasing):
    names = [model["id"] for model in aliasing.get("/v1/models").json()["data"]]
    assert "fast" in names
    assert "claude-never" in names
    assert not {"gone", "claude-*"} & set(names)
    assert aliasing.get("/v1/models/fast").json()["id"] == "fast"
    assert aliasing.get("/v1/models/gone").status_code == 404
