"""The debug view where a person reads it: mitmweb in a real Chromium, one conversation through gateway, mitmweb and
upstream. A picture of it is made in every run, and kept where SCREENSHOTS names a folder:

SCREENSHOTS=docs/screenshots .venv-dev/bin/python -m pytest tests/addons/web
"""

import os
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser import PATIENCE

QUESTION = "[[script=reasoning]] Why is the sea salt?"
MOST_BYTES = 250_000


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium):
    page = await chromium.new_page(viewport={"width": 1400, "height": 1180})
    page.set_default_timeout(PATIENCE)
    yield page
    await page.close()


@pytest.fixture
def picture(tmp_path):
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "mitmweb.png"


async def test_a_person_reads_a_conversation_in_mitmweb(watch_web, upstream, start_gateway, page, picture):
    web = watch_web(upstream.base_url)
    gateway = start_gateway(CHATGPT_BASE_URL=web.base_url)
    body = {"model": "auto", "messages": [{"role": "user", "content": QUESTION}]}
    answered = gateway.post("/v1/chat/completions", body).json()["choices"][0]["message"]
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{web.web_url}/?token=for-the-tests")
    await page.locator("tr", has_text="conversation").last.click()
    await page.get_by_text("Response", exact=True).click()
    shown = page.locator(".contentview")
    await expect(shown).to_contain_text("ChatGPT conversation")
    await expect(shown).to_contain_text(f"user: {QUESTION}")
    await expect(shown).to_contain_text("finished   stop")
    text = await page.locator(".contentview").inner_text()
    assert answered["reasoning_content"].splitlines()[0] in text
    assert answered["content"].splitlines()[0] in text
    await page.mouse.move(0, 0)
    image = await page.screenshot(path=picture, animations="disabled", caret="hide")
    assert 10_000 < len(image) < MOST_BYTES
    await page.get_by_text("Comment", exact=True).click()
    comments = [flow["comment"] for flow in web.flows() if flow["comment"]]
    assert len(comments) == 1
    await expect(page.locator("body")).to_contain_text(comments[0])
    assert [url for url in asked if not url.startswith((web.web_url, "data:", "blob:"))] == []
