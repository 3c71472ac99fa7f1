"""How accounts are shown and used by the admin API: evidence, labels, pauses, many at once, the backup."""

import json
import time

import pytest

from shim.accounts.selection import NoAccountError
from shim.accounts.states import Limited, Refused, TokenExpired
from shim.apis.admin.accounts import MOST_AT_ONCE
from shim.errors import Evidence
from shim.standin import make_access_token, make_refresh_token
from shim.usage import CallRecord

SAID = Evidence(429, "You've hit your usage limit", "retry-after: 600")
PROXY = "http://someone:hunter2@proxy.test:8080"


@pytest.fixture
async def script(site):
    async with site.script() as client:
        yield client


async def one(script, id):
    answer = await script.get(f"tokens/api/accounts/{id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def change(script, id, **fields):
    answer = await script.patch(f"tokens/api/accounts/{id}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_account_says_who_it_is_what_rests_and_why(script, site):
    (id,) = await site.add("anna")
    site.pool.report(id, Limited(time.time() + 600, None, "usage_limit_reached", SAID))
    site.pool.report(id, Limited(time.time() + 900, "gpt-5", "model_cap_exceeded", Evidence(429, "Slow down")))
    told = await one(script, id)
    assert (told["state"], told["why"]) == ("cooling", "usage_limit_reached")
    assert told["evidence"] == {"status": 429, "words": SAID.words, "header": SAID.header}
    assert abs(told["since"] - time.time()) < 10
    assert "time" in told["clears"]
    assert told["cooling"][0]["evidence"]["words"] == "Slow down"
    assert (told["mail"], told["plan"], told["kinds"]) == ("an…@example.test", "plus", ["access"])
    assert told["expires"] > time.time()


async def test_expired_is_not_said_of_what_was_never_renewed(script, site):
    (id,) = (await site.pool.add(make_refresh_token("never"))).added
    told = await one(script, id)
    assert (told["state"], told["kinds"], told["expires"]) == ("new", ["refresh"], None)
    assert "expired" not in json.dumps(told["why"])
    (old,) = await site.add("old")
    site.pool.report(old, TokenExpired(Evidence(401, "token_expired")))
    told = await one(script, old)
    assert (told["state"], told["evidence"]["words"]) == ("expired", "token_expired")


async def test_a_paused_account_takes_no_turns_until_it_is_resumed(script, site):
    (id,) = await site.add("anna")
    under_way = await site.pool.lease(("auto",))
    told = await change(script, id, paused=True)
    assert (told["state"], told["active"]) == ("paused", 1)
    assert abs(told["since"] - time.time()) < 10
    with pytest.raises(NoAccountError, match="1 paused"):
        await site.pool.lease(("auto",))
    site.pool.end(under_way, under_way.succeeded())
    since = told["since"]
    assert (await change(script, id, paused=True))["since"] == since, "paused again it is paused since then"
    assert (await change(script, id, paused=False))["state"] == "ready"
    site.pool.end(slot := await site.pool.lease(("auto",)), slot.succeeded())


async def test_label_proxy_and_turns_at_once(script, site, caplog):
    caplog.set_level("INFO")
    (id,) = await site.add("anna")
    answer = await script.patch(f"tokens/api/accounts/{id}", json={"label": " Anna's ", "proxy": PROXY, "limit": 1})
    assert "hunter2" not in answer.text
    told = answer.json()
    assert (told["label"], told["proxy"], told["limit"]) == ("Anna's", "http://proxy.test:8080", 1)
    assert site.pool.account(id).proxy_url == PROXY
    assert (await change(script, id))["label"] == "Anna's", "what is left out stays"
    told = await change(script, id, label=None, proxy="", limit=None)
    assert (told["label"], told["proxy"], told["limit"]) == (None, None, None)
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"label": "two\nlines"}, "label"),
        ({"label": "x" * 65}, None),
        ({"proxy": "ftp://hunter2@x"}, "proxy"),
        ({"proxy": "http://u:hunter2@x@y"}, "proxy"),
        ({"limit": 0}, None),
        ({"limit": 65}, None),
        ({"limit": True}, None),
        ({"paused": "yes"}, None),
        ({"colour": "red"}, None),
        (["label"], None),
    ],
)
async def test_what_can_t_be_changed_like_that(script, site, body, param):
    (id,) = await site.add("anna")
    answer = await script.patch(f"tokens/api/accounts/{id}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert "hunter2" not in answer.text
    assert site.pool.account(id).version == 0


async def test_an_account_that_is_not_there(script):
    for answer in (
        await script.get("tokens/api/accounts/none"),
        await script.patch("tokens/api/accounts/none", json={"paused": True}),
        await script.patch("tokens/api/accounts/none", json={}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "account_not_found")


async def test_one_thing_done_to_many(script, site):
    ids = await site.add("one", "two", "three")
    answer = await script.post(
        "tokens/api/accounts/actions", json={"action": "pause", "ids": [*ids[:2], "none", ids[0]]}
    )
    results = answer.json()["results"]
    assert [(each["id"], each["done"]) for each in results] == [(ids[0], True), (ids[1], True), ("none", False)]
    assert results[0]["account"]["state"] == "paused"
    assert "no account" in results[2]["why"]
    for action, states in [
        ("resume", ["ready", "ready"]),
        ("probe", ["parked", "parked"]),
        ("reset", ["ready", "ready"]),
    ]:
        answer = await script.post("tokens/api/accounts/actions", json={"action": action, "ids": ids[:2]})
        assert [each["account"]["state"] for each in answer.json()["results"]] == states, action
    assert (
        await script.post("tokens/api/accounts/actions", json={"action": "remove", "ids": ids[:2]})
    ).status_code == 200
    assert [view.id for view in site.pool.page()] == [ids[2]]


NO_ACTIONS = [
    {},
    {"action": "pause", "ids": []},
    {"action": "sell", "ids": ["x"]},
    {"action": "pause", "ids": [["x"]]},
    {"action": "pause", "ids": [str(number) for number in range(MOST_AT_ONCE + 1)]},
]


@pytest.mark.parametrize("body", NO_ACTIONS)
async def test_what_is_no_action(script, body):
    assert (await script.post("tokens/api/accounts/actions", json=body)).status_code == 400


async def test_use_over_time(script, site):
    (id,) = await site.add("anna")
    for number, account in enumerate((id, id, "another")):
        failed = {"status": "rate_limit_exceeded", "failed": True} if number == 1 else {"status": "stop"}
        site.prober.usage.note(CallRecord(f"req_{number}", time.time(), "chat", ms=1.0, account=account, **failed))
    told = (await script.get(f"tokens/api/accounts/{id}/usage", params={"days": 2})).json()
    assert [(row["requests"], row["errors"]) for row in told["rows"]] == [(2, 1)]
    assert (await script.get("tokens/api/accounts/none/usage")).json()["rows"] == []
    assert (await script.get(f"tokens/api/accounts/{id}/usage", params={"days": 91})).status_code == 400


async def test_searching(script, site):
    anna, bert = await site.add("anna", "bert")
    site.pool.report(bert, Refused("account_deactivated"))
    await site.pool.adjust(anna, label="Finance")
    for words, found in {
        "finance": [anna],
        "FINANCE plus": [anna],
        "anna@example.test": [anna],
        "deactivated": [bert],
        bert[:8]: [bert],
        "plus": [anna, bert],
        "finance parked": [],
        "": [anna, bert],
    }.items():
        answer = (await script.get("tokens/api/accounts", params={"q": words})).json()
        assert [each["id"] for each in answer["accounts"]] == found, words
        assert answer["matching"] == len(found)
    page = (await script.get("tokens/api/accounts", params={"q": "plus", "offset": 1, "limit": 1})).json()
    assert ([each["id"] for each in page["accounts"]], page["matching"]) == ([bert], 2)
    page = (await script.get("tokens/api/accounts", params={"q": "plus", "state": "ready"})).json()
    assert [each["id"] for each in page["accounts"]] == [anna]
    assert (await script.get("tokens/api/accounts", params={"q": "x" * 201})).status_code == 400


async def test_a_backup_asks_and_is_taken_again(script, site, make_site, caplog):
    anna, _ = await site.add("anna", "bert")
    await site.pool.adjust(anna, label="Anna's", paused=60.0, proxy_url=PROXY, limit=2)
    refused = await script.post("tokens/api/accounts/export", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_confirmed")
    answer = await script.post("tokens/api/accounts/export", json={"confirm": True})
    assert answer.headers["content-disposition"] == 'attachment; filename="chat2api-accounts.json"'
    assert answer.headers["cache-control"] == "no-store"
    assert make_access_token("anna", "plus")[:200] in answer.text
    assert "backup of 2 accounts" in caplog.text
    assert make_access_token("anna", "plus")[:100] not in caplog.text
    async with make_site() as other, other.script() as there:
        assert len((await there.post("tokens/upload", content=answer.text)).json()["added"]) == 2
        kept = other.pool.account(anna)
        assert (kept.label, kept.paused, kept.proxy_url, kept.limit) == ("Anna's", 60.0, PROXY, 2)
        assert other.pool.export() == site.pool.export()


async def test_who_is_logged_in_gives_the_key_once_more_for_a_backup(site):
    await site.add("anna")
    async with site.client() as person:
        await site.log_in(person)
        for key in ("", "wrong"):
            answer = await person.post("tokens/api/accounts/export", json={"confirm": True, "key": key})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_admin_key")
            assert "access_token" not in answer.text
        answer = await person.post("tokens/api/accounts/export", json={"confirm": True, "key": site.key})
        assert answer.json()["accounts"][0]["access_token"]
