"""What the API does with accounts, and how it answers: the original's paths, ours, and every mistake one can make."""

import asyncio
import json
import time

import msgspec
import pytest

from shim.accounts.pool import AddReport
from shim.accounts.states import Limited, Refused
from shim.accounts.stores import StoreError
from shim.accounts.views import AccountView
from shim.standin import make_access_token, make_refresh_token
from shim.standin.accounts import CODEX_CLIENT, PLATFORM_CLIENT

ONE, TWO = make_access_token("one", "plus"), make_access_token("two", "free")


@pytest.fixture
async def script(site):
    async with site.script() as client:
        yield client


def forms_of(text):
    """Every way to hand text in."""
    return {
        "raw": {"content": text},
        "plain": {"content": text, "headers": {"content-type": "text/plain; charset=utf-8"}},
        "curl's --data-binary": {"content": text, "headers": {"content-type": "application/x-www-form-urlencoded"}},
        "form": {"data": {"text": text}},
        "form with a field only": {"files": {"text": (None, text)}},
        "file": {"files": {"file": ("tokens.txt", text.encode(), "text/plain")}},
        "json": {"json": {"text": text}},
    }


@pytest.mark.parametrize("path", ["tokens/upload", "tokens/api/accounts"])
@pytest.mark.parametrize("form", forms_of(""))
async def test_every_way_to_hand_text_in(script, site, path, form):
    text = f"# mine\r\n{ONE}\n\n{make_refresh_token('x')}\r\nnonsense\n{TWO},team-1\n{ONE}"
    answer = await script.post(path, **forms_of(text)[form])
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert len(told["added"]) == 3
    assert told["status"] == "success"
    assert told["tokens_count"] == len(site.pool) == 3
    assert [line["line"] for line in told["invalid"]] == [5, 7]
    assert "nonsense" not in answer.text


async def test_account_files_are_taken_and_each_entry_has_a_result(script, site):
    """The same text that `tokens add` takes."""
    refresh = make_refresh_token("one", client_id=CODEX_CLIENT)
    file = [{"type": "codex", "access_token": ONE, "refresh_token": refresh}, {"type": "claude"}, {"type": "codex"}]
    told = (await script.post("tokens/api/accounts", json={"text": json.dumps(file, indent=2) + f"\n{TWO}"})).json()
    assert [(one["where"], one["outcome"]) for one in told["results"]] == [
        ("line 1, entry 1", "added"),
        ("line 1, entry 2", "passed over"),
        ("line 1, entry 3", "refused"),
        (f"line {json.dumps(file, indent=2).count(chr(10)) + 2}", "added"),
    ]
    assert [one["account"] for one in told["results"] if one["outcome"] == "added"] == told["added"]
    assert len(told["notes"]) == 1
    assert len(site.pool) == 2
    again = (await script.post("tokens/upload", content=f"{ONE}----{refresh},{CODEX_CLIENT}")).json()
    assert (again["updated"], again["duplicates"], again["notes"]) == ([], [1], [])


async def test_an_account_takes_what_it_had_not(script, site):
    await script.post("tokens/upload", content=ONE)
    refresh = make_refresh_token("one", client_id=CODEX_CLIENT)
    told = (await script.post("tokens/upload", content=f"{ONE}----{refresh},{CODEX_CLIENT}")).json()
    assert len(told["updated"]) == 1
    account = site.pool._pool.account(told["updated"][0])
    assert (account.refresh_token, account.client_id, account.renewable) == (refresh, CODEX_CLIENT, True)
    other = make_refresh_token("another one")
    assert (await script.post("tokens/upload", content=f"{ONE}----{other}")).json()["duplicates"] == [1]
    assert site.pool._pool.account(account.id).refresh_token == refresh  # it may have been rotated since


async def test_a_client_id_may_be_told_later(script, site):
    token = make_refresh_token("one", client_id=PLATFORM_CLIENT)
    (id,) = (await script.post("tokens/upload", content=token)).json()["added"]
    assert (await script.post("tokens/upload", content=f"{token},{PLATFORM_CLIENT}")).json()["updated"] == [id]
    assert site.pool._pool.account(id).client_id == PLATFORM_CLIENT


async def test_lines_that_are_here_already_are_told_by_number(script):
    await script.post("tokens/upload", content=ONE)
    told = (await script.post("tokens/upload", content=f"\n{TWO}\n{ONE}")).json()
    assert (len(told["added"]), told["updated"], told["duplicates"]) == (1, [], [3])


async def test_nothing_that_is_sent_comes_back(script, site, caplog):
    caplog.set_level("WARNING", "httpx")  # it logs addresses, and a token is in one
    sent = [ONE, TWO, "sk-not-a-chatgpt-token", "eyJbrokenbrokenbroken.brokenbroken", make_refresh_token("y")]
    answers = [await script.post("tokens/upload", content="\n".join(sent))]
    answers += [await script.get(f"tokens/{path}") for path in ["api/accounts", "api/summary", "error"]]
    answers.append(await script.post("tokens/upload", json={"text": [ONE]}))
    answers.append(await script.post("tokens/upload", content=ONE, headers={"content-type": "application/json"}))
    answers.append(await script.delete(f"tokens/api/accounts/{ONE}"))
    told = "".join(answer.text + str(answer.headers) for answer in answers)
    assert not [token for token in [*sent, site.key] if token in told or token[10:30] in told]


async def test_what_is_no_upload(script):
    for content in ({"json": {"txt": "x"}}, {"json": ["x"]}, {"json": {"text": 5}}, {"files": {"other": b"x"}}):
        answer = await script.post("tokens/upload", **content)
        assert answer.status_code == 400, answer.text
    answer = await script.post("tokens/upload", content=b"\x89PNG\r\n\x1a\n\0\0")
    assert (answer.status_code, "no text" in answer.text) == (400, True)
    answer = await script.post("tokens/upload", files={"file": ("x", b"\0")})
    assert answer.status_code == 400
    headers = {"content-type": "multipart/form-data"}
    assert (await script.post("tokens/upload", content=b"x", headers=headers)).status_code == 400


@pytest.mark.parametrize("form", ["raw", "form", "file", "json"])
async def test_an_upload_is_bounded(make_site, form):
    """Straight into the application: a server may hang up on who is still sending."""
    async with make_site(max_request_bytes=2000) as site, site.from_address("127.0.0.1") as script:
        script.headers["authorization"] = f"Bearer {site.key}"
        answer = await script.post("/tokens/upload", **forms_of("#" * 3000)[form])
        assert answer.status_code == 413
        assert (await script.get("/tokens/api/summary")).status_code == 200


async def test_the_summary_and_the_list_tell_how_accounts_are(script, site):
    ready, cooling, parked = await site.add("ready", "cooling", "parked")
    until = time.time() + 600
    site.pool.report(cooling, Limited(until, None, "usage_limit_reached"))
    site.pool.report(ready, Limited(until, "gpt-5", "model_cap"))
    site.pool.report(parked, Refused("account_deactivated"))
    summary = (await script.get("tokens/api/summary")).json()
    assert summary["total"] == 3
    assert summary["states"] == {
        "new": 0,
        "ready": 1,
        "cooling": 1,
        "parked": 1,
        "expired": 0,
        "refreshing": 0,
        "paused": 0,
    }
    assert summary["health"]["store"] == "ok"
    assert abs(summary["now"] - time.time()) < 10
    page = (await script.get("tokens/api/accounts")).json()
    accounts = [msgspec.convert(account, AccountView) for account in page["accounts"]]
    assert [account.id for account in accounts] == [ready, cooling, parked]
    assert (accounts[0].cooling[0].slug, accounts[0].cooling[0].why) == ("gpt-5", "model_cap")
    assert (accounts[1].why, accounts[1].until) == ("usage_limit_reached", until)
    assert (accounts[2].why, accounts[2].until) == ("account_deactivated", None)


async def test_pages_and_filters(script, site):
    ids = await site.add(*(f"account {number}" for number in range(25)))
    for id in ids[::2]:
        site.pool.report(id, Refused("gone"))
    page = (await script.get("tokens/api/accounts?offset=10&limit=10")).json()
    assert [account["id"] for account in page["accounts"]] == ids[10:20]
    assert (page["matching"], page["offset"], page["limit"]) == (25, 10, 10)
    page = (await script.get("tokens/api/accounts?state=parked&offset=10&limit=10")).json()
    assert [account["id"] for account in page["accounts"]] == ids[::2][10:]
    assert page["matching"] == 13
    assert (await script.get("tokens/api/accounts?offset=99")).json()["accounts"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("offset=-1", "offset"),
        ("offset=x", "offset"),
        ("offset=" + "9" * 5000, "offset"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=²", "limit"),
        ("state=nice", "state"),
    ],
)
async def test_questions_nobody_can_answer(script, query, param):
    answer = await script.get(f"tokens/api/accounts?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_one_account_is_reset_probed_and_removed(script, site):
    id, other = await site.add("one", "other")
    told = await script.post(f"tokens/api/accounts/{id}/probe")
    assert (told.json()["state"], site.prober.probed) == ("parked", [id])
    told = await script.post(f"tokens/api/accounts/{id}/reset")
    assert (told.json()["state"], told.json()["why"]) == ("ready", None)
    assert (await script.delete(f"tokens/api/accounts/{id}")).json() == {"removed": 1}
    assert [view.id for view in site.pool.page()] == [other]


async def test_an_account_that_is_not_there(script):
    for method, path in [("DELETE", "x"), ("POST", "x/reset"), ("POST", "x/probe")]:
        answer = await script.request(method, f"tokens/api/accounts/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "account_not_found")


async def test_clearing_has_to_be_meant(script, site):
    await site.add("one", "two")
    for body in (None, {}, {"confirm": False}, {"confirm": "true"}, {"confirm": 1}):
        answer = await script.request("DELETE", "tokens/api/accounts", json=body)
        assert answer.status_code == 400
    answer = await script.request("DELETE", "tokens/api/accounts", json={"confirm": True})
    assert answer.json() == {"removed": 2}
    assert len(site.pool) == 0


async def test_the_originals_clear_and_error(script, site):
    fine, parked = await site.add("fine", "parked")
    site.pool.report(parked, Refused("account_deactivated"))
    for method in ("GET", "POST"):
        told = (await script.request(method, "tokens/error")).json()
        assert (told["status"], told["error_tokens"]) == ("success", [parked])
        assert told["accounts"][0]["why"] == "account_deactivated"
    assert (await script.post("tokens/clear")).json() == {"status": "success", "tokens_count": 0, "removed": 2}
    assert fine not in (await script.get("tokens/api/accounts")).text


async def test_a_store_that_is_away_is_told_and_nothing_else(script, site, monkeypatch):
    async def away(*_: object) -> AddReport:
        raise StoreError("redis at 10.0.0.1:6379 refused the connection")

    (id,) = await site.add("one")
    for name in ("add", "clear", "remove", "reset"):
        monkeypatch.setattr(site.pool, name, away)
    answers = [
        await script.post("tokens/upload", content=ONE),
        await script.post("tokens/clear"),
        await script.delete(f"tokens/api/accounts/{id}"),
        await script.post(f"tokens/api/accounts/{id}/reset"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert answer.headers["x-should-retry"] == "true"
        assert answer.headers["content-security-policy"]


async def test_everything_is_below_the_prefix(make_site):
    async with make_site(api_prefix="hidden") as site, site.script() as script:
        assert site.base_url.endswith("/hidden")
        assert (await script.get("tokens")).status_code == 200
        assert (await script.post("tokens/upload", content=ONE)).json()["tokens_count"] == 1
        root = site.base_url.removesuffix("/hidden")
        assert (await script.get(f"{root}/tokens")).status_code == 404
        assert (await script.get(f"{root}/tokens/api/summary")).status_code == 404


async def test_the_address_with_a_slash_leads_to_the_one_without(make_site):
    """Relative addresses in the page would lead elsewhere there."""
    async with make_site(api_prefix="hidden") as site, site.client() as person:
        answer = await person.get("tokens/", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, "../tokens")
        answer = await person.get("tokens/", follow_redirects=True)
        assert (answer.status_code, str(answer.url)) == (200, f"{site.base_url}/tokens")


async def test_ten_thousand_accounts(script, site):
    """Watching so many costs next to nothing, and the last page is as quick as the first."""
    text = "\n".join(make_access_token(f"many {number}", "plus") for number in range(10_000))
    assert len((await script.post("tokens/upload", content=text)).json()["added"]) == 10_000
    for query in ("", "?offset=9900", "?state=ready&offset=9900"):
        began = time.perf_counter()
        page = (await script.get(f"tokens/api/accounts{query}")).json()
        assert len(page["accounts"]) == 100
        assert time.perf_counter() - began < 5


async def test_what_is_reported_as_added_is_in_the_store(script, site):
    told = (await script.post("tokens/upload", content=f"{ONE}\n{TWO}")).json()
    stored = await site.pool._store.load()
    assert {account.id for account, _ in stored} == set(told["added"])


async def test_many_at_once(script, site):
    ids = await site.add(*(f"account {number}" for number in range(30)))
    removals = [script.delete(f"tokens/api/accounts/{id}") for id in [*ids, *ids]]
    statuses = [answer.status_code for answer in await asyncio.gather(*removals)]
    assert statuses.count(200) >= 30
    assert set(statuses) <= {200, 404}
    assert json.loads((await script.get("tokens/api/summary")).text)["total"] == 0
