"""What a person chooses for a chat: the model and how hard it thinks, search, pictures, research, what is kept."""

from playwright.async_api import expect

from shim.protocol.answer import follow_up


async def sent(chat, text: str) -> dict[str, object]:
    async with chat.page.expect_request("**/v1/responses") as asked:
        await chat.ask(text)
    return (await asked.value).post_data_json


async def test_an_effort_is_chosen_with_its_model_and_an_answer_is_tried_again_with_another(
    gateway, visit, make_account
):
    async with visit(f"{gateway.base_url}/", key=make_account("chooser", listing="presets")) as chat:
        page = chat.page
        await page.locator("#model").click()
        row = page.locator("#model-list li").filter(has=page.get_by_role("button", name="extended thinking")).first
        await expect(row).to_contain_text("reads up to")
        await row.get_by_role("button", name="extended thinking").click()
        model = await page.locator("#model").get_attribute("data-model")
        body = await sent(chat, "Hello")
        assert body["model"] == model
        assert body["reasoning"]["effort"] == "high"
        await expect(chat.answers.last.locator(".by")).to_contain_text("extended thinking")
        async with page.expect_request("**/v1/responses") as asked:
            await chat.answers.last.get_by_role("button", name="Try again with another model").click()
            await page.get_by_role("button", name="ChatGPT chooses").click()
        assert (await asked.value).post_data_json["model"] == "auto"
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        await expect(chat.answers).to_have_count(1)
        chat.check()


async def test_search_stays_and_research_is_asked_for_once(gateway, visit, make_account, monkeypatch):
    soon = follow_up.Rhythm(0.2, 1.0, 0.2, 240)  # in the place of once a minute
    monkeypatch.setitem(follow_up.POLLS, "research", soon)
    async with visit(f"{gateway.base_url}/", key=make_account("searcher", plan="plus")) as chat:
        page = chat.page

        async def wish(**values: str) -> None:
            await chat.button("Search, picture, research and more").click()
            for label, value in values.items():
                await page.locator(f"#wish-{label}").select_option(value)
            await page.get_by_role("dialog").get_by_role("button", name="Save").click()

        await wish(kind="search", keep="temporary")
        await expect(page.locator("#hint")).to_have_text("Searches the web · Temporary chat")
        expected = {"hints": ["search"], "temporary": True}
        assert (await sent(chat, "One"))["chatgpt"] == expected
        assert (await sent(chat, "Two"))["chatgpt"] == expected
        await page.reload()
        await expect(page.locator("#hint")).to_have_text("Searches the web · Temporary chat")
        await wish(keep="", kind="research")
        body = await sent(chat, "Three [[script=research]]")
        assert body["chatgpt"] == {"hints": ["research"], "temporary": False}
        assert "chatgpt" not in await sent(chat, "Four")
        chat.check()


async def test_nothing_of_it_is_offered_without_an_account(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await expect(chat.button("Enter a key for files and pictures")).to_be_visible()
        await expect(chat.button("Search, picture, research and more")).not_to_be_visible()
        assert "chatgpt" not in await sent(chat, "Hello")
        chat.check()
