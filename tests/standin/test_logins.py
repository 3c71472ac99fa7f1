"""Refresh tokens and session cookies: rotation, chunks, refusals (protocol.md 8)."""

import pytest

from shim.standin import Account, make_refresh_token, make_session_token
from shim.standin.accounts import CODEX_CLIENT, OLD_MOBILE_CLIENT, REFRESH_CLIENTS
from shim.standin.failures import LOGIN_FAILURES

COOKIE = "__Secure-next-auth.session-token"


async def refresh(served, token, client_id=OLD_MOBILE_CLIENT, *, as_form=False):
    fields = {"grant_type": "refresh_token", "refresh_token": token} | ({"client_id": client_id} if client_id else {})
    return await served.http.post("/oauth/token", **{"data" if as_form else "json": fields})


async def session(served, **cookies):
    served.http.cookies.clear()
    cookie = "; ".join(f"{COOKIE}{name.replace('_', '.')}={value}" for name, value in cookies.items())
    return await served.http.get("/api/auth/session", headers={"cookie": cookie})


async def test_a_rotated_refresh_token_serves_once(serving):
    async with serving(accounts=(Account("alice", rotates=True, lifetime=60),)) as served:
        answer = (await refresh(served, make_refresh_token("alice"))).json()
        assert answer["refresh_token"] == make_refresh_token("alice", 1)
        assert answer["expires_in"] == 60
        again = await refresh(served, make_refresh_token("alice"))
        assert (again.status_code, again.json()["error"]["code"]) == (401, "refresh_token_reused")
        assert (await served.stats())["exchanges"] == {"refresh:alice:0": 1}


async def test_one_that_is_used_twice_ends_its_family(serving):
    async with serving(accounts=(Account("alice", rotates=True),)) as served:
        for generation in (0, 1):
            assert (await refresh(served, make_refresh_token("alice", generation))).status_code == 200
        assert (await refresh(served, make_refresh_token("alice", 0))).json()["error"]["code"] == "refresh_token_reused"
        for generation in (2, 1, 0):
            ended = await refresh(served, make_refresh_token("alice", generation))
            assert (ended.status_code, ended.json()["error"]["code"]) == (401, "refresh_token_invalidated")
        other = make_refresh_token("alice", client_id=CODEX_CLIENT)  # another log-in of the same person
        assert (await refresh(served, other, CODEX_CLIENT)).status_code == 200


@pytest.mark.parametrize("as_form", [False, True])
@pytest.mark.parametrize("client_id", REFRESH_CLIENTS)
async def test_a_refresh_token_is_good_with_its_own_client_id_only(serving, client_id, as_form):
    async with serving(accounts=(Account("alice", rotates=True),)) as served:
        token = make_refresh_token("alice", client_id=client_id)
        for other in (*(one for one in REFRESH_CLIENTS if one != client_id), "app_somethingelse"):
            no = await refresh(served, token, other, as_form=as_form)
            assert (no.status_code, no.json()["error"]) == (403, "invalid_grant")
        none = await refresh(served, token, None, as_form=as_form)
        assert (none.status_code, none.json()["error"]["code"]) == (400, "missing_required_parameter")
        answer = (await refresh(served, token, client_id, as_form=as_form)).json()
        assert answer["refresh_token"] == make_refresh_token("alice", 1, client_id)


async def test_the_old_host_is_not_there(serving):
    async with serving(accounts=(Account("alice"),), oauth_gone=True) as served:
        assert (await refresh(served, make_refresh_token("alice"))).status_code == 404


async def test_without_rotation_it_stays(serving):
    async with serving(accounts=(Account("alice"),)) as served:
        for _ in range(2):
            answer = (await refresh(served, make_refresh_token("alice"))).json()
            assert answer["refresh_token"] == make_refresh_token("alice")
        assert (await served.stats())["exchanges"] == {"refresh:alice:0": 2}


@pytest.mark.parametrize("where", ["refresh", "session"])
async def test_every_refusal_in_its_own_form(served, where):
    for name, failure in LOGIN_FAILURES.items():
        await served.account(name="alice", failures=[{"where": where, "failure": name}])
        asked = refresh(served, make_refresh_token("alice"))
        if where == "session":
            asked.close()
            asked = session(served, **{"": make_session_token("alice")})
        answer = await asked
        assert (answer.status_code, answer.json()) == (failure.status, failure.detail)


async def test_a_session_cookie_is_renewed(serving):
    async with serving(accounts=(Account("alice", rotates=True),)) as served:
        answer = await session(served, **{"": make_session_token("alice")})
        assert answer.json()["accessToken"].startswith("eyJ")
        lines = answer.headers.get_list("set-cookie")
        assert len(lines) == 2
        assert lines[1].startswith(f"{COOKIE}={make_session_token('alice', 1)};")
        assert (await session(served, **{"": make_session_token("alice")})).json() == {}
        assert (await session(served, **{"": make_session_token("alice", 1)})).json() != {}


async def test_a_long_session_is_several_cookies(serving):
    async with serving(accounts=(Account("alice", session_length=5000),)) as served:
        token = make_session_token("alice", length=5000)
        answer = await session(served, _0=token[:3933], _1=token[3933:])
        names = [line.partition("=")[0] for line in answer.headers.get_list("set-cookie")]
        assert names[1:] == [f"{COOKIE}.0", f"{COOKIE}.1"]


async def test_a_session_has_the_five_parts_of_a_jwe():
    token = make_session_token("alice")
    assert token.startswith("eyJ")
    assert token.count(".") == 4
    assert len(make_session_token("alice", length=5000)) == 5000


async def test_nobody_is_logged_in(served):
    for token in ("", "x", "eyJ..a.!!.c", make_session_token("nobody"), make_session_token("anonymous")):
        answer = await session(served, **{"": token})
        assert (answer.status_code, answer.json()) == (200, {})
