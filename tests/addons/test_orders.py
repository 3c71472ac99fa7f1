"""The bridge beside other addons, before it and behind it: clients get the same bytes in every order."""

import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

ADDONS = Path(__file__).parents[2] / "addons"
CHAT = "/v1/chat/completions"
_content = re.compile(rb'"content":"([^"]*)"')
_unlike = re.compile(rb'"(id|created)":("[^"]*"|\d+)')
# Addons as people write them: one wants everything streamed, one listens by a callable of its own that calls no other,
# one changes bodies of answers it finds whole.
OTHERS = {
    "streams_all": "class Other:\n    def responseheaders(self, flow):\n        flow.response.stream = True\n",
    "listens": (
        "class Other:\n    def responseheaders(self, flow):\n        flow.response.stream = lambda chunk: chunk or []\n"
    ),
    "streams_none": "class Other:\n    def responseheaders(self, flow):\n        flow.response.stream = False\n",
}


@pytest.fixture(scope="module")
def upstream(start_standin):
    return start_standin(seed=7)


@pytest.fixture(scope="module")
def alone(start_bridge, upstream):
    return start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url)


@pytest.fixture(scope="module")
def regular(start_bridge, upstream):
    return start_bridge("regular", CHATGPT_BASE_URL=upstream.base_url)


def ask(server, stream):
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "[[say=one two three]]"}]}
    answer = httpx.post(server.base_url + CHAT, json=body, trust_env=False, timeout=60)
    return answer.status_code, answer.headers["content-type"], joined(answer.content)


def joined(body):
    """A body without what differs from call to call: ids, times, and where upstream cuts the text."""
    chunks = [_unlike.sub(rb'"\1":0', line) for line in body.split(b"\n\n")]
    shapes = list(dict.fromkeys(_content.sub(b'"content":"..."', chunk) for chunk in chunks))
    return shapes, b"".join(found[1] for found in _content.finditer(body))


def script_of(name, folder):
    if name in OTHERS:
        script = folder / f"{name}.py"
        script.write_text(f"{OTHERS[name]}addons = [Other()]\n")
        return str(script)
    return str(ADDONS / f"{name}.py")


@pytest.mark.parametrize("place", ["scripts", "after"])
@pytest.mark.parametrize("name", ["view", "recorder", *OTHERS])
def test_another_addon_changes_no_byte(name, place, start_bridge, upstream, alone, tmp_path):
    other = (script_of(name, tmp_path),)
    beside = start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url, **{place: other})
    for stream in (True, False):
        assert ask(beside, stream) == ask(alone, stream)
    assert "Traceback" not in beside.log


@pytest.mark.parametrize("code", [403, 429, 503])
def test_what_another_addon_has_answered_is_left_alone(code, start_bridge, upstream):
    if code == 429 and sys.version_info < (3, 12):
        pytest.skip("mitmproxy 11, the newest for Python 3.11, blocks with no 429")
    blocking = ("--set", f"block_list=|~u chat|{code}")
    bridge = start_bridge(f"reverse:{upstream.base_url}", *blocking, CHATGPT_BASE_URL=upstream.base_url)
    before = turns(upstream)
    answer = httpx.post(
        bridge.base_url + CHAT,
        json={"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == code
    assert turns(upstream) == before


def turns(upstream):
    return upstream.get("/standin/stats").json()["requests"].get("POST /backend-anon/conversation")


def chat(bridge, **more):
    body = {"model": "auto", "messages": [{"role": "user", "content": "[[say=one]]"}]}
    return httpx.post(bridge.base_url + CHAT, json=body, trust_env=False, timeout=60, **more)


def test_the_password_of_the_proxy_is_asked_for(start_bridge, upstream):
    bridge = start_bridge(
        f"reverse:{upstream.base_url}", "--set", "proxyauth=u:p", CHATGPT_BASE_URL=upstream.base_url, health=401
    )
    before = turns(upstream)
    assert chat(bridge).status_code == 401
    assert turns(upstream) == before
    assert chat(bridge, auth=("u", "p")).status_code == 200


def test_a_mapped_file_is_the_answer(start_bridge, upstream, tmp_path):
    (tmp_path / "mapped.json").write_text('{"mapped": true}')
    mapped = ("--set", f"map_local=|chat/completions|{tmp_path}/mapped.json")
    bridge = start_bridge(f"reverse:{upstream.base_url}", *mapped, CHATGPT_BASE_URL=upstream.base_url)
    before = turns(upstream)
    assert chat(bridge).json() == {"mapped": True}
    assert turns(upstream) == before


def test_the_password_of_a_regular_proxy_is_asked_for(start_bridge, upstream):
    bridge = start_bridge("regular", "--set", "proxyauth=u:p", CHATGPT_BASE_URL=upstream.base_url, health=407)
    before = turns(upstream)
    with httpx.Client(proxy=bridge.base_url, trust_env=False) as client:
        answer = client.post("http://api.openai.com/v1/chat/completions", json={"model": "auto", "messages": []})
    assert answer.status_code == 407
    assert "proxy-authenticate" in answer.headers
    assert turns(upstream) == before


# --- who upstream is, and who is meant --------------------------------------------------------------------------------


def test_the_target_of_reverse_mode_is_upstream(start_bridge, upstream):
    bridge = start_bridge(f"reverse:{upstream.base_url}")
    assert chat(bridge).json()["choices"][0]["message"]["content"] == "one"
    assert f"upstream is {upstream.base_url}" in bridge.log


def test_a_target_that_is_not_used_is_told(start_bridge, upstream, echo):
    bridge = start_bridge(f"reverse:{echo}", CHATGPT_BASE_URL=upstream.base_url)
    assert chat(bridge).status_code == 200
    assert f"{echo}, is not used" in bridge.log


@pytest.mark.parametrize("host", ["API.OpenAI.com", "api.openai.com."])
def test_a_host_is_the_same_in_every_spelling(regular, host):
    with httpx.Client(proxy=regular.base_url, trust_env=False, timeout=30) as client:
        assert client.get(f"http://{host}/v1/models").json()["object"] == "list"


# --- clients of HTTP/1.0, and an answer of nothing --------------------------------------------------------------------


def test_a_client_of_http_1_0_gets_no_chunks(alone):
    body = b'{"model":"auto","stream":true,"messages":[{"role":"user","content":"[[say=one]]"}]}'
    head = b"POST %s HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(body))
    with socket.create_connection(("127.0.0.1", int(alone.base_url.rpartition(":")[2])), timeout=30) as client:
        client.sendall(head + body)
        answered = b"".join(iter(lambda: client.recv(65536), b""))  # it ends with the connection
    headers, _, stream = answered.partition(b"\r\n\r\n")
    assert headers.split()[1] == b"200"
    assert b"transfer-encoding" not in headers.lower()
    assert stream.startswith(b"data: {")
    assert stream.endswith(b"data: [DONE]\n\n")


class Nothing(BaseHTTPRequestHandler):
    """An upstream whose event stream is empty, and says so."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def empty(start_bridge):
    """A bridge to an upstream that says nothing."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield start_bridge(f"reverse:{url}", CONVERSATION_ONLY="true", RETRY_TIMES="0")
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_of_nothing_is_a_failure(empty, stream):
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(empty.base_url + CHAT, json=body, trust_env=False, timeout=60)
    assert '"empty_stream"' in answer.text
