"""Tokens and prefixes: who is let in where (protocol.md 1 and 8)."""

import base64
import json
from itertools import product
from uuid import UUID

from shim.standin import Account, make_access_token, make_refresh_token

AUTH = "https://api.openai.com/auth"


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_access_tokens_have_the_shape_of_section_8():
    token = make_access_token("alice", "team", 1_800_000_000)
    assert token.startswith("eyJhbGciOi")
    claims = claims_of(token)
    assert claims["exp"] == 1_800_000_000
    assert claims["aud"] == ["https://api.openai.com/v1"]
    assert claims[AUTH]["chatgpt_plan_type"] == "team"
    assert UUID(claims[AUTH]["chatgpt_account_id"])
    assert claims[AUTH]["user_id"] == claims[AUTH]["chatgpt_user_id"]
    assert claims["https://api.openai.com/profile"]["email"] == "alice@example.test"


def test_refresh_tokens_have_45_characters():
    assert len(make_refresh_token("alice")) == 45
    assert make_refresh_token("alice") != make_refresh_token("bob")


def bearer(token):
    return {"authorization": f"Bearer {token}"}


async def test_backend_api_wants_a_good_token(served):
    refused = [
        ({}, "Unauthorized"),
        ({"authorization": "Basic x"}, "Unauthorized"),
        (bearer("not-a-token"), "invalid_jwt"),
        (bearer("eyJhbGciOi.e30.x"), "invalid_jwt"),
        (bearer("eyJhbGciOi.!!!.x"), "invalid_jwt"),
        (bearer(make_access_token("alice", expires_at=1_600_000_000)), "token_expired"),
    ]
    paths = ("/sentinel/chat-requirements", "/conversation", "/f/conversation", "/conversation/init")
    for path, (headers, detail) in product(paths, refused):
        answer = await served.http.post("/backend-api" + path, json={}, headers=headers)
        assert answer.status_code == 401
        said = answer.json()["detail"]
        assert (said if isinstance(said, str) else said["code"]) == detail


async def test_backend_anon_wants_a_device_and_no_token(served):
    path = "/backend-anon/sentinel/chat-requirements"
    device = "a22491d1-7d0c-452a-96e3-916f2457b083"
    assert (await served.http.post(path, json={})).status_code == 401
    assert (await served.http.post(path, json={}, headers={"oai-device-id": "x"})).status_code == 401
    both = {"oai-device-id": device} | bearer(make_access_token("alice"))
    assert (await served.http.post(path, json={}, headers=both)).status_code == 401
    assert (await served.http.post(path, json={}, headers={"oai-device-id": device})).status_code == 200
    assert (await served.http.post(path, json={}, headers={"cookie": f"oai-did={device}"})).status_code == 200


async def test_prefixes(served):
    alice, anonymous = served.client("alice"), served.client(None)
    assert (await alice.get("/me")).status_code == 200
    assert (await anonymous.get("/me")).status_code == 404
    assert (await anonymous.get("/models")).status_code == 200


async def test_workspaces(serving):
    team = "0d5a1c3e-7d0c-452a-96e3-916f2457b083"
    async with serving(accounts=(Account("alice", team_ids=(team,)),)) as served:
        client = served.client("alice")
        path = "/sentinel/chat-requirements"
        own = Account("alice").account_id
        for workspace, status in ((own, 200), (team, 200), ("11111111-7d0c-452a-96e3-916f2457b083", 403)):
            assert (await client.post(path, {}, **{"chatgpt-account-id": workspace})).status_code == status


async def test_plans_decide_the_models(served, conversation):
    for name, plan, slug, status in [
        (None, "plus", "gpt-4o", 404),
        (None, "plus", "gpt-4o-mini", 200),
        ("bob", "free", "gpt-4", 404),
        ("bob", "free", "gpt-4o", 200),
        ("alice", "plus", "gpt-4", 200),
    ]:
        answer = await served.client(name, plan).turn(conversation(model=slug))
        assert answer.status_code == status


async def test_one_message_at_a_time(serving, conversation):
    async with serving(accounts=(Account("alice", max_parallel=1),)) as served:
        client = served.client("alice")
        headers = await client.admitted()
        body = {"json": conversation("[[stall=20]]"), "headers": client.headers | headers}
        async with served.http.stream("POST", "/backend-api/conversation", **body) as first:
            chunks = first.aiter_raw()  # kept: a dropped iterator closes the answer
            await anext(chunks)
            second = await client.turn()
            assert second.status_code == 429
            assert second.json()["detail"].startswith("Only one message at a time.")
