"""A message that is said and a picture that is taken, with the fake microphone and camera that Chromium has."""

import re
from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, expect

from tests import browser
from tests.web.test_access import violations
from tests.web.test_tour import picture

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def equipped() -> AsyncIterator[Browser]:
    """A browser with a microphone that beeps and two cameras."""
    async with browser.chromium("--use-fake-device-for-media-stream=device-count=2", whole=True) as started:
        yield started


# The stand-in says what it received: an empty recording has none.
WRITTEN_DOWN = re.compile(r"^(Please read: )?The chat2api demo upstream received message\.webm, \d{3,} bytes, .*")


def allowed(*names: str) -> dict[str, object]:
    return {"permissions": list(names)}


async def test_a_message_is_said_mended_and_sent(gateway, visit, make_account, equipped):
    options = allowed("microphone") | {"started": equipped, "viewport": {"width": 390, "height": 844}}
    async with visit(f"{gateway.base_url}/", key=make_account("speaker"), **options) as chat:
        bar = chat.page.get_by_role("group", name="Recording")
        await chat.field.fill("Please read:")
        await chat.button("Say your message").focus()
        await chat.page.keyboard.press("Enter")
        await expect(bar).to_contain_text("Recording 0:01", timeout=30_000)
        assert await violations(chat.page) == []
        async with chat.page.expect_response("**/v1/audio/transcriptions") as written:
            await chat.page.keyboard.press("Enter")
        assert (await written.value).status == 200
        await expect(chat.field).to_have_value(WRITTEN_DOWN)
        await expect(chat.field).to_be_focused()
        await expect(bar).to_be_hidden()
        await expect(chat.button("Say your message")).to_be_visible()
        assert await chat.answers.count() == 0
        await chat.page.keyboard.press("Enter")
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false", timeout=30_000)
        chat.check()


async def test_a_recording_that_could_not_be_written_down_is_kept_and_one_thrown_away_is_gone(
    gateway, visit, make_account, equipped
):
    key = make_account("unlucky")
    async with visit(f"{gateway.base_url}/", key=key, started=equipped, **allowed("microphone")) as chat:
        sent: list[str] = []

        async def refuse(route):
            sent.append(route.request.headers["content-type"])
            error = {"message": "Wait.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
            await route.fulfill(status=429, json={"error": error})

        await chat.page.route("**/v1/audio/transcriptions", refuse)
        bar = chat.page.get_by_role("group", name="Recording")
        await chat.button("Say your message").click()
        await expect(bar).to_contain_text("Recording 0:")
        await chat.button("Stop and write it down").click()
        await expect(bar).to_contain_text("It could not be written down: A limit is reached. Wait.")
        assert await violations(chat.page) == []
        await chat.page.unroute("**/v1/audio/transcriptions")
        await chat.button("Try again").click()
        await expect(chat.field).to_have_value(WRITTEN_DOWN)
        assert [kind.partition(";")[0] for kind in sent] == ["multipart/form-data"]

        await chat.button("Say your message").click()
        await expect(bar).to_contain_text("Recording 0:")
        await chat.page.keyboard.press("Escape")
        await expect(bar).to_be_hidden()
        await expect(chat.button("Say your message")).to_be_focused()
        await expect(chat.field).to_have_value(WRITTEN_DOWN)
        chat.check(refusals=True)


async def test_a_recording_ends_by_itself(gateway, visit, make_account, equipped):
    key = make_account("talker")
    async with visit(f"{gateway.base_url}/", key=key, started=equipped, **allowed("microphone")) as chat:
        bar = chat.page.get_by_role("group", name="Recording")
        await chat.page.clock.install()
        await chat.button("Say your message").click()
        await expect(bar).to_contain_text("Recording 0:")
        await chat.page.clock.fast_forward(590_000)
        await expect(bar).to_contain_text("ends in 0:")
        await chat.page.clock.fast_forward(11_000)
        await expect(chat.field).to_have_value(WRITTEN_DOWN)
        await expect(bar).to_be_hidden()
        chat.check()


async def test_a_microphone_that_may_not_be_used_is_told_in_plain_words(gateway, visit, make_account, equipped):
    async with visit(f"{gateway.base_url}/", key=make_account("silent"), started=equipped) as chat:
        refusal = "async () => { throw new DOMException('', 'NotAllowedError') }"
        await chat.page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {refusal} }}")
        await chat.button("Say your message").click()
        bar = chat.page.get_by_role("group", name="Recording")
        await expect(bar).to_contain_text("The browser does not let this page use the microphone")
        await chat.button("Discard").click()
        await expect(bar).to_be_hidden()
        chat.check()


async def test_neither_is_offered_where_it_could_not_work(gateway, visit, make_account, equipped):
    """Without an account, and in a browser without the devices."""
    async with visit(f"{gateway.base_url}/", started=equipped) as chat:
        await expect(chat.button("Enter a key for files and pictures")).to_be_visible()
        await expect(chat.button("Say your message")).to_be_hidden()
        await expect(chat.button("Take a picture")).to_be_hidden()
    async with visit(f"{gateway.base_url}/", key=make_account("bare")) as chat:
        await expect(chat.button("Attach pictures or files")).to_be_visible()
        await expect(chat.button("Say your message")).to_be_hidden()
        await expect(chat.button("Take a picture")).to_be_hidden()


async def test_a_picture_is_taken_looked_at_and_sent(gateway, visit, make_account, equipped):
    key = make_account("photographer")
    async with visit(f"{gateway.base_url}/", key=key, started=equipped, **allowed("camera")) as chat:
        await chat.button("Take a picture").focus()
        await chat.page.keyboard.press("Enter")
        dialog = chat.page.get_by_role("dialog", name="Take a picture")
        await expect(chat.button("Take the picture")).to_be_focused()
        assert await violations(chat.page) == []
        using = "document.querySelector('.camera video').srcObject?.getVideoTracks()[0].getSettings().deviceId"
        first = await chat.page.evaluate(using)
        await chat.button("Other camera").click()
        await chat.page.wait_for_function(f"(first) => ![undefined, first].includes({using})", arg=first)
        await chat.button("Other camera").click()
        await chat.page.wait_for_function(f"(first) => {using} === first", arg=first)
        await expect(chat.button("Take the picture")).to_be_focused()
        await chat.page.keyboard.press("Enter")
        await expect(dialog.get_by_alt_text("The picture that was taken")).to_be_visible()
        await chat.button("Take another").click()
        await chat.button("Take the picture").click()
        await expect(chat.button("Use this picture")).to_be_focused()
        assert await violations(chat.page) == []
        await chat.page.keyboard.press("Enter")
        await expect(dialog).to_be_hidden()
        await expect(chat.page.locator("#attachments img")).to_have_attribute("alt", "Photo.jpg")
        live = await chat.page.evaluate("document.querySelector('dialog.camera video').srcObject")
        assert live is None
        async with chat.page.expect_request("**/v1/responses") as asked:
            await chat.send("What is it?")
        [picture] = [part for part in (await asked.value).post_data_json["input"][0]["content"] if "image_url" in part]
        assert picture["image_url"].startswith("data:image/jpeg;base64,/9j/")
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false", timeout=30_000)
        chat.check()


async def test_a_phone_takes_pictures_with_its_own_camera(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("walker"), **PHONE) as chat:
        async with chat.page.expect_file_chooser() as chooser:
            await chat.button("Take a picture").tap()
        chosen = await chooser.value
        assert await chosen.element.get_attribute("capture") == "environment"
        await chosen.set_files({"name": "IMG_1.jpg", "mimeType": "image/jpeg", "buffer": picture()})
        await expect(chat.button("Remove IMG_1.jpg")).to_be_visible()
        chat.check()
