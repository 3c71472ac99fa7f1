"""The accounts page in the real server, as `chat2api serve` runs it."""

from collections.abc import Callable

import httpx
import pytest

from shim.apis.admin.door import CSRF


@pytest.fixture(scope="module")
def served(start_gateway, shared_standin):
    return start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url,
        OAUTH_URL=f"{shared_standin.base_url}/oauth/token",
        ADMIN_KEY="admin-key",
        API_PREFIX="hidden",
        WORKERS="2",
        health="/hidden/healthz",
    )


@pytest.fixture
def person(served):
    with httpx.Client(base_url=f"{served.base_url}/hidden/", trust_env=False, timeout=20) as client:
        yield client


def test_a_session_holds_in_every_worker(served, person):
    session = person.post("tokens/login", json={"key": "admin-key"}).json()
    cookies = dict(person.cookies)
    for _ in range(20):  # each on a connection of its own, so that both workers are met
        with httpx.Client(base_url=person.base_url, trust_env=False, cookies=cookies) as other:
            assert other.get("tokens/api/summary").status_code == 200
            assert other.post("tokens/error", headers={CSRF: session["csrf"]}).status_code == 200


def test_an_account_is_added_probed_reset_and_removed(start_gateway, upstream, make_account: Callable[..., str]):
    server = start_gateway(CHATGPT_BASE_URL=upstream.base_url, ADMIN_KEY="admin-key")
    headers = {"authorization": "Bearer admin-key"}
    with httpx.Client(base_url=server.base_url, headers=headers, trust_env=False, timeout=20) as script:
        (id,) = script.post("/tokens/upload", content=make_account("wired", plan="plus")).json()["added"]
        for action in ("probe", "reset"):
            answer = script.post(f"/tokens/api/accounts/{id}/{action}")
            assert (answer.status_code, answer.json()["state"]) == (200, "ready"), answer.text
        assert script.delete(f"/tokens/api/accounts/{id}").json() == {"removed": 1}
        assert script.get("/tokens/api/summary").json()["total"] == 0


def test_the_page_and_its_files_are_in_the_package(served, person):
    for path in ("tokens", "tokens/parts/pages.css", "tokens/parts/accounts.js"):
        assert person.get(path).status_code == 200
    assert httpx.get(f"{served.base_url}/tokens", trust_env=False).status_code == 404


def test_without_a_key_this_machine_gets_in_and_a_proxy_does_not(gateway):
    assert gateway.get("/tokens").status_code == 200
    forwarded = httpx.get(f"{gateway.base_url}/tokens", headers={"x-forwarded-for": "::1"}, trust_env=False)
    assert forwarded.status_code == 403
    assert "ADMIN_KEY" in forwarded.json()["error"]["message"]
