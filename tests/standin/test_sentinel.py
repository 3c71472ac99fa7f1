"""Requirement tokens and proofs (protocol.md 2): what is admitted, and what is refused with the sentinel sentence."""

import base64
import json

import pytest

from shim.standin import Account

SENTINEL = "openai-sentinel-chat-requirements-token"
PREPARE = "openai-sentinel-chat-requirements-prepare-token"
PROOF = "openai-sentinel-proof-token"
ARKOSE = "openai-sentinel-arkose-token"
REQUIREMENTS = "/sentinel/chat-requirements"


def refused_by_sentinel(answer):
    sentence = "Unusual activity has been detected from your device. Try again later. ("
    return answer.status_code == 403 and answer.json()["detail"].startswith(sentence)


async def asked_of(client, path=REQUIREMENTS, body=None):
    answer = await client.post(path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def proof_of(prove, asked):
    return prove(asked["proofofwork"]["seed"], asked["proofofwork"]["difficulty"])


@pytest.mark.parametrize(
    ("name", "plan", "persona"),
    [(None, "free", "chatgpt-noauth"), ("bob", "free", "chatgpt-freeaccount"), ("alice", "plus", "chatgpt-paid")],
)
async def test_requirements_shape(served, name, plan, persona):
    asked = await asked_of(served.client(name, plan))
    assert asked["persona"] == persona
    assert asked["expire_after"] == 540
    assert asked["proofofwork"]["required"] is True
    assert asked["proofofwork"]["difficulty"] == "0fffff"
    assert asked["arkose"] == {"required": False, "dx": None}
    assert asked["turnstile"] == {"required": False, "dx": None}
    assert asked["force_login"] is False


async def test_a_token_is_good_once(served, conversation):
    client = served.client()
    headers = await client.admitted()
    assert (await client.post("/conversation", conversation(), **headers)).status_code == 200
    assert refused_by_sentinel(await client.post("/conversation", conversation(), **headers))


async def test_a_token_belongs_to_its_account(served, conversation):
    alice, bob = served.client("alice"), served.client("bob")
    headers = await alice.admitted()
    assert refused_by_sentinel(await bob.post("/conversation", conversation(), **headers))
    assert (await alice.post("/conversation", conversation(), **headers)).status_code == 200


async def test_an_anonymous_token_belongs_to_its_device(served, conversation):
    one, other = served.client(None), served.client(None)
    headers = await one.admitted()
    assert refused_by_sentinel(await other.post("/conversation", conversation(), **headers))
    assert (await one.post("/conversation", conversation(), **headers)).status_code == 200


async def test_a_token_expires(serving, conversation):
    now = [1_700_000_000.0]
    async with serving(clock=lambda: now[0], expire_after=60) as served:
        client = served.client()
        headers = await client.admitted()
        now[0] += 61
        assert refused_by_sentinel(await client.post("/conversation", conversation(), **headers))


async def test_no_token_and_an_invented_one(served, conversation):
    client = served.client()
    assert refused_by_sentinel(await client.post("/conversation", conversation()))
    assert refused_by_sentinel(await client.post("/conversation", conversation(), **{SENTINEL: "gAAAAABinvented"}))


async def test_the_proof_must_be_there_and_right(served, conversation, prove):
    client = served.client()
    for proof in ({}, {PROOF: "gAAAAAB" + base64.b64encode(b"[1,2,3]").decode()}, {PROOF: "nonsense"}):
        headers = {SENTINEL: (await asked_of(client))["token"]} | proof
        assert refused_by_sentinel(await client.post("/conversation", conversation(), **headers))
    other, mine = await asked_of(client), await asked_of(client)
    headers = {SENTINEL: mine["token"], PROOF: prove(other["proofofwork"]["seed"], "000fff")}
    swapped = await client.post("/conversation", conversation(), **headers)
    assert refused_by_sentinel(swapped) or swapped.status_code == 200  # one in sixteen proofs fits by chance
    stats = await served.stats()
    assert stats["proofs"]["missing"] == 1
    assert stats["proofs"]["refused"] >= 2


async def test_the_marked_unsolved_form_is_no_proof(served, conversation):
    """Protocol.md 2.3: upstream treats it as unsolved."""
    client = served.client()
    asked = await asked_of(client)
    seed = base64.b64encode(json.dumps(asked["proofofwork"]["seed"]).encode()).decode()
    headers = {SENTINEL: asked["token"], PROOF: "gAAAAAB" + "wQ8Lk5FbGpA2NcR9dShT6gYjU7VxZ4D" + seed}
    assert refused_by_sentinel(await client.post("/conversation", conversation(), **headers))


async def test_difficulty_per_account_and_suffix(serving, conversation, prove):
    async with serving(accounts=(Account("hard", difficulty="00ff"), Account("easy", proof=False))) as served:
        hard = served.client("hard")
        asked = await asked_of(hard)
        assert asked["proofofwork"]["difficulty"] == "00ff"
        headers = {SENTINEL: asked["token"], PROOF: proof_of(prove, asked) + "~S"}
        assert (await hard.post("/conversation", conversation(), **headers)).status_code == 200
        easy = served.client("easy")
        asked = await asked_of(easy)
        assert asked["proofofwork"] == {"required": False, "seed": None, "difficulty": None}
        assert (await easy.post("/conversation", conversation(), **{SENTINEL: asked["token"]})).status_code == 200


async def test_user_agent_that_differs_from_the_proof_is_noted(served):
    await served.client().turn()
    assert (await served.stats())["proofs"]["user_agent_differs"] == 0
    await served.client().turn("Hello", **{"user-agent": "Other/1.0"})
    assert (await served.stats())["proofs"]["user_agent_differs"] == 1


async def test_two_steps(served, conversation, prove):
    """Protocol.md 2.2: the proof is checked by finalize; the turn may repeat it."""
    client = served.client()
    for repeat in (False, True):
        prepared = await asked_of(client, f"{REQUIREMENTS}/prepare")
        assert prepared["so"]["required"] is False
        proof = proof_of(prove, prepared)
        body = {"prepare_token": prepared["prepare_token"], "proofofwork": proof}
        final = await asked_of(client, f"{REQUIREMENTS}/finalize", body)
        headers = {SENTINEL: final["token"]}
        if repeat:
            headers |= {PREPARE: prepared["prepare_token"], PROOF: proof}
        assert (await client.post("/conversation", conversation(), **headers)).status_code == 200


async def test_two_steps_refused(served, conversation, prove):
    client, other = served.client("alice"), served.client("bob")
    path = f"{REQUIREMENTS}/finalize"
    prepared = await asked_of(client, f"{REQUIREMENTS}/prepare")
    body = {"prepare_token": prepared["prepare_token"], "proofofwork": proof_of(prove, prepared)}
    assert refused_by_sentinel(await other.post(path, body))
    assert refused_by_sentinel(await client.post(path, body))  # used up
    prepared = await asked_of(client, f"{REQUIREMENTS}/prepare")
    assert refused_by_sentinel(await client.post(path, {"prepare_token": prepared["prepare_token"]}))
    assert (await client.post(path, {"proofofwork": "x"})).status_code == 422
    one, two = [await asked_of(client, f"{REQUIREMENTS}/prepare") for _ in range(2)]
    body = {"prepare_token": one["prepare_token"], "proofofwork": proof_of(prove, one)}
    final = await asked_of(client, path, body)
    headers = {SENTINEL: final["token"], PREPARE: two["prepare_token"]}
    assert refused_by_sentinel(await client.post("/conversation", conversation(), **headers))


async def test_a_wrong_requirements_token(served):
    """Protocol.md 2.4."""
    for p in ("gAAAAAC" + "W10=", "gAAAAABW10=", "x"):
        answer = await served.client().post(REQUIREMENTS, {"p": p})
        assert (answer.status_code, answer.json()) == (400, {"detail": "Invalid request"}), p


async def test_a_good_requirements_token_and_an_absent_body(served):
    client = served.client()
    config = base64.b64encode(json.dumps([3000, "now", None, 1, *range(10), "x"]).encode()).decode()
    assert (await client.post(REQUIREMENTS, {"p": "gAAAAAC" + config})).status_code == 200
    assert (await client.post(REQUIREMENTS, {"p": "gAAAAAC" + config + "~S"})).status_code == 200
    assert (await client.http.post("/backend-api" + REQUIREMENTS, headers=client.headers)).status_code == 200


async def test_an_unchecked_requirements_token(serving):
    async with serving(check_p=False) as served:
        assert (await served.client().post(REQUIREMENTS, {"p": "x"})).status_code == 200


@pytest.mark.parametrize(("plan", "method"), [("free", "chat35"), ("plus", "chat4")])
async def test_arkose(serving, conversation, prove, plan, method):
    """Protocol.md 3: the operator's service issues the token; the turn must carry it."""
    async with serving(accounts=(Account("carol", plan=plan, arkose=True),)) as served:
        client = served.client("carol")

        async def turn(**arkose):
            asked = await asked_of(client)
            headers = {SENTINEL: asked["token"], PROOF: proof_of(prove, asked)}
            if arkose:
                order = {"blob": asked["arkose"]["dx"], "method": method} | arkose.get("order", {})
                solved = (await served.http.post("/arkose/token", json=order)).json()
                assert solved["solved"] is True
                headers[ARKOSE] = arkose.get("token", solved["token"])
            return await client.post("/conversation", conversation(), **headers)

        assert refused_by_sentinel(await turn())
        assert refused_by_sentinel(await turn(token="invented"))
        assert refused_by_sentinel(await turn(order={"blob": "another"}))
        assert (await turn(order={})).status_code == 200
        assert (await served.stats())["arkose"] == {"issued": 3, "accepted": 1}
        assert (await served.http.post("/arkose/token", json={"blob": None, "method": "x"})).status_code == 422


@pytest.mark.parametrize("check", ["turnstile", "so"])
async def test_turnstile_and_so(served, check):
    """Protocol.md 2.7: asked goes through without, enforced does not."""
    client = served.client("dave")
    await served.account(name="dave", **{check: "asked"})
    assert (await client.turn()).status_code == 200
    await served.account(name="dave", **{check: "enforced"})
    assert refused_by_sentinel(await client.turn())
    step = "" if check == "turnstile" else "/prepare"
    assert (await asked_of(client, REQUIREMENTS + step))[check]["required"] is True


async def test_force_login_counts_down(served, conversation):
    """Protocol.md 2.1: the anonymous identity is refused; a new device may do."""
    await served.account(name="anonymous", force_login=1)
    first = served.client(None)
    asked = await asked_of(first)
    assert asked["force_login"] is True
    assert refused_by_sentinel(await first.post("/conversation", conversation(), **{SENTINEL: asked["token"]}))
    assert (await served.client(None).turn()).status_code == 200


async def test_conversation_only(serving, conversation):
    """Protocol.md 2.7: require_sentinel=false takes turns without any sentinel header."""
    async with serving(require_sentinel=False) as served:
        assert (await served.client().post("/conversation", conversation())).status_code == 200


async def test_ping(served):
    for client in (served.client(), served.client(None)):
        assert (await client.post("/sentinel/ping")).json() == {"status": "ok"}
