"""CONTINUE_CHATS: a history that was answered here before goes on where it was. Real servers, real stores."""

import base64
import json
import re
import shutil
import socket
import subprocess
import time
import zlib

import httpx
import pytest

CHAT = "/v1/chat/completions"
KEPT = {"HISTORY_DISABLED": "false", "CONTINUE_CHATS": "true"}
REDIS = shutil.which("redis-server")
FUNCTION = {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}}
TOOL = {"type": "function", "function": FUNCTION}


def user(text):
    return {"role": "user", "content": text}


class Client:
    """A chat program: it sends all it has, and keeps of an answer what such programs keep."""

    def __init__(self, gateway, headers, *, stream=False, model="auto"):
        self.gateway, self.headers, self.stream, self.model = gateway, headers, stream, model
        self.messages = []

    def ask(self, text, **more):
        """Say something; the answer's text."""
        self.messages.append(user(text))
        return self.go_on(**more)

    def go_on(self, **more):
        body = {"model": self.model, "messages": self.messages, "stream": self.stream, **more}
        answer = self.gateway.post(CHAT, body, **self.headers)
        assert answer.status_code == 200, answer.text
        self.last = _streamed(answer.text) if self.stream else answer.json()
        message = self.last["choices"][0]["message"]
        self.messages.append({name: message[name] for name in ("role", "content", "tool_calls") if message.get(name)})
        return message["content"]


def _streamed(text):
    """A stream put together, as the SDKs do it."""
    whole, message = {}, {"role": "assistant", "content": ""}
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        chunk = json.loads(line.removeprefix("data: "))
        whole |= chunk
        for choice in chunk["choices"]:
            message["content"] += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", ()):
                calls = message.setdefault("tool_calls", [])
                if "id" in call:
                    calls.append(call | {"function": dict(call["function"])})
                else:
                    calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return whole | {"choices": [{"message": message}]}


@pytest.fixture
def sent(upstream):
    """`sent()`: the conversations that came in, in their order."""

    def read():
        turns = upstream.get("/standin/stats").json()["recent_turns"]
        return [turn["conversation"] | {"by": turn["identity"]} for turn in turns]

    return read


@pytest.fixture
def kept(pooled, upstream):
    """`kept(credential, ..., NAME="value")`: a gateway that goes on with chats."""

    started = []

    def make(*credentials, **settings):
        started.append(pooled(upstream.base_url, *credentials, **KEPT | settings))
        return started[-1]

    yield make
    for gateway in started:
        gateway.stop()


@pytest.fixture(scope="module")
def shared(start_gateway, shared_standin):
    """One gateway for all who bring an account of their own."""
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="a-key", **KEPT)


@pytest.fixture
def alone(shared, make_account):
    """A client with an account of their own."""
    return Client(shared, {"Authorization": f"Bearer {make_account('alone')}"})


@pytest.fixture
def chat(key):
    """`chat(gateway, stream=False)`: a client with a key of the pool."""

    def make(gateway, **more):
        return Client(gateway, key, **more)

    return make


def shape(conversation):
    """(texts of its messages, whether it goes on with another)"""
    texts = ["".join(map(str, message["content"]["parts"])) for message in conversation["messages"]]
    return texts, "conversation_id" in conversation


@pytest.mark.parametrize(("stream", "accounts"), [(False, 3), (True, 1)])
def test_a_growing_history_goes_on_in_one_conversation(kept, chat, tell, sent, stream, accounts):
    gateway = kept(*(tell(f"grows-{number}-{stream}-{accounts}") for number in range(accounts)))
    client = chat(gateway, stream=stream)
    ids = []
    for text in ("one", "two", "three"):
        client.ask(text)
        ids.append((client.last["conversation_id"].partition(".")[0], client.last["message_id"]))
    assert [shape(one) for one in sent()] == [(["one"], False), (["two"], True), (["three"], True)]
    assert len({conversation for conversation, _ in ids}) == 1
    assert [(one["conversation_id"], one["parent_message_id"]) for one in sent()[1:]] == ids[:2]
    assert len({one["by"] for one in sent()}) == 1


def test_it_is_off_unless_asked_for_and_needs_kept_chats(kept, chat, tell, sent):
    for name, settings in (("off", {"CONTINUE_CHATS": "false"}), ("temporary", {"HISTORY_DISABLED": "true"})):
        client = chat(kept(tell(name), **settings))
        first = client.ask("one")
        client.ask("two")
        assert shape(sent()[-1]) == (["one", first, "two"], False)


def test_the_whole_prompt_is_counted(kept, chat, tell, pooled, upstream):
    counted = []
    for name, settings in (("going-on", KEPT), ("whole", {})):
        client = chat(pooled(upstream.base_url, tell(name), **settings))
        for text in ("[[say=same]] one", "[[say=same]] two"):
            client.ask(text)
            counted.append(client.last["usage"]["prompt_tokens"])
    assert counted[:2] == counted[2:]
    assert counted[1] > counted[0]


def test_a_system_message_and_instructions_stand_where_they_stood(alone, sent):
    alone.messages.append({"role": "system", "content": "Be brief."})
    first = alone.ask("one", tools=[TOOL])
    alone.ask("two", tools=[TOOL])
    alone.ask("three")
    texts = [shape(one)[0] for one in sent()]
    assert [texts[0][0], texts[0][2], texts[1][1]] == ["Be brief.", "one", "two"]
    assert "look_up" in texts[0][1]
    assert unkeyed(texts[1][0]) == unkeyed(texts[0][1])
    assert texts[2][:3] == ["Be brief.", "one", first], "other tools, another conversation"
    assert [shape(one)[1] for one in sent()] == [False, True, False]


def unkeyed(text):
    """Instructions without what is new with every request: the key of their marks."""
    return re.sub(r"(</?tool_(?:call|result))_\w+", r"\1", text)


CALLING = '<tool_call>{"name": "look_up", "arguments": {"word": "tree"}}</tool_call>'


def result(call):
    return {"role": "tool", "tool_call_id": call["id"], "content": "a big plant"}


@pytest.mark.parametrize("stream", [False, True])
def test_calls_and_their_results_go_on(alone, sent, stream):
    alone.stream = stream
    alone.ask(f"[[say={CALLING}]]", tools=[TOOL])
    (call,) = alone.messages[-1]["tool_calls"]
    call["function"]["arguments"] = json.dumps(json.loads(call["function"]["arguments"]), indent=1)
    alone.messages.append(result(call))
    alone.go_on(tools=[TOOL])
    texts, goes_on = shape(sent()[-1])
    assert goes_on
    assert len(texts) == 2
    assert "a big plant" in texts[1]


def test_files_fit_the_messages_that_are_sent(alone, sent):
    alone.messages += [{"role": "user", "content": [{"type": "text", "text": "first"}, picture(1)]}]
    alone.go_on()
    prompts = [alone.last["usage"]["prompt_tokens"]]
    alone.messages += [{"role": "user", "content": [{"type": "text", "text": "second"}, picture(2)]}]
    alone.go_on()
    prompts.append(alone.last["usage"]["prompt_tokens"])
    first, second = sent()
    assert [len(second["messages"]), "conversation_id" in second] == [1, True]
    pointers = [one["messages"][-1]["content"]["parts"][-1]["asset_pointer"] for one in (first, second)]
    assert pointers[0] != pointers[1]
    assert prompts[1] > 2 * 85, "both pictures count"


def picture(width):
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\x08\x02\0\0\0"
    pixels = zlib.compress(b"\0" + bytes(3 * width))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}


# --- what must not go on ----------------------------------------------------------------------------------------------


def test_an_edited_message_is_another_conversation(alone, sent):
    alone.ask("one")
    alone.ask("two")
    alone.messages[0] = user("won")
    alone.ask("three")
    texts, goes_on = shape(sent()[-1])
    assert (len(texts), texts[0], goes_on) == (5, "won", False)


def test_an_answer_asked_for_again_goes_on_from_the_one_before(alone, sent):
    alone.ask("one")
    before = alone.last["message_id"]
    alone.ask("two")
    alone.messages.pop()
    alone.go_on()
    alone.ask("three")
    again, last = sent()[-2:]
    assert shape(again) == (["two"], True)
    assert again["parent_message_id"] == before
    assert shape(last) == (["three"], True)


def test_an_edited_answer_sends_what_comes_after_the_one_before(alone, sent):
    alone.ask("one")
    before = alone.last["message_id"]
    alone.ask("two")
    alone.messages[-1]["content"] = "What I would have liked."
    alone.ask("three")
    assert shape(sent()[-1]) == (["two", "What I would have liked.", "three"], True)
    assert sent()[-1]["parent_message_id"] == before


@pytest.mark.parametrize(
    ("say", "limits", "later"),
    [
        ("one two three four", {"stop": "three"}, {}),
        ("one two three four", {"max_tokens": 2}, {}),
        ('{"a": 1}', {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    ],
)
def test_what_upstream_knows_otherwise_than_the_client_is_not_gone_on_with(alone, sent, say, limits, later):
    alone.ask(f"[[say={say}]]", **limits)
    alone.ask(f"[[say={say}]] two", **later)
    assert not shape(sent()[-1])[1]


@pytest.mark.parametrize("chunks", ["event", "whole"])
def test_calls_that_were_left_out_are_not_gone_on_with(alone, sent, chunks):
    tools = {"tools": [TOOL], "parallel_tool_calls": False}
    alone.ask(f"[[chunks={chunks} say={CALLING}\n{CALLING}]]", **tools)
    (call,) = alone.messages[-1]["tool_calls"]
    alone.messages.append(result(call))
    alone.go_on(**tools)
    assert not shape(sent()[-1])[1]


def test_a_repaired_answer_is_not_gone_on_with(alone, sent, upstream):
    upstream.post("/standin/plan", {"directives": {"say": "No call was meant."}, "times": 2})
    alone.ask('[[say=<tool_call>{"name": "no_such"}</tool_call>]]', tools=[TOOL])
    assert [shape(one)[1] for one in sent()] == [False, True], "the repair goes on where the mistake stands"
    alone.ask("two", tools=[TOOL])
    assert not shape(sent()[-1])[1]


def test_several_choices_and_explicit_ids_are_as_they_were(alone, sent):
    gateway, key = alone.gateway, alone.headers
    first = gateway.post(CHAT, {"model": "auto", "messages": [user("one")], "n": 2}, **key).json()
    for choice in first["choices"]:
        history = [user("one"), {"role": "assistant", "content": choice["message"]["content"]}, user("two")]
        gateway.post(CHAT, {"model": "auto", "messages": history}, **key)
        assert not shape(sent()[-1])[1]
    alone.ask("[[say=known]]")
    ids = {"conversation_id": alone.last["conversation_id"], "parent_message_id": alone.last["message_id"]}
    alone.ask("with ids", **ids)
    assert len(sent()[-1]["messages"]) == 3


def test_callers_never_share(kept, tell, sent, key):
    names = ("mine", "yours")
    gateway = kept(tell("pool-account"))
    clients = [Client(gateway, {"Authorization": f"Bearer {tell(name)}"}) for name in names]
    clients.append(Client(gateway, key))
    for client in clients:
        client.ask("[[say=same]] one")
    assert clients[0].messages == clients[1].messages == clients[2].messages
    owners = {client.last["conversation_id"].partition(".")[0]: number for number, client in enumerate(clients)}
    assert len(owners) == 3
    for number, client in enumerate(clients):
        client.ask("two")
        assert owners[sent()[-1]["conversation_id"]] == number
    stranger = Client(gateway, {"Authorization": f"Bearer {tell('stranger')}"})
    stranger.messages = clients[0].messages[:2]
    stranger.ask("two")
    assert not shape(sent()[-1])[1]


# --- what stands in the way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "accounts"), [(False, 1), (True, 2)])
def test_a_conversation_that_was_deleted_begins_again_whole(kept, chat, tell, sent, upstream, stream, accounts):
    names = [f"deletes-{number}-{accounts}-{stream}" for number in range(accounts)]
    tokens = {f"{name}": tell(name) for name in names}
    client = chat(kept(*tokens.values()), stream=stream)
    first = client.ask("one")
    conversation = client.last["conversation_id"].partition(".")[0]
    assert delete(upstream, tokens.values(), conversation) == 1
    client.ask("two")
    refused, whole = sent()[-2:]
    assert shape(refused) == (["two"], True)
    assert shape(whole) == (["one", first, "two"], False)
    client.ask("three")
    assert shape(sent()[-1]) == (["three"], True)
    assert client.last["conversation_id"].partition(".")[0] != conversation


def delete(upstream, tokens, conversation):
    """How many of the accounts had it to delete."""
    path = f"{upstream.base_url}/backend-api/conversation/{conversation}"
    asked = [
        httpx.patch(path, json={"is_visible": False}, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        for token in tokens
    ]
    return sum(answer.status_code == 200 for answer in asked)


def first_owner(client):
    """Begin a chat; the id of the account that has the client's conversation."""
    client.ask("one")
    return client.last["conversation_id"].partition(".")[2]


def test_an_account_that_was_removed_leaves_it_to_others(kept, chat, tell, sent):
    gateway = kept(*(tell(f"removed-{number}") for number in range(2)))
    client = chat(gateway)
    owner = first_owner(client)
    path = f"{gateway.base_url}/tokens/api/accounts/{owner}"
    answer = httpx.delete(path, headers={"Authorization": "Bearer admin-key"}, trust_env=False)
    assert answer.status_code < 300, answer.text
    client.ask("two")
    assert shape(sent()[-1]) == (["one", client.messages[1]["content"], "two"], False)
    assert len(sent()) == 2
    assert sent()[0]["by"] != sent()[1]["by"]


@pytest.mark.parametrize("failure", ["model_cap", "too_many_requests", "token_revoked", "internal"])
def test_an_account_that_fails_leaves_it_to_others(kept, chat, tell, sent, upstream, failure):
    names = [f"fails-{failure}-{number}" for number in range(2)]
    client = chat(kept(*map(tell, names), RETRY_TIMES="1"))
    first = client.ask("one")
    (owner,) = upstream.get("/standin/stats").json()["turns"]
    upstream.post("/standin/accounts", {"name": owner, "failures": [{"failure": failure, "times": -1}]})
    client.ask("two")
    assert shape(sent()[-1]) == (["one", first, "two"], False)
    assert sent()[-1]["by"] != sent()[0]["by"]
    client.ask("three")
    assert shape(sent()[-1]) == (["three"], True)


def test_an_account_that_is_busy_is_not_waited_for(kept, chat, tell, sent, key, upstream):
    gateway = kept(*(tell(f"busy-{number}") for number in range(2)), ACCOUNT_LIMIT="1")
    client = chat(gateway)
    client.ask("one")
    long = {"model": "auto", "messages": [*client.messages, user("[[words=3000 delay=0.02]]")], "stream": True}
    with httpx.stream("POST", gateway.base_url + CHAT, json=long, headers=key, trust_env=False, timeout=30) as answer:
        lines = answer.iter_lines()  # held, as letting go of it would close the answer
        assert next(lines)
        assert shape(sent()[-1])[1]
        began = time.monotonic()
        client.ask("two")
        assert time.monotonic() - began < 15  # seconds; for an account of its own it would have been 30
        assert upstream.get("/standin/stats").json()["open_streams"] == 1, "the long answer is still under way"
    assert not shape(sent()[-1])[1]
    assert sent()[-1]["by"] != sent()[0]["by"]


def test_what_is_wrong_with_the_question_itself_is_told_once(alone, sent):
    alone.ask("one")
    body = {"model": "auto", "messages": [*alone.messages, user("[[failure=content_policy]]")]}
    before = len(sent())
    answer = alone.gateway.post(CHAT, body, **alone.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")
    assert len(sent()) == before + 1


# --- where it is kept -------------------------------------------------------------------------------------------------


def test_two_gateways_that_share_a_server_go_on_for_each_other(kept, chat, tell, sent, redis_url):
    one = kept(*(tell(f"shared-{number}") for number in range(3)), REDIS_URL=redis_url)
    two = kept(REDIS_URL=redis_url)
    client = chat(one)
    client.ask("one")
    for client.gateway, text in ((two, "two"), (one, "three"), (two, "four")):
        client.ask(text)
        assert shape(sent()[-1]) == ([text], True)
    assert len({one["by"] for one in sent()}) == 1


def test_a_restart_forgets_nothing(kept, chat, tell, sent, tmp_path):
    settings = {"DATA_DIR": str(tmp_path / "data")}
    first = kept(tell("restarted"), **settings)
    client = chat(first)
    client.ask("one")
    assert first.stop() == 0
    client.gateway = kept(**settings)
    client.ask("two")
    assert shape(sent()[-1]) == (["two"], True)


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def redis(said, tmp_path):
    """(its address, its process)"""
    if REDIS is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    )
    assert said.wait_until(lambda: answers(port))
    yield f"redis://127.0.0.1:{port}/0", process
    process.kill()
    process.wait(5)


def test_a_server_that_is_away_costs_the_saving_alone(kept, chat, tell, sent, redis):
    url, process = redis
    client = chat(kept(tell("away"), REDIS_URL=url))
    client.ask("one")
    process.kill()
    process.wait(5)
    client.ask("two")
    client.ask("three")
    assert [shape(one)[1] for one in sent()] == [False, False, False]
    assert len(shape(sent()[-1])[0]) == 5
