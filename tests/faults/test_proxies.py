"""Proxies that fail: the next one is taken, and the error names PROXY_URL. A faulty upstream plays the proxy, which is
asked with the whole address."""

import httpx
import pytest

from shim.standin import make_access_token
from tests.faults.faulty import FaultyUpstream, good, raw, replied
from tests.servers import free_port

CHAT = "/v1/chat/completions"
ELSEWHERE = "http://upstream.invalid"  # nobody looks this name up: the proxy would


@pytest.fixture(scope="module")
def working():
    with FaultyUpstream().running() as proxy:
        proxy.act = good
        yield proxy


@pytest.fixture(scope="module")
def failing():
    with FaultyUpstream().running() as proxy:
        yield proxy


def ask(gateway):
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(gateway.base_url + CHAT, json=body, trust_env=False, timeout=30)


def gateway_of(start_gateway, *proxies):
    return start_gateway(CHATGPT_BASE_URL=ELSEWHERE, PROXY_URL=",".join(proxies), CONVERSATION_ONLY="true")


def test_a_proxy_that_wants_other_credentials_is_left_out(start_gateway, failing, working):
    failing.act, failing.asked = replied("407 X", b"", "", "proxy-authenticate: Basic"), 0
    gateway = gateway_of(start_gateway, failing.base_url, working.base_url)
    assert [ask(gateway).status_code for _ in range(6)] == [200] * 6
    assert failing.asked <= 1


def test_a_dead_proxy_is_left_out(start_gateway, working):
    gateway = gateway_of(start_gateway, f"http://127.0.0.1:{free_port()}", working.base_url)
    assert [ask(gateway).status_code for _ in range(6)] == [200] * 6


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (replied("407 X", b"", "", "proxy-authenticate: Basic"), "other credentials (407)"),
        (raw(b"\x05\xff rubbish\r\n\r\n"), "does not speak HTTP"),
    ],
)
def test_the_only_proxy_is_blamed(start_gateway, failing, act, words):
    failing.act = act
    error = ask(gateway_of(start_gateway, failing.base_url)).json()["error"]
    assert error["code"] == "upstream_proxy"
    assert words in error["message"]
    assert "PROXY_URL" in error["message"]


# --- proxies of an account's own --------------------------------------------------------------------------------------

ADMIN = {"authorization": "Bearer admin-key"}


@pytest.fixture
def pool(start_gateway):
    """`pool(upstream, proxy, ...)`: a gateway with an account for each proxy (None: without one of its own)."""

    def make(upstream, *proxies):
        gateway = start_gateway(CHATGPT_BASE_URL=upstream, CONVERSATION_ONLY="true", ADMIN_KEY="admin-key")
        tokens = "\n".join(make_access_token(f"proxied-{place}") for place in range(len(proxies)))
        with httpx.Client(base_url=f"{gateway.base_url}/tokens/api/", headers=ADMIN, trust_env=False) as client:
            for id, proxy in zip(client.post("accounts", content=tokens).json()["added"], proxies, strict=True):
                assert client.patch(f"accounts/{id}", json={"proxy": proxy}).status_code == 200
        return gateway

    return make


def accounts(gateway):
    return httpx.get(f"{gateway.base_url}/tokens/api/accounts", headers=ADMIN, trust_env=False).json()["accounts"]


def test_an_account_goes_by_its_own_proxy(pool, working):
    gateway = pool(ELSEWHERE, working.base_url)
    before = working.asked
    assert ask(gateway).status_code == 200
    assert working.asked > before


def test_an_account_whose_own_proxy_is_dead_rests_and_never_goes_another_way(pool, working):
    dead = f"http://someone:hunter2@127.0.0.1:{free_port()}"
    gateway = pool(working.base_url, dead, None)
    assert [ask(gateway).status_code for _ in range(6)] == [200] * 6
    proxied, other = accounts(gateway)
    assert (proxied["state"], other["state"], other["turns"]) == ("cooling", "ready", 6)
    assert proxied["turns"] == 1, "it was tried once"
    alone = pool(working.base_url, dead)
    before = working.asked
    answer = ask(alone)
    assert answer.status_code >= 429
    assert working.asked == before
    assert "hunter2" not in answer.text
