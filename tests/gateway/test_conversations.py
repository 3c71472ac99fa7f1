"""Conversations: made, changed and forgotten, and gone on with by responses; each by nobody but whoever made it."""

import json
import threading
import time

import httpx
import openai
import pytest
from openai.types.conversations import Conversation, ConversationItem
from openai.types.responses import Response
from pydantic import TypeAdapter

PATH, RESPONSES = "/v1/conversations", "/v1/responses"
ITEM = TypeAdapter(ConversationItem)
SLOW = "[[script=long words=40 delay=0.1]] go"


@pytest.fixture(scope="module", params=["file", "redis"])
def on_store(request, start_gateway, shared_standin):
    """One on each store."""
    place = {"REDIS_URL": request.getfixturevalue("shared_redis")()} if request.param == "redis" else {}
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="first-key,second-key", **place)


@pytest.fixture
def gateway(on_store, upstream):
    """The same, upstream reset."""
    return on_store


@pytest.fixture(scope="module")
def on_file(start_gateway, shared_standin):
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="first-key,second-key")


@pytest.fixture
def one(on_file, upstream):
    """One gateway, for what has nothing to do with stores."""
    return on_file


@pytest.fixture
def client():
    """`client(gateway, key)`: the library, without retries."""
    made = []

    def make(gateway, key="first-key"):
        http = httpx.Client(trust_env=False, timeout=60)
        made.append(http)
        return openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=key, http_client=http, max_retries=0)

    yield make
    for http in made:
        http.close()


@pytest.fixture
def sent(upstream):
    """`sent()`: the texts that the last turn said, and whether it went on."""

    def run():
        asked = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]
        texts = [part for message in asked["messages"] for part in message["content"]["parts"]]
        return texts, "conversation_id" in asked

    return run


def user(text):
    return {"type": "message", "role": "user", "content": text}


def texts(client, id):
    """What the items of a conversation say, in their order; each is found to be one by the library's strict types."""
    raw = client.conversations.items.with_raw_response.list(id, order="asc", limit=100).text
    listed = json.loads(raw)["data"]
    for item in listed:
        ITEM.validate_json(json.dumps(item), strict=True)
    assert len({item["id"] for item in listed}) == len(listed)
    return ["".join(part["text"] for part in item.get("content", [])) or item["type"] for item in listed]


def refused(call, *arguments, **named):
    with pytest.raises(openai.APIStatusError) as raised:
        call(*arguments, **named)
    return raised.value.status_code, raised.value.code, raised.value.param


def test_a_conversation_is_made_changed_and_forgotten(gateway, client):
    conversations = client(gateway).conversations
    made = conversations.create(
        metadata={"topic": "demo"}, items=[user("one"), {"role": "assistant", "content": "two"}]
    )
    Conversation.model_validate_json(made.to_json(), strict=True)
    assert (made.object, made.metadata) == ("conversation", {"topic": "demo"})
    assert made.id.startswith("conv_")
    assert conversations.retrieve(made.id) == made
    updated = conversations.update(made.id, metadata={"topic": "other"})
    assert (updated.metadata, updated.created_at) == ({"topic": "other"}, made.created_at)
    added = conversations.items.create(made.id, items=[user("three"), {**user("four"), "id": "msg_mine"}])
    assert (added.object, added.has_more, added.last_id) == ("list", False, "msg_mine")
    again = conversations.items.create(made.id, items=[{**user("five"), "id": "msg_mine"}])  # an id that is taken
    assert again.first_id != "msg_mine"
    assert texts(client(gateway), made.id) == ["one", "two", "three", "four", "five"]
    newest = conversations.items.list(made.id, limit=2)
    assert [item.content[0].text for item in newest.data] == ["five", "four"]
    assert newest.has_more
    assert [item.content[0].text for item in newest] == ["five", "four", "three", "two", "one"]  # over three pages
    assert conversations.items.retrieve("msg_mine", conversation_id=made.id).content[0].text == "four"
    assert conversations.items.delete("msg_mine", conversation_id=made.id) == updated
    assert texts(client(gateway), made.id) == ["one", "two", "three", "five"]
    gone = (404, "item_not_found", "item_id")
    assert refused(conversations.items.retrieve, "msg_mine", conversation_id=made.id) == gone
    assert refused(conversations.items.delete, "msg_mine", conversation_id=made.id) == gone
    deleted = conversations.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "conversation.deleted", True)
    assert refused(conversations.retrieve, made.id) == (404, "conversation_not_found", "conversation_id")


def test_a_conversation_is_nobody_elses(gateway, client):
    mine, theirs = client(gateway).conversations, client(gateway, "second-key").conversations
    id = mine.create(items=[{**user("one"), "id": "msg_1"}]).id
    gone = (404, "conversation_not_found", "conversation_id")
    assert refused(theirs.retrieve, id) == gone
    assert refused(theirs.update, id, metadata={}) == gone
    assert refused(theirs.delete, id) == gone
    assert refused(theirs.items.list, id) == gone
    assert refused(theirs.items.create, id, items=[user("x")]) == gone
    assert refused(theirs.items.retrieve, "msg_1", conversation_id=id) == gone
    assert refused(theirs.items.delete, "msg_1", conversation_id=id) == gone
    ask = client(gateway, "second-key").responses.create
    assert refused(ask, model="auto", input="x", conversation=id) == (404, "conversation_not_found", "conversation")
    assert texts(client(gateway), id) == ["one"]
    answer = httpx.get(f"{gateway.base_url}{PATH}/{id}", trust_env=False)
    assert answer.status_code == 401


def ask_whole(client, **asked):
    return client.responses.create(model="auto", **asked)


def ask_streamed(client, **asked):
    *_, last = client.responses.create(model="auto", stream=True, **asked)
    assert last.type == "response.completed"
    return last.response


def ask_in_background(client, **asked):
    response = client.responses.create(model="auto", background=True, **asked)
    assert response.conversation is not None
    until = time.monotonic() + 60
    while response.status in {"queued", "in_progress"}:
        assert time.monotonic() < until
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


@pytest.mark.parametrize("ask", [ask_whole, ask_streamed, ask_in_background])
def test_responses_go_on_with_what_was_said(gateway, client, sent, ask):
    api = client(gateway)
    id = api.conversations.create(items=[user("zero")]).id
    first = ask(api, input="[[say=one]]", conversation=id, instructions="Be brief.")
    assert Response.model_validate_json(first.to_json(), strict=True).conversation.id == id
    assert sent() == (["Be brief.", "zero", "[[say=one]]"], False)
    second = ask(api, input=[user("[[say=two]]")], conversation={"id": id})
    assert sent()[0] == ["zero", "[[say=one]]", "one", "[[say=two]]"]  # instructions are not carried over
    assert texts(api, id) == ["zero", "[[say=one]]", "one", "[[say=two]]", "two"]
    last = api.conversations.items.list(id, limit=1).data[0]
    assert last.to_dict() == second.output[-1].to_dict()
    counted = httpx.post(
        f"{gateway.base_url}{RESPONSES}/input_tokens",
        json={"input": "x", "conversation": id},
        headers={"authorization": "Bearer first-key"},
        trust_env=False,
    )
    assert counted.json()["input_tokens"] > 20


def test_calls_and_their_outputs_are_items(one, client, upstream, sent):
    api, tools = client(one), [{"type": "function", "name": "add", "parameters": {"type": "object"}}]
    id = api.conversations.create().id
    said = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    upstream.post("/standin/plan", {"directives": {"say": said}})
    (called,) = ask_whole(api, input="Add", conversation=id, tools=tools).output
    upstream.post("/standin/plan", {"directives": {"say": "2"}})
    output = {"type": "function_call_output", "call_id": called.call_id, "output": "it is 2"}
    ask_whole(api, input=[output], conversation=id, tools=tools)
    assert "Add" in sent()[0]
    assert any("it is 2" in text for text in sent()[0])
    assert texts(api, id) == ["Add", "function_call", "function_call_output", "2"]


def test_what_is_referred_to_is_added_itself(one, client):
    api = client(one)
    earlier = ask_whole(api, input="[[say=one]]")
    id = api.conversations.create().id
    reference = {"type": "item_reference", "id": earlier.output[0].id}
    ask_whole(api, input=[reference, user("[[say=two]]")], conversation=id)
    assert texts(api, id) == ["one", "[[say=two]]", "two"]


def test_what_is_not_kept_or_has_failed_or_was_cut(one, client, upstream):
    api = client(one)
    id = api.conversations.create().id
    ask_whole(api, input="[[say=one]]", conversation=id, store=False)
    assert texts(api, id) == ["[[say=one]]", "one"]
    cut = ask_whole(api, input="[[say=one two three]]", conversation=id, max_output_tokens=2)
    assert cut.status == "incomplete"
    assert texts(api, id)[2:] == ["[[say=one two three]]", "one two"]
    with pytest.raises(openai.APIStatusError):
        ask_whole(api, input="[[failure=content_policy]] x", conversation=id)
    (*_, failed) = api.responses.create(model="auto", input="[[script=error]] x", conversation=id, stream=True)
    assert failed.type == "response.failed"
    assert len(texts(api, id)) == 4
    ask_whole(api, input="[[say=on]]", conversation=id)  # nothing holds it any more
    assert len(texts(api, id)) == 6


def test_one_response_at_a_time(gateway, client):
    api = client(gateway)
    id = api.conversations.create(items=[{**user("zero"), "id": "msg_0"}]).id
    stream = api.responses.create(model="auto", input=SLOW, conversation=id, stream=True)
    next(iter(stream))
    locked = (400, "conversation_locked", "conversation")
    assert refused(api.responses.create, model="auto", input="[[say=no]]", conversation=id) == locked
    assert refused(api.conversations.items.delete, "msg_0", conversation_id=id) == locked
    assert texts(api, id) == ["zero"]
    ended = [event.type for event in stream][-1]
    assert ended == "response.completed"
    ask_whole(api, input="[[say=yes]]", conversation=id)
    assert [text[:5] for text in texts(api, id)][::4] == ["zero", "yes"]


def test_who_leaves_lets_go(one, client):
    api = client(one)
    id = api.conversations.create().id
    stream = api.responses.create(model="auto", input=SLOW, conversation=id, stream=True)
    next(iter(stream))
    stream.close()
    ask = [api.responses.create(model="auto", input="[[say=yes]]", conversation=id)]
    assert ask[0].output_text == "yes"
    assert texts(api, id) == ["[[say=yes]]", "yes"]


def test_additions_at_once_are_all_there(gateway, client):
    api = client(gateway)
    id = api.conversations.create().id
    threads = [
        threading.Thread(target=api.conversations.items.create, args=(id,), kwargs={"items": [user(f"{number}")]})
        for number in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts(api, id)) == [f"{number}" for number in range(5)]


def test_a_conversation_that_is_forgotten_meanwhile_stays_so(one, client):
    api = client(one)
    id = api.conversations.create().id
    stream = api.responses.create(model="auto", input=SLOW, conversation=id, stream=True)
    next(iter(stream))
    api.conversations.delete(id)
    assert [event.type for event in stream][-1] == "response.completed"
    assert refused(api.conversations.retrieve, id)[0] == 404


def test_it_goes_on_in_the_same_chat_on_any_gateway(pooled, upstream, client, sent, tell, redis_url):
    settings = {"AUTHORIZATION": "first-key", "HISTORY_DISABLED": "false", "REDIS_URL": redis_url}
    first = client(pooled(upstream.base_url, *(tell(f"conv-{number}") for number in range(3)), **settings))
    second = client(pooled(upstream.base_url, **settings))
    id = first.conversations.create(items=[user("zero")]).id
    ask_whole(first, input="[[say=one]]", conversation=id)
    assert sent() == (["zero", "[[say=one]]"], False)
    ask_whole(second, input="[[say=two]]", conversation=id)
    assert sent() == (["[[say=two]]"], True)
    second.conversations.items.create(id, items=[{**user("and a half"), "id": "msg_half"}])
    ask_streamed(first, input="[[say=three]]", conversation=id)
    assert sent() == (["and a half", "[[say=three]]"], True)  # with what was added since
    second.conversations.items.delete("msg_half", conversation_id=id)
    ask_whole(first, input="[[say=four]]", conversation=id)  # upstream still has what was taken out
    whole = ["zero", "[[say=one]]", "one", "[[say=two]]", "two", "[[say=three]]", "three", "[[say=four]]"]
    assert sent() == (whole, False)
    assert texts(second, id) == [*whole, "four"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"items": [user("x")] * 21}, "items", "array_above_max_length"),
        ({"items": [{"type": "message"}]}, "items[0].role", "missing_required_parameter"),
        ({"items": [{"type": "of_theirs"}]}, "items[0].type", "unsupported_item"),
        ({"items": [{"type": "item_reference", "id": "msg_1"}]}, "items[0].id", "item_not_found"),
        ({"items": [{"role": "user", "content": 7}]}, "items[0].content", "invalid_type"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata", "object_above_max_properties"),
        ({"metadata": {"a": "x" * 513}}, None, "string_above_max_length"),
        ({"items": [user("x" * 1_500_000)] * 3}, "conversation", "conversation_too_long"),
    ],
)
def test_what_is_refused_is_named(one, body, param, code):
    answer = one.post(PATH, body, authorization="Bearer first-key")
    error = answer.json()["error"]
    assert answer.status_code in {400, 404}
    assert error["code"] == code
    if param is not None:
        assert error["param"] == param


def test_halves_of_characters_are_mended(one):
    headers = {"authorization": "Bearer first-key", "content-type": "application/json"}
    half = b'{"items":[{"role":"user","content":"a \\ud83d","id":"msg_\\ud83d"}]}'
    with httpx.Client(base_url=one.base_url, headers=headers, trust_env=False, timeout=60) as http:
        id = http.post(PATH, content=half).json()["id"]
        for _ in range(2):
            body = b'{"model":"auto","input":"[[say=hi]] \\ud83d","conversation":"%s"}' % id.encode()
            answer = http.post(RESPONSES, content=body)
            assert answer.status_code == 200, answer.text
        assert len(http.get(f"{PATH}/{id}/items").json()["data"]) == 5
