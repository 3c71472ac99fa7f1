"""A chat of five hundred messages: its end is there at once, all of it soon, and nobody loses their place."""

import itertools
import json

import pytest
from playwright.async_api import expect

from tests.web.conftest import Chat

COUNT = 500
FIRST_TASK = 30
# What stands in the thread after each task that changed it.
WATCH = """() => {
    const thread = document.getElementById("thread");
    window.counts = [];
    new MutationObserver(() => window.counts.push(thread.children.length)).observe(thread, { childList: true });
}"""
# The slices come by timers without a delay: these wait until `goOn`.
HOLD = """() => {
    const real = window.setTimeout;
    const held = [];
    window.setTimeout = (work, delay, ...more) => (delay === undefined ? held.push(work) : real(work, delay, ...more));
    window.goOn = () => {
        window.setTimeout = real;
        held.forEach((work) => real(work));
    };
}"""
PLACE = """() => {
    const scroller = document.getElementById("scroller").getBoundingClientRect().top;
    const all = [...document.querySelectorAll("#thread > article")];
    const seen = all.find((one) => one.getBoundingClientRect().bottom > scroller + 200);
    return [seen.textContent.match(/number \\d+/)[0], Math.round(seen.getBoundingClientRect().top - scroller)];
}"""


async def imported(chat: Chat) -> None:
    text = "Number {0}.\n\n```python\nprint({0})\n```\n\n- **a**\n- $x^{0}$\n\nThis is number {0}."
    messages = [
        {"role": "assistant", "text": text.replace("{0}", str(number))}
        if number % 2
        else {"role": "user", "text": f"This is number {number}"}
        for number in range(COUNT)
    ]
    file = json.dumps({"format": "chat2api.chats", "version": 1, "chats": [{"id": "long", "messages": messages}]})
    await chat.page.locator("#import-file").set_input_files(
        {"name": "chats.json", "mimeType": "application/json", "buffer": file.encode()}
    )
    await expect(chat.chats).to_have_count(1)


async def test_the_end_of_a_long_chat_is_there_at_once_and_all_of_it_soon(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await imported(chat)
        await chat.page.evaluate(WATCH)
        await chat.chats.first.click()
        await expect(chat.page.locator("#thread > article")).to_have_count(COUNT)
        counts = await chat.page.evaluate("window.counts")
        assert 0 < counts[0] <= FIRST_TASK
        assert all(after - before <= FIRST_TASK for before, after in itertools.pairwise(counts))
        await expect(chat.page.get_by_text(f"This is number {COUNT - 1}.")).to_be_in_viewport()
        await expect(chat.page.locator("#to-end")).to_be_hidden()
        # All of it can be found, and be read out.
        assert await chat.page.evaluate("window.find('This is number 4', true, true)")
        await expect(chat.answers.first).to_contain_text("This is number 1.")
        await expect(chat.page.get_by_role("article")).to_have_count(COUNT)

        # What is there already is not made again when the chat goes on.
        await chat.page.evaluate("window.counts.length = 0")
        await chat.ask("One more")
        assert set(await chat.page.evaluate("window.counts")) <= {COUNT, COUNT + 1, COUNT + 2}
        chat.check()


@pytest.mark.parametrize("top", [0, 900])
async def test_whoever_reads_keeps_the_place_while_the_rest_comes(gateway, visit, top):
    async with visit(f"{gateway.base_url}/") as chat:
        await imported(chat)
        await chat.page.evaluate(HOLD)
        await chat.chats.first.click()
        await expect(chat.page.locator("#thread .katex")).to_have_count(10)
        await chat.page.evaluate("(top) => { document.getElementById('scroller').scrollTop = top; }", top)
        await expect(chat.page.locator("#to-end")).to_be_visible()
        before, height = await chat.page.evaluate(PLACE)
        await chat.page.evaluate("goOn()")
        await expect(chat.page.locator("#thread > article")).to_have_count(COUNT)
        await chat.page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 500))")
        after, moved = await chat.page.evaluate(PLACE)
        assert after == before
        assert abs(moved - height) < 20
        chat.check()


async def test_a_list_of_chats_is_made_anew_only_where_it_changes(gateway, visit):
    """Thousands of them take a second, and what is on the screen is kept again and again."""
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Lighthouses")
        await chat.answers.last.get_by_role("button", name="Answer again").click()
        versions = chat.answers.last.get_by_role("group", name="Versions")
        await expect(versions).to_have_text("2/2")
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        await chat.page.evaluate(
            """() => {
                window.made = 0;
                const list = document.getElementById("chats");
                new MutationObserver(() => { window.made += 1; }).observe(list, { childList: true });
            }"""
        )
        await versions.get_by_role("button", name="Earlier version").click()  # It is kept.
        await expect(chat.answers.last.get_by_role("group", name="Versions")).to_have_text("1/2")
        assert await chat.page.evaluate("window.made") == 0
        await chat.page.get_by_label("Language").select_option("zh-Hans")
        await expect(chat.page.locator("#chats h2")).to_have_text("今天")
        chat.check()
