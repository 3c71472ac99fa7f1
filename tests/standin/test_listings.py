"""The plain JSON endpoints (protocol.md 7 and 8)."""

import pytest

from shim.standin import Account, make_refresh_token, make_session_token

REFRESH = {
    "grant_type": "refresh_token",
    "client_id": "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh",
    "redirect_uri": "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback",
}


async def test_home(served):
    answer = await served.http.get("/")
    assert answer.status_code == 200
    assert "data-build=" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("name", "plan", "some", "not_these"),
    [
        (None, "plus", {"auto", "text-davinci-002-render-sha"}, {"gpt-4o", "o3"}),
        ("bob", "free", {"auto", "gpt-4o", "gpt-5-2"}, {"gpt-4", "o1"}),
        ("alice", "plus", {"auto", "gpt-4", "o1", "o3", "o4-mini-high", "gpt-5-2-thinking"}, set()),
    ],
)
async def test_models(served, name, plan, some, not_these):
    listed = (await served.client(name, plan).get("/models?history_and_training_disabled=false")).json()
    slugs = {model["slug"] for model in listed["models"]}
    assert some <= slugs
    assert not (not_these & slugs)
    assert listed["default_model_slug"] == "auto"


async def test_me_and_accounts_check(serving):
    team = "0d5a1c3e-7d0c-452a-96e3-916f2457b083"
    async with serving(accounts=(Account("alice", plan="plus", team_ids=(team,)),)) as served:
        client = served.client("alice")
        me = (await client.get("/me")).json()
        assert me["object"] == "user"
        assert me["email"] == "alice@example.test"
        checked = (await client.get("/accounts/check/v4-2023-04-27")).json()
        own = Account("alice").account_id
        assert checked["account_ordering"] == [own, team]
        assert checked["accounts"][own]["account"]["plan_type"] == "plus"
        assert checked["accounts"][team]["account"]["structure"] == "workspace"


async def test_conversation_init(served):
    for client in (served.client(), served.client(None)):
        answer = await client.post("/conversation/init", {"gizmo_id": None, "timezone_offset_min": -480})
        assert answer.json()["type"] == "conversation_detail_metadata"
        assert "conversation_id" not in answer.json()


async def test_session(served):
    await served.account(name="alice", plan="pro")
    cookie = {"cookie": f"__Secure-next-auth.session-token={make_session_token('alice')}"}
    session = (await served.http.get("/api/auth/session", headers=cookie)).json()
    assert session["user"]["email"] == "alice@example.test"
    headers = {"authorization": f"Bearer {session['accessToken']}"}
    assert (await served.http.get("/backend-api/me", headers=headers)).status_code == 200
    assert (await served.http.get("/api/auth/session")).json() == {}


async def test_refresh(served):
    described = await served.account(name="alice")
    asked = REFRESH | {"refresh_token": make_refresh_token("alice")}
    assert described["refresh_token"] == asked["refresh_token"]
    fresh = (await served.http.post("/oauth/token", json=asked)).json()
    assert fresh["token_type"] == "Bearer"
    headers = {"authorization": f"Bearer {fresh['access_token']}"}
    assert (await served.http.get("/backend-api/me", headers=headers)).status_code == 200


async def test_refresh_refused(served):
    answer = await served.http.post("/oauth/token", json=REFRESH | {"refresh_token": "x" * 45})
    assert answer.status_code == 403
    assert answer.json()["error"] == "invalid_grant"
    await served.account(name="alice", failures=[{"where": "refresh", "status": 503}])
    asked = REFRESH | {"refresh_token": make_refresh_token("alice")}
    assert (await served.http.post("/oauth/token", json=asked)).status_code == 503
    assert (await served.http.post("/oauth/token", json=asked)).status_code == 200
