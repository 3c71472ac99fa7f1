"""Models and efforts by upstream's own list, against a stand-in that refuses any other (protocol.md 4.1, 4.3, 7.1)."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from shim.accounts import leases
from shim.apis.chat import CHAT
from shim.errors import GatewayError
from shim.exchange import ClientCall
from shim.standin import make_access_token
from shim.standin.accounts import Account
from shim.standin.failures import PlannedFailure

PICKER = Account("alice", listing="presets")


def sent(seen: Any) -> Any:
    """The last conversation that went up."""
    return seen.upstream.stats.recent[-1].conversation


@pytest.mark.parametrize(
    ("model", "effort", "word"),
    [
        ("gpt-5.6-thinking", "none", "min"),
        ("gpt-5.6-thinking", "medium", "standard"),
        ("gpt-5.6-thinking", "xhigh", "max"),
        ("gpt-5.5-pro", "xhigh", "extended"),
        ("gpt-5.6-pro", "low", "standard"),
        ("gpt-5.6-instant", "high", None),
        ("gpt-5.6", "high", None),
        ("auto", "high", None),
        ("latest-extra-high", None, "max"),
        ("latest-high", "low", "min"),
        ("latest-instant", None, None),
    ],
)
async def test_an_effort_goes_up_in_a_word_that_the_model_takes(
    going: Any, model: str, effort: str | None, word: str | None
) -> None:
    async with going(PICKER) as seen:
        exchange = await seen.open("hi", model, **({"reasoning_effort": effort} if effort else {}))
        await exchange.whole()
        assert sent(seen).get("thinking_effort") == word
        assert exchange.ignored == (["reasoning_effort"] if effort and word is None else [])
        exchange.close()


@pytest.mark.parametrize(("model", "word"), [("gpt-5-thinking", "extended"), ("o3", None), ("gpt-5.2-pro", None)])
async def test_without_a_list_of_efforts_only_what_is_called_thinking_gets_one(
    going: Any, model: str, word: str | None
) -> None:
    async with going(Account("alice")) as seen:
        await seen.ask("hi", model, reasoning_effort="high")
        assert sent(seen).get("thinking_effort") == word


async def test_the_list_shows_what_upstream_says_and_the_presets(going: Any) -> None:
    async with going(PICKER) as seen:
        listed = await seen.gateway.leases.models(seen.gateway.caller(f"Bearer {make_access_token('alice')}"))
        assert listed.catalog.model("gpt-5-6-thinking").efforts == ("min", "standard", "extended", "max")
        assert listed.catalog.preset("latest-pro").slug == "gpt-6-pro"


@pytest.mark.parametrize("allowed", ["true", "false"])
async def test_a_work_model_is_asked_in_a_kept_chat_or_not_at_all(going: Any, allowed: str) -> None:
    async with going(PICKER, KEPT_FOR_HANDOFF=allowed) as seen:
        if allowed == "false":
            with pytest.raises(GatewayError) as refused:
                await seen.ask("hi", "gpt-5.6-sol-wm")
            assert (refused.value.http_status, refused.value.code) == (400, "needs_kept_chat")
            assert "KEPT_FOR_HANDOFF" in refused.value.message
            return
        completion = await seen.ask("[[say=42]]", "gpt-5.6-sol-wm")
        assert completion["model"] == "gpt-5.6-sol-wm"
        assert sent(seen)["history_and_training_disabled"] is False
        await seen.gateway.turns.settled()
        assert seen.upstream.conversations.saved_by("alice") == [], "it is deleted afterwards"


@pytest.mark.parametrize("allowed", ["true", "false"])
async def test_a_model_that_hands_over_is_read_in_a_kept_chat_where_that_is_allowed(going: Any, allowed: str) -> None:
    prompt = "[[script=handoff options=resume temporary_resume=404 resume=not_found say=42]]"
    async with going(PICKER, KEPT_FOR_HANDOFF=allowed) as seen:
        if allowed == "true":
            assert await seen.say(prompt, "gpt-6-pro") == "42"
            await seen.gateway.turns.settled()
            assert seen.upstream.conversations.saved_by("alice") == []
        else:
            with pytest.raises(GatewayError) as failed:
                await seen.ask(prompt, "gpt-6-pro")
            assert failed.value.code == "stream_handoff"
            assert "KEPT_FOR_HANDOFF" in failed.value.message


@pytest.mark.parametrize("script", ["image_gen", "image_queued", "sandbox"])
async def test_what_was_made_in_a_passing_chat_can_be_had_when_its_answer_is_over(going: Any, script: str) -> None:
    """A chat takes what was made in it along when it is deleted, so that one with links in its answer is archived."""
    async with going(PICKER, KEPT_FOR_HANDOFF="true") as seen:
        text = await seen.say(f"[[script={script} polls=1]]", "gpt-6-pro")
        await seen.gateway.turns.settled()
        links = re.findall(r"http://gateway\.test/files/([\w-]+)", text)
        assert links
        for link in links:
            _, response = await seen.gateway.file(link)
            assert await response.chunk()
            response.close()
        assert [chat.is_archived for chat in seen.upstream.conversations.saved_by("alice")] == [True]


async def test_a_passing_chat_whose_pictures_were_given_as_data_is_deleted(going: Any) -> None:
    async with going(PICKER, KEPT_FOR_HANDOFF="true") as seen:
        text = await seen.say("[[script=image_gen]]", "gpt-6-pro", image_response_format="b64_json")
        assert "data:image/png;base64," in text
        await seen.gateway.turns.settled()
        assert seen.upstream.conversations.saved_by("alice") == []


async def test_a_pool_lists_the_union_and_what_a_limited_account_has_stays(going: Any) -> None:
    cap = PlannedFailure("turn", status=429, clears_in=3600, times=-1)
    async with going(Account("alice", listing="presets", failures=[cap]), Account("few"), AUTHORIZATION="key") as seen:
        await seen.gateway.leases.pool.add("\n".join(make_access_token(name) for name in ("alice", "few")))
        caller = seen.gateway.caller("Bearer key")
        first = (await seen.gateway.leases.models(caller)).slugs
        assert {"gpt-6-pro", "gpt-4o"} <= set(first)
        for _ in range(2):
            asked = CHAT.read(b'{"model":"auto","messages":[{"role":"user","content":"hi"}]}', strict=False)
            exchange = await seen.gateway.open(ClientCall(asked, caller, CHAT, "http://gateway.test"))
            await exchange.whole()
            exchange.close()
            assert (await seen.gateway.leases.models(caller)).slugs == first


LARGE = [*(Account(f"few{n}") for n in range(50)), Account("many", listing="presets")]


async def test_a_large_pool_lists_the_union_of_all_its_accounts(going: Any) -> None:
    async with going(*LARGE, AUTHORIZATION="key") as seen:
        await seen.gateway.leases.pool.add("\n".join(make_access_token(one.name) for one in LARGE))
        slugs = (await seen.gateway.leases.models(seen.gateway.caller("Bearer key"))).slugs
        assert {"gpt-6-pro", "gpt-4o"} <= set(slugs)
        assert seen.requests("/models") == len(LARGE)


async def listed(ours: leases.Leases, caller: Any, slug: str) -> tuple[str, ...]:
    """The list of a call that has the slug in it; each call waits for a while."""
    for _ in range(100):
        if slug in (slugs := (await ours.models(caller)).slugs):
            return slugs
    raise AssertionError(f"{slug} is never listed")


async def test_a_large_pool_keeps_nobody_waiting_and_asks_for_few_lists_at_once(
    going: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_LISTS_WAIT", 0.3)
    async with going(*LARGE, AUTHORIZATION="key") as seen:
        ours, goes_on = seen.gateway.leases, asyncio.Event()
        fetch, asking, most = ours.fetch, 0, 0

        async def slow(identity: Any, lane: str | None = None) -> Any:
            nonlocal asking, most
            asking += 1
            most = max(most, asking)
            if identity.access_token == make_access_token("many"):
                await goes_on.wait()
            told = await fetch(identity, lane)
            asking -= 1
            return told

        ours.fetch = slow
        await ours.pool.add("\n".join(make_access_token(one.name) for one in LARGE))
        caller = seen.gateway.caller("Bearer key")
        first, second = await asyncio.gather(listed(ours, caller, "gpt-4o"), listed(ours, caller, "gpt-4o"))
        assert "gpt-6-pro" not in first + second, "nobody waited for it"
        goes_on.set()
        assert "gpt-6-pro" in await listed(ours, caller, "gpt-6-pro")
        assert most <= 4, "two that ask are one sweep"


def test_v1_models_over_http(start_gateway: Any, upstream: Any) -> None:
    token = upstream.post("/standin/accounts", {"name": "picker", "listing": "presets"}).json()["access_token"]
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url)
    answer = httpx.get(f"{gateway.base_url}/v1/models", headers={"authorization": f"Bearer {token}"})
    models = {one["id"]: one for one in answer.json()["data"]}
    thinking = models["gpt-5.6-thinking"]
    assert thinking["efforts"] == ["min", "standard", "extended", "max"]
    assert thinking["context_window"] == 262144
    assert thinking["display_name"]
    assert "search" in thinking["tools"]
    assert models["latest-high"]["preset_of"] == "gpt-5.6-thinking"
    assert "gpt-5.6-sol-wm" in models
    one = httpx.get(f"{gateway.base_url}/v1/models/latest-pro", headers={"authorization": f"Bearer {token}"})
    assert one.json()["preset_of"] == "gpt-6-pro"
