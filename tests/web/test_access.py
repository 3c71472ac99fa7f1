"""What assistive technology finds: axe-core sees nothing serious, in light and dark, wide and narrow."""

from importlib.resources import files

import pytest
from playwright.async_api import Page, expect

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RICH = (
    "## A heading\n\nText with `code`, **weight** and a [link](https://example.test/).\n\n"
    '```python\ndef half(n: int) -> float:\n    """Doc."""  # a comment\n    return n / 2 if n else \'none\'\n```\n\n'
    "| a | b |\n|---|--:|\n| one | 2 |\n\n> quoted\n\n1. $x^2$\n\n$$\\int_0^1 x\\,dx$$\n"
)
LIGHT_AND_DARK = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDE_AND_NARROW = pytest.mark.parametrize("width", [1200, 390])


# The rules about colours, which are most of the work. In the dark all else is as it was in the light.
COLOURS = ["color-contrast", "link-in-text-block"]
DIALOG = "dialog[open]"
# What fades in or comes sliding is there; what moves as long as it is there does not count.
AT_REST = """async () => {
    const ends = (animation) => animation.effect.getComputedTiming().endTime !== Infinity;
    await Promise.allSettled(document.getAnimations().filter(ends).map((animation) => animation.finished));
}"""


async def violations(page: Page, part: str | None = None, *, colours: bool = False) -> list[str]:
    """What axe-core finds that is serious or critical: rule and place. In a `part` only, which there must be, where the
    rest of the page has been looked at; by the rules about `colours` only, where the others have been."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    options = {"resultTypes": ["violations"]} | ({"runOnly": COLOURS} if colours else {})
    await page.evaluate(AT_REST)
    run = "([part, options]) => axe.run(part ?? document, options).then((report) => report.violations)"
    found = await page.evaluate(run, [part, options])
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@LIGHT_AND_DARK
@WIDE_AND_NARROW
async def test_nothing_serious_in_a_chat(gateway, visit, say, make_account, scheme, width):
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 860}, "key": make_account("seer")}
    async with visit(f"{gateway.base_url}/", **options) as chat:
        colours = scheme == "dark"
        assert await violations(chat.page, colours=colours) == []
        say(RICH, script="reasoning")
        answer = await chat.ask("Show me everything")
        await answer.get_by_text("Thought for").click()
        await expect(answer.locator(".katex")).to_have_count(2)
        await expect(answer.locator(".hljs-keyword").first).to_be_visible()
        assert await violations(chat.page, colours=colours) == []
        await chat.send("[[script=error]]")
        await expect(chat.answers.last.locator(".failure")).to_be_visible()
        await chat.page.locator("#files").set_input_files(
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"some notes"}
        )
        await expect(chat.button("Remove notes.txt")).to_be_visible()
        assert await violations(chat.page, colours=colours) == []
        chat.check()


@LIGHT_AND_DARK
async def test_nothing_serious_in_dialogs_notices_and_the_drawer(gateway, visit, make_account, scheme):
    phone = {"width": 390, "height": 844}
    async with visit(f"{gateway.base_url}/", color_scheme=scheme, viewport=phone, key=make_account("reader")) as chat:
        colours = scheme == "dark"
        await chat.ask("Hello")
        await chat.button("System prompt").click()
        assert await violations(chat.page, colours=colours) == []
        await chat.page.keyboard.press("Escape")
        for opener in ("#model", "#wishes-open"):
            await chat.page.locator(opener).click()
            assert await violations(chat.page, DIALOG, colours=colours) == []
            await chat.page.keyboard.press("Escape")
        for dialog in ("finder", "saving", "shortcuts", "prompts"):
            await chat.page.evaluate("id => document.getElementById(id).showModal()", dialog)
            assert await violations(chat.page, DIALOG, colours=colours) == []
            await chat.page.keyboard.press("Escape")
        await chat.button("Open the list of chats").click()
        assert await violations(chat.page, "#sidebar", colours=colours) == []
        await chat.button("Delete Hello").click()
        await expect(chat.button("Undo")).to_be_visible()
        assert await violations(chat.page, colours=colours) == []
        chat.check()


async def test_the_check_itself_finds_something(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate("() => document.getElementById('send').removeAttribute('aria-label')")
        assert any(found.startswith("button-name") for found in await violations(chat.page))
