"""Sound and accounts: what fails before there is an answer is tried with another one."""

import json
from typing import Any

import pytest

from shim.errors import GatewayError, LimitError
from shim.protocol.turn.audio import SoundFile, Speech
from tests.upstream_says import DONE, ENDED, V1, added, append

RECORDING = SoundFile("a.mp3", "audio/mpeg", b"ID3", "a-boundary")
SPEECH = Speech("Hello", "cove", "mp3")
ANSWER = (V1, added(), append("Hello"), ENDED, DONE)
CHAT = "/backend-api/conversation/c1"


def failing(said: Any, lost: Any, failure: int | str) -> Any:
    return lost() if failure == "lost" else said.refusal(failure)


def states(house: Any) -> list[str]:
    return [view.state.value for view in house.gateway.leases.pool.page()]


async def write_down(house: Any) -> str:
    written, _ = await house.gateway.audio.write_down(RECORDING, house.gateway.caller(f"Bearer {house.key}"))
    assert isinstance(written, str)
    return written


@pytest.mark.parametrize("failure", [401, 429, "lost"])
async def test_a_recording_is_written_down_by_another_account(
    open_house: Any, said: Any, lost: Any, failure: Any
) -> None:
    async with open_house() as house:
        words = said(json.dumps({"text": "Good morning."}).encode(), content_type="application/json")
        house.upstream.will_say(failing(said, lost, failure), words)
        assert await write_down(house) == "Good morning."
        assert len({who for _, who in house.upstream.asked}) == 2
        assert states(house).count("ready") == (1 if failure == 401 else 2)


@pytest.mark.parametrize(("status", "told"), [(429, 429), (401, 503), (400, 400)])
async def test_what_fails_with_every_account_is_told(open_house: Any, said: Any, status: int, told: int) -> None:
    async with open_house() as house:
        house.upstream.will_say(*(said.refusal(status) for _ in range(2 if status != 400 else 1)))
        with pytest.raises(GatewayError) as failed:
            await write_down(house)
        assert failed.value.http_status == told
        assert not house.upstream.answers
        if status == 429:  # a quota of recordings is none of turns
            house.upstream.will_say(said(*ANSWER))
            (await house.open(stream=True)).close()


@pytest.mark.parametrize("failure", [401, 429, "lost"])
async def test_a_text_is_read_by_another_account(open_house: Any, said: Any, lost: Any, failure: Any) -> None:
    async with open_house() as house:
        house.upstream.always = {CHAT: lambda: said(b"{}", content_type="application/json")}  # where it is deleted
        sound = said(b"ID3", content_type="audio/mpeg")
        house.upstream.will_say(said(*ANSWER), failing(said, lost, failure), said(*ANSWER), sound)
        spoken = await house.gateway.audio.read_aloud(SPEECH, house.gateway.caller(f"Bearer {house.key}"))
        assert await spoken.response.chunk() == b"ID3"
        spoken.close()
        await house.gateway.turns.settled()
        assert len({*house.conversations}) == 2
        assert [path for path, _ in house.upstream.asked].count(CHAT) == 2  # both chats are away


async def test_speech_ends_at_its_last_try(open_house: Any, said: Any) -> None:
    async with open_house(retry_times=0) as house:
        house.upstream.always = {CHAT: lambda: said(b"{}", content_type="application/json")}
        house.upstream.will_say(said(*ANSWER), said.refusal(429))
        with pytest.raises(LimitError):
            await house.gateway.audio.read_aloud(SPEECH, house.gateway.caller(f"Bearer {house.key}"))
        assert len(house.conversations) == 1
