"""Presets: choices under a name, used in a chat or in every new one, and taken along with an export."""

import asyncio
import json
from pathlib import Path

from playwright.async_api import expect

from tests.web.test_access import violations

KIND = "You are kind. Answer in one line."


async def test_choices_are_kept_used_undone_and_begin_new_chats(gateway, visit, make_account):
    key = make_account("chooser", plan="plus")
    async with visit(f"{gateway.base_url}/", key=key, viewport={"width": 390, "height": 844}) as chat:
        opener, form = chat.button("Saved prompts and presets"), chat.page.get_by_role("dialog", name="New preset")
        await opener.focus()
        await chat.page.keyboard.press("Enter")
        await chat.button("Keep what this chat is set to").focus()
        await chat.page.keyboard.press("Enter")
        await expect(form.get_by_label("Name")).to_be_focused()
        assert await violations(chat.page) == []
        await chat.page.keyboard.press("Enter")
        await expect(form).to_be_visible()  # it has no name yet
        await chat.page.keyboard.type("Kind")
        await form.get_by_label("Model").select_option("gpt-4o")
        await form.get_by_label("Instructions (system prompt)").fill(KIND)
        await form.get_by_label("Search the web for every answer").check()
        await form.get_by_role("button", name="Save").click()
        await expect(chat.button("Use Kind")).to_contain_text("Searches the web · You are kind.")
        assert await violations(chat.page) == []

        await chat.button("Use Kind").click()
        await expect(chat.page.locator("#model")).to_have_attribute("data-model", "gpt-4o")
        await expect(chat.page.locator("#hint")).to_have_text("Searches the web")
        async with chat.page.expect_request("**/v1/responses") as asked:
            await chat.send("Hello")
        body = (await asked.value).post_data_json
        assert body["model"] == "gpt-4o"
        assert body["input"][0] == {"role": "system", "content": KIND}
        assert body["chatgpt"] == {"hints": ["search"]}
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")

        await chat.button("Begin a new chat").click()
        await expect(chat.page.locator("#model")).to_have_attribute("data-model", "auto")
        await opener.click()
        await chat.button("Edit Kind").click()
        change = chat.page.get_by_role("dialog", name="Edit the preset")
        await change.get_by_label("Name").fill("Kinder")
        await change.get_by_label("New chats begin with it").check()
        await change.get_by_role("button", name="Save").click()
        await expect(chat.button("Use Kinder")).to_contain_text("New chats begin with it")
        await chat.page.keyboard.press("Escape")
        await chat.page.reload()
        await expect(chat.page.locator("#model")).to_have_attribute("data-model", "gpt-4o")
        await expect(chat.page.locator("#system")).to_have_class("icon on")

        await opener.click()
        await chat.button("Forget Kinder").click()
        await expect(chat.button("Use Kinder")).to_have_count(0)
        await chat.button("Close").click()
        await chat.button("Undo").click()
        await opener.click()
        await expect(chat.button("Use Kinder")).to_contain_text("New chats begin with it")
        chat.check()


async def test_using_a_preset_in_a_chat_can_be_undone(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        preset = {"name": "Short", "model": "gpt-4o-mini", "system": "Be short."}
        await chat.page.evaluate("text => localStorage.setItem('chat2api.presets', text)", dumped(preset))
        await chat.page.reload()
        await chat.button("Saved prompts and presets").click()
        await chat.button("Use Short").click()
        await expect(chat.page.locator("#model")).to_have_attribute("data-model", "gpt-4o-mini")
        await chat.button("Undo").click()
        await expect(chat.page.locator("#model")).to_have_attribute("data-model", "auto")
        await expect(chat.page.locator("#system")).to_have_class("icon")
        chat.check()


async def test_presets_go_with_an_export_and_come_back_once(gateway, visit, tmp_path: Path):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate("text => localStorage.setItem('chat2api.presets', text)", dumped({"name": "Short"}))
        await chat.page.reload()
        await chat.ask("Hello")
        async with chat.page.expect_download() as download:
            await chat.button("Export all").click()
        saved = tmp_path / "chats.json"
        await (await download.value).save_as(saved)
        assert [one["name"] for one in json.loads(saved.read_text())["presets"]] == ["Short"]
        file = json.loads(saved.read_text()) | {"chats": []}
        file["presets"] += [{"name": "<img src=x onerror=alert(1)>", "wishes": 7, "effort": []}, {"name": ""}, None]
        saved.write_text(json.dumps(file))
        for told in ("0 chats were imported. 1 preset was imported.", "0 chats were imported."):
            await chat.page.locator("#import-file").set_input_files(saved)
            await expect(chat.page.locator("#toasts")).to_have_text(told)
        await chat.button("Saved prompts and presets").click()
        await expect(chat.page.locator("#presets .name")).to_have_text(["Short", "<img src=x onerror=alert(1)>"])
        chat.check()


async def test_a_form_that_was_opened_before_the_models_came_shows_them(gateway, visit, make_account):
    came = asyncio.Event()

    async def hold(route):
        await came.wait()
        await route.continue_()

    async with visit(f"{gateway.base_url}/", key=make_account("quick", plan="plus")) as chat:
        await chat.page.route("**/v1/models", hold)
        await chat.page.reload()
        await chat.button("Saved prompts and presets").click()
        await chat.button("Keep what this chat is set to").click()
        form = chat.page.get_by_role("dialog", name="New preset")
        await form.get_by_label("Name").fill("Quick")
        await expect(form.get_by_label("Model").locator("option")).to_have_count(1)
        came.set()
        await form.get_by_label("Model").select_option("gpt-4o")
        await expect(form.get_by_label("Search the web for every answer")).to_be_visible()
        await expect(form.get_by_label("Name")).to_have_value("Quick")
        chat.check()


async def test_presets_that_cannot_be_read_are_none(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        for stored in ("{broken", "null", '{"presets": 5, "usual": {}}', '{"presets": [5, {"name": 7}], "usual": "x"}'):
            await chat.page.evaluate("text => localStorage.setItem('chat2api.presets', text)", stored)
            await chat.page.reload()
            await chat.button("Saved prompts and presets").click()
            await expect(chat.page.locator("#presets li")).to_have_count(0)
            await expect(chat.page.locator("#presets")).to_contain_text("Keep a model, instructions and switches")
        chat.check()


def dumped(*presets: dict[str, object]) -> str:
    return json.dumps({"presets": presets, "usual": ""})
