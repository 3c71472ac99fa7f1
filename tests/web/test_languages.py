"""The page in other languages, and from right to left: a tour in Chinese and Arabic, the choice, and mixed writing."""

import asyncio
import json
import re

import pytest
from playwright.async_api import Page, expect

from tests.web.test_access import violations
from tests.web.test_texts import ENGLISH, TABLES, table

PHONE = {"viewport": {"width": 390, "height": 844}}
# All that is read or read out on the page, but for what people and models wrote.
SHOWN = """() => {
    const written = ".prose, .bubble, .chat, .by, kbd, #title, #model, #model-list .name, #found, #language, noscript";
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        if (!walker.currentNode.parentElement.closest(written)) texts.push(walker.currentNode.data);
    }
    const nodes = [...document.body.querySelectorAll("*")].filter((node) => !node.closest(".chat"));
    for (const name of ["aria-label", "title", "placeholder"])
        texts.push(...nodes.map((node) => node.getAttribute(name) ?? ""));
    return texts.map((text) => text.trim()).filter(Boolean);
}"""


async def told_in_english(page: Page, code: str) -> set[str]:
    """What the page says that the table of its language says otherwise."""
    own = table(code)
    english = {text for key, text in ENGLISH.items() if isinstance(text, str) and text != own[key]}
    shown = set(await page.evaluate(SHOWN))
    assert shown & {text for text in own.values() if isinstance(text, str)}
    return shown & english


async def fits(page: Page) -> bool:
    """Nothing has to be scrolled sideways to be read."""
    return await page.evaluate("document.documentElement.scrollWidth <= innerWidth && scrollX === 0")


@pytest.mark.parametrize(("locale", "code", "direction"), [("zh-CN", "zh-Hans", "ltr"), ("ar-EG", "ar", "rtl")])
async def test_a_tour(gateway, visit, make_account, locale, code, direction):
    texts = table(code)
    async with visit(f"{gateway.base_url}/", locale=locale, key=make_account("guest", plan="plus"), **PHONE) as chat:
        page = chat.page
        await expect(page.locator("html")).to_have_attribute("lang", code)
        await expect(page.locator("html")).to_have_attribute("dir", direction)
        await expect(page.get_by_role("heading", level=2, name=texts["page.welcome"])).to_be_visible()
        await expect(page.locator("#wishes-open")).to_be_visible()
        assert await violations(page) == []
        assert await told_in_english(page, code) == set()

        field = page.get_by_label(texts["write.label"], exact=True)
        await field.fill("Go on [[script=long words=2000 delay=0.05]]")
        await page.keyboard.press("Enter")
        answer = page.get_by_role("article", name=texts["answer.name"])
        await expect(answer).to_contain_text("This is the chat2api demo")
        await chat.button(texts["write.stop"]).click()
        await expect(answer).to_contain_text(texts["answer.stopped"])
        await expect(answer.locator(".by")).to_contain_text("秒" if code == "zh-Hans" else re.compile("[٠-٩]"))
        await field.fill("Fail [[script=error]]")
        await page.keyboard.press("Enter")
        await expect(answer.last.locator(".failure h3")).to_have_text(texts["error.server.title"])
        assert await violations(page) == []
        assert await fits(page)

        edges = "const { left, right } = document.getElementById('sidebar').getBoundingClientRect();"
        there = "left === 0" if direction == "ltr" else "right === innerWidth"
        await chat.button(texts["side.open"]).click()
        await page.wait_for_function(f"() => {{ {edges} return {there}; }}")
        await expect(page.get_by_role("heading", name=texts["side.today"])).to_be_visible()
        assert await violations(page) == []
        await page.keyboard.press("Escape")
        await page.wait_for_function(f"() => {{ {edges} return right <= 0 || left >= innerWidth; }}")
        assert await fits(page)

        await chat.page.locator("#model").click()
        await expect(page.locator("#model-list")).to_contain_text(texts["model.auto"])
        assert await violations(page) == []
        await page.keyboard.press("Escape")
        await chat.button(texts["wish.open"]).click()
        await page.locator("#wish-kind").select_option("search")
        await chat.button(texts["common.save"]).click()
        await expect(page.locator("#hint")).to_have_text(texts["wish.searchHint"])

        await page.keyboard.press("Control+k")
        await expect(page.get_by_role("dialog", name=texts["find.title"])).to_be_visible()
        await page.keyboard.type("demo")
        await expect(page.locator("#found button")).to_have_count(1)
        assert await violations(page) == []
        await page.keyboard.press("ArrowDown")
        await expect(page.locator("#found button")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.locator("#text")).to_be_focused()  # the chat has been read, and is there
        await page.locator("#scroller").focus()
        await page.keyboard.press("?")
        await expect(page.locator("#shortcut-list")).to_contain_text(texts["keys.line"])
        assert await violations(page) == []
        assert await told_in_english(page, code) == set()
        assert await fits(page)
        chat.check()


async def test_a_language_is_chosen_and_kept_while_an_answer_goes_on(gateway, visit):
    arabic = table("ar")
    async with visit(f"{gateway.base_url}/") as chat:
        page, picker = chat.page, chat.page.get_by_label("Language")
        await expect(picker.locator("option")).to_have_text(["Browser’s language", "English", "العربية", "简体中文"])
        assert not [url for url in chat.addresses if re.search(r"/texts/(?!en\.js)", url)]
        await chat.send("Go on [[script=long words=2000 delay=0.05]]")
        await expect(chat.answers.last).to_contain_text("This is the chat2api demo")
        await chat.field.fill("a draft")
        await picker.select_option("ar")
        await expect(page.locator("html")).to_have_attribute("dir", "rtl")
        await expect(page.locator("#text")).to_have_value("a draft")
        await expect(page.get_by_label(arabic["language.name"])).to_have_value("ar")
        answer = page.get_by_role("article", name=arabic["answer.name"])
        words = "() => document.querySelector('article.answer').innerText.length"
        before = await page.evaluate(words)
        await page.wait_for_function(f"(before) => ({words})() > before", arg=before)
        await expect(answer).to_have_attribute("aria-busy", "true")
        await chat.button(arabic["write.stop"]).click()
        await expect(answer).to_have_attribute("aria-busy", "false")
        await expect(answer).to_contain_text(arabic["answer.stopped"])
        await expect(answer.get_by_role("button", name=arabic["answer.copy"])).to_be_attached()
        assert await told_in_english(page, "ar") == set()

        await page.reload()
        await expect(page.locator("html")).to_have_attribute("lang", "ar")
        await expect(page.locator("#new-chat")).to_have_text(arabic["chat.new"])
        await page.locator("#language").select_option("")
        await expect(page.locator("#new-chat")).to_have_text("New chat")
        await expect(page.locator("html")).to_have_attribute("dir", "ltr")
        assert await page.evaluate("localStorage.getItem('chat2api.language')") is None
        chat.check()


async def test_which_language_the_browser_gets(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        of = "([chosen, wanted]) => languageOf(chosen, wanted)"
        rows = {
            "en": [["", []], ["", ["de", "fr-CH"]], ["", ["en-GB", "ar"]], ["toString", ["x"]], ["xx", [""]]],
            "ar": [["", ["ar-EG"]], ["", ["de", "ar", "en"]], ["ar", ["en"]]],
            "zh-Hans": [["", ["zh"]], ["", ["zh-CN"]], ["", ["zh-TW", "en"]], ["", ["zh-Hant-HK"]]],
        }
        for code, asked in rows.items():
            for one in asked:
                assert await chat.page.evaluate(of, one) == code, one
        categories = "code => new Intl.PluralRules(code).resolvedOptions().pluralCategories"
        for code in TABLES:
            wanted = sorted(await chat.page.evaluate(categories, code))
            plurals = {key: sorted(entry) for key, entry in table(code).items() if isinstance(entry, dict)}
            assert {key: forms for key, forms in plurals.items() if forms != wanted} == {}, code
        chat.check()


async def test_what_a_table_has_not_is_said_in_english_and_so_is_all_without_it(gateway, visit):
    async with visit("about:blank", locale="ar") as chat:
        half = 'export default { "chat.new": "محادثة" };'
        await chat.page.route("**/texts/ar.js", lambda route: route.fulfill(content_type="text/javascript", body=half))
        await chat.page.goto(f"{gateway.base_url}/")
        await expect(chat.page.locator("#new-chat")).to_have_text("محادثة")
        await expect(chat.page.locator("html")).to_have_attribute("dir", "rtl")
        await expect(chat.button("Search in chats")).to_be_visible()
        await chat.page.unroute("**/texts/ar.js")
        await chat.page.route("**/texts/ar.js", lambda route: route.fulfill(status=404))
        await chat.page.reload()
        await expect(chat.page.locator("#new-chat")).to_have_text("New chat")
        await expect(chat.page.locator("html")).to_have_attribute("dir", "ltr")
        await expect(chat.page.locator("html")).to_have_attribute("lang", "en")
        chat.check(refusals=True)


MIXED = """# عنوان

هذه فقرة بالعربية فيها `code()` وأيضًا English.

This is an English paragraph with كلمة in it.

- أولًا
- second

1. first
2. ثانيًا

> اقتباس

| اسم | قيمة |
|---|---|
| one | اثنان |

```python
print("مرحبا")
```

`npm` يثبّت الحزم: $x^2$
"""


@pytest.mark.parametrize(("locale", "direction"), [("en-US", "ltr"), ("ar", "rtl")])
async def test_each_block_is_read_its_own_way(gateway, visit, say, locale, direction):
    say(MIXED)
    async with visit(f"{gateway.base_url}/", locale=locale) as chat:
        await chat.page.locator("#text").fill("سؤال\nand a line")
        await chat.page.keyboard.press("Enter")
        prose = chat.page.locator("article.answer .prose").last
        await expect(prose.locator(".katex")).to_have_count(1, timeout=30_000)

        async def way(selector: str, text: str) -> str:
            node = prose.locator(selector).filter(has_text=text).first
            return await node.evaluate("node => getComputedStyle(node).direction")

        assert await way("h1", "عنوان") == "rtl"
        assert await way("p", "هذه") == "rtl"
        assert await way("p", "This is") == "ltr"
        assert await way("ul", "second") == "rtl"
        assert await way("ol", "first") == "ltr"
        assert await way("blockquote", "اقتباس") == "rtl"
        assert await way(".table", "one") == "rtl"
        assert await way("p code", "code()") == "ltr"
        assert await way("pre", "print") == "ltr"
        assert await way("p", "npm") == "rtl"  # what is code does not decide it
        assert await way(".formula", "") == "ltr"
        assert await prose.evaluate("node => getComputedStyle(node).direction") == direction
        side = """node => {
            const range = document.createRange();
            range.selectNodeContents(node);
            const [text, box] = [range.getBoundingClientRect(), node.getBoundingClientRect()];
            return text.left - box.left < box.right - text.right ? "left" : "right";
        }"""
        assert await prose.locator("li").filter(has_text="second").evaluate(side) == "right"  # where its bullet is
        assert await prose.locator("li").filter(has_text="ثانيًا").evaluate(side) == "left"
        assert await chat.chats.first.evaluate(side) == ("left" if direction == "ltr" else "right")
        lines = """bubble => {
            const range = document.createRange();
            const { left, right } = bubble.getBoundingClientRect();
            return [[0, 4], [5, 15]].map(([from, to]) => {
                range.setStart(bubble.firstChild, from);
                range.setEnd(bubble.firstChild, to);
                const line = range.getBoundingClientRect();
                return line.left - left < right - line.right ? "left" : "right";
            });
        }"""
        await chat.page.locator(".bubble").evaluate("bubble => (bubble.style.width = '300px')")
        assert await chat.page.locator(".bubble").evaluate(lines) == ["right", "left"]
        chat.check()


async def test_a_title_turns_nothing_around_it(gateway, visit, tmp_path):
    """Neither by marks that turn what follows (U+202E) and that end an isolation (U+2069), nor by its own letters."""
    turning = "Harm\u202eless\u2069 \u2067x"
    arabic = "عنوان (1)"
    cited = [{"url": "https://example.test/", "title": turning}]
    attached = [{"name": "gpj\u202e.exe", "type": "text/plain", "size": 1, "url": "data:,a"}]
    messages = [
        {"role": "user", "text": "Hi", "attachments": attached},
        {"role": "assistant", "text": "Yes", "model": "m\u202e", "citations": cited},
    ]
    chats = [{"id": title, "title": title, "messages": messages} for title in (turning, arabic)]
    file = json.dumps({"format": "chat2api.chats", "version": 1, "chats": chats}).encode()
    marks = re.compile("[\u202a-\u202e\u2066-\u2069]")
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.locator("#import-file").set_input_files(
            {"name": "chats.json", "mimeType": "application/json", "buffer": file}
        )
        await expect(chat.chats).to_have_count(2)
        await chat.chats.filter(has_text="Harm").click()
        await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Harmless x")
        assert await chat.page.title() == "Harmless x · chat2api"
        assert not marks.search(await chat.page.locator("body").inner_text())
        assert not marks.search(" ".join(await chat.page.evaluate(SHOWN)).replace(f"\u2068{arabic}\u2069", ""))
        assert await chat.button(f"Delete \u2068{arabic}\u2069").count() == 1

        await chat.chats.filter(has_text=arabic).hover()
        await chat.button(f"Export \u2068{arabic}\u2069").click()
        async with chat.page.expect_download() as saved:
            await chat.button("Web page (HTML)").click()
        await (await saved.value).save_as(tmp_path / "page.html")
        html = (tmp_path / "page.html").read_text("utf-8")
        assert '<html lang="en" dir="ltr">' in html
        assert f'<h1 dir="auto">{arabic}</h1>' in html
        assert not marks.search(html)
        chat.check()


async def test_the_first_paint_knows_the_direction(gateway, visit):
    """Before a module has run: an Arabic page is never seen from left to right."""
    async with visit("about:blank", locale="ar") as chat:
        held = asyncio.Event()

        async def hold(route):
            await held.wait()
            await route.continue_()

        await chat.page.route("**/chat/app.js", hold)
        await chat.page.goto(f"{gateway.base_url}/", wait_until="commit")
        await expect(chat.page.locator("html")).to_have_attribute("dir", "rtl")
        assert await chat.page.locator("#new-chat").inner_text() == ""
        held.set()
        await expect(chat.page.locator("#new-chat")).to_have_text(table("ar")["chat.new"])
        chat.check()
