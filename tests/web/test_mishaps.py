"""What people do that a page is not made for: two tabs, a pasted address, a key from a letter, a limit at the start."""

import json
import re

from playwright.async_api import Route, expect

from tests.web.conftest import watched
from tests.web.test_access import violations
from tests.web.test_tour import FINISH, delta, picture, stream
from tests.web.test_truth import ended

LIMITED = {"error": {"message": "Too many of them.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}


async def test_a_chat_goes_on_in_another_tab_and_nothing_is_lost(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Lighthouses")
        other = watched(chat.page.context, await chat.page.context.new_page())
        await other.page.goto(chat.page.url)
        await expect(other.answers).to_have_count(1)
        await other.ask("Ships")
        await expect(chat.questions).to_have_count(2)
        await expect(chat.answers.last).to_contain_text("Ships")
        await chat.ask("Harbours")
        await expect(other.questions).to_have_count(3)
        await other.reload()
        await expect(other.questions).to_have_text([re.compile(name) for name in ("Lighthouses", "Ships", "Harbours")])
        chat.check()


async def test_an_answer_goes_on_in_a_chat_that_was_opened_again(gateway, visit):
    bodies = [
        stream(delta(content="A brig has"), ended("length"), "[DONE]"),
        stream(delta(content=" two masts."), FINISH, "[DONE]"),
    ]

    async def answer(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/event-stream", body=bodies.pop(0))

    async with visit(f"{gateway.base_url}/") as chat:
        await chat.without_background()
        await chat.page.route("**/v1/chat/completions", answer)
        await chat.ask("Ships")
        await chat.chats.first.click()
        await chat.answers.last.get_by_role("button", name="Continue").click()
        await expect(chat.answers.last.locator(".prose").last).to_have_text("A brig has two masts.")
        chat.check(refusals=True)


async def test_the_way_to_the_field_leaves_the_address_and_a_pasted_one_is_followed(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Lighthouses")
        first = chat.page.url
        await chat.button("New chat").click()
        await chat.ask("Ships")
        second = chat.page.url
        await chat.page.get_by_role("link", name="Go to the message field").focus()
        await chat.page.keyboard.press("Enter")
        await expect(chat.field).to_be_focused()
        assert chat.page.url == second
        await chat.page.goto(first)  # The same page with another fragment is not loaded again.
        await expect(chat.questions.first).to_contain_text("Lighthouses")
        chat.check()


async def test_a_key_is_taken_as_it_was_copied(gateway, visit, make_account):
    key = make_account("copied", plan="plus")
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.button("API key").click()
        field = chat.page.get_by_label("API key", exact=True).last
        await field.fill("ключ")
        await chat.page.keyboard.press("Enter")
        await expect(chat.page.get_by_role("dialog")).to_contain_text("can’t be a key")
        await field.fill(f"Bearer \u200b{key[:9]} {key[9:]}\ufeff ")
        await chat.page.keyboard.press("Enter")
        await expect(chat.page.get_by_role("dialog")).to_have_count(0)
        await chat.page.wait_for_function("(key) => sessionStorage.getItem('chat2api.key') === key", arg=key)
        await expect(chat.page.locator("#notice")).to_be_hidden()
        chat.check()


async def test_the_models_are_listed_when_a_limit_is_over(gateway, visit, make_account):
    refusals = [{"status": 429, "headers": {"retry-after": "1"}, "json": LIMITED}]

    async def answer(route: Route) -> None:
        await (route.fulfill(**refusals.pop()) if refusals else route.continue_())

    async with visit(f"{gateway.base_url}/", key=make_account("waiting", plan="plus")) as chat:
        await chat.page.route("**/v1/models", answer)
        await chat.page.reload()
        notice = chat.page.locator("#notice")
        await expect(notice).to_contain_text("Too many of them.")
        await expect(notice).to_be_hidden()
        await expect(chat.button("Search, picture, research and more")).to_be_visible()
        refusals.append({"status": 503, "json": {"error": {"message": "Not yet."}}})
        await chat.page.reload()
        await expect(notice).to_contain_text("Not yet.")
        await chat.ask("Hello")
        await expect(notice).to_be_hidden()
        chat.check(refusals=True)


async def attach_boat(chat) -> None:
    """A picture beside the next message, as soon as the page knows that the account takes files."""
    await expect(chat.button("Search, picture, research and more")).to_be_visible()
    file = {"name": "boat.png", "mimeType": "image/png", "buffer": picture()}
    await chat.page.locator("#files").set_input_files(file)
    await expect(chat.page.locator("#attachments img")).to_be_visible()


async def test_a_picture_that_was_attached_can_be_changed_too(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("painter", plan="plus")) as chat:
        await attach_boat(chat)
        await chat.ask("Look")
        await chat.questions.first.get_by_role("img").focus()
        await chat.page.keyboard.press("Enter")
        await chat.button("Change this picture").click()
        await expect(chat.page.locator("#attachments img")).to_have_attribute("alt", "boat.png")
        chat.check()


async def test_what_no_request_could_take_is_refused_when_it_is_attached(gateway, visit, make_account):
    def file(name: str, kind: str, content: bytes) -> dict[str, object]:
        return {"name": name, "mimeType": kind, "buffer": content}

    async with visit(f"{gateway.base_url}/", key=make_account("hasty", plan="plus")) as chat:
        files = [
            file("empty.txt", "text/plain", b""),
            file("broken.png", "image/png", b"no picture"),
            file("a.txt", "text/plain", b"a"),
        ]
        await chat.page.locator("#files").set_input_files(files)
        await expect(chat.page.locator("#trouble")).to_have_text("empty.txt is empty. broken.png can’t be read.")
        await expect(chat.page.locator("#attachments .name")).to_have_text(["a.txt"])
        chat.check()


async def test_an_attachment_can_be_taken_away_from_a_question(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("editor", plan="plus")) as chat:
        files = [{"name": name, "mimeType": "text/plain", "buffer": b"a"} for name in ("a.txt", "b.txt")]
        await chat.page.locator("#files").set_input_files(files)
        await expect(chat.page.locator("#attachments .name")).to_have_text(["a.txt", "b.txt"])
        await chat.ask("What is in them?")
        question = chat.questions.first
        await question.get_by_role("button", name="Edit and send again").click()
        await question.get_by_role("button", name="Remove a.txt").click()
        await question.get_by_role("button", name="Cancel").click()
        await expect(question.locator(".attachments .name")).to_have_text(["a.txt", "b.txt"])
        await question.get_by_role("button", name="Edit and send again").click()
        await question.get_by_role("button", name="Remove a.txt").click()
        await expect(chat.page.get_by_label("Edit your message")).to_be_focused()
        assert await violations(chat.page) == []
        async with chat.page.expect_request("**/v1/responses") as asked:
            await chat.page.keyboard.press("Enter")
        parts = (await asked.value).post_data_json["input"][0]["content"]
        assert [part.get("filename") for part in parts if part["type"] == "input_file"] == ["b.txt"]
        await expect(question.locator(".attachments .name")).to_have_text(["b.txt"])
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        chat.check()


async def test_a_welcome_is_read_from_its_beginning_however_small_the_window(gateway, visit):
    async with visit(f"{gateway.base_url}/", viewport={"width": 640, "height": 360}) as chat:
        for _ in range(2):
            await expect(chat.page.locator("#suggestions button").first).to_be_visible()
            await expect(chat.page.locator("#welcome h2")).to_be_in_viewport(ratio=1)
            await expect(chat.page.locator("#to-end")).to_be_hidden()
            await chat.ask("Lighthouses")
            await chat.page.locator("#new-here").click()
        chat.check()


async def test_a_chat_of_a_file_is_found_again_whatever_its_ids_are(gateway, visit):
    said = [{"id": "1" * 24, "role": "user", "text": f"Number {number}"} for number in range(3)]
    file = {"format": "chat2api.chats", "version": 1, "chats": [{"id": "odd id/#%ü", "title": "Odd", "messages": said}]}
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.locator("#import-file").set_input_files(
            {"name": "chats.json", "mimeType": "application/json", "buffer": json.dumps(file).encode()}
        )
        await chat.chats.first.click()
        await expect(chat.questions).to_have_count(3)
        await chat.reload()
        await expect(chat.page.locator("#title")).to_have_text("Odd")
        await expect(chat.questions).to_have_count(3)
        chat.check()


async def test_a_saved_page_has_its_pictures_formulas_and_sources(gateway, visit, make_account, tmp_path):
    async with visit(f"{gateway.base_url}/", key=make_account("saver", plan="plus")) as chat:
        await attach_boat(chat)
        await chat.ask("[[script=image_gen]] A boat")
        await chat.ask("[[say=It is $x^2$.]] A formula")
        await expect(chat.answers.last.locator(".katex-html")).to_be_visible()
        await chat.chats.first.hover()
        await chat.button("Export", exact=False).nth(0).click()
        async with chat.page.expect_download() as download:
            await chat.button("Web page (HTML)").click()
        chat.check()
        saved = tmp_path / "chat.html"
        await (await download.value).save_as(saved)
        page = await chat.page.context.new_page()
        await page.goto(saved.as_uri())
        await page.wait_for_function("[...document.images].every(picture => picture.complete)")
        loaded = "all => all.map(picture => picture.naturalWidth > 0)"
        assert await page.locator("img").evaluate_all(loaded) == [True, True]
        assert await page.locator("math").count() == 1
        assert await page.locator(".katex-html").count() == 0


async def test_a_stream_of_anything_ends_the_waiting(gateway, visit):
    """What a proxy, or another program at the address, may write in the gateway's place."""
    streams = {
        '{"type": "response.created"}': "The answer broke off",
        "5": "The answer broke off",
        "null": "That was no answer",
        '{"type": "response.completed", "response": {"output": 5}}': "That was no answer",
    }
    async with visit(f"{gateway.base_url}/") as chat:
        for data, told in streams.items():

            async def answer(route: Route, *, body: str = f"data: {data}\n\n") -> None:
                await route.fulfill(status=200, content_type="text/event-stream", body=body)

            await chat.page.route("**/v1/responses", answer)
            await chat.button("New chat").first.click()
            await chat.send("Hello")
            await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
            await expect(chat.answers.last.locator(".failure h3")).to_have_text(re.compile(told))
            await expect(chat.button("Stop")).to_be_hidden()
        odd = [
            {"type": "__proto__"},
            {"type": "constructor"},
            {"type": "response.output_text.annotation.added", "annotation": {"url": 5, "title": {}}},
            {"type": "response.output_text.delta", "delta": "Hello"},
            {"type": "response.completed", "response": {"output": None, "usage": "x", "chatgpt": 5}},
        ]
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in odd)
        await chat.page.unroute("**/v1/responses")
        await chat.page.route(
            "**/v1/responses", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body)
        )
        await chat.button("New chat").first.click()
        await chat.ask("Hello")
        await expect(chat.answers.last.locator(".prose").last).to_have_text("Hello")


async def test_a_list_of_models_of_anything_is_listed(gateway, visit):
    odd = [
        {"id": "auto", "efforts": "abc", "tools": 5},
        {"id": "z", "display_name": {}, "preset_of": {}},
        {"id": 5},
        None,
    ]
    async with visit("about:blank") as chat:
        await chat.page.route("**/v1/models", lambda route: route.fulfill(json={"data": odd}))
        await chat.page.goto(f"{gateway.base_url}/")
        await chat.page.locator("#model").click()
        await expect(chat.page.locator("#models .name")).to_have_text(["auto", "z"])
        await expect(chat.page.locator("#models .about")).to_have_text(["ChatGPT chooses"])
        chat.check()
