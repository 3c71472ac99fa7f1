"""REQUIREMENTS_AHEAD: what the next turn is admitted with is there before it is asked for, once, within its life."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shim.accounts.states import State
from tests.exchange.test_exchange import ANSWER, streamed, text

REQUIREMENTS = "/sentinel/chat-requirements"
TWO_STEPS = (f"{REQUIREMENTS}/prepare", f"{REQUIREMENTS}/finalize")

Admitting = Callable[..., Any]


@pytest.fixture
def admitting(open_house: Any, said: Any) -> Admitting:
    """`async with admitting() as house`: so many accounts, of an upstream whose requirements ask for nothing, and are
    good for `life` seconds. `ahead` is the setting."""
    numbers = itertools.count(1)

    @asynccontextmanager
    async def make(*, ahead: bool = True, life: Any = 540, accounts: int = 1, **more: Any) -> AsyncIterator[Any]:
        def require() -> Any:
            number = next(numbers)
            told = {"token": f"token-{number}", "prepare_token": f"prepared-{number}", "expire_after": life}
            return said(json.dumps(told).encode(), content_type="application/json")

        settings = {"conversation_only": False, "requirements_ahead": ahead} | more
        async with open_house(accounts=accounts, **settings) as house:
            listing = b'{"models": [{"slug": "auto"}]}'
            house.upstream.always = dict.fromkeys((REQUIREMENTS, *TWO_STEPS), require)
            house.upstream.always["/models"] = lambda: said(listing, content_type="application/json")
            yield house

    return make


def called(house: Any) -> list[str]:
    """The last words of the paths that upstream was asked for since this was asked last."""
    asked, house.upstream.asked = house.upstream.asked, []
    return [path.rpartition("/")[2] for path, _ in asked if "models" not in path]


async def answered(house: Any, said: Any) -> str:
    """The text of one more answer; when this returns all is done that its turn began."""
    house.upstream.will_say(said(*ANSWER))
    told = text(await streamed(await house.open(stream=True)))
    await settled()
    return told


async def settled() -> None:
    """Let all tasks go on to where they wait for something: upstream here keeps nobody waiting."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_turn_begins_with_its_conversation(admitting: Admitting, said: Any) -> None:
    async with admitting() as house:
        assert await answered(house, said) == "Hello there."
        assert called(house) == ["chat-requirements", "conversation", "chat-requirements"]
        assert await answered(house, said) == "Hello there."
        assert called(house) == ["conversation", "chat-requirements"]


async def test_two_steps_are_both_made_ahead(admitting: Admitting, said: Any) -> None:
    async with admitting(sentinel="two-step") as house:
        await answered(house, said)
        called(house)
        assert await answered(house, said) == "Hello there."
        assert called(house) == ["conversation", "prepare", "finalize"]


async def test_without_the_setting_nobody_is_asked_ahead(admitting: Admitting, said: Any) -> None:
    async with admitting(ahead=False) as house:
        for _ in range(2):
            await answered(house, said)
            assert called(house) == ["chat-requirements", "conversation"]


@pytest.mark.parametrize("life", [30, 0, -5.5])
async def test_one_whose_life_is_over_is_not_used(admitting: Admitting, said: Any, life: float) -> None:
    async with admitting(life=life) as house:
        await answered(house, said)
        called(house)
        await answered(house, said)
        assert called(house) == ["chat-requirements", "conversation", "chat-requirements"]


@pytest.mark.parametrize("life", [None, "soon", {}])
async def test_a_life_that_is_no_number_is_the_usual_one(admitting: Admitting, said: Any, life: Any) -> None:
    async with admitting(life=life) as house:
        await answered(house, said)
        called(house)
        await answered(house, said)
        assert called(house) == ["conversation", "chat-requirements"]


async def test_it_serves_one_of_two_turns_at_once(admitting: Admitting, said: Any) -> None:
    async with admitting() as house:
        await answered(house, said)
        called(house)
        house.upstream.will_say(said(*ANSWER), said(*ANSWER))
        for exchange in await asyncio.gather(house.open(stream=True), house.open(stream=True)):
            assert text(await streamed(exchange)) == "Hello there."
        await settled()
        assert sorted(called(house)) == ["chat-requirements"] * 2 + ["conversation"] * 2


async def test_one_that_upstream_refuses_is_made_anew_and_blames_nobody(admitting: Admitting, said: Any) -> None:
    async with admitting() as house:
        await answered(house, said)
        called(house)
        house.upstream.will_say(said.refusal(403, "Unusual activity has been detected from your device."))
        assert await answered(house, said) == "Hello there."
        assert called(house) == ["conversation", "chat-requirements", "conversation", "chat-requirements"]
        (view,) = house.gateway.leases.pool.page()
        assert view.state is State.READY


async def test_where_none_can_be_made_the_next_turn_asks_for_itself(admitting: Admitting, said: Any) -> None:
    async with admitting() as house:
        require = house.upstream.always[REQUIREMENTS]
        answers = iter([require(), said.refusal(500), require(), require()])
        house.upstream.always[REQUIREMENTS] = lambda: next(answers)
        await answered(house, said)
        called(house)
        assert await answered(house, said) == "Hello there."
        assert called(house)[:2] == ["chat-requirements", "conversation"]


@pytest.mark.parametrize(
    ("accounts", "asked"), [(2, ["conversation", "chat-requirements"]), (3, ["chat-requirements", "conversation"])]
)
async def test_there_are_no_more_than_a_bound_of_them(
    admitting: Admitting, said: Any, monkeypatch: pytest.MonkeyPatch, accounts: int, asked: list[str]
) -> None:
    """Turns go to the accounts one after the other, so that one account too many pushes out what each has next."""
    monkeypatch.setattr("shim.exchange.ahead._MOST", 2)
    async with admitting(accounts=accounts) as house:
        for _ in range(accounts):
            await answered(house, said)
        for _ in range(accounts):
            called(house)
            assert await answered(house, said) == "Hello there."
            assert called(house)[:2] == asked
