"""Paths of the vendors' APIs that the web backend can't serve: refused by name, once, and with what to do instead."""

import httpx
import openai
import pytest

from shim.apis.unserved import unserved

MESSAGE = {"role": "user", "content": "hi"}
CALLS = {
    "embeddings": lambda client: client.embeddings.create(model="m", input="x"),
    "moderations": lambda client: client.moderations.create(input="x"),
    "fine_tuning": lambda client: client.fine_tuning.jobs.create(model="m", training_file="f"),
    "batches": lambda client: client.batches.list(),
    "batches/": lambda client: client.batches.retrieve("b"),
    "vector_stores": lambda client: client.vector_stores.create(),
    "vector_stores/": lambda client: client.vector_stores.files.list("v"),
    "assistants": lambda client: client.beta.assistants.list(),
    "threads": lambda client: client.beta.threads.create(),
    "realtime": lambda client: client.realtime.client_secrets.create(),
    "uploads": lambda client: client.uploads.create(bytes=1, filename="f", mime_type="m", purpose="assistants"),
    "evals": lambda client: client.evals.list(),
    "containers": lambda client: client.containers.list(),
    "videos": lambda client: client.videos.create(prompt="x"),
    "chat/completions": lambda client: client.chat.completions.list(),
    "chat/completions/": lambda client: client.chat.completions.retrieve("c"),
    "models/": lambda client: client.models.delete("m"),
}


@pytest.fixture
def client(gateway):
    """The library as users have it, with its two retries; `seen` are the requests it has sent."""
    seen = []
    transport = httpx.Client(event_hooks={"request": [lambda request: seen.append(request.url.path)]}, trust_env=False)
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", http_client=transport) as made:
        made.seen = seen
        yield made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the library's own, of APIs that OpenAI retires
@pytest.mark.parametrize("name", CALLS)
def test_the_library_is_told_at_once_and_does_not_try_again(client, name):
    with pytest.raises(openai.NotFoundError) as refused:
        CALLS[name](client)
    assert len(client.seen) == 1
    assert client.seen[0].startswith(f"/v1/{name}")
    assert refused.value.code == "unsupported_endpoint"
    assert refused.value.type == "invalid_request_error"
    assert "web backend can't do this" in refused.value.message
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert refused.value.response.headers["x-request-id"]


def test_every_row_has_a_path_of_its_own():
    for path in ("/v1/embeddings", "/embeddings", "/v1/v1/embeddings", "/v1/fine-tunes", "/v1/organization/usage"):
        assert unserved("", path, "POST").code == "unsupported_endpoint"
    assert "/v1/messages" in unserved("", "/v1/messages/batches/b/cancel", "POST").message
    for path in ("/v1/embeddingsx", "/v1/", "/v1", "/", "/v2/embeddings", "/x/v1/embeddings", "/v1/nothing"):
        assert unserved("", path, "GET") is None


def test_what_is_nobodys_stays_unknown(gateway):
    assert gateway.get("/v1/nothing").json()["error"]["code"] == "unknown_url"
    assert gateway.post("/healthz", {}).json()["error"]["code"] == "method_not_allowed"
    in_anthropics = gateway.get("/v1/messages/batches")
    assert (in_anthropics.status_code, in_anthropics.json()["error"]["type"]) == (404, "not_found_error")
    assert "one by one" in in_anthropics.json()["error"]["message"]


def test_it_is_so_below_a_prefix(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, API_PREFIX="hidden")
    assert gateway.post("/hidden/v1/embeddings", {}).json()["error"]["code"] == "unsupported_endpoint"
