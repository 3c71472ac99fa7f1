"""A person's tour of the chat page: asking, stopping, editing, coming back, and what goes wrong on the way."""

import base64
import json
import os
import re
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Route, expect

ROOT = Path(__file__).parents[2]
KEY = "the-key-of-these-tests"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
PASTE = """([base64, name, type]) => {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type }));
    const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
    document.getElementById("text").dispatchEvent(event);
}"""

FOCUSED_NAME = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"


def picture(width: int = 8, height: int = 8) -> bytes:
    """A blue PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + b"\x3a\x6f\xd8" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def stream(*lines: object) -> str:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "".join(f"data: {text}\n\n" for text in texts)


def delta(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


async def test_ask_watch_edit_answer_again_and_find_it_after_a_reload(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        first = await chat.ask("Tell me about harbours")
        await expect(first).to_contain_text("You asked: “Tell me about harbours”")
        await expect(chat.page.locator("#announcer")).to_contain_text("You asked")
        await chat.ask("And about ships")
        await expect(chat.answers).to_have_count(2)
        await expect(chat.chats).to_have_text(["Tell me about harbours"])

        await chat.questions.first.hover()
        await chat.questions.first.get_by_role("button", name="Edit and send again").click()
        await chat.page.get_by_label("Edit your message").fill("Tell me about lighthouses")
        await chat.page.keyboard.press("Enter")
        await expect(chat.answers).to_have_count(1)
        await expect(chat.answers.last).to_contain_text("lighthouses”")
        await expect(chat.field).to_be_focused()
        await chat.button("Undo").click()
        await expect(chat.answers).to_have_count(2)
        await expect(chat.answers.first).to_contain_text("harbours”")

        await chat.answers.last.get_by_role("button", name="Answer again").click()
        await expect(chat.answers).to_have_count(2)
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        await expect(chat.answers.last).to_contain_text("And about ships”")

        await chat.reload()
        await expect(chat.answers).to_have_count(2)
        await expect(chat.answers.first).to_contain_text("harbours”")
        await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Tell me about harbours")
        await chat.button("New chat").click()
        await expect(chat.answers).to_have_count(0)
        await chat.chats.first.click()
        await expect(chat.answers).to_have_count(2)
        chat.check()


async def test_an_answer_is_watched_and_stopped_and_what_came_stays(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.send("Go on [[script=long words=2000 delay=0.05]]")
        answer = chat.answers.last
        await expect(answer).to_contain_text("This is the chat2api demo")
        assert await answer.get_attribute("aria-busy") == "true"
        await expect(chat.page.locator("#announcer")).to_have_text("")
        before = len(await answer.inner_text())
        await chat.page.wait_for_function(
            "n => document.querySelector('article.answer').innerText.length > n", arg=before
        )
        await expect(chat.button("Stop")).to_be_visible()
        await chat.page.keyboard.press("Escape")
        await expect(answer).to_contain_text("You stopped this answer.")
        await expect(chat.field).to_be_focused()
        kept = await answer.locator(".prose").first.inner_text()
        await chat.reload()
        await expect(chat.answers.last).to_contain_text("You stopped this answer.")
        assert (await chat.answers.last.locator(".prose").first.inner_text()).startswith(kept[:200])
        chat.check()


async def test_another_chat_meanwhile(gateway, visit):
    """An answer goes on while its chat is not on the screen, and is there afterwards."""
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.send("The slow one [[script=long words=60 delay=0.03]]")
        await expect(chat.answers.last).to_contain_text("This is")
        await chat.button("New chat").click()
        await expect(chat.answers).to_have_count(0)
        await chat.ask("The quick one")
        await chat.chats.filter(has_text="The slow one").click()
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false", timeout=20_000)
        await expect(chat.questions.last).to_contain_text("The slow one")
        chat.check()


async def test_reasoning_is_folded_and_sources_are_links(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        answer = await chat.ask("Think [[script=reasoning]]")
        thoughts = answer.get_by_text("Thought for")
        body = answer.locator(".thinking .prose")
        await expect(body).not_to_be_visible()
        await thoughts.click()
        await expect(body).to_be_visible()
        headings = body.locator("strong")
        await expect(headings).to_have_text(["Reading the question", "Choosing the words"])
        chat.check()


async def test_annotations_become_a_list_of_sources(gateway, visit):
    bad = {"url": "javascript:alert(1)", "title": "Bad", "start_index": 0, "end_index": 1}
    good = {"url": "https://example.test/a", "title": "<b>A</b> page", "start_index": 0, "end_index": 1}
    notes = [{"type": "url_citation", "url_citation": value} for value in (good, good, bad)]
    body = stream(delta(content="See there."), delta(annotations=notes), FINISH, "[DONE]")

    async def answer(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/event-stream", body=body)

    async with visit(f"{gateway.base_url}/") as chat:
        await chat.without_background()
        await chat.page.route("**/v1/chat/completions", answer)
        links = (await chat.ask("Where?")).locator(".sources a")
        await expect(links).to_have_text(["<b>A</b> page"])
        assert await links.first.get_attribute("rel") == "noopener noreferrer nofollow"
        assert await links.first.get_attribute("target") == "_blank"
        chat.check(refusals=True)


async def test_pictures_and_files_are_attached_and_sent(gateway, visit, make_account):
    sent: list[dict[str, object]] = []

    async def answer(route: Route) -> None:
        sent.append(route.request.post_data_json)
        body = stream(delta(content="I see."), FINISH, "[DONE]")
        await route.fulfill(status=200, content_type="text/event-stream", body=body)

    png = picture()
    async with visit(f"{gateway.base_url}/", key=make_account("sender")) as chat:
        await chat.without_background()
        await chat.page.route("**/v1/chat/completions", answer)
        await chat.page.evaluate(PASTE, [base64.b64encode(png).decode(), "blue.png", "image/png"])
        await expect(chat.page.get_by_role("img", name="blue.png")).to_be_visible()
        await chat.page.locator("#files").set_input_files(
            [
                {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"some notes"},
                {"name": "wrong.txt", "mimeType": "text/plain", "buffer": b"not this"},
            ]
        )
        await chat.button("Remove wrong.txt").click()
        await expect(chat.field).to_be_focused()
        await chat.ask("What is it?")
        content = sent[0]["messages"][0]["content"]
        assert content[0] == {"type": "text", "text": "What is it?"}
        url = content[1]["image_url"]["url"]
        assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == png
        file = content[2]["file"]
        assert file == {
            "filename": "notes.txt",
            "file_data": "data:text/plain;base64," + base64.b64encode(b"some notes").decode(),
        }
        assert len(content) == 3
        await chat.reload()
        await expect(chat.questions.first.get_by_role("img", name="blue.png")).to_be_visible()
        await expect(chat.questions.first).to_contain_text("notes.txt")
        chat.check(refusals=True)


async def test_a_picture_goes_up_and_a_picture_comes_back(gateway, upstream, visit, make_account):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.button("API key").click()
        await chat.page.get_by_role("dialog").get_by_label("API key").fill(make_account("painter", plan="plus"))
        await chat.page.keyboard.press("Enter")
        await expect(chat.button("Attach pictures or files")).to_be_visible()
        await chat.page.evaluate(PASTE, [base64.b64encode(picture(6, 4)).decode(), "blue.png", "image/png"])
        await expect(chat.page.get_by_role("img", name="blue.png")).to_be_visible()
        answer = await chat.ask("[[script=image_gen]] Another one like this.")
        drawn = answer.locator("img")
        await expect(drawn).to_be_visible()
        await chat.page.wait_for_function(
            "(image) => image.complete && image.naturalWidth > 0", arg=await drawn.element_handle()
        )
        (sent,) = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]["messages"]
        assert [one["mime_type"] for one in sent["metadata"]["attachments"]] == ["image/png"]
        assert {"width": 6, "height": 4}.items() <= sent["content"]["parts"][1].items()
        chat.check()


async def test_what_is_too_large_is_told_at_once(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("filmer")) as chat:
        await chat.page.evaluate(
            """() => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(21 * 1024 * 1024)], "film.mp4", { type: "video/mp4" }));
                const target = document.getElementById("composer");
                for (const type of ["dragover", "drop"]) {
                    const options = { dataTransfer: data, bubbles: true, cancelable: true };
                    target.dispatchEvent(new DragEvent(type, options));
                }
            }"""
        )
        await expect(chat.page.get_by_role("alert")).to_contain_text("film.mp4 has 22.0 MB")
        await expect(chat.button("Send")).to_be_disabled()
        chat.check()


async def test_the_model_and_the_system_prompt_are_sent(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.without_background()
        picker = chat.page.locator("#model")
        await picker.click()
        models = chat.page.locator("#model-list .pick")
        await expect(models).not_to_have_count(1)  # `auto` is there before the list is
        await expect(models.first).to_contain_text("ChatGPT chooses")
        await chat.page.get_by_label("Search for a model").fill("5 mini")
        await expect(models).to_have_count(1)
        await chat.page.keyboard.press("Enter")
        await expect(picker).to_have_text("GPT-5-mini")
        await chat.button("System prompt").click()
        await chat.page.get_by_label("System prompt").last.fill("Be brief.")
        await chat.button("Save").click()
        async with chat.page.expect_request("**/v1/chat/completions") as asked:
            await chat.ask("Hello")
        body = (await asked.value).post_data_json
        assert body["model"] == "gpt-5-mini"
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert body["stream"] is True
        await chat.reload()
        await expect(picker).to_have_text("GPT-5-mini")
        chat.check(refusals=True)


async def test_a_wrong_key_a_right_key_and_a_prefix(start_gateway, upstream, visit, make_account):
    gateway = start_gateway(
        "/hidden/healthz", CHATGPT_BASE_URL=upstream.base_url, API_PREFIX="hidden", AUTHORIZATION=KEY
    )
    async with visit(f"{gateway.base_url}/hidden/") as chat:
        dialog = chat.page.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        await dialog.get_by_label("API key").fill("wrong")
        await chat.page.keyboard.press("Enter")
        await expect(dialog).to_be_visible()
        assert (await dialog.locator("#ask-why").inner_text()).strip()
        await dialog.get_by_label("API key").fill(KEY)
        await chat.page.keyboard.press("Enter")
        await expect(dialog).not_to_be_visible()
        await chat.page.wait_for_function("() => sessionStorage.getItem('chat2api.key') !== 'wrong'")
        assert KEY not in await chat.page.evaluate("JSON.stringify(localStorage)")
        assert KEY not in await chat.page.content()
        assert await chat.page.evaluate("document.cookie") == ""
        chat.check(refusals=True)


@contextmanager
def started_again(gateway: Any, folder: Path, **settings: str) -> Iterator[None]:
    """The same gateway at the same address, after it was killed."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    port = gateway.base_url.rpartition(":")[2]
    environment = kept | {"PYTHONPATH": str(ROOT), "NO_PROXY": "*", "PORT": port, "DATA_DIR": str(folder)} | settings
    process = subprocess.Popen(gateway.process.args, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(httpx.TransportError):
                gateway.get("/healthz").raise_for_status()
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


async def test_the_server_is_killed_in_mid_answer_and_comes_back(start_gateway, upstream, visit, tmp_path):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, process=True, SHUTDOWN_TIMEOUT="1")
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.send("Go on [[script=long words=2000 delay=0.05]]")
        answer = chat.answers.last
        await expect(answer).to_contain_text("This is the chat2api demo")
        await chat.hurry({1500: 100, 4000: 100})  # before it tries to reach the gateway again
        gateway.process.kill()
        gateway.process.wait(10)
        await expect(answer.locator(".failure")).to_contain_text("The gateway can’t be reached", timeout=20_000)
        await expect(answer).to_contain_text("This is the chat2api demo")
        await answer.get_by_role("button", name="Try again", exact=True).click()
        await expect(chat.answers.last.locator(".failure")).to_contain_text("The gateway can’t be reached")
        with started_again(gateway, tmp_path, CHATGPT_BASE_URL=upstream.base_url):
            await chat.answers.last.get_by_role("button", name="Try again", exact=True).click()
            await expect(chat.answers.last).to_contain_text("This is the chat2api demo", timeout=20_000)
            await chat.button("Stop").click()
            await expect(chat.answers.last).to_contain_text("You stopped")
        chat.check(refusals=True)


async def test_an_error_within_the_stream_keeps_what_came(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.send("Fail later [[script=error]]")
        failure = chat.answers.last.locator(".failure")
        await expect(failure).to_contain_text("Try again")
        await expect(chat.answers.last).to_contain_text("Hello! This is the chat2api demo")
        await expect(chat.page.locator("#announcer")).not_to_have_text("")
        await chat.reload()
        await expect(failure).to_contain_text("Try again")
        chat.check()


async def test_a_limit_counts_down_before_one_may_try_again(gateway, visit):
    envelope = {"error": {"message": "Too many of them.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
    answers = [{"status": 429, "headers": {"retry-after": "2"}, "json": envelope}]

    async def answer(route: Route) -> None:
        if answers:
            await route.fulfill(**answers.pop())
        else:
            await route.continue_()

    async with visit(f"{gateway.base_url}/") as chat:
        await chat.without_background()
        await chat.page.route("**/v1/chat/completions", answer)
        await chat.send("Hello")
        failure = chat.answers.last.locator(".failure")
        await expect(failure).to_contain_text("Too many of them.")
        button = failure.get_by_role("button", name="Try again in")
        await expect(button).to_be_disabled()
        await failure.get_by_role("button", name="Try again", exact=True).click()
        await expect(chat.answers.last).to_contain_text("You asked")
        await expect(chat.answers).to_have_count(1)
        chat.check(refusals=True)


async def test_chats_are_renamed_deleted_brought_back_exported_and_imported(gateway, visit, tmp_path: Path):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Something to keep")
        await chat.chats.first.hover()
        await chat.button("Rename Something to keep").click()
        await chat.page.get_by_label("Title").fill("Kept")
        await chat.page.keyboard.press("Enter")
        await expect(chat.chats).to_have_text(["Kept"])
        await expect(chat.button("Rename Kept")).to_be_focused()

        await chat.chats.first.hover()
        await chat.button("Delete Kept").click()
        await expect(chat.chats).to_have_count(0)
        await chat.button("Undo").click()
        await expect(chat.chats).to_have_text(["Kept"])
        await expect(chat.answers).to_have_count(1)

        async with chat.page.expect_download() as download:
            await chat.button("Export all").click()
        file = tmp_path / "chats.json"
        await (await download.value).save_as(file)
        assert json.loads(file.read_text())["chats"][0]["title"] == "Kept"

        await chat.chats.first.hover()
        await chat.button("Delete Kept").click()
        await expect(chat.chats).to_have_count(0)
        await chat.reload()
        await expect(chat.chats).to_have_count(0)
        await chat.page.locator("#import-file").set_input_files(file)
        await expect(chat.chats).to_have_text(["Kept"])
        await chat.chats.first.click()
        await expect(chat.answers.first).to_contain_text("You asked")
        for text, told in (("nonsense", "is not JSON"), ('{"a": 1}', "not an export")):
            file.write_text(text)
            await chat.page.locator("#import-file").set_input_files(file)
            await expect(chat.page.locator("#toasts")).to_contain_text(told)
        chat.check()


async def test_broken_storage_and_a_full_disk_stop_nobody(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("First")
        await chat.page.evaluate(
            """() => new Promise((resolve) => {
                const asked = indexedDB.open("chat2api");
                asked.onsuccess = () => {
                    const transaction = asked.result.transaction(["heads", "bodies"], "readwrite");
                    transaction.objectStore("heads").put({ id: "hollow", title: 5, updated: "never" });
                    transaction.objectStore("bodies").put({ id: "hollow", messages: "none" });
                    transaction.objectStore("heads").put({ id: "" });
                    transaction.oncomplete = () => (asked.result.close(), resolve());
                };
            })"""
        )
        await chat.page.reload()
        await expect(chat.answers).to_have_count(1)
        await expect(chat.page.locator("#notice")).to_contain_text("can’t be read")
        await expect(chat.chats).to_have_count(2)
        await chat.chats.last.click()
        await expect(chat.page.locator("#toasts")).to_contain_text("can’t be read")
        await chat.page.evaluate(
            """() => {
                IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); };
            }"""
        )
        await chat.ask("Second")
        await expect(chat.page.locator("#notice")).to_contain_text("storage for this page is full")
        chat.check()


async def test_without_any_storage(gateway, visit):
    async with visit("about:blank") as chat:
        await chat.page.add_init_script("delete window.indexedDB; Object.defineProperty(window, 'indexedDB', {})")
        await chat.page.goto(f"{gateway.base_url}/")
        await expect(chat.page.locator("#notice")).to_contain_text("keeps nothing")
        await chat.ask("Hello")
        await expect(chat.chats).to_have_count(1)
        chat.check()


async def test_with_the_keyboard_alone(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        page = chat.page
        await page.keyboard.type("First line")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("second line")
        await page.keyboard.press("Enter")
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        await expect(chat.questions.first).to_contain_text("First line\nsecond line", use_inner_text=True)
        await expect(chat.field).to_be_focused()

        seen = []
        await page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges()")
        await page.get_by_role("link", name="Go to the message field").focus()
        for _ in range(34):
            seen.append(await page.evaluate(FOCUSED_NAME))
            await page.keyboard.press("Tab")
        order = ["New chat", "Delete", "Export all", "System prompt", "Edit and send again", "Answer again", "Enter a"]
        places = [next(index for index, name in enumerate(seen) if name.startswith(wanted)) for wanted in order]
        assert places == sorted(places)

        await chat.button("System prompt").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("System prompt").last).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(chat.button("System prompt")).to_be_focused()
        chat.check()


async def test_on_a_phone(gateway, visit):
    async with visit(f"{gateway.base_url}/", **PHONE) as chat:
        page = chat.page
        await chat.ask("Hello")
        await expect(page.locator("#sidebar")).not_to_be_visible()
        await chat.button("Open the list of chats").tap()
        await expect(chat.chats).to_have_text(["Hello"])
        await expect(chat.button("Close the list of chats")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(chat.button("Open the list of chats")).to_be_focused()
        await chat.button("Open the list of chats").tap()
        await chat.button("New chat").tap()
        await expect(page.locator("#sidebar")).not_to_be_visible()
        await expect(chat.field).to_be_focused()
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide == 390
        chat.check()


async def test_the_theme_is_the_systems_until_one_is_chosen(gateway, visit):
    async with visit(f"{gateway.base_url}/", color_scheme="dark") as chat:
        background = "getComputedStyle(document.body).backgroundColor"
        dark = await chat.page.evaluate(background)
        await chat.button("System theme").click()
        await expect(chat.button("Light theme")).to_be_visible()
        light = await chat.page.evaluate(background)
        assert (dark, light) == ("rgb(20, 23, 29)", "rgb(255, 255, 255)")
        await chat.page.reload()
        assert await chat.page.evaluate(background) == light
        chat.check()


async def test_code_is_copied_as_it_was_written(gateway, visit, say):
    code = "if a < b:\n\tprint('<b>')\n"
    say(f"Look:\n\n```python\n{code}```\n\nand $x^2$ and $5 or $6.")
    async with visit(f"{gateway.base_url}/", permissions=["clipboard-read", "clipboard-write"]) as chat:
        answer = await chat.ask("Show me")
        await expect(answer.locator(".hljs-keyword")).to_have_text("if")
        await expect(answer.locator(".katex")).to_have_count(1)
        await expect(answer).to_contain_text("$5 or $6")
        await answer.get_by_role("button", name="Copy code").click()
        await expect(answer.get_by_role("button", name="Copied")).to_be_visible()
        assert await chat.page.evaluate("navigator.clipboard.readText()") == code
        assert any(re.search(r"KaTeX_\w+-\w+\.woff2$", url) for url in chat.addresses)
        chat.check()
