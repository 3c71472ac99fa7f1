"""`GET /docs`: every public route is on it, nothing in it runs, and it asks nobody for anything."""

import re

import pytest

from shim.app import OPERATIONS
from tests.web.test_access import violations


@pytest.fixture
def page(gateway):
    return gateway.get("/docs")


def test_every_public_route_is_on_it_once_and_every_example_whole(page):
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for operation in OPERATIONS:
        assert page.text.count(f'<details id="{operation.id}">') == 1
    assert page.text.count("<details") == len(OPERATIONS)
    assert "\n…</pre>" not in page.text
    assert not re.search(r"\{(?:links|base|here|keys|groups)\}", page.text)
    assert 'href="./"' in page.text
    assert "`" not in page.text


def test_it_holds_nothing_that_runs_or_is_fetched(page):
    assert not re.search(r"<script|\son\w+=|\bsrc=|https?://|\bstyle=", page.text)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"


def test_below_a_prefix_and_without_the_chat_page(start_gateway, shared_standin):
    gateway = start_gateway(
        "/hidden/healthz",
        CHATGPT_BASE_URL=shared_standin.base_url,
        API_PREFIX="hidden",
        AUTHORIZATION="the-key-of-this-test",
        ENABLE_GATEWAY="false",
    )
    page = gateway.get("/hidden/docs")
    assert page.status_code == 200
    assert "/hidden/v1/chat/completions" in page.text
    assert "Each call needs a key" in page.text
    assert 'href="./"' not in page.text
    assert gateway.get("/docs").status_code == 404


async def test_it_is_read_without_a_complaint(gateway, chromium):
    context = await chromium.new_context(viewport={"width": 390, "height": 844})
    seen, said = [], []
    context.on("request", lambda request: seen.append(request.url))
    context.on("console", lambda message: said.append(message.text))
    reader = await context.new_page()
    await reader.goto(f"{gateway.base_url}/docs")
    await reader.get_by_text("/v1/chat/completions").click()
    await reader.get_by_text("Request (whole)").first.wait_for()
    assert await reader.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await reader.evaluate("getComputedStyle(document.body).maxWidth") == "864px"
    assert [url for url in seen if not url.startswith((gateway.base_url, "data:"))] == []
    assert said == []
    await context.close()
    plain = await chromium.new_context(bypass_csp=True, color_scheme="dark")
    reader = await plain.new_page()
    await reader.goto(f"{gateway.base_url}/docs")
    await reader.get_by_text("/v1/responses/{response_id}/cancel").click()
    assert await violations(reader) == []
    await plain.close()
