"""The empty page: what it offers to ask, and the way to the accounts page and back."""

from playwright.async_api import expect

from shim.standin import make_access_token

ADMIN = {"Authorization": "Bearer admin-key"}


async def test_every_suggestion_is_answered_by_the_demo(start_standin, start_gateway, visit):
    demo = start_gateway(CHATGPT_BASE_URL=start_standin(understands=True).base_url, ADMIN_KEY="admin-key")
    demo.post("/tokens/api/accounts", {"text": make_access_token("demo")}, **ADMIN).raise_for_status()
    shown = ("pre code.hljs, pre code", "table", "img", "pre code", ".failure")
    async with visit(f"{demo.base_url}/") as chat:
        suggestions = chat.page.get_by_role("list", name="Suggestions").get_by_role("button")
        await expect(suggestions).to_have_count(len(shown))
        for place, what in enumerate(shown):
            await suggestions.nth(place).click()
            await expect(chat.answers.last).to_have_attribute("aria-busy", "false", timeout=30_000)
            await expect(chat.answers.last.locator(what).first).to_be_visible()
            await expect(suggestions.first).to_be_hidden()
            await chat.button("New chat").click()
        chat.check(refusals=True)


async def test_the_pages_lead_to_each_other(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.get_by_role("link", name="Accounts").click()
        await expect(chat.page).to_have_title("Accounts · chat2api")
        await chat.page.get_by_role("link", name="Chat").click()
        await expect(chat.page).to_have_title("chat2api")
        chat.check()


async def test_the_accounts_page_leads_to_no_page_that_is_switched_off(start_gateway, upstream, chromium):
    without = start_gateway(CHATGPT_BASE_URL=upstream.base_url, ENABLE_GATEWAY="false")
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(f"{without.base_url}/tokens")
    await expect(page.locator("#app")).to_be_visible()
    await expect(page.get_by_role("link", name="Chat")).to_be_hidden()
    await context.close()
