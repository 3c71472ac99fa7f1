"""Keys on the accounts page in a real Chromium, in the real server."""

import re

import httpx
from playwright.async_api import expect


async def test_a_key_is_made_used_rotated_and_removed(start_gateway, shared_standin, chromium):
    server = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, ADMIN_KEY="admin-key")

    def status(key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.get(f"{server.base_url}/v1/models", headers=headers, trust_env=False).status_code

    context = await chromium.new_context(viewport={"width": 390, "height": 800})
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    page = await context.new_page()
    await page.goto(f"{server.base_url}/tokens")
    await page.get_by_label("Admin key").fill("admin-key")
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_text("Keys for clients").click()
    await page.get_by_label("Name", exact=True).fill("phone")
    await page.get_by_label("Requests a minute").fill("5")
    await page.get_by_role("button", name="Make a key").click()
    await expect(page.locator("#key-told")).to_contain_text("the key phone")
    first = await page.locator("#key-secret").inner_text()
    assert status(first) == 200
    await expect(page.locator("#key-list")).to_contain_text("0 of 5 requests this minute")
    assert first not in await page.locator("#key-list").inner_text()

    await page.get_by_role("button", name="Rotate phone").click()
    await page.locator("#confirm-yes").click()
    await expect(page.locator("#key-secret")).to_have_text(re.compile(f"c2a-(?!{re.escape(first[4:])})"))
    second = await page.locator("#key-secret").inner_text()
    assert (status(first), status(second)) == (401, 200)

    await page.get_by_label("Name", exact=True).fill("phone")
    await page.get_by_role("button", name="Make a key").click()
    await expect(page.locator("#key-message")).to_contain_text("already")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390  # nothing sticks out on a phone

    await page.get_by_role("button", name="Remove phone").click()
    await page.locator("#confirm-yes").click()
    await expect(page.locator("#key-list li")).to_have_count(0)
    assert complaints == []
    await context.close()
    assert second not in server.log
