"""The gateway endpoints as a client of the web backend's own API sees them: real servers, real sockets."""

import http.client
import json
import socket

import httpx
import pytest

from shim.standin import make_access_token

CLIENT = "a client of the backend API"
KEY = "fk-key-of-the-pool"
OFF_THE_LIST = [
    ("GET", "settings/user"),
    ("PATCH", "settings/user"),
    ("POST", "accounts/logout_all"),
    ("POST", "accounts/deactivate"),
    ("POST", "payments/checkout"),
    ("GET", "memories"),
    ("POST", "user_system_messages"),
    ("PATCH", "conversations"),
    ("DELETE", "conversation/3c1c6f5a-7c3f-4f0e-8b59-6c1f2b0c9d22"),
    ("GET", "celsius/ws/user"),
    ("POST", "me"),
    ("HEAD", "models"),
    ("OPTIONS", "models"),
    ("PROPFIND", "models"),
    ("GET", "..%2fapi/auth/session"),
    ("GET", ""),
]


def ask(gateway, method, path, body=None, *, headers=None, prefix="/backend-api/"):
    url = gateway.base_url + prefix + path
    return httpx.request(method, url, json=body, headers=headers, trust_env=False, timeout=30)


def requests(upstream):
    return upstream.get("/standin/stats").json()["requests"]


@pytest.fixture(scope="module")
def shared_relay(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION=KEY, ADMIN_KEY="admin-key")
    tokens = "\n".join(make_access_token(f"relay-{number}") for number in range(3))
    answer = gateway.post("/tokens/api/accounts", {"text": tokens}, Authorization="Bearer admin-key")
    assert len(answer.json()["added"]) == 3
    return gateway


@pytest.fixture
def relay(shared_relay, upstream):
    """A gateway whose pool has three accounts of the stand-in, upstream reset."""
    return shared_relay


@pytest.mark.parametrize("prefix", ["/backend-api/", "/backend-anon/"])
def test_what_is_not_on_the_list_is_404_and_never_asked_of_upstream(relay, upstream, key, prefix):
    before = requests(upstream)
    for method, path in OFF_THE_LIST:
        answer = ask(relay, method, path, headers=key, prefix=prefix)
        assert answer.status_code == 404, (method, path)
        assert answer.content == (b"" if method == "HEAD" else b'{"detail":"Not Found"}')
    after = requests(upstream)
    assert {name for name in after if after[name] != before.get(name)} == {"GET /standin/stats"}


def test_it_is_guarded_like_everything_else(relay, upstream):
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        for method, path in (("GET", "me"), ("POST", "conversation"), ("POST", "sentinel/chat-requirements")):
            answer = ask(relay, method, path, headers=headers)
            assert (answer.status_code, answer.json()["detail"]["code"]) == (401, "invalid_api_key")
    assert not [name for name in requests(upstream) if "backend-api" in name]


def test_it_can_be_switched_off(start_gateway, upstream):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, ENABLE_GATEWAY="false")
    assert "Invalid URL" in ask(gateway, "GET", "models").text


def test_a_bare_turn_is_answered_and_the_work_is_done_here(relay, upstream, key, said):
    mine = {
        **key,
        "openai-sentinel-chat-requirements-token": "made-up",
        "openai-sentinel-proof-token": "gAAAAABmade-up",
    }
    for path in ("conversation", "f/conversation"):
        answer = ask(relay, "POST", path, said.turn(supported_encodings=["v1"]), headers=mine)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.text.endswith("data: [DONE]\n\n")
    stats = upstream.get("/standin/stats").json()
    assert stats["proofs"] == {"verified": 2, "refused": 0, "missing": 0, "user_agent_differs": 0}
    first, second = stats["recent_turns"]
    assert (first["path"], second["path"]) == ("/backend-api/conversation", "/backend-api/f/conversation")
    assert "made-up" not in json.dumps(stats)


@pytest.mark.parametrize("form", ["one-step", "two-step"])
def test_a_client_that_asks_sentinel_is_asked_for_nothing(relay, upstream, key, said, form):
    if form == "one-step":
        token = ask(relay, "POST", "sentinel/chat-requirements", {"p": None}, headers=key).json()["token"]
    else:
        prepared = ask(relay, "POST", "sentinel/chat-requirements/prepare", {"p": None}, headers=key).json()
        assert prepared["proofofwork"] == {"required": False}
        body = {"prepare_token": prepared["prepare_token"]}
        token = ask(relay, "POST", "sentinel/chat-requirements/finalize", body, headers=key).json()["token"]
    assert not [name for name in requests(upstream) if "sentinel" in name]
    sent = {**key, "openai-sentinel-chat-requirements-token": token}
    assert ask(relay, "POST", "conversation", said.turn(), headers=sent).status_code == 200
    assert upstream.get("/standin/stats").json()["proofs"]["verified"] == 1


def test_another_gateway_that_is_not_told_works_in_front_too(relay, upstream, pooled, said):
    front = pooled(relay.base_url, said.pool_key, AUTHORIZATION="front-key")
    answer = front.post(
        "/v1/chat/completions",
        {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]},
        Authorization="Bearer front-key",
    )
    assert answer.status_code == 200, answer.text
    assert upstream.get("/standin/stats").json()["proofs"]["verified"] == 1


def test_a_conversation_goes_on_at_the_account_that_owns_it(relay, upstream, key, said):
    answer = ask(relay, "POST", "conversation", said.turn(), headers=key)
    ids = {event["conversation_id"] for event in said.events_of(answer.text) if event.get("conversation_id")}
    (name,) = ids
    assert len(name.split(".")) == 2
    (owner,) = upstream.get("/standin/stats").json()["turns"]
    for _ in range(5):
        assert ask(relay, "POST", "conversation", said.turn(conversation_id=name), headers=key).status_code == 200
    assert upstream.get("/standin/stats").json()["turns"] == {owner: 6}
    bare = ask(
        relay, "POST", "conversation", said.turn(conversation_id=f"{name.partition('.')[0]}.{'0' * 16}"), headers=key
    )
    assert (bare.status_code, bare.json()["detail"]["code"]) == (404, "conversation_not_found")


def test_turns_are_spread_over_the_pool_and_reads_about_an_account_are_not(relay, upstream, key, said):
    assert [ask(relay, "POST", "conversation", said.turn(), headers=key).status_code for _ in range(6)] == [200] * 6
    assert sorted(upstream.get("/standin/stats").json()["turns"].values()) == [2, 2, 2]
    for device in ("one", "another"):
        mine = {**key, "oai-device-id": device}
        assert len({ask(relay, "GET", "me", headers=mine).text for _ in range(6)}) == 1


def test_a_callers_own_token_is_their_own_account(relay, upstream, tell, said):
    mine = {"Authorization": f"Bearer {tell('own', team_ids=['team-1'])}", "chatgpt-account-id": "team-1"}
    assert ask(relay, "GET", "me", headers=mine).json()["name"] == "own"
    answer = ask(relay, "POST", "conversation", said.turn(), headers=mine)
    ids = {event["conversation_id"] for event in said.events_of(answer.text) if event.get("conversation_id")}
    assert not [id for id in ids if "." in id]
    turn = upstream.get("/standin/stats").json()["recent_turns"][-1]
    assert (turn["identity"].partition(",")[0], turn["headers"]["chatgpt-account-id"]) == ("own", "team-1")


def test_without_accounts_it_is_nobodys(start_gateway, upstream, said):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url)
    for prefix in ("/backend-api/", "/backend-anon/"):
        assert ask(gateway, "POST", "conversation", said.turn(), prefix=prefix).status_code == 200
    assert {turn["path"] for turn in upstream.get("/standin/stats").json()["recent_turns"]} == {
        "/backend-anon/conversation"
    }


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "status"), [("[[status=422]]", 422), ("[[status=413]]", 413), ("[[status=500]]", 500)]
)
def test_upstreams_no_is_passed_on_in_its_own_bytes(pooled, upstream, tell, key, said, prompt, status):
    gateway = pooled(upstream.base_url, tell("refused"), RETRY_TIMES="0")
    answer = ask(gateway, "POST", "conversation", said.turn(prompt), headers=key)
    assert answer.status_code == status
    assert "detail" in answer.json()
    assert "x-should-retry" not in answer.headers  # nothing of ours is added


def test_a_limit_is_told_with_its_end_and_kept_to(pooled, upstream, tell, key, said):
    limit = {"where": "turn", "failure": "model_cap", "times": 1}
    gateway = pooled(upstream.base_url, tell("capped", failures=[limit]))
    first, second = (ask(gateway, "POST", "conversation", said.turn(), headers=key) for _ in range(2))
    assert (first.status_code, second.status_code) == (429, 429)
    assert second.json()["detail"]["code"] == "model_cap_exceeded"
    assert 0 < second.json()["detail"]["clears_in"] <= 5400
    assert upstream.get("/standin/stats").json()["refusals"] == {"429": 1}
    other = ask(gateway, "POST", "conversation", said.turn(model="gpt-4o"), headers=key)
    assert other.status_code == 200


def test_a_failing_account_of_the_pool_costs_the_client_nothing(pooled, upstream, tell, key, said):
    failing = {"where": "sentinel", "failure": "token_revoked", "times": -1}
    dead = tell("dead", failures=[failing])
    gateway = pooled(upstream.base_url, dead, tell("alive"))
    assert [ask(gateway, "POST", "conversation", said.turn(), headers=key).status_code for _ in range(4)] == [200] * 4


def test_a_dead_pool_is_not_the_clients_bad_credential(pooled, upstream, tell, key, said):
    dead = tell("dead", failures=[{"where": "sentinel", "failure": "token_revoked", "times": -1}])
    gateway = pooled(upstream.base_url, dead)
    for _ in range(2):
        answer = ask(gateway, "POST", "conversation", said.turn(), headers=key)
        assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "no_account")
    mine = {"Authorization": f"Bearer {dead}"}
    assert ask(gateway, "POST", "conversation", said.turn(), headers=mine).status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"])
def test_a_body_that_is_no_turn_is_422(relay, upstream, key, body):
    before = requests(upstream)
    headers = {**key, "content-type": "application/json"}
    answer = httpx.post(f"{relay.base_url}/backend-api/conversation", content=body, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["detail"]["message"]) == (422, "Invalid conversation body")
    after = requests(upstream)
    assert {name for name in after if after[name] != before.get(name)} == {"GET /standin/stats"}


def test_a_body_over_the_limit_is_413(pooled, answers, key):
    gateway = pooled(answers.base_url, MAX_REQUEST_BYTES="2048")
    answer = ask(gateway, "POST", "conversation", {"model": "x" * 3000}, headers=key)
    assert (answer.status_code, answer.json()["detail"]["code"]) == (413, "too_large")
    assert answers.seen == []
    with socket.create_connection(("127.0.0.1", int(gateway.base_url.rpartition(":")[2])), timeout=5) as wire:
        head = "POST /backend-api/conversation HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n"
        wire.sendall(f"{head}Authorization: {key['Authorization']}\r\n\r\n{{".encode())
        assert wire.recv(1000).startswith(b"HTTP/1.1 413")  # at once, not when the rest does not come
    assert "path=/backend-api/conversation code=413" in gateway.log


def test_a_body_that_breaks_off_is_the_clients_failure(relay, key):
    with socket.create_connection(("127.0.0.1", int(relay.base_url.rpartition(":")[2])), timeout=30) as wire:
        head = "POST /backend-api/conversation HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        wire.sendall(f"{head}Authorization: {key['Authorization']}\r\n\r\n{{".encode())
        wire.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["detail"]["code"]) == (400, "incomplete_body")


# --- what goes up and comes down ------------------------------------------------------------------------------------


@pytest.fixture
def scripted(pooled, answers):
    """A gateway with two accounts in front of a scripted upstream."""
    return pooled(answers.base_url, "fk-one-account", "fk-another-account")


def test_headers_both_ways(scripted, answers, key):
    answers.say(
        "GET",
        "/backend-api/me",
        b"{}",
        content_type="application/json",
        set_cookie="session=secret",
        cf_ray="x",
        x_request_id="theirs",
        openai_organization="org",
        etag='"1"',
    )
    sent = {
        **key,
        "cookie": "session=mine",
        "user-agent": CLIENT,
        "x-forwarded-for": "1.2.3.4",
        "oai-device-id": "mine",
    }
    answer = ask(scripted, "GET", "me?x=1", headers=sent)
    assert answer.status_code == 200
    (seen,) = answers.seen
    assert seen["path"] == "/backend-api/me?x=1"
    assert seen["headers"]["authorization"] in {"Bearer fk-one-account", "Bearer fk-another-account"}
    assert "cookie" not in seen["headers"]
    assert not {"mine", CLIENT, "1.2.3.4"} & set(seen["headers"].values())
    assert answer.headers["x-request-id"] != "theirs"
    assert answer.headers["etag"] == '"1"'
    assert not {"set-cookie", "cf-ray", "openai-organization"} & answer.headers.keys()
    assert answer.headers["content-security-policy"].startswith("sandbox")


def test_a_control_character_in_a_header_of_upstreams_is_a_blank(scripted, answers, key):
    """No server sends one on: the answer was a bare 500."""
    answers.say("GET", "/backend-api/me", b"{}", content_type="application/json", etag='"1\x01\x7f2"')
    answer = ask(scripted, "GET", "me", headers=key)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1  2"')


def test_a_file_is_found_again_at_the_account_that_has_it(scripted, answers, key):
    answers.say(
        "POST", "/backend-api/files", b'{"status":"success","file_id":"file-AbC"}', content_type="application/json"
    )
    link = f'{{"download_url":"{answers.base_url}/backend-api/estuary/content?id=file-AbC&sig=s"}}'.encode()
    answers.say("GET", "/backend-api/files/file-AbC/download", link, content_type="application/json")
    answers.say("GET", "/backend-api/estuary/content", b'"id": "file-AbC" \x00', content_type="application/json")
    answers.say("POST", "/backend-api/files/file-AbC/uploaded", b"{}", content_type="application/json")
    name = ask(scripted, "POST", "files", {"file_name": "x"}, headers=key).json()["file_id"]
    assert name.startswith("file-AbC.")
    for _ in range(3):
        assert ask(scripted, "POST", f"files/{name}/uploaded", {}, headers=key).status_code == 200
        url = ask(scripted, "GET", f"files/{name}/download", headers=key).json()["download_url"]
        assert url == f"{scripted.base_url}/backend-api/estuary/content?id={name}&sig=s"
        assert httpx.get(url, headers=key, trust_env=False).content == b'"id": "file-AbC" \x00'
    assert len({seen["headers"]["authorization"] for seen in answers.seen}) == 1
    assert {seen["path"].partition("?")[0] for seen in answers.seen} >= {"/backend-api/estuary/content"}


def test_a_change_of_one_conversation_is_passed_on_and_no_other(scripted, answers, key):
    path = "conversation/3c1c6f5a-7c3f-4f0e-8b59-6c1f2b0c9d22"
    answers.say("PATCH", f"/backend-api/{path}", b'{"success":true}', content_type="application/json")
    assert ask(scripted, "PATCH", path, {"title": "New"}, headers=key).json() == {"success": True}
    assert ask(scripted, "PATCH", path, {"owner": "me"}, headers=key).status_code == 422
    assert [seen["body"] for seen in answers.seen] == [b'{"title":"New"}']


def test_a_multipart_body_goes_up_as_it_came(scripted, answers, key):
    answers.say("POST", "/backend-api/transcribe", b'{"text":"hi"}', content_type="application/json")
    sent = httpx.post(
        f"{scripted.base_url}/backend-api/transcribe", files={"file": b"\x00\xff" * 500}, headers=key, trust_env=False
    )
    assert sent.json() == {"text": "hi"}
    (seen,) = answers.seen
    assert b"\x00\xff" * 500 in seen["body"]
    assert seen["headers"]["content-type"].startswith("multipart/form-data; boundary=")


@pytest.fixture
def bare(pooled, answers):
    """A gateway that sends bare conversations to a scripted upstream."""
    return pooled(answers.base_url, "fk-one-account", CONVERSATION_ONLY="true")


def test_a_stream_upstream_breaks_off_ends_with_an_error_in_it(bare, answers, key, said):
    begun = b'event: delta_encoding\ndata: "v1"\n\nevent: delta\ndata: {"p":"/half'
    answers.say("POST", "/backend-api/conversation", [begun], cut=True, content_type="text/event-stream")
    answer = ask(bare, "POST", "conversation", said.turn(), headers=key)
    assert answer.status_code == 200
    assert said.events_of(answer.text)[-1]["error"]["code"] == "upstream_connection"
    assert "[DONE]" not in answer.text
    assert "/half" not in answer.text


def test_any_other_body_upstream_breaks_off_is_broken_off(scripted, answers, key):
    answers.say("GET", "/backend-api/models", [b'{"models":', b" " * 5000], cut=True, content_type="application/json")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(scripted, "GET", "models", headers=key)


def test_one_that_breaks_off_before_its_first_byte_is_refused(scripted, answers, key, said):
    answers.say("GET", "/backend-api/models", cut=True, content_type="application/json")
    answer = ask(scripted, "GET", "models", headers=key)
    assert (answer.status_code, answer.json()["detail"]["code"]) == (502, "upstream_connection")
    said.wait_until(lambda: "path=models" in scripted.log, 60)
    (line,) = [line for line in scripted.log.splitlines() if "path=models" in line]
    assert "status=upstream_connection code=502" in line
    assert "Traceback" not in scripted.log


def test_a_client_that_leaves_ends_the_stream_upstream(bare, answers, key, said):
    endless = (b'data: {"v":"x"}\n\n' for _ in iter(int, 1))
    answers.say("POST", "/backend-api/conversation", endless, content_type="text/event-stream")
    url = f"{bare.base_url}/backend-api/conversation"
    with httpx.stream("POST", url, json=said.turn(), headers=key, trust_env=False, timeout=20) as answer:
        assert next(answer.iter_raw())
    assert answers.gone.wait(60)


def test_a_client_that_does_not_read_does_not_fill_the_memory(pooled, answers, key, said):
    psutil = pytest.importorskip("psutil")
    sent = []

    def flood():
        for _ in range(4000):
            sent.append(1)
            yield b"data: " + b"x" * 65536 + b"\n\n"

    answers.say("POST", "/backend-api/conversation", flood(), content_type="text/event-stream")
    bare = pooled(answers.base_url, "fk-one-account", CONVERSATION_ONLY="true", process=True)
    workers = psutil.Process(bare.process.pid).children(recursive=True)
    before = sum(worker.memory_info().rss for worker in workers)
    body = json.dumps(said.turn()).encode()
    host, port = bare.base_url.removeprefix("http://").split(":")
    head = f"POST /backend-api/conversation HTTP/1.1\r\nhost: x\r\nauthorization: {key['Authorization']}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), 10) as wire:
        wire.sendall(head.encode() + body)
        assert wire.recv(100)
        said.wait_until(lambda: len(sent) >= 4000, 3)
        grown = sum(worker.memory_info().rss for worker in workers) - before
    assert len(sent) < 1000
    assert grown < 60_000_000


def test_a_project_is_listed_with_its_account_which_then_takes_the_turn(start_gateway, upstream, make_account):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, AUTHORIZATION=KEY, ADMIN_KEY="admin-key")
    projects = ["g-p-garden", "g-p-house"]
    tokens = "\n".join(make_account(project, plan="plus", gizmos=[project]) for project in projects)
    gateway.post("/tokens/api/accounts", {"text": tokens}, Authorization="Bearer admin-key").raise_for_status()
    headers = {"authorization": f"Bearer {KEY}"}
    listed: dict[str, str] = {}
    for device in range(40):  # each keeps to an account
        path = "gizmos/snorlax/sidebar?owned_only=true&conversations_per_gizmo=0&limit=50"
        answer = ask(gateway, "GET", path, headers=headers | {"oai-device-id": f"device-{device}"})
        [item] = answer.json()["items"]
        gizmo = item["gizmo"]["gizmo"]
        listed[gizmo["display"]["name"]] = gizmo["id"]
        if len(listed) == 2:
            break
    assert sorted(name.partition(".")[0] for name in listed.values()) == projects
    for name in [*listed.values()] * 2:
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
        body["chatgpt"] = {"project": name, "temporary": False}
        answer = httpx.post(
            f"{gateway.base_url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=30
        )
        assert answer.status_code == 200, answer.text
        assert ask(gateway, "GET", f"gizmos/{name}", headers=headers).json()["gizmo"]["id"] == name
    other = name.partition(".")[0] + "." + "0" * 16
    body["chatgpt"]["project"] = other
    answer = httpx.post(
        f"{gateway.base_url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=30
    )
    assert answer.status_code == 404
