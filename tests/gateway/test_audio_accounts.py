"""Sound and the accounts of a pool: another one takes over where one fails, and what is said counts for its key."""

import time

import httpx
import pytest

from shim.standin.sound import recording

SPEAK, WRITE, TRANSLATE = "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations"
MP3 = recording("hello", "mp3").content
ADMIN = {"authorization": "Bearer admin-key"}


def ask(gateway, path, key):
    headers = {"authorization": f"Bearer {key}"}
    if path == SPEAK:
        body = {"model": "tts-1", "input": "three short words", "voice": "alloy"}
        return httpx.post(gateway.base_url + path, json=body, headers=headers, trust_env=False, timeout=60)
    form = {"files": {"file": ("talk.mp3", MP3)}, "data": {"model": "whisper-1"}}
    return httpx.post(gateway.base_url + path, **form, headers=headers, trust_env=False, timeout=60)


def accounts(gateway):
    return httpx.get(f"{gateway.base_url}/tokens/api/accounts", headers=ADMIN, trust_env=False).json()["accounts"]


@pytest.mark.parametrize("status", [401, 429, 503])
@pytest.mark.parametrize("path", [SPEAK, WRITE, TRANSLATE])
def test_another_account_takes_over(pooled, upstream, tell, path, status):
    where = "speech" if path == SPEAK else "transcript"
    failing = [{"where": where, "status": status}]
    gateway = pooled(upstream.base_url, *(tell(f"{where}-{name}", failures=failing) for name in "ab"), tell("well"))
    answer = ask(gateway, path, "fk-key-of-the-pool")
    assert answer.status_code == 200, answer.text
    assert answer.content
    assert gateway.log.count("trying again") == 2
    assert sum(account["state"] == "ready" for account in accounts(gateway)) == (1 if status == 401 else 3)


@pytest.mark.parametrize("path", [SPEAK, WRITE])
def test_what_is_said_counts_for_the_day_of_its_key(pooled, upstream, tell, path):
    gateway = pooled(upstream.base_url, tell("counted"))
    limited = {"name": "little", "tokens_per_day": 2}
    key = gateway.post("/tokens/api/keys", limited, **ADMIN).json()["key"]
    assert ask(gateway, path, key).status_code == 200
    until = time.monotonic() + 30
    while (last := ask(gateway, path, key)).status_code != 429:
        assert time.monotonic() < until
    assert last.json()["error"]["code"] == "insufficient_quota"


def test_a_translation_is_one_request_of_its_key(pooled, upstream, tell):
    gateway = pooled(upstream.base_url, tell("counting"))
    limited = {"name": "two", "requests_per_minute": 2, "concurrent": 1}
    key = gateway.post("/tokens/api/keys", limited, **ADMIN).json()["key"]
    first = ask(gateway, TRANSLATE, key)
    assert (first.status_code, first.headers["x-ratelimit-remaining-requests"]) == (200, "1")
    until = time.monotonic() + 30  # its place among those at once is free a moment later
    while (second := ask(gateway, TRANSLATE, key)).json().get("error", {}).get("code") == "too_many_requests_at_once":
        assert time.monotonic() < until
    assert (second.status_code, second.headers["x-ratelimit-remaining-requests"]) == (200, "0")
    assert ask(gateway, TRANSLATE, key).json()["error"]["code"] == "rate_limit_exceeded"
    used = httpx.get(f"{gateway.base_url}/admin/usage?by=key", headers=ADMIN, trust_env=False).json()
    assert "two" in str(used)
