"""Gateways in a row: a front that sends bare conversations, and a back that does the work."""

import json

import httpx
import pytest
from openai import APIStatusError, OpenAI

CHAT = "/v1/chat/completions"
FRONT_KEY = "key-of-the-front"
MINE = {"Authorization": f"Bearer {FRONT_KEY}"}


def ask(text="hi", **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def front(pooled, said):
    """`front(behind, NAME="value")`: a gateway whose upstream is the gateway `behind`."""

    def make(behind, key=None, **settings):
        settings = {"AUTHORIZATION": FRONT_KEY, "ACCOUNT_LIMIT": "100", **settings}
        base_url = behind if isinstance(behind, str) else behind.base_url
        return pooled(base_url, key or said.pool_key, CONVERSATION_ONLY="true", **settings)

    return make


@pytest.fixture
def back(pooled, upstream, tell):
    """A gateway with three accounts of the stand-in."""
    return pooled(upstream.base_url, *(tell(f"back-{number}") for number in range(3)))


@pytest.fixture
def chain(front, back, request):
    """`request.param` gateways in a row, the front one first."""
    gateways = [back]
    for _ in range(request.param - 2):
        gateways.insert(0, front(gateways[0], AUTHORIZATION="fk-key-of-the-middle"))
    gateways.insert(0, front(gateways[0], "fk-key-of-the-middle" if request.param > 2 else None))
    return gateways


def texts(gateway, **more):
    """(a whole answer, the same question's streamed answer) through the official SDK."""
    client = OpenAI(base_url=f"{gateway.base_url}/v1", api_key=FRONT_KEY, max_retries=0)
    with client:
        whole = client.chat.completions.create(**ask("[[seed=7]] tell me", **more)).choices[0].message.content
        stream = client.chat.completions.create(**ask("[[seed=7]] tell me", stream=True, **more))
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    return whole, "".join(pieces)


@pytest.mark.parametrize("chain", [2, 3], indirect=True)
def test_answers_come_through_and_only_the_back_does_the_work(chain, upstream):
    whole, streamed = texts(chain[0])
    assert whole == streamed
    assert len(whole) > 20
    texts(chain[0], model="gpt-4o")
    stats = upstream.get("/standin/stats").json()
    assert stats["proofs"] == {"verified": 4, "refused": 0, "missing": 0, "user_agent_differs": 0}
    assert stats["requests"]["POST /backend-api/sentinel/chat-requirements/prepare"] == 4
    assert sum(stats["turns"].values()) == 4
    for gateway in chain[1:]:
        lines = [line for line in gateway.log.splitlines() if "method=POST path=conversation" in line]
        assert sum("status=passed_on code=200" in line for line in lines) == 4
        assert "sentinel" not in gateway.log  # nobody in front of it has asked for requirements
    assert "backend-api" not in chain[0].log


@pytest.mark.parametrize("chain", [2, 3], indirect=True)
def test_a_kept_conversation_goes_on_through_all_of_them(front, chain, upstream, said):
    kept = front(chain[1], "fk-key-of-the-middle" if len(chain) > 2 else None, HISTORY_DISABLED="false")
    first = kept.post(CHAT, ask(), **MINE).json()
    (owner,) = upstream.get("/standin/stats").json()["turns"]
    for _ in range(4):
        ids = {"conversation_id": first["conversation_id"], "parent_message_id": first["message_id"]}
        answer = kept.post(CHAT, ask("and then?", **ids), **MINE)
        assert answer.status_code == 200, answer.text
        first = answer.json()
    assert upstream.get("/standin/stats").json()["turns"] == {owner: 5}
    assert first["conversation_id"].count(".") == len(chain)


@pytest.mark.parametrize("chain", [2, 3], indirect=True)
def test_a_client_that_leaves_ends_the_stream_everywhere(chain, upstream, said):
    before = upstream.get("/standin/stats").json()["ended_streams"].get("client_gone", 0)
    body = ask("[[words=3000 delay=0.01]]", stream=True)
    with httpx.stream("POST", chain[0].base_url + CHAT, json=body, headers=MINE, trust_env=False, timeout=30) as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(5)]
        assert upstream.get("/standin/stats").json()["open_streams"] == 1
    gone = said.wait_until(
        lambda: upstream.get("/standin/stats").json()["ended_streams"].get("client_gone", 0) == before + 1
    )
    assert gone
    assert upstream.get("/standin/stats").json()["open_streams"] == 0


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("[[failure=model_cap clears_in=30]]", 429, "accounts_cooling"),
        ("[[status=413]]", 400, "context_length_exceeded"),
        ("[[status=422]]", 400, None),
    ],
)
def test_upstreams_statuses_reach_the_client_as_without_a_chain(front, pooled, upstream, tell, prompt, status, code):
    first = front(pooled(upstream.base_url, tell("one")))
    client = OpenAI(base_url=f"{first.base_url}/v1", api_key=FRONT_KEY, max_retries=0)
    with client, pytest.raises(APIStatusError) as raised:
        client.chat.completions.create(**ask(prompt))
    assert raised.value.status_code == status
    assert code is None or raised.value.code == code
    if status == 429:
        assert 25 <= int(raised.value.response.headers["retry-after"]) <= 30


def test_a_limit_of_one_model_leaves_the_others_through_a_chain(front, pooled, upstream, tell):
    limit = {"where": "turn", "failure": "model_cap", "times": 1}
    first = front(pooled(upstream.base_url, tell("capped", failures=[limit])))
    statuses = [first.post(CHAT, ask(model=model), **MINE).status_code for model in ("gpt-4", "gpt-4", "gpt-4o")]
    assert statuses == [429, 429, 200]


def test_a_dead_pool_behind_does_not_park_the_key_in_front(front, pooled, upstream, tell):
    dead = tell("dead", failures=[{"where": "sentinel", "failure": "token_revoked", "times": -1}])
    first = front(pooled(upstream.base_url, dead), RETRY_TIMES="0")
    for _ in range(2):
        assert first.post(CHAT, ask(), **MINE).status_code == 502
    view = httpx.get(f"{first.base_url}/tokens/api/accounts", headers={"Authorization": "Bearer admin-key"})
    assert [account["state"] for account in view.json()["accounts"]] == ["ready"]


def test_a_wrong_key_in_front_is_told_and_parked(front, back):
    first = front(back, "fk-not-a-key-of-the-back", RETRY_TIMES="0")
    assert first.post(CHAT, ask(), **MINE).status_code == 401
    assert first.post(CHAT, ask(), **MINE).status_code == 503


def test_a_back_that_dies_is_an_error_in_the_stream(front, pooled, upstream, tell):
    back = pooled(upstream.base_url, tell("dies"), process=True, SHUTDOWN_TIMEOUT="1")
    first = front(back)
    body = ask("[[words=3000 delay=0.01]]", stream=True)
    with httpx.stream("POST", first.base_url + CHAT, json=body, headers=MINE, trust_env=False, timeout=30) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert [next(lines) for _ in range(5)]
        back.kill()
        rest = list(lines)
    last = json.loads(rest[-1].removeprefix("data: "))
    # The stream was lost, and then there was nobody who could open it again.
    assert last["error"]["code"] == "upstream_unreachable"


def test_without_keys_a_chain_needs_no_account_in_front(start_gateway, upstream):
    behind = start_gateway(CHATGPT_BASE_URL=upstream.base_url)
    first = start_gateway(CHATGPT_BASE_URL=behind.base_url, CONVERSATION_ONLY="true")
    assert first.post(CHAT, ask()).status_code == 200
    assert upstream.get("/standin/stats").json()["proofs"]["verified"] == 1


def test_behind_a_prefix(front, pooled, upstream, tell):
    behind = pooled(upstream.base_url, tell("hidden"), API_PREFIX="hidden", health="/hidden/healthz")
    assert front(f"{behind.base_url}/hidden").post(CHAT, ask(), **MINE).status_code == 200
