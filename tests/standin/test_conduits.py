"""Announcing a turn (protocol.md 4.4)."""

from shim.standin.conduits import Conduits
from shim.standin.stats import Stats


async def announced(client, conversation, model="auto", token="no-token"):
    body = conversation(model=model, fork_from_shared_post=False, client_prepare_state="none")
    del body["messages"]
    return await client.post("/f/conversation/prepare", body, **{"x-conduit-token": token})


async def test_a_turn_shows_its_token(served, conversation):
    client = served.client()
    first = (await announced(client, conversation)).json()
    second = (await announced(client, conversation, token=first["conduit_token"])).json()
    assert first["status"] == "ok"
    assert first["conduit_token"] != second["conduit_token"]
    for token in (second["conduit_token"], "made-up", "no-token"):
        answer = await client.turn(conversation(), "/f/conversation", **{"x-conduit-token": token})
        assert answer.status_code == 200
    assert (await served.stats())["conduits"] == {"issued": 2, "presented": 1, "unknown": 1}


async def test_a_model_the_account_cannot_use(served, conversation):
    assert (await announced(served.client(None), conversation, "o3")).status_code == 404


async def test_messages_have_no_place_there(served, conversation):
    assert (await served.client().post("/f/conversation/prepare", conversation())).status_code == 422


def test_tokens_run_out():
    now = [0.0]
    stats = Stats()
    conduits = Conduits(lambda: now[0], stats)
    token = conduits.issue()
    for now[0] in (7199.0, 7200.0):
        conduits.present(token)
    assert stats.conduits == {"issued": 1, "presented": 1, "unknown": 1}
