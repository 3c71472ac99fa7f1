"""What is no chat completion, through the addon: the Anthropic API, files, lists of models, and what nobody serves."""

import ssl

import anthropic
import httpx
import httpx2  # which this library is built on
import openai
import pytest

NOTES = ("notes.txt", b"Buy milk.\n")


@pytest.fixture(scope="module")
def upstream(start_standin):
    return start_standin(seed=7)


@pytest.fixture(scope="module")
def token(upstream):
    return upstream.post("/standin/accounts", {"name": "bridged", "plan": "plus"}).json()["access_token"]


@pytest.fixture(scope="module")
def bridge(start_bridge, upstream):
    return start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url)


@pytest.fixture(scope="module")
def proxy(start_bridge, upstream):
    hosts = "bridge_host=api.openai.com,api.anthropic.com"
    return start_bridge("regular", "--set", hosts, CHATGPT_BASE_URL=upstream.base_url)


@pytest.fixture(params=["reverse", "regular"])
def client(request, bridge, proxy, token):
    """Anthropic's library: by its base URL, or as it is behind a proxy that it trusts."""
    if request.param == "reverse":
        http, address = httpx2.Client(trust_env=False), bridge.base_url
    else:
        trusted = ssl.create_default_context(cafile=str(proxy.folder / "conf" / "mitmproxy-ca-cert.pem"))
        http, address = httpx2.Client(trust_env=False, proxy=proxy.base_url, verify=trusted), None
    with anthropic.Anthropic(base_url=address, api_key=token, http_client=http, max_retries=0) as library:
        yield library


def test_anthropics_library_has_all_it_asks_for(client):
    asked = {"model": "auto", "max_tokens": 99, "messages": [{"role": "user", "content": "[[say=one two]]"}]}
    answered = client.messages.create(**asked)
    assert [block.text for block in answered.content] == ["one two"]
    assert answered._request_id.startswith("req_")
    with client.messages.stream(**asked) as events:
        assert "".join(events.text_stream) == "one two"
    del asked["max_tokens"]
    assert client.messages.count_tokens(**asked).input_tokens == answered.usage.input_tokens
    assert "auto" in [one.id for one in client.models.list()]
    file = client.files.upload(file=(*NOTES, "text/plain"))
    block = {"type": "document", "source": {"type": "file", "file_id": file.id}}
    named = [{"role": "user", "content": [{"type": "text", "text": "[[say=read]]"}, block]}]
    assert client.messages.create(model="auto", max_tokens=99, messages=named).content[0].text == "read"
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.batches.list()
    assert "one by one" in refused.value.message
    assert refused.value.request_id == refused.value.body["request_id"]


def test_openais_library_has_files_and_is_told_what_there_is_not(bridge, token):
    http = httpx.Client(trust_env=False)
    with openai.OpenAI(base_url=f"{bridge.base_url}/v1", api_key=token, http_client=http, max_retries=0) as client:
        file = client.files.create(file=NOTES, purpose="user_data")
        assert client.files.content(file.id).read() == NOTES[1]
        assert file.id in [one.id for one in client.files.list()]
        part = {"type": "file", "file": {"file_id": file.id}}
        for stream in (False, True):  # inline: the flow is upstream's own call, with the file in it
            messages = [{"role": "user", "content": [{"type": "text", "text": "[[say=read]]"}, part]}]
            told = client.chat.completions.create(model="auto", messages=messages, stream=stream)
            pieces = [one.choices[0].delta.content or "" for one in told] if stream else None
            assert ("".join(pieces) if pieces is not None else told.choices[0].message.content) == "read"
        assert client.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError) as refused:
            client.embeddings.create(model="m", input="x")
        assert refused.value.code == "unsupported_endpoint"


def test_another_page_is_refused_in_the_envelope_of_who_is_called(bridge):
    """Which the addon itself does, before the app is asked."""
    headers = {"origin": "https://other.example", "sec-fetch-site": "cross-site"}
    for path, kind in (("/v1/messages", "permission_error"), ("/v1/chat/completions", "permission_error")):
        answer = httpx.post(bridge.base_url + path, json={}, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, kind)
        named = answer.json().get("request_id")
        assert named == (answer.headers["request-id"] if path == "/v1/messages" else None)
