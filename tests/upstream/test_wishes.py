"""What only the web backend can do, asked for per request (protocol.md 4.6, 4.7, 7.14), and what really answered."""

import asyncio
from typing import Any

import pytest

from shim.errors import GatewayError, RequestError
from shim.standin import make_access_token
from shim.standin.accounts import Account

KEPT = {"HISTORY_DISABLED": "false"}


def sent(seen: Any) -> Any:
    """The last conversation that went up."""
    return seen.upstream.stats.recent[-1].conversation


@pytest.mark.parametrize("disabled", ["true", "false"])
@pytest.mark.parametrize(
    ("fields", "temporary"),
    [
        ({}, None),
        ({"chatgpt": {"temporary": True}}, True),
        ({"chatgpt": {"temporary": False}}, False),
        ({"store": True}, False),
        ({"store": False}, True),
        ({"store": True, "chatgpt": {"temporary": True}}, True),
    ],
)
async def test_a_request_decides_whether_its_chat_is_kept(
    going: Any, disabled: str, fields: dict[str, Any], temporary: bool | None
) -> None:
    async with going(HISTORY_DISABLED=disabled) as seen:
        completion = await seen.ask("[[say=42]]", **fields)
        expected = disabled == "true" if temporary is None else temporary
        assert sent(seen)["history_and_training_disabled"] is expected
        assert ("conversation_id" in completion) is not expected
        assert ("conversation_id" in completion["chatgpt"]) is not expected


async def test_a_kept_chat_is_gone_on_with_by_the_extension_object(going: Any) -> None:
    async with going() as seen:
        kept = {"temporary": False}
        first = await seen.ask("[[say=one]]", chatgpt=kept)
        ids = {"conversation_id": first["conversation_id"], "parent_message_id": first["message_id"]}
        await seen.ask("[[say=two]]", chatgpt=kept | ids)
        assert sent(seen)["conversation_id"] == first["conversation_id"].partition(".")[0]
        with pytest.raises(RequestError) as refused:
            await seen.ask("x", chatgpt={"conversation_id": "c"})
        assert refused.value.param == "chatgpt.parent_message_id"


@pytest.mark.parametrize("fields", [{"web_search_options": {}}, {"chatgpt": {"hints": ["search"]}}])
async def test_search_is_asked_for_in_both_places(going: Any, fields: dict[str, Any]) -> None:
    async with going() as seen:
        completion = await seen.ask("hi", **fields)
        assert completion["choices"][0]["message"]["annotations"]
        body = sent(seen)
        assert body["system_hints"] == ["search"]
        assert body["force_use_search"] is True
        assert body["messages"][-1]["metadata"]["system_hints"] == ["search"]


async def test_a_picture_is_asked_for(going: Any) -> None:
    async with going() as seen:
        assert "![" in await seen.say("a cat", chatgpt={"hints": ["picture"]})


@pytest.mark.parametrize(("tier", "goes_up"), [("priority", "priority"), ("flex", None), ("auto", None)])
async def test_a_tier_goes_up_where_the_model_has_it(going: Any, tier: str, goes_up: str | None) -> None:
    async with going(Account("alice", listing="presets")) as seen:
        await seen.ask("hi", "gpt-5.6-thinking", service_tier=tier)
        assert sent(seen).get("service_tier") == goes_up


async def test_a_chat_of_a_project_and_without_memory(going: Any) -> None:
    async with going(Account("alice", gizmos=("g-p-1234",)), **KEPT) as seen:
        await seen.ask("hi", chatgpt={"project": "g-p-1234", "memory": False})
        assert sent(seen)["conversation_mode"] == {"kind": "gizmo_interaction", "gizmo_id": "g-p-1234"}
        await seen.gateway.turns.settled()
        (chat,) = seen.upstream.conversations.saved_by("alice")
        assert chat.is_do_not_remember


async def test_memory_obeys_in_the_turns_that_follow(going: Any) -> None:
    async with going(**KEPT) as seen:
        first = await seen.ask("[[script=remembers]]", chatgpt={"memory": False})
        await seen.gateway.turns.settled()
        ids = {"conversation_id": first["conversation_id"], "parent_message_id": first["message_id"]}
        assert await seen.say("[[script=remembers]]", chatgpt=ids) == "Not remembered."


@pytest.mark.parametrize(
    ("chatgpt", "param"),
    [
        ({"temporary": True, "memory": False}, "chatgpt.temporary"),
        ({"temporary": True, "hints": ["research"]}, "chatgpt.temporary"),
        ({"project": "../x"}, "chatgpt.project"),
        ({"hints": ["agent"]}, "chatgpt.hints[0]"),
        ({"unheard": 1}, "chatgpt"),
    ],
)
async def test_wishes_that_cannot_be(going: Any, chatgpt: dict[str, Any], param: str) -> None:
    async with going() as seen:
        with pytest.raises(RequestError) as refused:
            await seen.ask("hi", chatgpt=chatgpt)
        assert (refused.value.http_status, refused.value.param) == (400, param)


# --- research ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("breaks", [0, 1])
async def test_research_is_a_call_whose_answer_is_the_report(going: Any, breaks: int) -> None:
    """A stream that is lost on the way is opened again, and the report still comes."""
    async with going(**KEPT) as seen:
        prompt = f"[[script=research polls=1 {f'breaks={breaks}' if breaks else ''} say=It is so.]]"
        completion = await seen.ask(prompt, chatgpt={"hints": ["research"]})
        message = completion["choices"][0]["message"]
        assert message["content"].startswith("# Report\n\nIt is so.")
        assert [one["url_citation"]["url"] for one in message["annotations"]] == ["https://source.example.test/page"]
        reasoning = message["reasoning_content"]
        assert reasoning.count("Search for sources") == reasoning.count("Compare what they say") == 1
        assert "I will look into it" in reasoning
        body = sent(seen)
        assert body["history_and_training_disabled"] is False
        assert body["messages"][-1]["metadata"]["deep_research_version"] == "standard"


@pytest.mark.parametrize("prompt", ["[[script=research_failed polls=0]]", "[[script=text]]"])
async def test_research_that_fails_says_so(going: Any, prompt: str) -> None:
    async with going(**KEPT) as seen:
        with pytest.raises(GatewayError) as failed:
            await seen.ask(prompt, chatgpt={"hints": ["research"]})
        assert (failed.value.http_status, failed.value.code) == (502, "research_failed")


@pytest.mark.parametrize("allowed", ["true", "false"])
async def test_research_needs_a_kept_chat(going: Any, allowed: str) -> None:
    async with going(KEPT_FOR_HANDOFF=allowed) as seen:
        if allowed == "true":
            assert "# Report" in await seen.say("[[polls=0]]", chatgpt={"hints": ["research"]})
            await seen.gateway.turns.settled()
            assert seen.upstream.conversations.saved_by("alice") == []
            return
        with pytest.raises(RequestError) as refused:
            await seen.ask("hi", chatgpt={"hints": ["research"]})
        assert (refused.value.code, refused.value.param) == ("needs_kept_chat", "chatgpt.temporary")


# --- which model answered ---------------------------------------------------------------------------------------------


async def test_each_answer_says_what_really_answered(going: Any) -> None:
    async with going(Account("alice", listing="presets")) as seen:
        completion = await seen.ask("hi", "latest-extra-high")
        assert completion["chatgpt"] == {"slug": "gpt-5-6-thinking", "effort": "max"}
        assert completion["model"] == "latest-extra-high"
        *_, last, done = await seen.stream("hi", model="gpt-5.6-thinking", reasoning_effort="low")
        assert last["chatgpt"] == {"slug": "gpt-5-6-thinking", "effort": "min"}
        assert done == "[DONE]"


async def test_quotas_are_kept_with_the_account_and_their_time(going: Any) -> None:
    async with going() as seen:
        await seen.gateway.leases.pool.add(make_access_token("alice"))
        await seen.ask("hi")
        await asyncio.sleep(0.3)  # upstream lets go of the connection
        for pool in (seen.gateway.leases.guests, seen.gateway.leases.pool):
            views = pool.page()
            if views and views[0].quotas:
                assert views[0].quotas[0].feature == "file_upload"
                assert views[0].quotas[0].remaining == 3
                assert views[0].quotas_at > 1_600_000_000
                return
        pytest.fail("nobody has kept them")
