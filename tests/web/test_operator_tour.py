"""An operator's tour, as one, on a phone, by keyboard: a call failed; who, when and why; its exchange recorded, saved
and played again; what was used; and a key that is limited."""

import asyncio
import json

import httpx
from playwright.async_api import Page, expect

from shim.cassettes.format import load_cassette
from tests.web.test_access import violations
from tests.web.test_usage_page import opened

SECRET = "the merger with Acme is signed on Friday"
BODY = {"model": "auto", "messages": [{"role": "user", "content": f"[[failure=model_cap]] {SECRET}"}]}


async def fits(page: Page) -> None:
    """A phone shows all of its width, and axe-core has nothing serious to say."""
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert await violations(page) == []


async def test_from_a_failed_call_to_its_cassette(chromium, start_gateway, shared_standin, tmp_path):
    server = start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url,
        ADMIN_KEY="admin-key",
        AUTHORIZATION="first-key,second-key",
        RETRY_TIMES="0",
    )

    async def call(key: str, body: dict) -> httpx.Response:
        return await asyncio.to_thread(server.post, "/v1/chat/completions", body, authorization=f"Bearer {key}")

    well = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    assert (await call("first-key", well)).status_code == 200
    failed = await call("second-key", BODY)
    assert failed.status_code == 429
    async with opened(chromium, server, viewport={"width": 390, "height": 844}) as page:
        # Find it.
        await page.get_by_label("Outcome", exact=True).select_option("true")
        row = page.locator("#calls tr")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text(failed.headers["x-request-id"])
        await expect(row).to_contain_text("env-2")
        await expect(row).to_contain_text("· 429")
        await fits(page)

        # Record what happens when it is made again; others' calls meanwhile are not.
        again_button = page.get_by_role("button", name=f"Record the next call like {failed.headers['x-request-id']}")
        await again_button.press("Enter")
        await expect(page.get_by_label("Of the key")).to_have_value("env-2")
        await expect(page.get_by_label("Of the key")).to_be_focused()
        await fits(page)
        await page.get_by_role("button", name="Record", exact=True).press("Enter")
        orders = page.locator("#orders > li")
        await expect(orders).to_contain_text("0 of 1 recorded")
        assert (await call("first-key", well)).status_code == 200
        again = await call("second-key", BODY)
        assert again.status_code == failed.status_code
        await expect(orders).to_contain_text("over, 1 of 1 recorded", timeout=15_000)
        async with page.expect_download() as download:
            await page.get_by_role("link", name=f"Save the cassette of {again.headers['x-request-id']}").press("Enter")
        saved = tmp_path / "bug.json"
        await (await download.value).save_as(saved)
        await fits(page)
        await page.screenshot(path=tmp_path / "tour.png", full_page=True)

        # What was used, and a key with a limit.
        await page.get_by_label("By", exact=True).select_option("key")
        await page.get_by_role("button", name="Refresh").press("Enter")
        await expect(page.locator("#totals tr", has_text="env-2")).to_contain_text("100.0 %")
        await page.get_by_role("link", name="Keys").press("Enter")
        await page.get_by_label("Name", exact=True).fill("ci")
        await page.get_by_label("Requests a minute").fill("1")
        await page.keyboard.press("Enter")
        await expect(page.locator("#key-told")).to_contain_text("the key ci")
        key = await page.locator("#key-secret").inner_text()
        codes = [(await call(key, well)).status_code for _ in range(2)]
        assert codes == [200, 429]
        await expect(page.locator("#key-list")).to_contain_text("of 1 requests this minute")
        await fits(page)

    # The cassette holds no secret and no text, and is all that another gateway needs to fail alike.
    text = saved.read_text()
    for secret in (SECRET, "Acme", "second-key", "admin-key", json.dumps(SECRET)):
        assert secret not in text
    assert load_cassette(saved).redacted
    replayed = start_gateway(REPLAY=str(saved), RETRY_TIMES="0")
    answer = await asyncio.to_thread(replayed.post, "/v1/chat/completions", BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (again.status_code, again.json()["error"]["code"])
    assert SECRET not in server.log
