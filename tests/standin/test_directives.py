"""Directives in prompts, and plans made beforehand."""

import pytest

from shim.standin.directives import Directives, read_directives
from shim.standin.failures import RefusedError


def test_several_in_one_prompt():
    directives, question = read_directives("Tell me [[script=cut delay=0.01]] about herons [[chunks=bytes]]")
    assert directives == Directives(script="cut", delay=0.01, chunks="bytes")
    assert question == "Tell me  about herons"


def test_say_takes_the_rest_as_it_is():
    directives, question = read_directives('[[seed=3 say={"a": 1, "b=c": "x y"}\n]]')
    assert directives == Directives(seed=3, say='{"a": 1, "b=c": "x y"}\n')
    assert question == ""


def test_other_brackets_are_text():
    for prompt in ("[[wiki]]", "[[x=1]]", "a[[0]]", "[[ ]]", "[script=cut]", "array[[i]] = 1"):
        assert read_directives(prompt) == (Directives(), prompt)


def test_wrong_values_are_told():
    wrong = ("script=nope", "delay=fast", "chunks=tiny", "status=429 oops=1", "failure=nope", "then=x", "parts=0")
    for directive in (*wrong, "gone=500"):
        with pytest.raises(RefusedError) as refusal:
            read_directives(f"[[{directive}]]")
        assert refusal.value.failure.status == 400, directive
        assert refusal.value.failure.detail.startswith("stand-in directive: "), directive


async def test_only_the_last_user_message_counts(served, conversation):
    body = conversation("Hello")
    earlier = conversation("[[status=500]]")["messages"]
    assistant = conversation("[[status=500]]")["messages"][0] | {"author": {"role": "assistant"}}
    body["messages"] = [*earlier, *body["messages"], assistant]
    assert (await served.client().turn(body)).status_code == 200


async def test_the_answer_does_not_repeat_directives(served):
    reading = await served.client().told("Hello [[chunks=split]]")
    assert "“Hello”" in reading.answers[0]


async def test_forced_encodings(served, conversation):
    client = served.client()
    told = await client.told(conversation("[[encoding=snapshot]]", supported_encodings=["v1"]))
    assert told.encoding == "snapshot"
    told = await client.told(conversation("[[encoding=v1]]", supported_encodings=[]))
    assert told.encoding == "v1"


async def test_the_same_seed_tells_the_same(served, conversation):
    body = conversation("[[seed=5]]")
    client = served.client()
    assert (await client.turn(body)).text.count("data:") == (await client.turn(body)).text.count("data:")


async def test_plans_steer_turns_that_carry_none(served):
    http, alice, bob = served.http, served.client("alice"), served.client("bob")
    plan = {"directives": {"say": "planned ]] text"}, "account": "alice", "times": 2}
    assert (await http.post("/standin/plan", json=plan)).json() == {"waiting": 1}
    assert (await bob.told("Hello")).answers != ["planned ]] text"]
    assert (await alice.told("Hello")).answers == ["planned ]] text"]
    assert (await alice.told("[[say=own]]")).answers == ["own"]
    assert (await alice.told("Hello")).answers != ["planned ]] text"]
    assert (await http.post("/standin/plan", json={"directives": {"script": "x"}})).status_code == 400


async def test_consecutive_turns_get_their_own_plans(served):
    """What a repair turn needs: a text with brackets and newlines, another one after it, then the rest as usual."""
    client = served.client()
    told = ['{"a": [[1, 2]]}\n\n```json\n[[x]]\n```', "second ]] answer"]
    for say, times in zip(told, (2, 1), strict=True):
        await served.http.post("/standin/plan", json={"directives": {"say": say}, "times": times})
    answers = [(await client.told("Hello")).answers[0] for _ in range(4)]
    assert answers[:3] == [told[0], told[0], told[1]]
    assert answers[3] not in told


async def test_a_turn_refused_before_its_prompt_is_read_leaves_the_plan(served):
    await served.http.post("/standin/plan", json={"directives": {"say": "planned"}})
    await served.account(name="alice", failures=[{"status": 503}])
    client = served.client()
    assert (await client.turn()).status_code == 503
    assert (await client.told("Hello")).answers == ["planned"]


async def test_without_control_directives_are_text(serving):
    async with serving(control=False) as served:
        reading = await served.client().told("[[status=500]]")
        assert "[[status=500]]" in reading.answers[0]
        assert (await served.http.get("/standin/stats")).status_code == 404
