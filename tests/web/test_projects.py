"""Projects of the account: chosen by name where they can be listed, written by id where they can't."""

from playwright.async_api import expect

from tests.web.test_access import violations


async def test_a_project_is_chosen_by_its_name(gateway, visit, make_account):
    gizmos = ["g-abc", *(f"g-p-plan{number}" for number in range(60))]
    async with visit(f"{gateway.base_url}/", key=make_account("planner", plan="plus", gizmos=gizmos)) as chat:
        opener, project = chat.button("Search, picture, research and more"), chat.page.locator("#wish-project")
        await opener.click()
        await expect(project.locator("option")).to_have_count(61)
        assert await violations(chat.page) == []
        await project.select_option(label="Plan59")
        await chat.page.get_by_label("The chat in the ChatGPT account").select_option("kept")
        await chat.button("Save").click()
        async with chat.page.expect_request("**/v1/responses") as asked:
            await chat.ask("Hello")
        assert (await asked.value).post_data_json["chatgpt"] == {"temporary": False, "project": "g-p-plan59"}
        await opener.click()
        await expect(project).to_have_value("g-p-plan59")
        await chat.page.keyboard.press("Escape")
        await chat.page.reload()
        await opener.click()
        await chat.button("Save").click()
        await opener.click()
        await expect(project).to_have_value("g-p-plan59")
        await chat.page.keyboard.press("Escape")
        await chat.button("Saved prompts and presets").click()
        await chat.button("Keep what this chat is set to").click()
        await expect(chat.page.locator("#preset-project option:checked")).to_have_text("Plan59")
        chat.check()


async def test_without_a_list_an_id_is_written(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("old", plan="plus")) as chat:
        await chat.page.route(
            "**/backend-api/**", lambda route: route.fulfill(status=404, json={"detail": "Not Found"})
        )
        async with chat.page.expect_response("**/backend-api/**"):
            await chat.button("Search, picture, research and more").click()
        await chat.page.get_by_label("Project").fill("g-p-mine")
        await chat.button("Save").click()
        await chat.button("Search, picture, research and more").click()
        await expect(chat.page.get_by_label("Project")).to_have_value("g-p-mine")
        chat.check(refusals=True)
