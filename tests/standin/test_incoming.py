"""Bodies of turns: what is accepted, 400 and 422 (protocol.md 4.1, 4.2, 9.1)."""

from uuid import uuid4

import pytest

from shim.standin.failures import RefusedError
from shim.standin.incoming import read_conversation
from shim.standin.steps import Made

IMAGE = {
    "content_type": "image_asset_pointer",
    "asset_pointer": "file-service://file-abc",
    "size_bytes": 10,
    "width": 1,
    "height": 1,
}


@pytest.fixture
async def open_door(serving):
    """A caller of a stand-in that asks for no sentinel headers; two files are there."""
    async with serving(require_sentinel=False) as served:
        for file_id in ("file-abc", "file_0000"):
            served.running.upstream.files.deposit("alice", Made(file_id, "a.png", "image/png", b"a picture"))
        yield served.client()


def with_message(**fields):
    def change(body):
        body["messages"][0] |= fields

    return change


def with_content(content_type, *parts):
    return with_message(content={"content_type": content_type, "parts": list(parts)})


def with_fields(**fields):
    return lambda body: body.update(fields)


def without(field):
    return lambda body: body.pop(field)


BAD = {
    "no messages": without("messages"),
    "empty messages": with_fields(messages=[]),
    "messages no list": with_fields(messages={"0": {}}),
    "no model": without("model"),
    "no parent": without("parent_message_id"),
    "parent no uuid": with_fields(parent_message_id="root"),
    "unknown action": with_fields(action="again"),
    "message id no uuid": with_message(id="msg-1"),
    "message id not v4": with_message(id="a22491d1-7d0c-152a-96e3-916f2457b083"),
    "unknown role": with_message(author={"role": "developer"}),
    "no author": lambda body: body["messages"][0].pop("author"),
    "empty parts": with_content("text"),
    "part is an object": with_content("text", {"text": "Hello"}),
    "part is a number": with_content("text", 1),
    "openai content": with_message(content="Hello"),
    "unknown content type": with_content("input_text", "Hello"),
    "unknown pointer": with_content("multimodal_text", IMAGE | {"asset_pointer": "https://example.test/x.png"}),
    "image_url part": with_content("multimodal_text", {"type": "image_url", "image_url": {"url": "data:"}}),
    "gizmo without id": with_fields(conversation_mode={"kind": "gizmo_interaction"}),
    "unknown mode": with_fields(conversation_mode={"kind": "chat"}),
    "continue with messages": with_fields(action="continue", conversation_id=str(uuid4())),
    "encodings no list": with_fields(supported_encodings="v1"),
    "history flag no bool": with_fields(history_and_training_disabled="true"),
}

GOOD = {
    "as it is": lambda body: None,
    "parent is a uuid": with_fields(parent_message_id=str(uuid4())),
    "variant": with_fields(action="variant"),
    "unknown fields": with_fields(brand_new={"a": 1}, force_use_sse=True, suggestions=[], client_prepare_state="none"),
    "image": with_content("multimodal_text", IMAGE, "What is this?"),
    "image of 2026": with_content("multimodal_text", "What?", IMAGE | {"asset_pointer": "sediment://file_0000"}),
    "system role": with_message(author={"role": "system"}),
    "effort": with_fields(model="gpt-5-thinking", thinking_effort="extended"),
    "gizmo": with_fields(model="gpt-4o", conversation_mode={"kind": "gizmo_interaction", "gizmo_id": "g-abc"}),
}


async def test_bad_bodies(open_door, conversation):
    for name, change in BAD.items():
        body = conversation()
        change(body)
        answer = await open_door.post("/conversation", body)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json"), name
        assert list(answer.json()) == ["detail"], name


async def test_good_bodies(open_door, conversation, read):
    for name, change in GOOD.items():
        body = conversation()
        change(body)
        answer = await open_door.post("/conversation", body)
        assert answer.status_code == 200, (name, answer.text)
        assert read(answer.content).done, name


async def test_the_fastapi_form(open_door, conversation):
    body = conversation()
    del body["messages"]
    detail = (await open_door.post("/conversation", body)).json()["detail"]
    assert detail == [{"loc": ["body", "messages"], "msg": "field required", "type": "value_error.missing"}]
    body = conversation()
    del body["model"]
    assert (await open_door.post("/conversation", body)).json()["detail"][0]["loc"] == ["body", "model"]


def test_malformed_json_is_400():
    for body in (b"", b"{", b"\xff", b'{"action":"next",}'):
        with pytest.raises(RefusedError) as refusal:
            read_conversation(body, "application/json")
        assert refusal.value.failure.status == 400, body


async def test_malformed_json_over_the_wire(open_door):
    answer = await open_door.http.post(
        "/backend-api/conversation", content=b"{", headers=open_door.headers | {"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()) == (400, {"detail": "Invalid request"})


async def test_content_type_and_accept(open_door, conversation):
    answer = await open_door.http.post("/backend-api/conversation", content=b"{}", headers=open_door.headers)
    assert answer.status_code == 422
    answer = await open_door.post("/conversation", conversation(), accept="application/json")
    assert answer.status_code == 406
    answer = await open_door.post("/conversation", conversation(), accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_too_long(serving, conversation):
    async with serving(require_sentinel=False, max_characters=2000) as served:
        answer = await served.client().post("/conversation", conversation("x" * 3000))
        assert answer.status_code == 413
        assert answer.json()["detail"]["code"] == "message_length_exceeds_limit"


async def test_unknown_conversations_and_those_of_others(open_door, conversation, read):
    answer = await open_door.post("/conversation", conversation(conversation_id=str(uuid4())))
    assert (answer.status_code, answer.json()) == (404, {"detail": "Conversation not found"})


async def test_a_conversation_goes_on_for_its_owner_only(served, conversation):
    alice, bob = served.client("alice"), served.client("bob")
    first = await alice.told("Hello")
    known = first.of_type("message_stream_complete")[0]["conversation_id"]
    body = conversation("And now?", conversation_id=known, parent_message_id=list(first.messages)[-1])
    assert (await bob.turn(body)).status_code == 404
    second = await alice.told(body)
    assert second.of_type("message_stream_complete")[0]["conversation_id"] == known


async def test_models_the_account_cannot_use(open_door, conversation):
    answer = await open_door.post("/conversation", conversation(model="gpt-99"))
    assert answer.status_code == 404
    assert answer.json()["detail"]["code"] == "model_not_found"


async def test_both_paths_and_the_conduit(served, conversation):
    """Protocol.md 4.4."""
    client = served.client()
    body = conversation()
    del body["messages"]
    prepared = await client.post("/f/conversation/prepare", body | {"fork_from_shared_post": False})
    assert prepared.json()["status"] == "ok"
    token = prepared.json()["conduit_token"]
    assert (await client.turn("Hello", "/f/conversation", **{"x-conduit-token": token})).status_code == 200
    assert (await client.turn("Hello", "/f/conversation")).status_code == 200
    assert (await client.post("/f/conversation/prepare", conversation())).status_code == 422


async def test_the_encoding_is_what_the_turn_asks_for(served, conversation, read):
    client = served.client()
    for path in ("/conversation", "/f/conversation"):
        for encodings, seen in ((["v1"], "v1"), ([], "snapshot"), (["v9"], "snapshot")):
            answer = await client.turn(conversation(supported_encodings=encodings), path)
            assert read(answer.content).encoding == seen
