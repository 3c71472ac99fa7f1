"""Several machines: two gateways, one Redis and one nginx (the configuration of deploy/), as processes.

What is sticky is nowhere: any gateway serves any request. What is true when a gateway dies is pinned here.
"""

import asyncio
import base64
import contextlib
import json
import re
from collections import Counter

import httpx
import pytest
from openai import APIConnectionError, OpenAI

CHAT = "/v1/chat/completions"


def ask(text="hi", **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def machine(pooled, redis_url, upstream, tell):
    """One gateway of those that share a Redis with four accounts, which it has put there."""
    return pooled(
        upstream.base_url, *(tell(f"machine-{number}") for number in range(4)), process=True, **settings(redis_url)
    )


def settings(redis_url):
    # The last is how long the worker of a main process that was killed goes on.
    return {"REDIS_URL": redis_url, "HISTORY_DISABLED": "false", "ACCOUNT_LIMIT": "20", "SHUTDOWN_TIMEOUT": "1"}


@pytest.fixture
def two(machine, pooled, redis_url, upstream, said):
    """Two of them."""
    other = pooled(upstream.base_url, process=True, **settings(redis_url))
    assert said.wait_until(lambda: len(accounts(other)) == 4)
    return machine, other


def accounts(gateway):
    headers = {"Authorization": "Bearer admin-key"}
    return httpx.get(f"{gateway.base_url}/tokens/api/accounts", headers=headers, trust_env=False).json()["accounts"]


def served(gateway):
    return gateway.log.count("chat2api.exchange")


async def streamed(client, base_url, key):
    """`whole`, `in-band error`, `broken off`, or the status of a refusal."""
    try:
        async with client.stream(
            "POST", base_url + CHAT, json=ask("[[delay=0.01]]", stream=True), headers=key
        ) as answer:
            if answer.status_code != 200:
                return str(answer.status_code)
            lines = [line async for line in answer.aiter_lines() if line]
    except httpx.RemoteProtocolError:
        return "broken off"
    return "whole" if lines[-1] == "data: [DONE]" else "in-band error" if '"error"' in lines[-1] else "silently cut"


async def whole(client, base_url, key):
    answer = await client.post(base_url + CHAT, json=ask(), headers=key)
    return "whole" if answer.status_code == 200 and answer.json()["choices"] else str(answer.status_code)


async def listed(client, base_url, key):
    answer = await client.get(f"{base_url}/v1/models", headers=key)
    return "whole" if answer.status_code == 200 and answer.json()["data"] else str(answer.status_code)


async def continued(client, base_url, key):
    first = await client.post(base_url + CHAT, json=ask(), headers=key)
    if first.status_code != 200:
        return str(first.status_code)
    ids = {"conversation_id": first.json()["conversation_id"], "parent_message_id": first.json()["message_id"]}
    second = await client.post(base_url + CHAT, json=ask("and?", **ids), headers=key)
    return "whole" if second.status_code == 200 else str(second.status_code)


KINDS = (streamed, whole, listed, continued)


def mixed(base_url, key, count, at_once, midway=lambda: None):
    """How `count` requests of all kinds went, by kind: a connection of its own for each, as clients have."""
    began = 0

    async def one(client, gate, number):
        nonlocal began
        async with gate:
            began += 1
            if began == count // 2:
                await asyncio.to_thread(midway)
            kind = KINDS[number % len(KINDS)]
            return kind.__name__, await kind(client, base_url, key)

    async def all_of_them():
        gate = asyncio.Semaphore(at_once)
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            return Counter(await asyncio.gather(*(one(client, gate, number) for number in range(count))))

    return asyncio.run(all_of_them())


def test_any_gateway_serves_any_request(two, balanced, upstream, key):
    with balanced(*two) as base_url:
        told = mixed(base_url, key, 120, 8)
    assert set(told) == {(kind.__name__, "whole") for kind in KINDS}
    assert all(served(gateway) > 20 for gateway in two)
    assert len(upstream.get("/standin/stats").json()["turns"]) == 4


def test_files_go_up_and_come_down_at_whichever_gateway(two, balanced, upstream, key):
    dot = base64.b64encode(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;").decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{dot}"}}
    with balanced(*two) as base_url:
        for _ in range(4):
            content = [{"type": "text", "text": "[[script=image_gen]]"}, picture]
            body = {"model": "auto", "messages": [{"role": "user", "content": content}]}
            answer = httpx.post(base_url + CHAT, json=body, headers=key, trust_env=False, timeout=30)
            assert answer.status_code == 200, answer.text
            path = re.search(r"\(http://[^/)]+(/files/[^)]+)\)", answer.json()["choices"][0]["message"]["content"])[1]
            for gateway in two:  # the link that one has signed opens at the other
                assert gateway.get(path).content.startswith(b"\x89PNG")


def test_one_gateway_killed_within_500_requests(two, balanced, upstream, key):
    one, other = two
    at_once = 10
    with balanced(one, other) as base_url:
        told = mixed(base_url, key, 500, at_once, midway=other.process.kill)
        failed = Counter({outcome: number for outcome, number in told.items() if outcome[1] != "whole"})
        # Only what was under way at the dead gateway, and the client can always tell.
        assert sum(failed.values()) <= at_once
        assert {outcome for _, outcome in failed} <= {"broken off", "502"}
        assert not [kind for kind, _ in failed if kind == "listed"]  # nothing is lost that may be asked again
        assert sum(told.values()) == 500
        assert set(mixed(base_url, key, 40, 4)) == {(kind.__name__, "whole") for kind in KINDS}
    assert said_once(upstream, told)


def said_once(upstream, told):
    """Whether no turn was sent upstream twice: there are not more turns than requests for one."""
    continued = sum(number for (kind, _), number in told.items() if kind == "continued")
    asked = sum(number for (kind, _), number in told.items() if kind in {"streamed", "whole"}) + 2 * continued
    return sum(upstream.get("/standin/stats").json()["turns"].values()) <= asked + 40


@contextlib.contextmanager
def under_way(base_url, key):
    """A stream that has begun, and its lines still to come."""
    body = ask("[[words=3000 delay=0.01]]", stream=True)
    with httpx.stream("POST", base_url + CHAT, json=body, headers=key, trust_env=False, timeout=30) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert [next(lines) for _ in range(5)]
        yield lines


def test_through_nginx_alone_a_stream_whose_gateway_dies_is_broken_off(machine, balanced, key):
    with balanced(machine) as base_url, under_way(base_url, key) as lines:
        machine.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


def test_the_openai_sdk_notices_a_stream_that_is_broken_off(machine, balanced, said):
    with (
        balanced(machine) as base_url,
        OpenAI(base_url=f"{base_url}/v1", api_key=said.pool_key, max_retries=0) as client,
    ):
        stream = client.chat.completions.create(**ask("[[words=3000 delay=0.01]]", stream=True))
        assert next(stream).choices
        machine.kill()
        with pytest.raises(APIConnectionError):
            list(stream)


def test_a_front_gateway_tells_it_in_the_stream(machine, balanced, pooled, said):
    with balanced(machine) as base_url:
        front = pooled(base_url, said.pool_key, AUTHORIZATION="front-key", CONVERSATION_ONLY="true")
        with under_way(front.base_url, {"Authorization": "Bearer front-key"}) as lines:
            machine.kill()
            last = list(lines)[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_502", "the rest was asked for"


def test_a_turn_that_may_have_been_taken_is_not_sent_again(two, balanced, upstream, key):
    body = ask("[[stall=30]]")
    with balanced(*two) as base_url:

        async def killed():
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                call = asyncio.create_task(client.post(base_url + CHAT, json=body, headers=key))
                for _ in range(200):
                    if (await client.get(f"{upstream.base_url}/standin/stats")).json()["open_streams"]:
                        break
                    await asyncio.sleep(0.05)
                for gateway in two:
                    gateway.kill()
                return await call

        answer = asyncio.run(killed())
    assert answer.status_code == 502
    assert sum(upstream.get("/standin/stats").json()["turns"].values()) == 1


def test_a_relayed_conversation_goes_on_at_whichever_gateway(two, balanced, upstream, key, said):
    with balanced(*two) as base_url:
        path = f"{base_url}/backend-api/conversation"
        answer = httpx.post(path, json=said.turn(), headers=key, trust_env=False)
        name = next(event["conversation_id"] for event in said.events_of(answer.text) if event.get("conversation_id"))
        (owner,) = upstream.get("/standin/stats").json()["turns"]
        for _ in range(6):
            body = said.turn(conversation_id=name)
            assert httpx.post(path, json=body, headers=key, trust_env=False).status_code == 200
    assert upstream.get("/standin/stats").json()["turns"] == {owner: 7}
