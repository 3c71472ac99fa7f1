"""The model list in the forms of its askers: OpenAI's, Anthropic's, and that of Codex; aliases are in all of them."""

import httpx
import pytest
from anthropic import Anthropic
from anthropic.types import ModelInfo
from openai.types import Model

ALIASES = "claude-never=auto,fast=gpt-4o-mini,gone=gpt-0"
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def aliasing(start_gateway, shared_standin):
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, MODEL_ALIASES=ALIASES)


@pytest.fixture
def look(aliasing, upstream, make_account):
    token = make_account("lister", plan="plus")

    def run(path, **headers):
        headers = {"x-api-key": token} | headers if headers else {"authorization": f"Bearer {token}"}
        return httpx.get(aliasing.base_url + path, headers=headers, trust_env=False)

    return run


@pytest.fixture
def names(look):
    return [model["id"] for model in look("/v1/models").json()["data"]]


def test_anthropics_form_has_the_same_models(look, names):
    listed = look("/v1/models", **VERSION).json()
    assert [one["id"] for one in listed["data"]] == names
    assert {"fast", "claude-never"} <= set(names)
    assert "gone" not in names
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (names[0], names[-1], False)
    for one in listed["data"]:
        assert not ModelInfo.model_validate_json(httpx.Response(200, json=one).content, strict=True).model_extra
    one = look("/v1/models/fast", **VERSION).json()
    assert (one["type"], one["id"], one["display_name"]) == ("model", "fast", "GPT-4o-mini")


@pytest.mark.parametrize(
    ("query", "shown", "more"),
    [
        ("limit=2", slice(0, 2), True),
        ("limit=2&after_id={1}", slice(2, 4), True),
        ("limit=2&before_id={4}", slice(2, 4), True),
        ("after_id={1}", slice(2, None), False),
        ("before_id={1}", slice(0, 1), False),
        ("before_id={0}", slice(0, 0), False),
    ],
)
def test_pages_of_it(look, names, query, shown, more):
    listed = look(f"/v1/models?{query.format(*names)}", **VERSION).json()
    assert [one["id"] for one in listed["data"]] == names[shown]
    assert listed["has_more"] is more


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=000000001999",
        f"limit=000000001{'1' * 5000}",
        "after_id=no",
        "before_id=no",
    ],
)
def test_what_is_no_page_is_refused_in_anthropics_envelope(look, query):
    refused = look(f"/v1/models?{query}", **VERSION)
    assert (refused.status_code, refused.json()["type"]) == (400, "error")
    missing = look("/v1/models/nothing", **VERSION)
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


def test_anthropics_library_reads_every_page(aliasing, names, make_account):
    token = make_account("lister", plan="plus")
    client = Anthropic(base_url=aliasing.base_url, api_key=token, max_retries=0)
    assert [one.id for one in client.models.list(limit=2)] == names
    assert client.models.retrieve("fast").id == "fast"


def test_codexs_form_has_all_that_it_reads(look, names):
    answer = look("/v1/models?client_version=0.130.0")
    assert [one["slug"] for one in answer.json()["models"]] == names
    needed = {  # what a list can't be read without: the fields that have no default in Codex's own struct
        "slug", "display_name", "description", "supported_reasoning_levels", "shell_type", "visibility",
        "supported_in_api", "priority", "upgrade", "base_instructions", "supports_reasoning_summaries",
        "support_verbosity", "default_verbosity", "apply_patch_tool_type", "truncation_policy",
        "supports_parallel_tool_calls", "experimental_supported_tools",
    }  # fmt: skip
    for place, one in enumerate(answer.json()["models"]):
        assert needed <= one.keys()
        assert (one["priority"], one["visibility"], one["truncation_policy"]["mode"]) == (place, "list", "bytes")
        assert one["base_instructions"]
        levels = [level["effort"] for level in one["supported_reasoning_levels"]]
        assert set(levels) <= {"low", "medium", "high", "xhigh"}
        assert one["default_reasoning_level"] in [*levels, None]
    etag = answer.headers["etag"]
    assert etag == look("/v1/models?client_version=0.130.0").headers["etag"]
    assert etag[0] == etag[-1] == '"'


@pytest.mark.parametrize("spelled", ["openai/gpt-4o", "openai%2Fgpt-4o", "gpt-4o"])
def test_a_name_with_its_provider_is_that_model(look, spelled):
    assert look(f"/v1/models/{spelled}").json()["id"] == "gpt-4o"
    assert look("/v1/models/openai/gpt-0").json()["error"]["code"] == "model_not_found"


def test_an_alias_is_described_as_what_it_stands_for(look):
    stands_for, alias = (look(f"/v1/models/{name}").json() for name in ("gpt-4o-mini", "fast"))
    assert Model.model_validate(alias, strict=True).id == "fast"
    assert {**alias, "id": "gpt-4o-mini"} == stands_for
