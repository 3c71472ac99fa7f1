"""The requirements against the stand-in (protocol.md 2, 2.8, 9.1): both flows, waves of overload, login-free chat."""

from types import SimpleNamespace
from typing import Any

import pytest

from shim.apis.chat import CHAT
from shim.errors import GatewayError
from shim.exchange import ClientCall
from shim.standin.accounts import Account
from shim.standin.failures import PlannedFailure


@pytest.mark.parametrize("sentinel", ["both", "one-step", "two-step"])
@pytest.mark.parametrize("proof", [True, False])
async def test_whichever_flow_upstream_has_is_found(going: Any, sentinel: str, proof: bool) -> None:
    async with going(Account("alice", sentinel=sentinel, proof=proof)) as seen:  # type: ignore[arg-type]
        assert await seen.say("[[say=42]]") == "42"
        assert seen.requests("/chat-requirements/prepare") == 1
        assert seen.requests("/chat-requirements") == (sentinel == "one-step")
        assert seen.upstream.stats.proofs["verified"] == proof


async def test_a_fixed_flow_falls_back_to_nothing(going: Any) -> None:
    async with going(Account("alice", sentinel="one-step"), SENTINEL="two-step", RETRY_TIMES="0") as seen:
        with pytest.raises(GatewayError) as failed:
            await seen.ask("hi")
        assert failed.value.code == "upstream_404"


@pytest.mark.parametrize("where", ["sentinel", "turn"])
async def test_a_wave_of_overload_is_sat_out_and_rests_no_account(
    going: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("shim.exchange.next_account.asyncio", SimpleNamespace(sleep=sleep))
    wave = PlannedFailure(where, failure="server_is_overloaded", times=3)  # type: ignore[arg-type]
    async with going(Account("alice", failures=[wave]), SENTINEL="one-step") as seen:
        assert await seen.say("[[say=42]]") == "42"
        assert sum(slept) >= 17.0


async def test_an_overload_that_does_not_pass_is_told_by_upstreams_code(going: Any) -> None:
    wave = PlannedFailure("turn", failure="server_is_overloaded", times=-1)
    async with going(Account("alice", failures=[wave]), RETRY_TIMES="0") as seen:
        with pytest.raises(GatewayError) as failed:
            await seen.ask("hi")
        assert (failed.value.http_status, failed.value.code) == (502, "server_is_overloaded")


@pytest.mark.parametrize("refused", [True, False])
async def test_login_free_chat_is_answered_or_the_error_says_what_it_needs(going: Any, refused: bool) -> None:
    async with going(RETRY_TIMES="0") as seen:
        seen.upstream.accounts["anonymous"].refused = refused
        asked = CHAT.read(b'{"model":"auto","messages":[{"role":"user","content":"[[say=42]]"}]}', strict=False)
        call = ClientCall(asked, seen.gateway.caller(None), CHAT, "http://gateway.test")
        if not refused:
            exchange = await seen.gateway.open(call)
            assert b"42" in await exchange.whole()
            exchange.close()
            return
        with pytest.raises(GatewayError) as failed:
            await seen.gateway.open(call)
        assert (failed.value.http_status, failed.value.code) == (403, "upstream_forbidden")
        assert "use an account" in failed.value.message
        assert seen.requests("/conversation") == 1, "no other device id is tried"
