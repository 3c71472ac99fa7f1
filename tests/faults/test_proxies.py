"""Proxies that fail: the next one is taken, and the error names PROXY_URL. A faulty upstream plays the proxy, which is
asked with the whole address."""

import httpx
import pytest

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
