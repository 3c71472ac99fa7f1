"""An operator's tour of the accounts in a real Chromium, on a phone, by keyboard, in the real server."""

import json
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.browser import PATIENCE
from tests.web.test_access import violations

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
WORDS = "You've hit your usage limit."


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_an_account_is_added_rests_is_understood_labelled_paused_found_and_resumed(
    start_gateway, upstream, chromium, tmp_path: Path, scheme
):
    limit = {"message": WORDS, "code": "usage_limit_reached", "clears_in": 900}
    failing = {"failures": [{"where": "turn", "status": 429, "detail": limit, "times": 1}]}
    tokens = [
        upstream.post("/standin/accounts", {"name": name, **more}).json()["access_token"]
        for name, more in (("tired", failing), ("fresh", {}))
    ]
    server = start_gateway(CHATGPT_BASE_URL=upstream.base_url, ADMIN_KEY="admin-key", AUTHORIZATION="pool-key")

    def ask() -> httpx.Response:
        headers = {"authorization": "Bearer pool-key"}
        return httpx.post(f"{server.base_url}/v1/chat/completions", json=CHAT, headers=headers, trust_env=False)

    context = await chromium.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    page = await context.new_page()
    press, by_role = page.keyboard.press, page.get_by_role

    async def fits() -> None:
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert await violations(page, colours=scheme == "dark") == []

    async def row(place: int):
        id = await page.locator("#rows tr").nth(place).get_attribute("data-id")
        return id, page.locator(f'#rows tr[data-id="{id}"]')

    await page.goto(f"{server.base_url}/tokens")
    await page.get_by_label("Admin key").fill("admin-key")
    await press("Enter")
    await expect(by_role("button", name="Log out")).to_be_visible()

    # Add one, and see it rest, and why.
    await page.locator("#add > summary").press("Enter")
    await page.get_by_label("Access, refresh or session tokens").fill(tokens[0])
    await press("Tab")
    await press("Enter")
    await expect(page.locator("#rows tr")).to_have_count(1)
    assert ask().status_code == 429
    tired, tired_row = await row(0)
    await expect(tired_row.locator(".state")).to_have_text("Cooling")
    await expect(tired_row.locator(".evidence q")).to_have_text(WORDS)
    await expect(tired_row.locator(".evidence code")).to_contain_text("HTTP 429")
    await expect(tired_row.locator(".since")).to_contain_text("ends by its time")
    await expect(tired_row.locator("time.until")).to_have_text("in 15 min")
    await expect(tired_row).to_contain_text("ti…@example.test")
    await fits()

    # Another one serves; it gets a label, by keyboard.
    await page.get_by_label("Access, refresh or session tokens").fill(tokens[1])
    await by_role("button", name="Add", exact=True).press("Enter")
    await expect(page.locator("#rows tr")).to_have_count(2)
    fresh, fresh_row = await row(1)
    assert ask().status_code == 200
    await by_role("button", name=f"Edit {fresh}").press("Enter")
    await expect(page.locator("#edit-label")).to_be_focused()
    await expect(page.locator("#edit-usage-told")).to_contain_text("1 in all, 0 failed")
    await expect(page.locator("#edit-usage i")).to_have_count(14)
    await page.keyboard.insert_text("Finance")
    await press("Tab")
    await page.keyboard.insert_text("2")
    await press("Tab")
    await page.keyboard.insert_text("ftp://hunter2@nowhere")
    await press("Enter")
    await expect(page.locator("#edit-problem")).to_contain_text("no proxy")
    await fits()
    await page.locator("#edit-proxy").fill("")
    await press("Enter")
    await expect(page.locator("#edit")).not_to_be_visible()
    await expect(by_role("button", name=f"Edit {fresh}")).to_be_focused()
    await expect(fresh_row.locator(".label")).to_have_text("Finance")

    # Paused, it takes no turns, and who asks is told so.
    await by_role("button", name=f"Pause {fresh}").press("Enter")
    await expect(fresh_row.locator(".state")).to_have_text("Paused")
    await expect(by_role("button", name=f"Resume {fresh}")).to_be_focused()
    refused = ask()
    assert refused.status_code == 429
    assert "1 limited: usage_limit_reached, until" in refused.json()["error"]["message"]
    assert "1 paused" in refused.json()["error"]["message"]

    # Found by its label, selected, resumed with others.
    await page.get_by_label("Search accounts").fill("finance")
    await expect(page.locator("#rows tr")).to_have_count(1)
    await page.get_by_label("All on this page").press("Space")
    await expect(page.locator("#picked-count")).to_have_text("1 account selected")
    await fits()
    await page.locator('#picked [data-all="resume"]').press("Enter")
    await expect(page.locator("#message")).to_have_text("1 account resumed.")
    await expect(fresh_row.locator(".state")).to_have_text("Ready")
    assert ask().status_code == 200
    await page.get_by_label("Search accounts").fill("nobody like that")
    await expect(page.locator("#empty")).to_have_text("No account is like that.")
    await page.get_by_label("Search accounts").fill("")
    await expect(page.locator("#rows tr")).to_have_count(2)
    await expect(page.locator("#picked-count")).to_have_text("1 account selected")

    # A backup, for the admin key alone.
    await by_role("button", name="Backup…").press("Enter")
    await expect(page.locator("#save-key")).to_be_focused()
    await page.keyboard.insert_text("wrong")
    await press("Enter")
    await expect(page.locator("#save-problem")).to_contain_text("not the admin key")
    await fits()
    await page.locator("#save-key").fill("admin-key")
    async with page.expect_download() as downloading:
        await press("Enter")
    saved = tmp_path / "saved.json"
    await (await downloading.value).save_as(saved)
    kept = json.loads(saved.read_text())["accounts"]
    assert [one["access_token"] for one in kept] == tokens
    assert kept[1]["label"] == "Finance"
    html = await page.content()
    assert not [secret for secret in (*tokens, "hunter2", "admin-key") if secret in html]
    await page.screenshot(path=tmp_path / f"tour-{scheme}.png", full_page=True)

    await page.locator('#picked [data-all="remove"]').press("Enter")
    await page.locator("#confirm-yes").press("Enter")
    await expect(page.locator("#rows tr")).to_have_count(1)
    await expect(page.locator("#picked")).not_to_be_visible()
    assert (await row(0))[0] == tired
    assert complaints == []
