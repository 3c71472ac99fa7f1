"""Session affinity: what a client calls one conversation stays with one account, and moves on when that can't."""

import httpx
import pytest

CHAT, RESPONSES, MESSAGES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions"
ADMIN = {"Authorization": "Bearer admin-key"}
KEYS = {"AUTHORIZATION": "one-key,other-key", "ADMIN_KEY": "admin-key"}


def chat(**more):
    return CHAT, {"model": "auto", "messages": [{"role": "user", "content": "hi"}], **more}


def response(**more):
    return RESPONSES, {"model": "auto", "input": "hi", **more}


def message(user):
    asked = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    return MESSAGES, asked | {"metadata": {"user_id": user}}


def completion(**more):
    return COMPLETIONS, {"model": "auto", "prompt": "hi", **more}


def turns_of(upstream):
    return upstream.get("/standin/stats").json()["turns"]


@pytest.fixture
def make(start_gateway, upstream):
    def gateway(**settings):
        return start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS | settings)

    return gateway


@pytest.fixture
def three(make, upstream):
    """A gateway with three accounts."""
    gateway = make()
    add(gateway, upstream, 3)
    return gateway


def add(gateway, upstream, number):
    names = [f"sticky-{place}" for place in range(number)]
    made = [upstream.post("/standin/accounts", {"name": name}).json()["access_token"] for name in names]
    answer = gateway.post("/tokens/api/accounts", {"text": "\n".join(made)}, **ADMIN)
    assert len(answer.json()["added"]) == number


def ask(gateway, asked, key="one-key", **headers):
    path, body = asked
    answer = gateway.post(path, body, Authorization=f"Bearer {key}", **headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("asked", "headers"),
    [
        (chat(prompt_cache_key="session"), {}),
        (chat(user="session"), {}),
        (chat(), {"x-session-id": "session"}),
        (response(prompt_cache_key="session"), {}),
        (response(user="session"), {}),
        (message("user_1_account__session_2"), {}),
        (completion(user="session"), {}),
    ],
    ids=["chat key", "chat user", "header", "responses key", "responses user", "messages", "completions"],
)
def test_turns_of_a_session_stay_with_one_account(three, upstream, asked, headers):
    for _ in range(4):
        ask(three, asked, **headers)
        ask(three, chat())  # others come between, which would be the one whose turn it is
    turns = sorted(turns_of(upstream).values())
    assert turns == [2, 2, 4], "four of the session, and the others where it was not"


def test_without_a_word_the_account_changes(three, upstream):
    for _ in range(3):
        ask(three, chat())
    assert sorted(turns_of(upstream).values()) == [1, 1, 1]


def test_the_header_goes_before_the_fields_and_the_key_of_the_cache_before_the_user(three, upstream):
    for number in range(3):
        ask(three, chat(user=f"user {number}", prompt_cache_key=f"cache {number}"), **{"x-session-id": "one"})
    assert list(turns_of(upstream).values()) == [3]
    for number in range(3):
        ask(three, chat(user=f"user {number}", prompt_cache_key="two"))
    assert sorted(turns_of(upstream).values()) == [3, 3]


def test_a_word_is_that_of_its_key_alone(three, upstream):
    for key in ("one-key", "other-key"):
        for _ in range(2):
            ask(three, chat(user="anna"), key=key)
    assert sorted(turns_of(upstream).values()) == [2, 2]


def test_a_session_moves_on_when_its_account_can_t_and_stays_there(three, upstream):
    ask(three, chat(user="anna"))
    (first,) = turns_of(upstream)
    [id] = [one["id"] for one in listed(three) if one["turns"] or one["last_used"]]
    paused = httpx.patch(
        f"{three.base_url}/tokens/api/accounts/{id}", json={"paused": True}, headers=ADMIN, trust_env=False
    )
    assert paused.status_code == 200
    for _ in range(3):
        ask(three, chat(user="anna"))
    turns = turns_of(upstream)
    assert turns[first] == 1
    assert sorted(turns.values()) == [1, 3]
    httpx.patch(f"{three.base_url}/tokens/api/accounts/{id}", json={"paused": False}, headers=ADMIN, trust_env=False)
    ask(three, chat(user="anna"))
    assert sorted(turns_of(upstream).values()) == [1, 4], "it is not torn back"


def test_a_limit_of_its_account_is_no_failure_of_the_session(three, upstream):
    ask(three, chat(user="anna"))
    (first,) = turns_of(upstream)
    limit = {"where": "turn", "status": 429, "clears_in": 900, "times": 1}
    assert upstream.post("/standin/accounts", {"name": first, "failures": [limit]}).status_code == 200
    for _ in range(3):
        ask(three, chat(user="anna"))
    assert sorted(turns_of(upstream).values()) == [1, 3]


def test_gateways_on_one_redis_know_each_other_s_sessions(make, upstream, redis_url, said):
    one = make(REDIS_URL=redis_url)
    add(one, upstream, 3)
    two = make(REDIS_URL=redis_url)
    assert said.wait_until(lambda: len(listed(two)) == 3)
    for gateway in (one, two, one, two):
        ask(gateway, chat(user="anna"))
        ask(gateway, chat())
    assert sorted(turns_of(upstream).values()) == [2, 2, 4]


def listed(gateway):
    return httpx.get(f"{gateway.base_url}/tokens/api/accounts", headers=ADMIN, trust_env=False).json()["accounts"]
