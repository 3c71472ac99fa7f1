"""Everything an answer can hold, through the real gateway: the same streamed and whole, and links that open."""

import base64
import gc
import json
import re

import httpx
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from shim.exchange import Exchange
from shim.http.answering import ApiCall
from shim.http.responses import EventStream
from tests.gateway.conftest import wait_until

CHAT = "/v1/chat/completions"
PRIVATE_USE = re.compile("[\ue200-\ue206]")
LINK = re.compile(r"\((http://[^)\s]+/files/[^)\s]+)\)")


class Client:
    """Asks the gateway as one account."""

    def __init__(self, gateway, token):
        self._gateway, self._headers = gateway, {"authorization": f"Bearer {token}"}

    def post(self, text, **more):
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **more}
        return self._gateway.post(CHAT, body, **self._headers)

    def message(self, text, **more):
        response = self.post(text, **more)
        assert response.status_code == 200, response.text
        completion = response.json()
        ChatCompletion.model_validate(completion)
        return completion["choices"][0]["message"] | {"finish_reason": completion["choices"][0]["finish_reason"]}

    def streamed(self, text, **more):
        """The message a client that joins the deltas has."""
        *lines, done = [line[6:] for line in self.post(text, stream=True, **more).text.split("\n\n") if line]
        assert done == "[DONE]", done
        message = {"content": "", "reasoning_content": "", "annotations": [], "finish_reason": None}
        for line in lines:
            ChatCompletionChunk.model_validate(json.loads(line))
            (choice,) = json.loads(line)["choices"]
            message["content"] += choice["delta"].get("content") or ""
            message["reasoning_content"] += choice["delta"].get("reasoning_content") or ""
            message["annotations"] += choice["delta"].get("annotations") or []
            message["finish_reason"] = choice["finish_reason"] or message["finish_reason"]
        return message


@pytest.fixture
def client(gateway, make_account):
    return Client(gateway, make_account("reader", plan="plus"))


@pytest.fixture(scope="module")
def keeping_gateway(start_gateway, shared_standin):
    """One that keeps chats upstream, as async pictures and polled hand-offs need."""
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, HISTORY_DISABLED="false", CONTINUE_TIMES="2")


@pytest.fixture
def keeper(keeping_gateway, make_account):
    return Client(keeping_gateway, make_account("keeper", plan="plus"))


SCRIPTS = [
    "text", "unicode", "code", "code_fence", "code_open", "code_error", "reasoning", "reasoning_text", "preamble",
    "interleaved", "hidden", "citations", "citations_split", "citation_groups", "canvas", "unknown_tool", "gizmo_tool",
    "image_refused", "image_failed", "interrupted", "max_tokens", "moderation_ok", "moderation_blocked", "handoff",
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["v1", "snapshot"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_streamed_and_whole_say_the_same(client, script, encoding):
    prompt = f"[[script={script} encoding={encoding} seed=7]]"
    whole, streamed = client.message(prompt), client.streamed(prompt)
    assert streamed["content"] == whole["content"]
    assert streamed["reasoning_content"] == whole.get("reasoning_content", "")
    assert streamed["annotations"] == whole["annotations"]
    assert streamed["finish_reason"] == whole["finish_reason"]
    assert whole["content"]
    assert "HIDDEN" not in json.dumps(whole)
    assert not PRIVATE_USE.search(whole["content"])


@pytest.mark.parametrize("script", ["code", "reasoning", "citations_split", "sandbox", "image_gen", "canvas"])
@pytest.mark.parametrize("chunks", ["bytes", "split"])
def test_how_the_bytes_arrive_does_not_matter(client, script, chunks):
    def without_links(message):
        return LINK.sub("(link)", message["content"])

    told = client.message(f"[[script={script} seed=7]]")
    assert without_links(client.streamed(f"[[script={script} chunks={chunks} seed=7]]")) == without_links(told)


def test_code_and_output_are_fenced(client):
    content = client.message("[[script=code]]")["content"]
    assert content.startswith("```python\n")
    assert "\n```\n\n```output\n" in content


def test_reasoning_is_not_content(client):
    message = client.message("[[script=reasoning say=42]]")
    assert message["content"] == "42"
    assert message["reasoning_content"]


def test_blocked_is_content_filter_and_cut_is_length(client):
    assert client.message("[[script=moderation_blocked]]")["finish_reason"] == "content_filter"
    assert client.message("[[script=max_tokens]]")["finish_reason"] == "length"


def test_an_annotation_names_its_place(client):
    message = client.message("[[script=citations]]")
    (cited,) = [annotation["url_citation"] for annotation in message["annotations"]]
    assert "example.test" in message["content"][cited["start_index"] : cited["end_index"]]
    assert cited["url"] == "https://example.test/standin"


# --- pictures and files -----------------------------------------------------------------------------------------------


def fetched(url):
    return httpx.get(url, trust_env=False, timeout=20)


@pytest.mark.parametrize(("script", "pictures"), [("image_dalle", 1), ("image_gen", 1), ("image_many", 2)])
def test_pictures_are_links_that_open(client, script, pictures):
    content = client.message(f"[[script={script}]]")["content"]
    links = LINK.findall(content)
    assert len(links) == content.count("![") == pictures
    for link in links:
        answer = fetched(link)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("downloads", ["blob", "estuary"])
@pytest.mark.parametrize("newer", [True, False])
def test_pictures_from_wherever_upstream_keeps_them(gateway, make_account, downloads, newer):
    token = make_account("elsewhere", plan="plus", downloads=downloads, newer_downloads=newer)
    (link,) = LINK.findall(Client(gateway, token).message("[[script=image_dalle]]")["content"])
    assert fetched(link).content.startswith(b"\x89PNG")


def test_pictures_as_data_when_asked(client):
    content = client.message("[[script=image_gen]]", image_response_format="b64_json")["content"]
    (data,) = re.findall(r"\(data:image/png;base64,([^)]+)\)", content)
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_a_picture_that_comes_after_the_stream_is_waited_for(keeper):
    content = keeper.message("[[script=image_async polls=1]]")["content"]
    (link,) = LINK.findall(content)
    assert fetched(link).content.startswith(b"\x89PNG")


def test_a_sandbox_file_is_a_download(client):
    (link,) = LINK.findall(client.message("[[script=sandbox]]")["content"])
    answer = fetched(link)
    assert answer.text.startswith("n,square")
    assert answer.headers["content-disposition"] == 'attachment; filename="table.csv"'
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_file_that_is_gone_is_a_404(gateway, make_account):
    token = make_account("gone", plan="plus", sandbox="gone")
    (link,) = LINK.findall(Client(gateway, token).message("[[script=sandbox]]")["content"])
    assert fetched(link).status_code == 404
    assert fetched(link).json()["error"]["code"] == "file_not_found"
    assert fetched(f"{link[:-3]}abc").status_code == 404


def test_links_lead_to_the_public_address_where_one_is_set(start_gateway, upstream, make_account):
    behind = start_gateway(CHATGPT_BASE_URL=upstream.base_url, PUBLIC_BASE_URL="https://chat.example.test/api/")
    content = Client(behind, make_account("public", plan="plus")).message("[[script=image_gen]]")["content"]
    (path,) = re.findall(r"\(https://chat\.example\.test/api(/files/[^)]+)\)", content)
    assert behind.get(path).content.startswith(b"\x89PNG")


# --- answers that go on elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["script=handoff", "script=handoff_cut", "script=handoff_poll polls=1"])
def test_a_hand_off_is_followed(keeper, prompt):
    message = keeper.message(f"[[{prompt} then=reasoning seed=3]]")
    assert message["finish_reason"] == "stop"
    assert message["content"]
    assert message["reasoning_content"]


def test_a_cut_answer_is_gone_on_with_a_bounded_number_of_times(keeper):
    whole = keeper.message("[[script=max_tokens parts=3 seed=5]]")
    assert whole["finish_reason"] == "stop"
    assert keeper.message("[[script=max_tokens parts=4 seed=5]]")["finish_reason"] == "length"


def test_a_cut_answer_of_a_temporary_chat_is_gone_on_with_too(start_gateway, upstream, make_account):
    going_on = start_gateway(CHATGPT_BASE_URL=upstream.base_url, CONTINUE_TIMES="1")
    client = Client(going_on, make_account("temporary", plan="plus"))
    prompt = "[[script=max_tokens say=One two three four.]]"
    whole, streamed = client.message(prompt), client.streamed(prompt)
    assert whole["content"] == streamed["content"] == "One two three four."
    assert whole["finish_reason"] == "stop"


def test_gpts_by_both_names(gateway, make_account, upstream):
    client = Client(gateway, make_account("gpts", plan="plus", gizmos=["g-abc123"]))
    for model in ("g-abc123", "gpt-4-gizmo-g-abc123"):
        response = client.post("hi", model=model)
        assert response.json()["model"] == model
        (turn,) = upstream.get("/standin/stats").json()["recent_turns"][-1:]
        assert turn["conversation"]["conversation_mode"] == {"kind": "gizmo_interaction", "gizmo_id": "g-abc123"}
    unknown = client.post("hi", model="g-nobody")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_of_a_call_that_is_over_waits_for_the_collector(client, stream):
    """What refers to itself in a circle stays until a collection, and those cost a small request a tenth of its CPU."""
    client.post("hello", stream=stream)  # what is made once is there
    gc.collect()
    gc.disable()
    try:
        client.post("hello", stream=stream)
        assert wait_until(
            lambda: not [one for one in gc.get_objects() if isinstance(one, ApiCall | EventStream | Exchange)]
        )
    finally:
        gc.enable()
