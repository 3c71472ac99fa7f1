"""The bridge in a real mitmdump: what clients get through it, in both modes, is what they get from the app."""

import asyncio
import base64
import itertools
import json
import re
import ssl
import struct
import time
import zlib

import httpx
import openai
import pytest

CHAT = "/v1/chat/completions"
KEY = "sk-a-clients-own-key"
_unlike = re.compile(rb'"(id|created)":("[^"]*"|\d+)')


@pytest.fixture(scope="module")
def upstream(start_standin):
    return start_standin(seed=7)


@pytest.fixture(scope="module")
def reverse(start_bridge, upstream):
    return start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url)


@pytest.fixture(scope="module")
def regular(start_bridge, upstream):
    return start_bridge("regular", CHATGPT_BASE_URL=upstream.base_url)


@pytest.fixture(scope="module")
def app(start_gateway, upstream):
    return start_gateway(CHATGPT_BASE_URL=upstream.base_url)


@pytest.fixture(params=["reverse", "regular"])
def client(request):
    """The SDK as users have it: by its base URL, or with a base URL that can't be changed and a proxy it trusts."""
    bridge = request.getfixturevalue(request.param)
    if request.param == "reverse":
        http = httpx.Client(trust_env=False)
        with openai.OpenAI(base_url=f"{bridge.base_url}/v1", api_key=KEY, http_client=http, max_retries=0) as sdk:
            yield sdk
    else:
        trusted = ssl.create_default_context(cafile=str(bridge.folder / "conf" / "mitmproxy-ca-cert.pem"))
        http = httpx.Client(trust_env=False, proxy=bridge.base_url, verify=trusted)
        with openai.OpenAI(api_key=KEY, http_client=http, max_retries=0) as sdk:
            yield sdk


def ask(server, prompt, stream=False, key=None, **more):
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": prompt}], **more}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(server.base_url + CHAT, json=body, headers=headers, trust_env=False, timeout=60)


def prompt(text):
    return {"model": "auto", "messages": [{"role": "user", "content": text}]}


def stats(upstream):
    return upstream.get("/standin/stats").json()


def alike(body):
    """A body without what differs from call to call."""
    return _unlike.sub(rb'"\1":0', body)


def in_band(response):
    """The error a stream ends with."""
    lines = [line for line in response.text.split("\n\n") if line]
    assert "[DONE]" not in response.text
    return json.loads(lines[-1].removeprefix("data: "))


def picture():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0\xff\0\0")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


class TestTheSdk:
    def test_gets_a_text(self, client):
        completion = client.chat.completions.create(**prompt("[[say=Good morning]]"))
        assert completion.choices[0].message.content == "Good morning"
        assert completion.usage.total_tokens > 0

    def test_gets_a_stream(self, client):
        chunks = list(client.chat.completions.create(**prompt("[[say=Good morning]]"), stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Good morning"
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_gets_an_error(self, client):
        with pytest.raises(openai.BadRequestError, match="Invalid conversation body"):
            client.chat.completions.create(**prompt("[[failure=invalid_body]]"), stream=True)

    def test_gets_calls_of_tools(self, client):
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
        call = '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'
        stream = client.chat.completions.create(**prompt(f"[[say={call}]]"), tools=[tool], stream=True)
        said = list(stream)
        calls = [call for chunk in said for call in chunk.choices[0].delta.tool_calls or []]
        assert [call.function.name for call in calls if call.function.name] == ["look"]
        assert said[-1].choices[0].finish_reason == "tool_calls"

    def test_gets_several_answers(self, client):
        completion = client.chat.completions.create(**prompt("[[say=Twice]]"), n=2)
        assert [choice.message.content for choice in completion.choices] == ["Twice", "Twice"]

    def test_sends_a_picture(self, client, upstream):
        token = upstream.post("/standin/accounts", {"name": "painter"}).json()["access_token"]
        parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": picture()}}]
        before = stats(upstream)["files"]["stored"]
        stream = client.with_options(api_key=token).chat.completions.create(
            model="auto", messages=[{"role": "user", "content": parts}], stream=True
        )
        assert list(stream)[-1].choices[0].finish_reason == "stop"
        assert stats(upstream)["files"]["stored"] >= before
        assert stats(upstream)["recent_turns"][-1]["conversation"]["messages"][-1]["content"]["content_type"] == (
            "multimodal_text"
        )

    def test_lists_models(self, client):
        assert next(iter(client.models.list())).id == "auto"


class TestBytes:
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize(
        "words",
        [
            "[[say=Good morning]]",
            "[[script=unicode]]",
            "[[script=code]]",
            "[[script=citations]]",
            "[[script=cut]]",
        ],
    )
    def test_are_those_of_the_app(self, reverse, app, words, stream):
        ours, theirs = (ask(server, f"{words} [[seed=3]]", stream) for server in (reverse, app))
        assert alike(ours.content) == alike(theirs.content)
        assert ours.headers["content-type"] == theirs.headers["content-type"]
        assert ours.headers["x-request-id"].startswith("req_")

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize(
        "words", ["[[html=403]]", "[[status=404]]", "[[failure=content_policy]]", "[[status=500]]"]
    )
    def test_of_a_refusal_are_those_of_the_app(self, reverse, app, words, stream):
        ours, theirs = (ask(server, words, stream) for server in (reverse, app))
        assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
        assert ours.headers["x-should-retry"] == theirs.headers["x-should-retry"]
        assert ours.status_code >= 400

    def test_of_a_limit_are_those_of_the_app(self, reverse, app, upstream):
        tokens = [upstream.post("/standin/accounts", {"name": f"eager{n}"}).json()["access_token"] for n in range(2)]
        pairs = zip((reverse, app), tokens, strict=True)
        ours, theirs = (ask(server, "[[failure=too_many_requests]]", stream=True, key=key) for server, key in pairs)
        assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content) != (200, b"")
        assert ours.headers.get("retry-after") == theirs.headers.get("retry-after")
        assert ours.status_code == 429

    @pytest.mark.parametrize("body", [b"{", b"{}", b'{"model": 1}'])
    def test_of_a_wrong_request_are_those_of_the_app(self, reverse, app, body):
        ours, theirs = (httpx.post(one.base_url + CHAT, content=body, trust_env=False) for one in (reverse, app))
        assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)

    def test_of_an_error_before_the_text_hold_the_same_error(self, reverse, app):
        ours, theirs = (ask(server, "[[script=error_policy]]", stream=True) for server in (reverse, app))
        assert (ours.status_code, in_band(ours)) == (200, theirs.json())

    def test_of_an_error_before_the_text_are_those_of_the_app_where_it_answers(self, start_bridge, upstream, app):
        bridge = start_bridge(
            f"reverse:{upstream.base_url}", "--set", "bridge_inline=false", CHATGPT_BASE_URL=upstream.base_url
        )
        ours, theirs = (ask(server, "[[script=error_policy]]", stream=True) for server in (bridge, app))
        assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)

    def test_of_an_error_within_the_text_are_those_of_the_app(self, reverse, app):
        ours, theirs = (ask(server, "[[script=error]] [[seed=3]]", stream=True) for server in (reverse, app))
        assert alike(ours.content) == alike(theirs.content)

    @pytest.mark.parametrize("path", ["/nothing", "/v1/chat/completions", "/v1/models/none"])
    def test_of_other_paths_are_those_of_the_app(self, reverse, app, path):
        ours, theirs = reverse.get(path), app.get(path)
        assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
        assert ours.status_code >= 400


class TestStreams:
    def test_are_the_flow_itself(self, reverse, upstream):
        ask(reverse, "[[say=Plain]]", stream=True)
        assert f"POST {upstream.base_url}/backend-anon/conversation" in reverse.log

    def test_hold_nothing_back(self, reverse):
        body = prompt("[[say=one two three four five six]] [[delay=0.2]]") | {"stream": True}
        arrived = []
        with httpx.stream("POST", reverse.base_url + CHAT, json=body, trust_env=False, timeout=60) as response:
            for line in response.iter_lines():
                arrived.append(time.monotonic()) if line else None
        gaps = [after - before for before, after in itertools.pairwise(arrived)]
        assert sum(gap > 0.1 for gap in gaps) >= 2

    def test_of_compressed_answers(self, start_standin, start_bridge, tmp_path):
        """None is asked for; an upstream may send one nevertheless. (The stand-in has to be asked.)"""
        upstream, script = start_standin(gzip=True), tmp_path / "accepting.py"
        script.write_text(
            "from mitmproxy import http\nmake = http.Request.make\n"
            "def accepting(method, url, body, headers):\n"
            "    return make(method, url, body, headers | {'accept-encoding': 'gzip'})\n"
            "http.Request.make = accepting\n"
            "def response(flow): print('coding', flow.response.headers.get('content-encoding'), flush=True)\n"
        )
        bridge = start_bridge(
            f"reverse:{upstream.base_url}", scripts=(str(script),), CHATGPT_BASE_URL=upstream.base_url
        )
        streamed, whole = (ask(bridge, "[[say=Good morning]]", stream) for stream in (True, False))
        assert "".join(texts(streamed.text)) == whole.json()["choices"][0]["message"]["content"] == "Good morning"
        assert "content-encoding" not in streamed.headers
        assert "coding gzip" in bridge.log  # of the whole one, as upstream sent it

    def test_of_clients_that_leave_end_upstream_at_once(self, reverse, upstream):
        upstream.post("/standin/reset")
        body = prompt("[[script=long]] [[delay=0.05]]") | {"stream": True}
        with httpx.stream("POST", reverse.base_url + CHAT, json=body, trust_env=False, timeout=60) as response:
            next(response.iter_bytes())
        left = time.monotonic()
        while not (gone := stats(upstream)["client_gone"]) and time.monotonic() < left + 5:
            time.sleep(0.02)
        assert gone[0]["at"] - left < 0.5
        assert "status=client_gone" in reverse.log

    def test_come_fifty_at_a_time(self, reverse):
        async def one(client, number):
            body = prompt(f"[[say=Number {number}.]] [[delay=0.01]]") | {"stream": True}
            response = await client.post(reverse.base_url + CHAT, json=body)
            return f"Number {number}." in "".join(texts(response.text)) and response.text.endswith("[DONE]\n\n")

        async def all_of_them():
            limits = httpx.Limits(max_connections=50)
            async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
                return await asyncio.gather(*(one(client, number) for number in range(50)))

        assert asyncio.run(all_of_them()) == [True] * 50

    def test_that_move_elsewhere_say_so(self, reverse):
        assert in_band(ask(reverse, "[[script=handoff]]", stream=True))["error"]["code"] == "stream_handoff"

    def test_of_upstreams_that_break_break_too(self, start_standin, start_bridge):
        upstream = start_standin(process=True)
        bridge = start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url)
        body = prompt("[[script=long]] [[delay=0.05]]") | {"stream": True}
        with httpx.stream("POST", bridge.base_url + CHAT, json=body, trust_env=False, timeout=30) as response:
            pieces = response.iter_bytes()
            next(pieces)
            upstream.process.kill()
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        assert "status=upstream_connection" in bridge.log


def texts(stream):
    for line in stream.split("\n\n"):
        if line.startswith("data: {"):
            yield from (choice["delta"].get("content") or "" for choice in json.loads(line[6:])["choices"])


class TestCredentials:
    def test_of_clients_stay_here(self, reverse, regular, upstream, client):
        upstream.post("/standin/reset")
        client.chat.completions.create(**prompt("[[say=Plain]]"))
        (turn,) = stats(upstream)["recent_turns"]
        assert turn["path"] == "/backend-anon/conversation"
        assert KEY not in json.dumps(stats(upstream)) + reverse.log + regular.log

    def test_are_asked_for_where_there_are_keys(self, start_bridge, upstream):
        bridge = start_bridge(
            f"reverse:{upstream.base_url}", "--set", "authorization=sesame", CHATGPT_BASE_URL=upstream.base_url
        )
        assert [ask(bridge, "[[say=Plain]]", key=key).status_code for key in (None, "wrong", "sesame")] == [
            401,
            401,
            200,
        ]

    def test_do_not_pass_with_paths_that_do(self, start_bridge, echo):
        bridge = start_bridge(f"reverse:{echo}", "--set", "bridge_pass=^/passed", CHATGPT_BASE_URL=echo)
        headers = {"authorization": f"Bearer {KEY}", "cookie": "a=b", "x-kept": "yes"}
        seen = httpx.get(f"{bridge.base_url}/passed/on", headers=headers, trust_env=False).json()
        assert seen["path"] == "/passed/on"
        assert seen["headers"]["x-kept"] == "yes"
        assert seen["headers"]["host"] == echo.removeprefix("http://")
        assert not {"authorization", "cookie"} & seen["headers"].keys()

    def test_of_ours_go_to_no_other_host(self, regular, echo):
        headers = {"authorization": "Bearer for-the-other-host"}
        with httpx.Client(proxy=regular.base_url, trust_env=False) as client:
            seen = client.get(f"{echo}/v1/models", headers=headers).json()
        assert seen["path"] == "/v1/models"
        assert seen["headers"]["authorization"] == headers["authorization"]

    def test_of_the_app_inside_are_its_tickets(self, reverse):
        reverse.get("/healthz")
        port = re.findall(r"http://127\.0\.0\.1:(\d+)/healthz", reverse.log)[-1]
        for headers in ({}, {"x-chat2api-ticket": "guessed"}):
            answer = httpx.get(f"http://127.0.0.1:{port}/healthz", headers=headers, trust_env=False)
            assert (answer.status_code, answer.content) == (404, b"")


class TestGuard:
    """An exception planted in each hook."""

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("hook", ["request", "responseheaders", "response"])
    def test_answers_for_a_broken_hook(self, start_bridge, upstream, tmp_path, hook, stream):
        upstream.post("/standin/reset")
        bridge = start_bridge(
            f"reverse:{upstream.base_url}",
            scripts=(plant(tmp_path, hook),),
            health=502 if hook == "request" else 200,  # this hook sees /healthz, too
            CHATGPT_BASE_URL=upstream.base_url,
        )
        answer = ask(bridge, "[[say=Plain]]", stream, key=KEY)
        if hook == "response" and stream:
            assert answer.text.endswith("[DONE]\n\n")  # it was all said by then
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "internal_error")
            assert answer.headers["x-request-id"]
        assert KEY not in json.dumps(stats(upstream))
        assert len(stats(upstream)["recent_turns"]) == (0 if hook == "request" else 1)
        assert "planted" in bridge.log

    def test_outlives_a_broken_error_hook(self, start_bridge, upstream, tmp_path):
        script = plant(tmp_path, "error")
        bridge = start_bridge(f"reverse:{upstream.base_url}", scripts=(script,), CHATGPT_BASE_URL=upstream.base_url)
        body = prompt("[[script=long]] [[delay=0.05]]") | {"stream": True}
        with httpx.stream("POST", bridge.base_url + CHAT, json=body, trust_env=False) as response:
            next(response.iter_bytes())
        assert "Still" in ask(bridge, "[[say=Still]]").text
        assert "planted" in bridge.log

    def test_tells_of_a_broken_stream(self, start_bridge, upstream, tmp_path):
        script = plant(tmp_path, "receive")
        bridge = start_bridge(f"reverse:{upstream.base_url}", scripts=(script,), CHATGPT_BASE_URL=upstream.base_url)
        answer = ask(bridge, "[[say=Plain]]", stream=True)
        assert in_band(answer)["error"]["code"] == "internal_error"
        assert "planted" in bridge.log

    def test_refuses_what_would_send_requests_on_unread(self, start_bridge, upstream):
        with pytest.raises(AssertionError, match="stream_large_bodies would send"):
            start_bridge(f"reverse:{upstream.base_url}", "--set", "stream_large_bodies=1")


def plant(folder, hook):
    """A script that breaks what a hook of the bridge calls first."""
    calls = {
        "request": "addons.rewriting:incoming",
        "responseheaders": "addons.crossing:Crossing.stream_head",
        "response": "addons.crossing:Crossing.end addons.crossing:Crossing.whole",
        "error": "addons.crossing:Crossing.lost",
        "receive": "addons.crossing:Crossing.receive",
    }[hook]
    lines = ["import importlib", "def fail(*_, **__):", "    raise LookupError('planted')"]
    for call in calls.split():
        module, _, name = call.partition(":")
        *owners, attribute = name.split(".")
        target = ".".join(["module", *owners])
        lines += [f"module = importlib.import_module({module!r})", f"{target}.{attribute} = fail"]
    script = folder / "planted.py"
    script.write_text("\n".join(lines) + "\n")
    return str(script)


def test_settings_are_options_that_beat_the_environment(start_bridge, upstream):
    bridge = start_bridge(
        f"reverse:{upstream.base_url}",
        "--set",
        "strict_params=true",
        CHATGPT_BASE_URL=upstream.base_url,
        STRICT_PARAMS="false",
    )
    assert ask(bridge, "[[say=Plain]]", seed_of_nothing=1).status_code == 400


def test_other_accounts_are_tried_where_upstream_refuses(start_bridge, upstream):
    upstream.post("/standin/reset")
    bridge = start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url, ADMIN_KEY="open")
    tokens = [upstream.post("/standin/accounts", {"name": f"one{n}"}).json()["access_token"] for n in range(2)]
    added = httpx.post(
        f"{bridge.base_url}/tokens/api/accounts",
        json={"text": "\n".join(tokens)},
        headers={"authorization": "Bearer open"},
        trust_env=False,
    )
    assert added.status_code < 300, added.text
    upstream.post("/standin/plan", {"turns": [{"status": 429}]})
    for stream in (True, False):
        assert "Second" in ask(bridge, "[[say=Second]]", stream).text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])  # made the upstream call itself, and handed to the app
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "http://other.test"}, "other_origin"),
        ({"origin": "http://other.test", "sec-fetch-site": "cross-site"}, "other_origin"),
        ({"host": "other.test", "origin": "http://other.test", "sec-fetch-site": "same-origin"}, "foreign_host"),
    ],
)
def test_without_a_key_no_other_web_page_is_answered(reverse, upstream, headers, code, path, stream):
    before = stats(upstream)["turns"]
    asked = json.dumps(prompt("hi") | {"prompt": "hi", "stream": stream})  # as text/plain, for which no browser asks
    refused = httpx.post(reverse.base_url + path, content=asked, headers=headers, trust_env=False, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, code)
    assert stats(upstream)["turns"] == before
    assert ask(reverse, "hi").status_code == 200


def test_pictures_and_sound_are_answered_by_the_app_inside(client, upstream):
    """Forms and sound go through mitmdump as they are."""
    token = upstream.post("/standin/accounts", {"name": "bridge-media"}).json()["access_token"]
    client = client.with_options(api_key=token)
    made = client.images.generate(model="gpt-image-1", prompt="a cat [[script=image_gen]]")
    picture = base64.b64decode(made.data[0].b64_json)
    assert picture.startswith(b"\x89PNG")
    events = list(client.images.edit(image=("a.png", picture), prompt="b [[script=image_gen]]", stream=True))
    assert [one.type for one in events] == ["image_edit.completed"]
    spoken = client.audio.speech.create(model="tts-1", voice="nova", input="two words")
    assert spoken.response.headers["content-type"] == "audio/mpeg"
    heard = client.audio.transcriptions.create(model="whisper-1", file=("talk.mp3", spoken.content))
    assert "talk.mp3" in heard.text
