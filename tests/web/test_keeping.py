"""What is not lost: versions of an answer, a chat among many, and a chat as a file that others read."""

import json
from pathlib import Path

from playwright.async_api import expect

from tests.web.conftest import watched
from tests.web.test_hostile import MARKDOWN, RAW


async def test_answers_and_questions_have_versions_that_outlive_a_reload(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Tell me about harbours")
        await chat.ask("And about ships")
        await chat.answers.last.get_by_role("button", name="Answer again").click()
        await expect(chat.answers.last.get_by_role("group", name="Versions")).to_have_text("2/2")
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")

        await chat.questions.first.get_by_role("button", name="Edit and send again").click()
        await chat.page.get_by_label("Edit your message").fill("Tell me about lighthouses")
        await chat.page.keyboard.press("Enter")
        await expect(chat.answers).to_have_count(1)
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        await expect(chat.answers.last).to_contain_text("lighthouses”")

        await chat.reload()
        first = chat.questions.first.get_by_role("group", name="Versions")
        await expect(first).to_have_text("2/2")
        await chat.questions.first.get_by_role("button", name="Earlier version").click()
        await expect(first).to_have_text("1/2")
        await expect(chat.answers).to_have_count(2)
        await expect(chat.answers.last.get_by_role("group", name="Versions")).to_have_text("2/2")
        await chat.answers.last.get_by_role("button", name="Earlier version").click()
        await expect(chat.answers.last.get_by_role("group", name="Versions")).to_have_text("1/2")
        chat.check()


async def test_a_chat_is_found_by_its_title_and_by_words_in_it(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Lighthouses")
        await chat.button("New chat").click()
        await chat.ask("Ships [[say=A brig has two masts.]]")
        await chat.page.keyboard.press("Control+k")
        found = chat.page.locator("#found button")
        await expect(found).to_have_count(2)
        await chat.page.get_by_label("Words to look for").fill("TWO masts")
        await expect(found).to_have_count(1)
        await expect(found).to_contain_text("A brig has two masts.")
        await chat.page.get_by_label("Words to look for").fill("lighth")
        await expect(found).to_have_count(1)
        await chat.page.keyboard.press("Enter")
        await expect(chat.questions.first).to_contain_text("Lighthouses")
        await chat.page.keyboard.press("Control+k")
        await chat.page.get_by_label("Words to look for").fill("nothing has this")
        await expect(chat.page.locator("#none-found")).to_be_visible()
        await chat.page.keyboard.press("Escape")
        await chat.page.locator("#scroller").focus()
        await chat.page.keyboard.press("?")
        await expect(chat.page.get_by_role("dialog", name="Shortcuts")).to_contain_text("Ctrl+K")
        chat.check()


async def test_a_chat_is_saved_as_markdown_and_as_a_page_that_runs_nothing(gateway, visit, tmp_path: Path):
    answer = {"role": "assistant", "text": RAW + MARKDOWN + "\n- [x] done\n", "model": "gpt-5"}
    chats = [
        {"id": "one", "title": "<img src=x onerror=planted()>", "messages": [{"role": "user", "text": RAW}, answer]}
    ]
    async with visit(f"{gateway.base_url}/") as chat:
        file = json.dumps({"format": "chat2api.chats", "version": 1, "chats": chats}).encode()
        await chat.page.locator("#import-file").set_input_files(
            {"name": "chats.json", "mimeType": "application/json", "buffer": file}
        )
        saved = {}
        for name, ending in (("Markdown", "md"), ("Web page (HTML)", "html")):
            await chat.chats.first.hover()
            await chat.button("Export", exact=False).nth(0).click()
            async with chat.page.expect_download() as download:
                await chat.button(name).click()
            saved[ending] = tmp_path / f"chat.{ending}"
            await (await download.value).save_as(saved[ending])
        assert "## You" in saved["md"].read_text()
        assert "## gpt-5" in saved["md"].read_text()
        chat.check(refusals=True)

        page = await chat.page.context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.add_init_script("window.planted = () => { window.ran = true; }")
        await page.goto(saved["html"].as_uri())
        await page.wait_for_timeout(200)
        assert await page.evaluate("Boolean(window.ran)") is False
        assert await page.locator("script, iframe, form, img:not([src^='data:'])").count() == 0
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        await expect(page.get_by_text("☑ done")).to_be_visible()


async def test_code_is_wrapped_and_downloaded_and_a_picture_is_seen_whole(gateway, visit, make_account, say):
    async with visit(f"{gateway.base_url}/", key=make_account("viewer", plan="plus")) as chat:
        say("```python\nprint('" + "x" * 300 + "')\n```\n\n- [ ] open\n- [x] done\n")
        answer = await chat.ask("Code")
        await answer.get_by_role("button", name="Wrap long lines").click()
        assert await answer.locator("pre").evaluate("pre => pre.scrollWidth <= pre.clientWidth")
        async with chat.page.expect_download() as download:
            await answer.get_by_role("button", name="Download code").click()
        assert (await download.value).suggested_filename == "code.py"
        await expect(answer.locator("li")).to_have_text(["☐ open", "☑ done"])

        answer = await chat.ask("[[script=image_gen]] A boat")
        await answer.locator("img").click()
        await chat.button("Change this picture").click()
        await expect(chat.page.locator("#attachments img")).to_be_visible()
        await expect(chat.page.locator("#hint")).to_have_text("Makes a picture")
        chat.check()


async def test_a_prompt_is_kept_and_used_again(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.field.fill("Explain it to a child")
        await chat.button("Saved prompts and presets").click()
        await chat.button("Keep what I have written").click()
        await expect(chat.button("Keep what I have written")).to_be_disabled()
        await chat.page.reload()
        await chat.field.fill("Rain. ")
        await chat.button("Saved prompts and presets").click()
        await chat.button("Explain it to a child").click()
        await expect(chat.field).to_have_value("Rain. Explain it to a child")
        await expect(chat.field).to_be_focused()
        await chat.button("Saved prompts and presets").click()
        await chat.button("Forget Explain it to a child").click()
        await expect(chat.page.locator("#prompt-list li")).to_have_count(0)
        await chat.page.evaluate("localStorage.setItem('chat2api.prompts', '{broken')")
        await chat.page.reload()
        await chat.button("Saved prompts and presets").click()
        await expect(chat.page.locator("#no-prompts")).to_be_visible()
        chat.check()


FULL = "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"


async def test_two_tabs_keep_the_prompts_and_presets_of_both(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        other = watched(chat.page.context, await chat.page.context.new_page())
        await other.page.goto(chat.page.url)
        for tab, name in ((chat, "One"), (other, "Two")):
            await expect(tab.field).to_be_visible()
            await tab.field.fill(name)
            await tab.button("Saved prompts and presets").click()
            await tab.button("Keep what this chat is set to").click()
            form = tab.page.get_by_role("dialog", name="New preset")
            await form.get_by_label("Name").fill(f"Preset {name}")
            await form.get_by_role("button", name="Save").click()
            await tab.button("Keep what I have written").click()
        for tab in (chat, other):  # Both have them open.
            await expect(tab.page.locator("#prompt-list .pick")).to_have_text(["Two", "One"])
            await expect(tab.page.locator("#presets .name")).to_have_text(["Preset Two", "Preset One"])
        chat.check()


async def test_what_can_not_be_kept_is_told(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate(FULL)
        await chat.field.fill("Explain it to a child")
        await chat.button("Saved prompts and presets").click()
        await chat.button("Keep what I have written").click()
        await expect(chat.page.locator("#toasts")).to_contain_text("this holds until the page is closed")
        file = json.dumps({"format": "chat2api.chats", "version": 1, "chats": [], "presets": [{"name": "Short"}]})
        await chat.page.locator("#import-file").set_input_files(
            {"name": "chats.json", "mimeType": "application/json", "buffer": file.encode()}
        )
        told = "1 preset was imported. The browser’s storage for this page is full"
        await expect(chat.page.locator("#toasts")).to_contain_text(told)
        chat.check()


async def test_an_answer_is_read_aloud_where_an_account_can(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("speaker", plan="plus")) as chat:
        answer = await chat.ask("**Hello**")
        async with chat.page.expect_response("**/v1/audio/speech") as spoken:
            await answer.get_by_role("button", name="Read aloud").click()
        sound = await spoken.value
        assert sound.status == 200
        assert "*" not in sound.request.post_data_json["input"]
        stop, told = answer.get_by_role("button", name="Stop reading"), chat.page.locator("#toasts")
        # The stand-in's sound is short, and not every Chromium has its codec: it is over, or that is told.
        await expect(answer.get_by_role("button", name="Read aloud").or_(told.locator("div")).first).to_be_visible()
        await expect(stop).to_have_count(0)
        chat.check()
