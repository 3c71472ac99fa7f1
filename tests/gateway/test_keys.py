"""Keys with limits as clients meet them: real gateways in front of the stand-in."""

import time

import httpx
import pytest

BODY = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
ADMIN = {"authorization": "Bearer admin-key"}


@pytest.fixture(scope="module")
def server(start_gateway, shared_standin):
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, ADMIN_KEY="admin-key", MODEL_ALIASES="nick=auto")


@pytest.fixture
def make(server):
    """`make(name, **limits)`: a new key."""

    def make(name: str, **limits: object) -> str:
        made = httpx.post(
            f"{server.base_url}/tokens/api/keys", json={"name": name, **limits}, headers=ADMIN, trust_env=False
        )
        assert made.status_code == 201, made.text
        return made.json()["key"]

    return make


def chat(server, key: str, path: str = "/v1/chat/completions", **fields: object) -> httpx.Response:
    return server.post(path, BODY | fields, authorization=f"Bearer {key}")


def test_once_there_is_a_key_one_is_needed(server, make):
    key = make("first")
    assert chat(server, key).status_code == 200
    for wrong in (key[:-1], "sk-nobody"):
        refused = chat(server, wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert wrong not in refused.text
    assert "key=first" in server.log
    assert key not in server.log


def test_requests_a_minute(server, make):
    key = make("slow", requests_per_minute=2)
    first = chat(server, key)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert chat(server, key, stream=True).headers["x-ratelimit-remaining-requests"] == "0"
    refused = chat(server, key)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "slow may make 2 requests a minute" in error["message"]


def test_the_refusal_of_another_api_is_in_its_own_envelope(server, make):
    key = make("slow-messages", requests_per_minute=1)
    for expected in (200, 429):
        answer = chat(server, key, "/v1/messages", max_tokens=9)
        assert answer.status_code == expected, answer.text
    assert answer.json()["error"]["type"] == "rate_limit_error"


def test_tokens_a_day(server, make):
    key = make("poor", tokens_per_day=5)
    first = chat(server, key)
    assert first.headers["x-ratelimit-remaining-tokens"] == "5"
    until = time.monotonic() + 30
    while (refused := chat(server, key)).status_code == 200:  # it is counted as the answer ends, not before
        assert time.monotonic() < until
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")


def test_calls_at_once_are_let_go_of(server, make):
    key = make("single", concurrent=1)
    for _ in range(5):
        until = time.monotonic() + 30
        while (answer := chat(server, key, stream=True)).status_code != 200:
            assert answer.json()["error"]["code"] == "too_many_requests_at_once"
            assert time.monotonic() < until


def test_models(server, make):
    key = make("small", models=["auto"])
    assert chat(server, key).status_code == 200
    assert chat(server, key, model="nick").status_code == 200  # an alias of what it may use
    refused = chat(server, key, model="gpt-5")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (403, "model_not_allowed", "model")


def test_what_counts_nothing_is_closed_to_keys_with_limits(server, make):
    free, limited = make("whole"), make("part", requests_per_minute=100)
    codes = [
        httpx.get(
            f"{server.base_url}/backend-api/models", headers={"authorization": f"Bearer {key}"}, trust_env=False
        ).status_code
        for key in (free, limited)
    ]
    assert codes[0] != 403
    assert codes[1] == 403


def test_the_admin_api(server, make):
    key = make("managed", requests_per_minute=7, expires=time.time() + 3600)
    with httpx.Client(base_url=f"{server.base_url}/tokens/api", headers=ADMIN, trust_env=False) as admin:
        listed = admin.get("/keys")
        (mine,) = [one for one in listed.json()["keys"] if one["name"] == "managed"]
        assert (mine["limits"], mine["hint"]) == ({"requests_per_minute": 7}, key[-4:])
        assert key not in listed.text
        rotated = admin.post("/keys/managed/rotate").json()["key"]
        assert chat(server, key).status_code == 401
        assert chat(server, rotated).status_code == 200
        assert admin.delete("/keys/managed").json() == {"removed": 1}
        assert chat(server, rotated).status_code == 401
        for path, method in (("/keys/managed", "DELETE"), ("/keys/managed/rotate", "POST")):
            assert admin.request(method, path).json()["error"]["code"] == "key_not_found"
        for body in ({}, {"name": "env-1"}, {"name": "x", "concurrent": 0}, {"name": "x", "more": 1}, []):
            refused = admin.post("/keys", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_key"), body
    assert httpx.get(f"{server.base_url}/tokens/api/keys", trust_env=False).status_code == 401


def test_two_gateways_on_one_redis_count_together(start_gateway, shared_standin, shared_redis):
    url = shared_redis()
    one, two = (
        start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, ADMIN_KEY="admin-key", REDIS_URL=url) for _ in range(2)
    )
    made = httpx.post(f"{one.base_url}/tokens/api/keys", json={"name": "both", "requests_per_minute": 3}, headers=ADMIN)
    key = made.json()["key"]
    until = time.monotonic() + 30
    while chat(two, "nobody").status_code != 401:  # it learns within a second that a key is needed
        assert time.monotonic() < until
    codes = [chat(server, key).status_code for server in (one, two, one, two)]
    assert codes == [200, 200, 200, 429]


def test_recordings_and_texts_read_aloud_count_too(server, make):
    key = make("speaker", requests_per_minute=1)
    body = {"model": "tts-1", "input": "hello", "voice": "alloy"}
    codes = [server.post("/v1/audio/speech", body, authorization=f"Bearer {key}").status_code for _ in range(2)]
    assert codes[0] != 429  # without an account it is refused, but not for this
    assert codes[1] == 429


def test_an_answer_in_the_background_is_refused_at_once(server, make):
    key = make("patient", requests_per_minute=1)
    body = {"model": "auto", "input": "hello", "background": True}
    first, second = (server.post("/v1/responses", body, authorization=f"Bearer {key}") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("path", "model", "others"),
    [
        ("/v1/audio/speech", "tts-1", {"input": "hello", "voice": "alloy"}),
        ("/v1/audio/transcriptions", "whisper-1", None),
        ("/v1/audio/translations", "whisper-1", None),
        ("/v1/images/generations", "gpt-image-1", {"prompt": "a hat"}),
    ],
)
def test_models_of_sound_and_pictures(server, make, path, model, others):
    def ask(key):
        headers = {"authorization": f"Bearer {key}"}
        if others is not None:
            return server.post(path, {"model": model, **others}, **headers)
        files = {"file": ("a.mp3", b"ID3" + bytes(60))}
        return httpx.post(server.base_url + path, files=files, data={"model": model}, headers=headers, trust_env=False)

    name = path.replace("/", "-")[1:]
    refused = ask(make(f"{name}-chats", models=["gpt-5*"]))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed"), refused.text
    # Without an account it can't be done, but not for this.
    assert ask(make(f"{name}-own", models=[model])).json()["error"]["code"] not in {None, "model_not_allowed"}


@pytest.mark.parametrize(
    ("limits", "param"),
    [
        ({"expires": -1}, None),
        ({"expires": 1e300}, None),
        ({"expires": 1}, "expires"),
        ({"models": ["m"] * 1001}, None),
    ],
)
def test_limits_that_can_not_be(server, limits, param):
    made = httpx.post(
        f"{server.base_url}/tokens/api/keys", json={"name": "odd", **limits}, headers=ADMIN, trust_env=False
    )
    assert (made.status_code, made.json()["error"]["code"]) == (400, "invalid_key")
    assert made.json()["error"]["param"] == param


def test_a_key_is_shown_the_models_it_may_use(server, make):
    key = make("chooser", models=["auto"])
    headers = {"authorization": f"Bearer {key}"}
    listed = httpx.get(f"{server.base_url}/v1/models", headers=headers, trust_env=False).json()["data"]
    assert [model["id"] for model in listed] == ["auto", "nick"]  # the alias of what it may use, too
    whole = httpx.get(
        f"{server.base_url}/v1/models", headers={"authorization": f"Bearer {make('any')}"}, trust_env=False
    ).json()["data"]
    other = next(model["id"] for model in whole if model["id"] not in {"auto", "nick"})
    one = httpx.get(f"{server.base_url}/v1/models/{other}", headers=headers, trust_env=False)
    assert (one.status_code, one.json()["error"]["code"]) == (404, "model_not_found")
