"""The control endpoints: accounts, statistics, reset."""

from shim.standin import Account


async def test_accounts_are_made_and_patched(served):
    described = await served.account(name="erin", plan="free", difficulty="00ff")
    assert described["account"]["plan"] == "free"
    assert described["account_id"] == Account("erin").account_id
    headers = {"authorization": f"Bearer {described['access_token']}"}
    asked = (await served.http.post("/backend-api/sentinel/chat-requirements", json={}, headers=headers)).json()
    assert asked["persona"] == "chatgpt-freeaccount"
    assert asked["proofofwork"]["difficulty"] == "00ff"
    described = await served.account(name="erin", plan="pro")
    assert (described["account"]["plan"], described["account"]["difficulty"]) == ("pro", "00ff")


async def test_a_patch_counts_for_a_caller_already_known(served):
    client = served.client("frank")
    assert (await client.turn()).status_code == 200
    await served.account(name="frank", models=["auto"])
    listed = (await client.get("/models")).json()
    assert [model["slug"] for model in listed["models"]] == ["auto"]


async def test_wrong_accounts_are_told(served):
    for changes in ({"plan": "free"}, {"name": "x", "plan": "gold"}, {"name": "x", "failures": [{"failure": "nope"}]}):
        answer = await served.http.post("/standin/accounts", json=changes)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("stand-in account: ")


async def test_stats(served, conversation):
    alice = served.client("alice")
    await alice.turn("One")
    await alice.turn("[[status=500]]")
    await served.client(None).turn("Two")
    stats = await served.stats()
    assert stats["requests"]["POST /backend-api/conversation"] == 2
    assert stats["requests"]["POST /backend-anon/sentinel/chat-requirements"] == 1
    assert stats["refusals"] == {"500": 1}
    assert stats["turns"] == {"alice": 1, "anonymous": 1}
    assert stats["proofs"]["verified"] == 3
    assert stats["open_streams"] == 0
    assert stats["ended_streams"] == {"complete": 2}
    first = stats["recent_turns"][0]
    assert first["identity"] == "alice"
    assert first["path"] == "/backend-api/conversation"
    assert first["conversation"]["messages"][0]["content"]["parts"] == ["One"]
    assert "authorization" not in first["headers"]
    assert first["headers"]["user-agent"] == "Test/1.0"


async def test_reset(serving):
    async with serving(accounts=(Account("alice"),)) as served:
        await served.account(name="alice", plan="free")
        headers = await served.client("alice").admitted()
        await served.http.post("/standin/plan", json={"directives": {"status": 500}})
        assert (await served.http.post("/standin/reset")).json() == {"status": "ok"}
        client = served.client("alice")
        answer = await client.post("/conversation", {}, **headers)
        assert answer.status_code in (403, 422)
        assert (await client.turn()).status_code == 200
        stats = await served.stats()
        assert stats["turns"] == {"alice": 1}
        assert (await served.account(name="alice"))["account"]["plan"] == "plus"


async def test_options_are_not_changed_by_what_happens(serving):
    given = Account("alice", force_login=1)
    async with serving(accounts=(given,)) as served:
        assert (await served.client("alice").post("/sentinel/chat-requirements")).json()["force_login"] is True
    assert given.force_login == 1
