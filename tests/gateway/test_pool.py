"""The pool as its users see it: one key, many accounts, real servers, real stores."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import contextmanager

import httpx
import psutil
import pytest

from shim.standin import make_access_token, make_refresh_token
from shim.standin.accounts import PLATFORM_CLIENT, REFRESH_CLIENTS

CHAT = "/v1/chat/completions"
KEY = {"Authorization": "Bearer pool-key"}
ADMIN = {"Authorization": "Bearer admin-key"}
REDIS = shutil.which("redis-server")


def ask(text="hi", model="auto", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def pool(start_gateway, shared_standin, upstream):
    """`pool(line, ..., NAME="value")`: a gateway whose pool has these credentials."""

    def make(*lines, **settings):
        gateway = start_gateway(
            CHATGPT_BASE_URL=shared_standin.base_url,
            AUTHORIZATION="pool-key",
            ADMIN_KEY="admin-key",
            **{"OAUTH_URL": f"{shared_standin.base_url}/oauth/token"} | settings,
        )
        upload(gateway, lines)
        return gateway

    return make


def upload(gateway, lines):
    body = {"text": "\n".join(lines)}
    answer = gateway.post("/tokens/api/accounts", body, **ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def accounts(gateway):
    return httpx.get(f"{gateway.base_url}/tokens/api/accounts", headers=ADMIN, trust_env=False).json()["accounts"]


def states(gateway):
    return Counter(account["state"] for account in accounts(gateway))


def tell(upstream, name, **switches):
    answer = upstream.post("/standin/accounts", {"name": name, **switches})
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


def turns(upstream):
    return upstream.get("/standin/stats").json()["turns"]


def many(gateways, count, at_once, text="hi"):
    """The statuses of `count` requests, `at_once` at a time, over these gateways in turns."""

    async def all_of_them():
        gate = asyncio.Semaphore(at_once)
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:

            async def one(number):
                async with gate:
                    gateway = gateways[number % len(gateways)]
                    answer = await client.post(gateway.base_url + CHAT, json=ask(f"{text} {number}"), headers=KEY)
                    return answer.status_code

            return Counter(await asyncio.gather(*(one(number) for number in range(count))))

    return asyncio.run(all_of_them())


def test_every_request_finds_a_good_account_and_bad_ones_are_asked_once(pool, upstream):
    failing = {"where": "sentinel", "times": -1}
    good = [tell(upstream, f"good-{number}") for number in range(2)]
    limited = tell(upstream, "limited", failures=[{**failing, "failure": "model_cap"}])
    revoked = tell(upstream, "revoked", failures=[{**failing, "failure": "token_revoked"}])
    dead = tell(upstream, "dead", failures=[{**failing, "failure": "account_deactivated"}])
    expired = make_access_token("expired", expires_at=1_600_000_000)
    gateway = pool(limited, revoked, *good, dead, expired)
    assert many([gateway], 60, 6) == {200: 60}
    assert sum(turns(upstream).values()) == 60
    refusals = upstream.get("/standin/stats").json()["refusals"]
    assert refusals["429"] <= 6  # at most the turns that were under way together
    assert refusals["401"] <= 12
    before = refusals
    assert many([gateway], 20, 1) == {200: 20}
    assert upstream.get("/standin/stats").json()["refusals"] == before
    assert states(gateway) == {"ready": 3, "parked": 2, "expired": 1}


def test_who_is_refused_is_told_why_the_accounts_rest_and_until_when_and_the_operator_has_the_evidence(pool, upstream):
    said = {
        "message": "You've hit your usage limit, anna@example.test",
        "code": "usage_limit_reached",
        "clears_in": 900,
    }
    limit = {"where": "turn", "status": 429, "detail": said, "times": 1}
    dead = {"where": "sentinel", "times": -1, "failure": "account_deactivated"}
    gateway = pool(tell(upstream, "tired", failures=[limit]), tell(upstream, "dead", failures=[dead]))
    for _ in range(3):
        answer = gateway.post(CHAT, ask(), **KEY)
    assert answer.status_code == 429
    message = answer.json()["error"]["message"]
    assert re.search(
        r"^Every account has to wait until its limit is over "
        r"\(1 limited: usage_limit_reached, until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ; 1 parked: account_dea",
        message,
    )
    assert 800 < int(answer.headers["retry-after"]) <= 900
    tired, closed = accounts(gateway)
    assert tired["evidence"]["status"] == 429
    assert tired["evidence"]["words"] == "You've hit your usage limit, …@…"
    assert closed["evidence"]["status"] in {401, 403}
    assert not [id for id in (tired["id"], closed["id"]) if id in answer.text]
    assert "anna@" not in answer.text
    for one in (tired, closed):
        httpx.post(f"{gateway.base_url}/tokens/api/accounts/{one['id']}/reset", headers=ADMIN, trust_env=False)
    pause(gateway, tired["id"])
    pause(gateway, closed["id"])
    answer = gateway.post(CHAT, ask(), **KEY)
    assert answer.status_code == 503
    assert "(2 paused)" in answer.json()["error"]["message"]


def pause(gateway, id, *, paused=True):
    url = f"{gateway.base_url}/tokens/api/accounts/{id}"
    assert httpx.patch(url, json={"paused": paused}, headers=ADMIN, trust_env=False).status_code == 200


def test_a_pause_holds_on_every_gateway_of_a_store_and_after_a_restart(pool, redis_url, upstream, said):
    tokens = [tell(upstream, f"paused-{number}") for number in range(2)]
    one, two = pool(*tokens, REDIS_URL=redis_url), pool(REDIS_URL=redis_url)
    assert said.wait_until(lambda: len(accounts(two)) == 2)
    first = accounts(one)[0]["id"]
    pause(one, first)
    assert said.wait_until(lambda: states(two) == {"paused": 1, "ready": 1})
    assert many([one, two], 10, 2) == {200: 10}
    assert turns(upstream) == {"paused-1": 10}
    three = pool(REDIS_URL=redis_url)
    assert states(three) == {"paused": 1, "ready": 1}
    pause(three, first, paused=False)
    assert said.wait_until(lambda: states(one) == {"ready": 2})
    assert many([one], 2, 1) == {200: 2}
    assert turns(upstream) == {"paused-0": 1, "paused-1": 11}


def test_300_requests_over_3_accounts_differ_by_at_most_one_turn(pool, upstream):
    gateway = pool(*(tell(upstream, f"even-{number}") for number in range(3)))
    assert many([gateway], 300, 5) == {200: 300}
    counted = turns(upstream).values()
    assert sum(counted) == 300
    assert max(counted) - min(counted) <= 1


def test_an_account_never_has_more_turns_at_once_than_its_limit(pool, upstream):
    tokens = [tell(upstream, f"single-{number}", max_parallel=1) for number in range(2)]
    gateway = pool(*tokens, ACCOUNT_LIMIT="1", RETRY_TIMES="0")
    assert many([gateway], 20, 10, "[[delay=0.002]]") == {200: 20}  # the stand-in refuses a second turn at once


def test_after_clears_in_an_account_serves_again(pool, upstream):
    limit = {"where": "turn", "status": 429, "clears_in": 2, "times": 1}
    gateway = pool(tell(upstream, "tired", failures=[limit]))
    first = gateway.post(CHAT, ask(), **KEY)
    assert (first.status_code, first.headers["retry-after"]) == (429, "2")
    until = time.monotonic() + 30
    while (answer := gateway.post(CHAT, ask(), **KEY)).status_code == 429 and time.monotonic() < until:
        assert 1 <= int(answer.headers["retry-after"]) <= 2
        time.sleep(0.1)
    assert answer.status_code == 200
    assert upstream.get("/standin/stats").json()["refusals"] == {"429": 1}  # it was not asked before it was time


def test_a_probe_brings_back_who_was_parked_and_ends_no_limit(pool, upstream):
    limit = {"where": "turn", "failure": "model_cap", "times": 1}
    dead = {"where": "sentinel", "failure": "token_revoked", "times": 1}
    gateway = pool(tell(upstream, "probed-limited", failures=[limit]))
    assert gateway.post(CHAT, ask(), **KEY).status_code == 429
    upload(gateway, [tell(upstream, "probed-parked", failures=[dead])])
    assert gateway.post(CHAT, ask(), **KEY).status_code == 429
    assert states(gateway) == {"ready": 1, "parked": 1}
    for account in accounts(gateway):
        assert gateway.post(f"/tokens/api/accounts/{account['id']}/probe", **ADMIN).status_code == 200
    assert states(gateway) == {"ready": 2}
    assert [row["slug"] for account in accounts(gateway) for row in account["cooling"]] == ["auto"]


def test_a_limit_on_one_model_leaves_the_others(pool, upstream):
    limit = {"where": "turn", "failure": "model_cap", "times": 1}
    gateway = pool(tell(upstream, "capped", failures=[limit]))
    assert gateway.post(CHAT, ask(model="gpt-4"), **KEY).status_code == 429
    assert gateway.post(CHAT, ask(model="gpt-4"), **KEY).status_code == 429
    assert gateway.post(CHAT, ask(model="gpt-4o"), **KEY).status_code == 200
    assert [row["slug"] for row in accounts(gateway)[0]["cooling"]] == ["gpt-4"]


def test_a_model_goes_to_an_account_that_has_it(pool, upstream):
    gateway = pool(tell(upstream, "poor", plan="free"), tell(upstream, "rich", plan="plus"))
    assert [gateway.post(CHAT, ask(model="gpt-4"), **KEY).status_code for _ in range(4)] == [200] * 4
    assert turns(upstream) == {"rich": 4}
    refused = gateway.post(CHAT, ask(model="gpt-99"), **KEY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_a_refresh_token_is_exchanged_once_for_fifty_requests(pool, upstream):
    tell(upstream, "fresh")
    gateway = pool(make_refresh_token("fresh"), ACCOUNT_LIMIT="50")
    assert many([gateway], 50, 50) == {200: 50}
    exchanges = upstream.get("/standin/stats").json()["exchanges"]
    assert sum(exchanges.values()) == 1


def test_a_token_that_upstream_refuses_is_renewed_and_the_turn_goes_on(pool, upstream):
    gateway = pool(make_refresh_token("renewed"))
    tell(upstream, "renewed", failures=[{"where": "sentinel", "failure": "token_expired", "times": 1}])
    assert gateway.post(CHAT, ask(), **KEY).status_code == 200
    assert sum(upstream.get("/standin/stats").json()["exchanges"].values()) == 2


def test_a_dead_refresh_token_is_parked_with_the_reason(pool, upstream):
    tell(upstream, "gone", failures=[{"where": "refresh", "failure": "invalid_grant", "times": -1}])
    gateway = pool(make_refresh_token("gone"), tell(upstream, "alive"))
    assert many([gateway], 6, 1) == {200: 6}
    parked = [account for account in accounts(gateway) if account["state"] == "parked"]
    assert [account["why"] for account in parked] == ["invalid_grant"]
    assert sum(upstream.get("/standin/stats").json()["exchanges"].values()) <= 1


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/backend-api/me"])
def test_a_secret_that_is_not_chatgpts_is_sent_nowhere(pool, upstream, path):
    gateway = pool()
    other_service = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6IjEifQ.c2ln"
    for secret in ("github_pat_" + "A" * 82, "0123456789abcdef" * 8, ("ghp_" + "A" * 45)[:45], other_service):
        for header in ({"Authorization": f"Bearer {secret}"}, {"Authorization": f"Bearer {secret},team-1"}):
            if path == CHAT:
                answer = gateway.post(path, ask(), **header)
            else:
                answer = httpx.get(gateway.base_url + path, headers=header, trust_env=False)
            assert answer.status_code == 401, answer.text
            assert secret not in answer.text
    asked = upstream.get("/standin/stats").json()["requests"]
    assert not [each for each in asked if "/standin/" not in each], asked
    assert other_service not in gateway.log


@pytest.mark.parametrize("client_id", REFRESH_CLIENTS)
def test_a_callers_own_refresh_token_of_any_client_id_renews(pool, upstream, client_id):
    """By default settings but for the address; without a pool, straight from the header."""
    tell(upstream, "own", rotates=True)
    gateway = pool()
    told = f",{client_id}" if client_id == PLATFORM_CLIENT else ""
    own = {"Authorization": f"Bearer {make_refresh_token('own', client_id=client_id)}{told}"}
    for _ in range(2):
        assert gateway.post(CHAT, ask(), **own).status_code == 200
    assert upstream.get("/standin/stats").json()["exchanges"] == {"refresh:own:0": 1}


@pytest.mark.parametrize("client_id", REFRESH_CLIENTS)
def test_two_gateways_exchange_a_token_of_any_client_id_once(pool, upstream, tmp_path, client_id):
    """They share a store; the platform's id is the one that no form tells."""
    tell(upstream, "two", rotates=True)
    told = f",{client_id}" if client_id == PLATFORM_CLIENT else ""
    first = pool(make_refresh_token("two", client_id=client_id) + told, DATA_DIR=str(tmp_path), WORKERS="2")
    second = pool(DATA_DIR=str(tmp_path), WORKERS="2")
    assert many([first, second], 20, 20) == {200: 20}
    assert upstream.get("/standin/stats").json()["exchanges"] == {"refresh:two:0": 1}


def test_a_log_in_server_that_is_away_is_no_limit(pool, upstream):
    """R17: the first answer, and those while it is not asked again, name it."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        gateway = pool(make_refresh_token("away"), OAUTH_URL=f"http://{address}/oauth/token")
        for _ in range(2):
            answer = gateway.post(CHAT, ask(), **KEY)
            assert answer.status_code == 502, answer.text
            assert "log-in server" in answer.json()["error"]["message"]
    assert states(gateway) == {"new": 1}, "what was never renewed has not expired"


def test_an_unknown_model_is_named_where_an_account_that_was_never_seen_is_away(pool, upstream, make_account):
    """It was all about the log-in server, as if no account served."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/oauth/token"
        gateway = pool(make_account("here"), make_refresh_token("away"), OAUTH_URL=url)
        assert gateway.post(CHAT, ask(), **KEY).status_code == 200
        for _ in range(2):
            answer = gateway.post(CHAT, ask(model="gpt-0"), **KEY)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "not_renewed")
            assert "No account that can be asked has the model `gpt-0`" in answer.json()["error"]["message"]


def test_an_address_without_a_log_in_server_is_told_and_parks_nobody(pool, upstream):
    gateway = pool(make_refresh_token("lost"), OAUTH_URL=f"{upstream.base_url}/nothing/here")
    answer = gateway.post(CHAT, ask(), **KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "not_renewed")
    assert "renewal_address" in answer.json()["error"]["message"]
    assert states(gateway) == {"new": 1}, "what was never renewed has not expired"


def test_a_log_in_server_that_says_nothing_ends_at_the_first_byte_deadline(pool, upstream):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/oauth/token"
        gateway = pool(make_refresh_token("silent"), OAUTH_URL=url, FIRST_BYTE_TIMEOUT="1")
        began = time.monotonic()
        answer = gateway.post(CHAT, ask(), **KEY)
        assert time.monotonic() - began < 20
    assert answer.status_code == 504, answer.text
    assert "log-in server" in answer.json()["error"]["message"]


def test_never_tried_again_400_404_413_422(pool, upstream):
    gateway = pool(*(tell(upstream, f"strict-{number}") for number in range(3)))
    for failure in ("bad_request", "conversation_not_found", "too_long", "invalid_body"):
        before = sum(upstream.get("/standin/stats").json()["refusals"].values())
        assert gateway.post(CHAT, ask(f"[[failure={failure}]]"), **KEY).status_code in {400, 404, 413}
        assert sum(upstream.get("/standin/stats").json()["refusals"].values()) == before + 1


def test_an_upstream_hiccup_moves_to_another_account(pool, upstream):
    failing = [{"where": "turn", "failure": "unavailable", "times": -1}]
    gateway = pool(tell(upstream, "shaky", failures=failing), tell(upstream, "steady"))
    assert many([gateway], 6, 1) == {200: 6}
    assert states(gateway) == {"ready": 2}  # a hiccup is not held against an account


def test_two_workers_share_one_pool_and_end_together(pool, upstream):
    gateway = pool(*(tell(upstream, f"worked-{number}") for number in range(2)), WORKERS="2", process=True)
    time.sleep(0.5)
    assert many([gateway], 60, 6) == {200: 60}
    assert sum(turns(upstream).values()) == 60
    below = psutil.Process(gateway.process.pid).children(recursive=True)
    assert gateway.stop() == 0
    _, alive = psutil.wait_procs(below, timeout=15)
    assert alive == []


def test_direct_tokens_do_not_touch_the_pool(pool, upstream):
    gateway = pool(tell(upstream, "pooled"))
    mine = {"Authorization": f"Bearer {tell(upstream, 'mine')}"}
    assert gateway.post(CHAT, ask(), **mine).status_code == 200
    tell(upstream, "theirs")
    refresh = {"Authorization": f"Bearer {make_refresh_token('theirs')}"}
    assert [gateway.post(CHAT, ask(), **refresh).status_code for _ in range(3)] == [200] * 3
    assert turns(upstream) == {"mine": 1, "theirs": 3}
    assert len(accounts(gateway)) == 1
    assert sum(upstream.get("/standin/stats").json()["exchanges"].values()) == 1


def test_the_pool_survives_a_kill(pool, upstream, start_gateway, tmp_path):
    tokens = [tell(upstream, f"kept-{number}") for number in range(5)]
    gateway = pool(*tokens, DATA_DIR=str(tmp_path / "kept"), process=True)
    below = psutil.Process(gateway.process.pid).children(recursive=True)
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait(5)
    _, alive = psutil.wait_procs(below, timeout=15)
    assert alive == []  # nobody is left who would hold the port
    again = start_gateway(
        CHATGPT_BASE_URL=upstream.base_url,
        AUTHORIZATION="pool-key",
        ADMIN_KEY="admin-key",
        DATA_DIR=str(tmp_path / "kept"),
    )
    assert states(again) == {"ready": 5}


@pytest.mark.parametrize("kind", ["CHATGPT_BASE_URL", "PROXY_URL"])
def test_a_dead_proxy_and_a_failing_gateway_are_passed_over(start_gateway, shared_standin, upstream, kind):
    """The stand-in serves as proxy, too: to a proxy curl sends the same request, with a whole URL for its path."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
        settings = {"CHATGPT_BASE_URL": shared_standin.base_url, kind: f"{nowhere},{shared_standin.base_url}"}
        gateway = start_gateway(CONNECT_TIMEOUT="1", RETRY_TIMES="3", **settings)
        for name in ("one", "two", "three", "four"):
            mine = {"Authorization": f"Bearer {tell(upstream, name)}"}
            assert gateway.post(CHAT, ask(), **mine).status_code == 200


@contextmanager
def redis_server(folder, port):
    folder.mkdir(exist_ok=True)
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    process = subprocess.Popen(
        [REDIS, *arguments, "--appendfsync", "always"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait(5)


@pytest.fixture
def redis(tmp_path):
    if REDIS is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return port, lambda folder="redis": redis_server(tmp_path / folder, port)


def test_two_gateways_on_one_redis(pool, redis, upstream, said):
    port, running = redis
    settings = {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "ACCOUNT_LIMIT": "2"}
    tokens = [tell(upstream, f"shared-{number}", max_parallel=2) for number in range(4)]
    tell(upstream, "rotating", max_parallel=2, rotates=True)
    with running():
        one = pool(*tokens, make_refresh_token("rotating"), **settings)
        two = pool(**settings)
        assert said.wait_until(lambda: len(accounts(two)) == 5)
        assert many([one, two], 1000, 12) == {200: 1000}
        stats = upstream.get("/standin/stats").json()
        assert sum(stats["turns"].values()) == 1000
        assert not stats["refusals"]  # the stand-in refuses a third turn at once
        assert sum(stats["exchanges"].values()) == 1


def test_a_cool_down_learned_by_one_gateway_is_respected_by_the_other(pool, redis, upstream, said):
    port, running = redis
    settings = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    limit = {"where": "turn", "status": 429, "clears_in": 600, "times": 1}
    with running():
        one = pool(tell(upstream, "known", failures=[limit]), **settings)
        two = pool(**settings)
        assert one.post(CHAT, ask(), **KEY).status_code == 429
        assert said.wait_until(lambda: [row["slug"] for row in accounts(two)[0]["cooling"]] == ["auto"])
        answer = two.post(CHAT, ask(), **KEY)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 500
        assert sum(upstream.get("/standin/stats").json()["refusals"].values()) == 1


def test_redis_killed_and_back_loses_no_request_and_no_account(pool, redis, upstream):
    port, running = redis
    settings = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with running():
        gateway = pool(*(tell(upstream, f"lasting-{number}") for number in range(3)), **settings)
        assert many([gateway], 20, 4) == {200: 20}
    assert many([gateway], 40, 4) == {200: 40}
    assert gateway.get("/healthz").json()["store"] != "ok"
    mine = {"Authorization": f"Bearer {tell(upstream, 'brings-their-own')}"}
    assert [gateway.post(CHAT, ask(), **mine).status_code for _ in range(2)] == [200, 200]
    with running():
        until = time.monotonic() + 30
        while gateway.get("/healthz").json()["store"] != "ok" and time.monotonic() < until:
            time.sleep(0.1)
        assert gateway.get("/healthz").json()["store"] == "ok"
        assert many([gateway], 20, 4) == {200: 20}
        assert states(gateway) == {"ready": 3}
        again = pool(**settings)
        assert states(again) == {"ready": 3}


def test_a_redis_that_comes_back_empty_is_filled_from_memory(pool, redis, upstream, said):
    port, running = redis
    settings = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with running():
        gateway = pool(*(tell(upstream, f"remembered-{number}") for number in range(3)), **settings)
    assert said.wait_until(lambda: gateway.get("/healthz").json()["store"] != "ok")
    with running("another-redis"):
        assert said.wait_until(lambda: gateway.get("/healthz").json()["store"] == "ok")
        again = pool(**settings)
        assert said.wait_until(lambda: states(again) == {"ready": 3})
        assert states(gateway) == {"ready": 3}
        assert many([gateway], 9, 3) == {200: 9}


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_stays_with_the_account_that_owns_it(pool, upstream, stream):
    names = [f"owner-{number}-{stream}" for number in range(3)]
    gateway = pool(*(tell(upstream, name) for name in names), HISTORY_DISABLED="false")
    first = last_object(gateway.post(CHAT, ask(stream=stream), **KEY))
    (owner,) = turns(upstream)
    for _ in range(4):
        ids = {"conversation_id": first["conversation_id"], "parent_message_id": first["message_id"]}
        answer = gateway.post(CHAT, ask("and then?", stream=stream, **ids), **KEY)
        assert answer.status_code == 200, answer.text
        first = last_object(answer)
    assert turns(upstream) == {owner: 5}
    sent = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]
    assert sent["conversation_id"] == first["conversation_id"].partition(".")[0]
    assert sent["history_and_training_disabled"] is False


def last_object(answer):
    """The completion, or the chunk that ends a stream."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return answer.json()
    return json.loads(answer.text.split("\n\n")[-3].removeprefix("data: "))


def test_a_conversation_whose_account_is_gone_is_not_found(pool, upstream):
    gateway = pool(tell(upstream, "stays"), HISTORY_DISABLED="false")
    ids = {"conversation_id": "3c1c6f5a-7c3f-4f0e-8b59-6c1f2b0c9d22.0123456789abcdef", "parent_message_id": "x"}
    answer = gateway.post(CHAT, ask(**ids), **KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "conversation_not_found")
    assert turns(upstream) == {}


def test_where_chats_are_not_kept_there_are_no_ids_and_none_are_taken(pool, upstream):
    gateway = pool(tell(upstream, "forgetful"))
    assert "conversation_id" not in gateway.post(CHAT, ask(), **KEY).json()
    answer = gateway.post(CHAT, ask(conversation_id="x", parent_message_id="y"), **KEY)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "conversation_id")
