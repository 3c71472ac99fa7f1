"""Answers that move, against the stand-in (protocol.md 5.1, 5.6, 5.8, 6.5): whatever way is left gives the answer."""

import asyncio
import re
from typing import Any

import pytest

from shim.errors import GatewayError
from shim.standin.accounts import Account
from shim.standin.failures import PlannedFailure
from shim.standin.wording import long_answer
from tests.servers import REAL_LOOKS_APART

KEPT = {"HISTORY_DISABLED": "false"}
SAID = "say=One two three four five six seven eight nine ten."
TEXT = "One two three four five six seven eight nine ten."


@pytest.mark.parametrize("script", ["handoff", "handoff_cut", "handoff_late"])
@pytest.mark.parametrize("token", ["event", "header", "both", "neither"])
@pytest.mark.parametrize("chunks", ["event", "bytes"])
async def test_a_handoff_is_resumed_wherever_its_token_is(going: Any, script: str, token: str, chunks: str) -> None:
    async with going() as seen:
        assert await seen.say(f"[[script={script} token={token} chunks={chunks} {SAID}]]") == TEXT


@pytest.mark.parametrize("options", ["repeat=true", "announce=true", "repeat=true announce=true breaks=3"])
async def test_what_a_resumed_stream_repeats_is_not_said_twice(going: Any, options: str) -> None:
    async with going() as seen:
        assert await seen.say(f"[[script=handoff {options} then=text {SAID}]]") == TEXT


@pytest.mark.parametrize("history_disabled", ["true", "false"])
@pytest.mark.parametrize("breaks", [1, 2, 5])
@pytest.mark.parametrize("announce", ["true", "false"])
async def test_a_stream_that_breaks_in_the_middle_of_an_event_is_one_with_its_resumes(
    going: Any, history_disabled: str, breaks: int, announce: str
) -> None:
    async with going(HISTORY_DISABLED=history_disabled) as seen:
        told = await seen.say(f"[[script=long words=400 breaks={breaks} announce={announce}]]")
        assert told == long_answer(400)
        assert seen.requests("/f/conversation/resume") == breaks
        assert seen.requests("/conversation") == 1, "the turn itself is never sent again"


@pytest.mark.parametrize("code", ["not_found", "tokenless_resume_unavailable", "conduit_miss", "internal"])
@pytest.mark.parametrize("reads", ["both", "singular", "plural"])
async def test_what_cannot_be_resumed_is_read_in_a_kept_chat(going: Any, code: str, reads: str) -> None:
    async with going(Account("alice", reads=reads), **KEPT) as seen:
        assert await seen.say(f"[[script=handoff options=resume resume={code} {SAID}]]") == TEXT


@pytest.mark.parametrize("gone", [404, 410])
async def test_a_final_that_is_kept_is_read(going: Any, gone: int) -> None:
    async with going(**KEPT) as seen:
        assert await seen.say(f"[[script=handoff_poll options=resume gone={gone} polls=3 {SAID}]]") == TEXT
        assert seen.requests("/stream_status") > seen.requests("/conversation/") > -1


async def test_a_temporary_chat_that_cannot_be_followed_says_what_would_let_it(going: Any) -> None:
    async with going() as seen:
        with pytest.raises(GatewayError) as failed:
            await seen.ask(f"[[script=handoff options=resume temporary_resume=404 {SAID}]]")
        assert (failed.value.http_status, failed.value.code) == (502, "stream_handoff")
        assert "KEPT_FOR_HANDOFF" in failed.value.message
        assert not seen.requests("/stream_status"), "a temporary chat can't be read"


async def test_a_failure_of_upstreams_is_one_of_ours(going: Any) -> None:
    async with going(**KEPT) as seen:
        with pytest.raises(GatewayError) as failed:
            await seen.ask(f"[[script=handoff_poll options=resume state=FAILURE {SAID}]]")
        assert (failed.value.http_status, failed.value.code) == (502, "upstream_failed")


@pytest.mark.parametrize("where", ["status", "history"])
async def test_a_limit_on_reading_is_obeyed_and_is_no_account_s_limit(going: Any, where: str) -> None:
    planned = PlannedFailure(where, status=429, retry_after=17)  # type: ignore[arg-type]
    async with going(Account("alice", failures=[planned]), **KEPT) as seen:
        assert await seen.say(f"[[script=handoff_poll options=resume {SAID}]]") == TEXT
        assert 17.0 in seen.waits
        assert await seen.say(f"[[{SAID}]]") == TEXT, "the account takes the next turn at once"


async def test_a_conversation_that_is_gone_is_no_404_for_who_did_not_name_it(going: Any) -> None:
    planned = PlannedFailure("history", failure="conversation_not_found", times=-1)
    async with going(Account("alice", failures=[planned]), **KEPT) as seen:
        with pytest.raises(GatewayError) as failed:
            await seen.ask(f"[[script=handoff_poll options=resume {SAID}]]")
        assert (failed.value.http_status, failed.value.code) == (502, "stream_handoff")
        with pytest.raises(GatewayError) as failed:
            await seen.ask("[[script=image_queued]]")
        assert failed.value.http_status == 502
        chunks = await seen.stream("[[script=image_error]]")
        assert chunks[-1] == "[DONE]"


# --- what ends a turn -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script", ["noise", "preamble_ends", "empty_first", "at_once", "review", "work_thoughts", "summaries", "container"]
)
@pytest.mark.parametrize("encoding", ["snapshot", "v1"])
@pytest.mark.parametrize("chunks", ["event", "bytes"])
async def test_what_2026_brought_does_not_get_into_the_answer(
    going: Any, script: str, encoding: str, chunks: str
) -> None:
    async with going() as seen:
        answer = (await seen.ask(f"[[script={script} encoding={encoding} chunks={chunks} {SAID}]]"))["choices"][0]
        text, reasoning = answer["message"]["content"], answer["message"].get("reasoning_content", "")
        assert text.endswith(TEXT)
        assert answer["finish_reason"] == "stop"
        assert "HIDDEN" not in text + reasoning
        if script == "work_thoughts":
            assert reasoning == "Reading the page\n\nReading the figures\n\nWriting it down"
        elif script == "container":
            assert "ls /mnt/data" in text
            assert "3 table.csv" in text
            assert "bash -lc" not in text
        else:
            assert text == TEXT


async def test_a_question_to_the_user_is_told(going: Any) -> None:
    async with going() as seen:
        text = await seen.say("[[script=asks]]")
        assert text.startswith("Which city do you mean?")
        assert "asked its user for input" in text


async def test_a_chat_that_is_full_after_much_text_is_told_in_the_stream(going: Any) -> None:
    async with going() as seen:
        *chunks, last = await seen.stream(f"[[script=too_large {SAID}]]")
        assert any(chunk["choices"][0]["delta"].get("content") for chunk in chunks)
        assert last["error"]["code"] == "context_length_exceeded"


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pictures", [1, 4])
async def test_all_promised_pictures_are_given_once(going: Any, pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The waits here take no time; gateways of other tests in this process look more often.
    monkeypatch.setattr("shim.protocol.answer.looks.LOOKS_APART", REAL_LOOKS_APART)
    async with going(**KEPT) as seen:
        text = await seen.say(f"[[script=image_queued pictures={pictures} polls=2]]")
        assert text.count("![") == pictures
        assert "Lots of people" not in text
        assert seen.waits[-1] >= 5.0, "two looks in a row have to show the same"


@pytest.mark.parametrize("script", ["image_queued pictures=1", "image_queued pictures=3", "image_async"])
async def test_pictures_of_a_temporary_chat_come_by_the_socket(going: Any, script: str) -> None:
    async with going() as seen:
        expected = 3 if "3" in script else 1
        told = await asyncio.gather(*(seen.say(f"[[script={script}]]") for _ in range(2)))
        assert [text.count("![") for text in told] == [expected, expected]
        assert not {*links_in(told[0])} & {*links_in(told[1])}, "each gets its own"
        for link in links_in(told[0]):
            _, response = await seen.gateway.file(link)
            assert (await response.chunk()).startswith(b"\x89PNG")
            response.close()
        assert seen.upstream.stats.sockets["opened"] <= 2
        assert not seen.requests("/stream_status"), "a temporary chat can't be read"


async def test_a_picture_of_a_temporary_chat_that_nobody_tells_of_fails_honestly(going: Any) -> None:
    failures = [PlannedFailure("socket", status=403, times=-1)]
    async with going(Account("alice", failures=failures)) as seen:
        with pytest.raises(GatewayError) as failed:
            await seen.ask("[[script=image_queued pictures=1]]")
        assert (failed.value.http_status, failed.value.code) == (502, "stream_handoff")


def links_in(text: str) -> list[str]:
    return re.findall(r"http://gateway\.test/files/([\w-]+)", text)


async def test_a_picture_that_is_filled_later_is_given(going: Any) -> None:
    async with going(**KEPT) as seen:
        assert (await seen.say("[[script=image_filled polls=2]]")).count("![") == 1


async def test_a_failed_tool_says_so_as_the_answer(going: Any) -> None:
    async with going() as seen:
        assert "encountered an error" in await seen.say("[[script=image_error]]")
