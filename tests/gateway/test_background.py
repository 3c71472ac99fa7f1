"""`background`: responses that go on without their client, whatever becomes of it, of proxies and of the gateway."""

import json
import sqlite3
import time
from contextlib import ExitStack, closing

import httpx
import pytest
from openai.types.responses import Response

PATH = "/v1/responses"
KEY = {"authorization": "Bearer k-1"}
SLOW = "[[script=long words=40 delay=0.1]] go"
OVER = {"completed", "incomplete", "failed", "cancelled"}


def call(gateway, method, path, body=None, headers=KEY):
    return httpx.request(method, gateway.base_url + path, json=body, headers=headers, trust_env=False, timeout=60)


def begin(gateway, input, **more):
    answer = call(gateway, "POST", PATH, {"model": "auto", "input": input, "background": True, **more})
    assert answer.status_code == 200, answer.text
    assert Response.model_validate(answer.json()).background
    return answer.json()


def look(gateway, id):
    answer = call(gateway, "GET", f"{PATH}/{id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(gateway, id, wanted, seconds=60):
    """The response once `wanted` holds of it."""
    end = time.monotonic() + seconds
    while not wanted(response := look(gateway, id)):
        assert time.monotonic() < end, response
        time.sleep(0.1)
    return response


def over(response):
    return response["status"] in OVER


def text_of(response):
    return Response.model_validate(response).output_text


def events_of(text):
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n") if line.startswith("data: ")]


def said(events):
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


@pytest.fixture
def settings(upstream):
    return {"CHATGPT_BASE_URL": upstream.base_url, "AUTHORIZATION": "k-1", "ADMIN_KEY": "admin-key"}


def test_it_is_queued_and_shows_its_progress_to_its_end(start_gateway, settings):
    gateway = start_gateway(**settings)
    response = begin(gateway, SLOW, metadata={"a": "b"})
    assert (response["status"], response["output"]) == ("queued", [])
    partly = until(gateway, response["id"], lambda one: one["output"])
    assert (partly["status"], partly["output"][0]["status"]) == ("in_progress", "in_progress")
    refused = call(gateway, "POST", PATH, {"model": "auto", "input": "x", "previous_response_id": response["id"]})
    assert refused.json()["error"]["code"] == "previous_response_not_over"
    whole = until(gateway, response["id"], over)
    assert (whole["status"], whole["metadata"], whole["created_at"]) == (
        "completed",
        {"a": "b"},
        response["created_at"],
    )
    assert text_of(whole).startswith(text_of(partly))
    assert whole["usage"]["output_tokens"] > 20
    assert call(gateway, "GET", f"{PATH}/{response['id']}", headers={"authorization": "Bearer x"}).status_code == 401


def test_what_it_fails_with_is_kept(start_gateway, settings):
    gateway = start_gateway(**settings)
    began = time.time()
    for prompt, code, limited in (
        ("[[status=429 clears_in=77]]", "rate_limit_exceeded", True),
        ("[[script=error]] x", "server_error", False),
    ):
        failed = until(gateway, begin(gateway, prompt)["id"], over)
        assert (failed["status"], failed["error"]["code"]) == ("failed", code)
        assert ("retry_at" in failed["error"]) is limited
        assert failed["error"].get("retry_at", began + 77) > began + 70
    refused = call(gateway, "POST", PATH, {"model": "auto", "input": "x", "background": True, "store": False})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "background")


def test_its_stream_is_taken_up_again_after_any_event(start_gateway, settings):
    gateway = start_gateway(**settings)
    body = {"model": "auto", "input": SLOW, "background": True, "stream": True}
    heard = []
    url = gateway.base_url + PATH
    with httpx.stream("POST", url, json=body, headers=KEY, trust_env=False, timeout=60) as answer:
        for line in answer.iter_lines():
            heard += events_of(line)
            if len(said(heard)) > 10:
                break
    id = heard[0]["response"]["id"]
    names = [event["type"] for event in heard[:3]]
    assert names == ["response.created", "response.queued", "response.in_progress"]
    assert heard[0]["response"]["status"] == "queued"
    path = f"{PATH}/{id}?stream=true&starting_after={heard[-1]['sequence_number']}"
    rest = events_of(call(gateway, "GET", path).text)
    events = [*heard, *rest]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    whole = look(gateway, id)
    assert events[-1] == {**events[-1], "type": "response.completed", "response": whole}
    assert said(events) == text_of(whole)
    again = events_of(call(gateway, "GET", f"{PATH}/{id}?stream=true").text)
    assert again == events
    assert call(gateway, "GET", f"{PATH}/{id}?stream=true&starting_after=x").status_code == 400


def test_what_has_no_events_is_not_streamed(start_gateway, settings):
    gateway = start_gateway(**settings)
    id = begin(gateway, "[[say=one]]")["id"]
    for wanted in (lambda _one: True, over):
        until(gateway, id, wanted)
        refused = call(gateway, "GET", f"{PATH}/{id}?stream=true")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")


def test_what_is_too_long_to_be_taken_over_is_refused(start_gateway, settings):
    gateway = start_gateway(**settings)
    refused = call(gateway, "POST", PATH, {"model": "auto", "input": "x" * (16 * 1024 * 1024), "background": True})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"], error["code"]) == (413, "background", "request_too_large")


def test_there_are_not_too_many_at_once(start_gateway, settings):
    gateway = start_gateway(**settings, MAX_BYTES_UNDER_WAY="3000")
    endless = {"model": "auto", "input": "[[script=long words=400 delay=0.1]]" + "x" * 1500, "background": True}
    first = call(gateway, "POST", PATH, endless).json()
    refused = call(gateway, "POST", PATH, endless)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_in_background")
    assert int(refused.headers["retry-after"]) > 0
    assert call(gateway, "POST", f"{PATH}/{first['id']}/cancel").json()["status"] == "cancelled"
    second = call(gateway, "POST", PATH, endless)
    assert second.status_code == 200, second.text
    assert call(gateway, "DELETE", f"{PATH}/{second.json()['id']}").status_code == 200


def test_it_has_a_time_of_its_own(start_gateway, settings, upstream):
    gateway = start_gateway(**settings, TOTAL_TIMEOUT="0.5")
    id = begin(gateway, "[[script=long words=30 delay=0.1]] go", stream=False)["id"]
    assert until(gateway, id, over, seconds=30)["status"] == "completed"


def test_it_takes_no_longer_than_it_may(start_gateway, settings, upstream):
    gateway = start_gateway(**settings, BACKGROUND_TIMEOUT="4")
    asked = {"model": "auto", "input": "[[script=long words=4000 delay=0.1]] go", "background": True, "stream": True}
    events = events_of(call(gateway, "POST", PATH, asked).text)
    failed = look(gateway, events[0]["response"]["id"])
    assert (events[-1]["type"], events[-1]["response"]) == ("response.failed", failed)
    assert (failed["status"], failed["output"][0]["status"]) == ("failed", "incomplete")
    assert failed["error"]["code"] == "server_error"
    assert "BACKGROUND_TIMEOUT" in failed["error"]["message"]
    end = time.monotonic() + 30
    while not upstream.get("/standin/stats").json()["client_gone"]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_cancelling_stops_upstream(start_gateway, settings, upstream):
    gateway = start_gateway(**settings)
    response = begin(gateway, "[[script=long words=400 delay=0.1]] go", stream=False)
    until(gateway, response["id"], lambda one: one["output"])
    cancelled = call(gateway, "POST", f"{PATH}/{response['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["output"][0]["status"] == "incomplete"
    assert look(gateway, response["id"]) == cancelled
    end = time.monotonic() + 30
    while not upstream.get("/standin/stats").json()["client_gone"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert call(gateway, "POST", f"{PATH}/{response['id']}/cancel").json() == cancelled


def test_what_is_forgotten_under_way_is_ended_and_stays_forgotten(start_gateway, settings, upstream):
    gateway = start_gateway(**settings)
    id = begin(gateway, "[[script=long words=400 delay=0.1]] go")["id"]
    until(gateway, id, lambda one: one["output"])
    assert call(gateway, "DELETE", f"{PATH}/{id}").json()["deleted"]
    end = time.monotonic() + 30
    while not upstream.get("/standin/stats").json()["client_gone"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert call(gateway, "GET", f"{PATH}/{id}").status_code == 404


def test_another_gateway_shows_and_ends_it(start_gateway, settings, redis_url):
    one, two = (start_gateway(**settings, REDIS_URL=redis_url) for _ in range(2))
    first = begin(one, SLOW)
    assert until(two, first["id"], lambda one: one["output"])["status"] == "in_progress"
    assert until(two, first["id"], over)["status"] == "completed"
    second = begin(one, "[[script=long words=400 delay=0.1]] go")
    until(two, second["id"], lambda one: one["output"])
    assert call(two, "POST", f"{PATH}/{second['id']}/cancel").json()["status"] == "cancelled"
    assert look(one, second["id"])["status"] == "cancelled"


HANDED_OFF = "[[script=handoff_poll options=resume gone=404 polls=4]] go"


def beats_of(data):
    """The signs of life in the store."""
    with closing(sqlite3.connect(data / "notes.db")) as db:
        notes = [bytes(value) for (value,) in db.execute("SELECT value FROM notes WHERE shelf = 'beats'")]
    return [note for note in notes if b'"at"' in note]


def until_it_can_be_found(data):
    """Wait until the store knows in which conversation the answer is."""
    end = time.monotonic() + 30
    while True:
        beats = beats_of(data)
        if any(b'"conversation":"' in beat for beat in beats):
            return
        assert time.monotonic() < end, beats
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("temporary", "prompt", "status"),
    [("false", HANDED_OFF, "completed"), ("false", SLOW, "failed"), ("true", SLOW, "failed")],
    ids=["found in its chat", "lost in its chat", "temporary"],
)
def test_a_gateway_that_was_killed_is_followed_by_the_next(
    start_gateway, settings, tell, tmp_path, temporary, prompt, status, upstream, monkeypatch
):
    """The stand-in goes on with what it has handed off, and with nothing else."""
    monkeypatch.setattr("shim.exchange.jobs.STALE", 3.0)  # the next one's, which runs in this process
    settings |= {"DATA_DIR": str(tmp_path / "data"), "HISTORY_DISABLED": temporary}
    first = start_gateway(**settings, process=True)
    added = first.post("/tokens/api/accounts", {"text": tell(f"killed-{status}")}, Authorization="Bearer admin-key")
    assert added.status_code == 200
    conversation = call(first, "POST", "/v1/conversations", {}).json()["id"]
    response = begin(first, prompt, conversation=conversation)
    if temporary == "false":
        until_it_can_be_found(tmp_path / "data")
    else:
        until(first, response["id"], lambda one: one["output"])
    first.kill()
    turns = len(upstream.get("/standin/stats").json()["recent_turns"])
    second = start_gateway(**settings)
    assert look(second, response["id"])["status"] in {"queued", "in_progress"}
    whole = until(second, response["id"], over)
    assert (whole["status"], whole["id"]) == (status, response["id"]), whole["error"]
    assert (whole["error"] is None) == (status == "completed")
    items = f"/v1/conversations/{conversation}/items"
    kept = call(second, "GET", items).json()["data"]
    assert len(kept) == (1 + len(whole["output"]) if status == "completed" else 0)
    more = call(second, "POST", items, {"items": [{"role": "user", "content": "x"}]})  # nobody holds it any more
    assert more.status_code == 200, more.text
    assert len(upstream.get("/standin/stats").json()["recent_turns"]) == turns


def test_a_gateway_that_stops_leaves_it_to_the_next_at_once(start_gateway, settings, tell, tmp_path):
    settings |= {"DATA_DIR": str(tmp_path / "data"), "HISTORY_DISABLED": "false"}
    first = start_gateway(**settings)
    added = first.post("/tokens/api/accounts", {"text": tell("stopped")}, Authorization="Bearer admin-key")
    assert added.status_code == 200
    longer = HANDED_OFF.replace("polls=4", "polls=10")  # gateways of this process don't wait as long between two looks
    body = {"model": "auto", "input": longer, "background": True, "stream": True}
    heard = []
    with httpx.stream("POST", first.base_url + PATH, json=body, headers=KEY, trust_env=False, timeout=60) as answer:
        for line in answer.iter_lines():
            heard += events_of(line)
            if heard:
                break
    id = heard[0]["response"]["id"]
    until_it_can_be_found(tmp_path / "data")
    assert first.stop() == 0
    second = start_gateway(**settings)
    events = events_of(call(second, "GET", f"{PATH}/{id}?stream=true").text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[: len(heard)] == heard
    assert events[-1]["type"] == "response.completed"
    whole = look(second, id)
    assert events[-1]["response"] == whole


def test_what_is_taken_over_counts_among_the_calls_of_its_key(start_gateway, settings, tell, tmp_path):
    settings |= {"DATA_DIR": str(tmp_path / "data"), "HISTORY_DISABLED": "false"}
    admin = {"Authorization": "Bearer admin-key"}
    first = start_gateway(**settings)
    assert first.post("/tokens/api/accounts", {"text": tell("single")}, **admin).status_code == 200
    key = first.post("/tokens/api/keys", {"name": "single", "concurrent": 1}, **admin).json()["key"]
    mine = {"authorization": f"Bearer {key}"}
    prompt = HANDED_OFF.replace("polls=4", "polls=12")
    id = call(first, "POST", PATH, {"model": "auto", "input": prompt, "background": True}, mine).json()["id"]
    until_it_can_be_found(tmp_path / "data")
    assert first.stop() == 0
    second = start_gateway(**settings)
    chat = {"model": "auto", "input": "[[script=long words=400 delay=0.1]]", "stream": True, "store": False}

    def ask():
        return httpx.stream("POST", second.base_url + PATH, json=chat, headers=mine, trust_env=False, timeout=60)

    def status():
        return call(second, "GET", f"{PATH}/{id}", headers=mine).json()["status"]

    def wait(check):
        end = time.monotonic() + 60
        while not check():
            assert time.monotonic() < end
            time.sleep(0.05)

    def is_free():
        with ask() as answer:
            return answer.status_code == 200

    with ExitStack() as stack:
        wait(lambda: stack.enter_context(ask()).status_code == 200)  # the first gateway's call may count a while
        for _ in range(3):
            assert status() in {"queued", "in_progress"}
            assert all(b'"at":0.0' in beat for beat in beats_of(tmp_path / "data"))  # left alone: the key has its call
    wait(lambda: status() in {"queued", "in_progress"} and not is_free())  # it is taken over, and is the key's one call
    wait(lambda: status() in OVER)
    assert status() == "completed"
    wait(is_free)
