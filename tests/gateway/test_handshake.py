"""The handshake against an upstream that checks it: proofs, two steps, Arkose, challenges, retries."""

import pytest

CHAT = "/v1/chat/completions"


def ask(text="hi", **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def arkose_gateway(start_gateway, shared_standin):
    return start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url, ARKOSE_TOKEN_URL=f"{shared_standin.base_url}/arkose/token"
    )


@pytest.fixture(scope="module")
def two_step_gateway(start_gateway, shared_standin):
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, SENTINEL="two-step")


def test_a_real_proof_is_found_and_verified(gateway, upstream, make_account):
    answer = gateway.post(CHAT, ask(), **bearer(make_account("alice", difficulty="00ffff")))
    assert answer.status_code == 200
    assert upstream.get("/standin/stats").json()["proofs"] == {
        "verified": 1,
        "refused": 0,
        "missing": 0,
        "user_agent_differs": 0,
    }


def test_the_default_difficulty_floor_is_itself_solved(gateway, make_account):
    assert gateway.post(CHAT, ask(), **bearer(make_account("alice", difficulty="000032"))).status_code == 200


def test_a_harder_proof_is_refused_without_trying(gateway, upstream, make_account):
    answer = gateway.post(CHAT, ask(), **bearer(make_account("alice", difficulty="000031")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "proof_of_work_too_hard")
    assert upstream.get("/standin/stats").json()["turns"] == {}


def test_no_proof_where_none_is_asked(gateway, upstream, make_account):
    assert gateway.post(CHAT, ask(), **bearer(make_account("alice", proof=False))).status_code == 200
    assert upstream.get("/standin/stats").json()["proofs"]["verified"] == 0


def test_two_steps(two_step_gateway, upstream, make_account):
    gateway = two_step_gateway
    assert gateway.post(CHAT, ask()).status_code == 200
    assert gateway.post(CHAT, ask(), **bearer(make_account("alice"))).status_code == 200
    assert gateway.post(CHAT, ask(), **bearer(make_account("bob", proof=False))).status_code == 200
    requests = upstream.get("/standin/stats").json()["requests"]
    assert sum(count for route, count in requests.items() if route.endswith("/finalize")) == 3
    assert not any(route.endswith("/chat-requirements") for route in requests)


@pytest.mark.parametrize(("plan", "method"), [("plus", "chat4"), ("free", "chat35")])
def test_arkose_comes_from_the_operators_service(arkose_gateway, upstream, make_account, plan, method):
    answer = arkose_gateway.post(CHAT, ask(), **bearer(make_account("alice", plan=plan, arkose=True)))
    assert answer.status_code == 200
    assert upstream.get("/standin/stats").json()["arkose"] == {"issued": 1, "accepted": 1}


def test_without_a_service_arkose_is_a_clear_403(gateway, make_account):
    answer = gateway.post(CHAT, ask(), **bearer(make_account("alice", arkose=True)))
    assert answer.status_code == 403
    assert answer.json()["error"]["message"] == "Arkose service required"


@pytest.mark.parametrize("check", ["turnstile", "so"])
def test_a_challenge_that_is_only_asked_for_is_passed_by(two_step_gateway, make_account, check):
    assert two_step_gateway.post(CHAT, ask(), **bearer(make_account("alice", **{check: "asked"}))).status_code == 200


# Only the two-step answer names `so` (protocol.md 2.2).
@pytest.mark.parametrize(("check", "flow"), [("turnstile", "one"), ("turnstile", "two"), ("so", "two")])
def test_a_challenge_upstream_insists_on_is_told_plainly(gateway, two_step_gateway, make_account, check, flow):
    asked = gateway if flow == "one" else two_step_gateway
    answer = asked.post(CHAT, ask(), **bearer(make_account("alice", **{check: "enforced"})))
    assert answer.status_code == 403
    assert answer.json()["error"] == {
        "message": "The upstream asked for a Turnstile check, which this gateway does not perform",
        "type": "upstream_challenge",
        "param": None,
        "code": "turnstile_required",
    }


def test_turnstile_refuse_answers_at_once(start_gateway, shared_standin, upstream, make_account):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, TURNSTILE="refuse")
    answer = gateway.post(CHAT, ask(), **bearer(make_account("alice", turnstile="asked")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "turnstile_required")
    assert upstream.get("/standin/stats").json()["turns"] == {}


def test_a_forced_log_in_is_told_and_no_new_identity_is_invented(gateway, upstream, make_account):
    answer = gateway.post(CHAT, ask(), **bearer(make_account("alice", force_login=1)))
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    requests = upstream.get("/standin/stats").json()["requests"]
    assert sum(count for route, count in requests.items() if "/chat-requirements" in route) == 1


def test_conversation_only_sends_bare_conversations(start_gateway, start_standin):
    upstream = start_standin(require_sentinel=False)
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, CONVERSATION_ONLY="true")
    assert gateway.post(CHAT, ask()).status_code == 200
    assert [
        route.split()[-1] for route in upstream.get("/standin/stats").json()["requests"] if "sentinel" in route
    ] == []


def test_a_hiccup_in_the_handshake_is_tried_again(gateway, make_account):
    failures = [{"where": "sentinel", "failure": "unavailable", "times": 2}]
    assert gateway.post(CHAT, ask(), **bearer(make_account("alice", failures=failures))).status_code == 200


def test_a_refusal_in_the_handshake_is_not(gateway, upstream, make_account):
    failures = [{"where": "sentinel", "failure": "model_cap", "times": 1}]
    answer = gateway.post(CHAT, ask(), **bearer(make_account("alice", failures=failures)))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5400")
    requests = upstream.get("/standin/stats").json()["requests"]
    assert sum(count for route, count in requests.items() if "/chat-requirements" in route) == 1


def test_upstream_that_is_not_there(start_gateway):
    gateway = start_gateway(CHATGPT_BASE_URL="http://127.0.0.1:9", RETRY_TIMES="0", CONNECT_TIMEOUT="1")
    answer = gateway.post(CHAT, ask())
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
    assert gateway.get("/healthz").status_code == 200
