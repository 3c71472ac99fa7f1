"""Callers whom upstream has not accepted: nothing is fetched, stored or kept open for them."""

import base64
import http.server
import json
import sqlite3
import threading
from contextlib import closing

import pytest

CHAT = "/v1/chat/completions"


def jwt(name):
    """What anybody can write."""
    parts = [{"alg": "none"}, {"iss": "https://auth.openai.com", "sub": name, "exp": 4_000_000_000}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts) + ".x"


@pytest.fixture
def site():
    """A web server that counts who asks it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self):
            type(self).asked += 1
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(url):
    content = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "auto", "messages": [{"role": "user", "content": content}]}


def guests(folder):
    with closing(sqlite3.connect(folder / "guests.sqlite3")) as db:
        return db.execute("SELECT count(*) FROM accounts").fetchone()[0]


@pytest.mark.parametrize("token", [jwt, lambda name: "rt_" + name[-1] * 60])
def test_nothing_is_fetched_or_stored_for_a_token_that_upstream_refuses(start_gateway, upstream, site, tmp_path, token):
    place = f"127.0.0.1:{site.server_port}"
    gateway = start_gateway(
        CHATGPT_BASE_URL=upstream.base_url,
        OAUTH_URL=f"{upstream.base_url}/oauth/token",
        AUTHORIZATION="sk-one",
        ALLOW_PRIVATE_URLS=place,
        DATA_DIR=str(tmp_path),
    )
    for number in range(5):
        bearer = token(f"stranger {number}")
        answer = gateway.post(CHAT, ask(f"http://{place}/a.png"), Authorization=f"Bearer {bearer}")
        assert answer.status_code == 401, answer.text
    assert site.RequestHandlerClass.asked == 0
    assert guests(tmp_path) == 0


def test_a_token_that_upstream_accepts_is_served_and_remembered(start_gateway, upstream, site, tmp_path):
    told = upstream.post("/standin/accounts", {"name": "own"})
    assert told.status_code < 300, told.text
    bearer = told.json()["access_token"]
    place = f"127.0.0.1:{site.server_port}"
    gateway = start_gateway(
        CHATGPT_BASE_URL=upstream.base_url, AUTHORIZATION="x", ALLOW_PRIVATE_URLS=place, DATA_DIR=str(tmp_path)
    )
    plain = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.post(CHAT, plain, Authorization=f"Bearer {bearer}").status_code == 200
    assert guests(tmp_path) == 1
    assert gateway.post(CHAT, ask(f"http://{place}/a.png"), Authorization=f"Bearer {bearer}").status_code == 400
    assert site.RequestHandlerClass.asked == 1
    off = start_gateway(CHATGPT_BASE_URL=upstream.base_url, AUTHORIZATION="x", OWN_TOKENS="false")
    refused = off.post(CHAT, plain, Authorization=f"Bearer {bearer}")
    assert refused.status_code == 401
    assert "OWN_TOKENS" in refused.json()["error"]["message"]


@pytest.mark.parametrize("settings", [{"AUTHORIZATION": "sk-one"}, {"PUBLIC_BASE_URL": "https://mine.example"}])
def test_without_an_admin_key_a_gateway_for_others_has_no_accounts_page(start_gateway, upstream, settings):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **settings)
    for path in ("/tokens", "/tokens/api/summary", "/tokens/session"):
        assert gateway.get(path).status_code == 403
    assert start_gateway(CHATGPT_BASE_URL=upstream.base_url).get("/tokens").status_code == 200
