"""GPTs: those that exist, and turns with them (protocol.md 7.7)."""


def mode(gizmo_id):
    return {"conversation_mode": {"kind": "gizmo_interaction", "gizmo_id": gizmo_id}}


async def test_listed_and_described(served):
    await served.account(name="alice", gizmos=["g-one", "g-two"])
    client = served.client()
    listed = (await client.get("/gizmos/bootstrap?limit=1")).json()["gizmos"]
    assert [entry["resource"]["gizmo"]["id"] for entry in listed] == ["g-one"]
    described = (await client.get("/gizmos/g-two")).json()
    assert described["gizmo"]["display"]["name"] == "Two"
    assert (described["tools"], described["files"]) == ([], [])
    assert (await client.get("/gizmos/g-none")).status_code == 404
    assert (await client.get("/gizmos/pinned")).json() == {"items": [], "cursor": None}
    assert (await served.http.get("/public-api/gizmos/discovery/recent")).json()["info"]["id"] == "recent"


async def test_turns(served, conversation):
    await served.account(name="alice", gizmos=["g-one"])
    client = served.client()
    reading = await client.saved(**mode("g-one"))
    assert list(reading.messages.values())[-1]["metadata"]["gizmo_id"] == "g-one"
    mine = (await client.get("/gizmos/g-one/conversations?cursor=0")).json()
    assert [row["id"] for row in mine["items"]] == [reading.conversation_id]
    refused = await client.turn(conversation(**mode("g-none")))
    assert (refused.status_code, refused.json()["detail"]) == (404, "Gizmo not found")


async def test_what_is_not_played_is_not_there(served):
    client = served.client()
    for path in ("/settings/user", "/user_system_messages", "/memories", "/prompt_library/"):
        assert (await client.get(path)).status_code == 404
