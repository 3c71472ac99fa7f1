"""Answers that want to harm: nothing a model writes runs, asks anybody for anything, or makes the page stand still."""

import json

import pytest
from playwright.async_api import expect

# Each of these would call `window.planted` or fetch from planted.test if it were believed.
RAW = """
<img src=x onerror="planted()"> <img src="https://planted.test/a.png">
<script>planted()</script><svg onload="planted()"><use href="https://planted.test/x.svg#a"/></svg>
<style>body { background: url(https://planted.test/b.png) }</style>
<iframe srcdoc="<script>parent.planted()</script>"></iframe><form id="composer"><input name="text"></form>
<a href="javascript:planted()">one</a> <math><mtext><script>planted()</script></mtext></math>
<details open ontoggle="planted()">x</details><video src="https://planted.test/v.mp4" autoplay></video>
"""
MARKDOWN = """
[two](javascript:planted()) [three](JaVaScRiPt:planted()) [four](data:text/html,<script>planted()</script>)
[five](vbscript:planted()) [six](https://planted.test/ok "title") <javascript:planted()> <https://planted.test/auto>
![seven](https://planted.test/c.png) ![eight](javascript:planted()) ![nine](data:image/svg+xml;base64,PHN2Zy8+)
[![ten](https://planted.test/d.png)](https://planted.test/outer)
![" onerror="planted()](https://planted.test/e.png) [x](https://planted.test/" onclick="planted())

```html" onclick="planted()
<script>planted()</script>
```

$\\href{javascript:planted()}{x}$ $\\htmlData{a=b}{x}$ $\\includegraphics{https://planted.test/f.png}$

| <img src=x onerror=planted()> | b |
|---|---|
| [x](javascript:planted()) | `<script>` |

# <b id="thread" name="scroller">heading</b>
"""
FORBIDDEN = "script, style, iframe, form, input, svg:not(button svg), object, embed, video, [style]:not(.katex *), [id]"
ALLOWED_LINKS = {"https://planted.test/ok", "https://planted.test/auto", "https://planted.test/outer"}


async def planted(chat, say, text: str):
    """The answer element for `text`, after a moment for anything that would run late."""
    await chat.page.evaluate("() => { window.runs = 0; window.planted = () => { window.runs += 1; }; }")
    say(text)
    answer = await chat.ask("What do you say?")
    await chat.page.wait_for_timeout(300)
    assert await chat.page.evaluate("window.runs") == 0
    return answer


@pytest.mark.parametrize("text", [RAW, MARKDOWN, RAW + MARKDOWN], ids=["raw", "markdown", "both"])
async def test_nothing_runs_and_nobody_is_asked(gateway, visit, say, text):
    async with visit(f"{gateway.base_url}/") as chat:
        answer = await planted(chat, say, text)
        prose = answer.locator(".prose").last
        assert await prose.locator(FORBIDDEN).count() == 0
        names = "node => [...node.querySelectorAll('*')].flatMap(element => element.getAttributeNames())"
        assert [name for name in await prose.evaluate(names) if name.startswith("on")] == []
        links = await prose.locator("a").evaluate_all("all => all.map(a => [a.href, a.rel, a.target])")
        assert all(rel == "noopener noreferrer nofollow" and target == "_blank" for _, rel, target in links)
        assert all(href.startswith("https://planted.test/") for href, _, _ in links)
        if text is not RAW:
            assert {href for href, _, _ in links} >= ALLOWED_LINKS
            assert await prose.locator("img").count() == 0
        await expect(chat.field).to_be_focused()
        chat.check()


async def test_the_sanitiser_alone_stops_it_too(gateway, visit):
    """The second wall, without the first: as if the markdown library let raw HTML through."""
    async with visit(f"{gateway.base_url}/") as chat:
        left = await chat.page.evaluate(
            """async (html) => {
                window.planted = () => { window.ran = true; };
                const base = document.querySelector("script[type=module]").src;
                const { sanitized } = await import(new URL("sanitize.js", base));
                const place = document.createElement("div");
                document.body.append(place);
                place.append(sanitized(html));
                await new Promise((resolve) => setTimeout(resolve, 200));
                const found = [...place.querySelectorAll("*")];
                const attributes = new Set(found.flatMap((element) => element.getAttributeNames()));
                const names = [...new Set(found.map((element) => element.localName))];
                return { ran: Boolean(window.ran), names, attributes: [...attributes] };
            }""",
            RAW + '<b id=thread name=x class="go hljs-string prose" data-x=1 aria-label=y>b</b>'
            '<a href="https://planted.test/ok" id=a>a</a>'
            '<img src="data:image/svg+xml,<svg/>"><p style="color:red">p</p>',
        )
        assert left["ran"] is False
        assert set(left["names"]) <= {"a", "img", "p"}
        assert set(left["attributes"]) <= {"href", "rel", "target", "class", "alt", "src"}
        chat.check(policy=True, refusals=True)


async def test_a_stored_picture_is_no_way_around(gateway, visit):
    """A chat from a file may claim anything: its attachments are data, its links are judged again."""
    answer = {"role": "assistant", "text": "[x](javascript:planted())", "citations": [{"url": "javascript:planted()"}]}
    question = {
        "role": "user",
        "text": "<img src=x onerror=planted()>",
        "attachments": [{"name": "a", "type": "image/png", "size": 1, "url": "https://planted.test/a.png"}, 5],
    }
    chats = [{"id": "one", "messages": [question, answer, {"role": "system", "text": "x"}, None]}, "two", {"id": 3}]
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate("() => { window.planted = () => { window.ran = true; }; }")
        file = json.dumps({"format": "chat2api.chats", "version": 1, "chats": chats}).encode()
        await chat.page.locator("#import-file").set_input_files(
            {"name": "chats.json", "mimeType": "application/json", "buffer": file}
        )
        await chat.chats.first.click()
        await expect(chat.answers.first).to_contain_text("[x](javascript:planted())")
        await expect(chat.questions.first).to_contain_text("<img src=x onerror=planted()>")
        assert await chat.page.locator("#thread img, #thread .sources a").count() == 0
        assert await chat.page.evaluate("Boolean(window.ran)") is False
        chat.check()


async def test_a_fence_that_never_ends_and_a_table_that_is_too_wide(gateway, visit, say):
    head = "|" + "|".join(f" column {number} " for number in range(60)) + "|\n" + "|---" * 60 + "|\n"
    rows = "".join("|" + "|".join(f" {row}.{cell} " for cell in range(60)) + "|\n" for row in range(60))
    async with visit(f"{gateway.base_url}/", viewport={"width": 390, "height": 844}) as chat:
        say(f"A table:\n\n{head}{rows}\nand after it.")
        answer = await chat.ask("A table")
        frame = answer.get_by_role("region", name="Table")
        await expect(frame.locator("tbody tr")).to_have_count(60)
        assert await frame.evaluate("e => e.scrollWidth > e.clientWidth * 3")
        assert await chat.page.evaluate("document.documentElement.scrollWidth") == 390
        say("Look:\n\n~~~python\nprint('```')\n```\n<script>\n" + "x" * 300)
        answer = await chat.ask("A fence")
        await expect(answer.locator("pre")).to_contain_text("<script>")
        assert await chat.page.evaluate("document.documentElement.scrollWidth") == 390
        chat.check()


LONG_TASKS = """() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
    }).observe({ type: "longtask" });
}"""


@pytest.mark.parametrize(
    "unit",
    ["x", "[", "$", "a **b ", "<b>`"],
    ids=["x", "brackets", "dollars", "stars", "ticks"],
)
async def test_a_megabyte_without_a_line_end_leaves_the_page_usable(gateway, visit, unit):
    """While it streams in, a click is answered. The longest task was 80 to 150 ms, 1,900 where twenty others ran."""
    piece = unit * (4000 // len(unit))
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate(LONG_TASKS)
        await chat.page.evaluate(
            """([piece, count]) => {
                const real = window.fetch;
                window.fetch = (address, options) => {
                    if (String(address) === "v1/responses") return Promise.resolve(new Response("{}", { status: 404 }));
                    if (!String(address).includes("completions")) return real(address, options);
                    const line = (delta, reason = null) => new TextEncoder().encode(
                        `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: reason }] })}\\n\\n`);
                    let sent = 0;
                    const body = new ReadableStream({
                        async pull(controller) {
                            await new Promise((resolve) => setTimeout(resolve, 4));
                            if (sent++ < count) return controller.enqueue(line({ content: piece }));
                            controller.enqueue(line({}, "stop"));
                            return controller.close();
                        },
                    });
                    return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
                };
            }""",
            [piece, 1_000_000 // len(piece)],
        )
        await chat.send("A megabyte")
        await expect(chat.answers.last).to_contain_text(piece[:20])
        await chat.button("System prompt").click()
        await expect(chat.page.get_by_role("dialog")).to_be_visible()
        await chat.page.keyboard.press("Escape")
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false", timeout=60_000)
        shown = "() => document.querySelectorAll('article.answer .prose')[1].textContent.length >= 990_000"
        await chat.page.wait_for_function(shown, timeout=30_000)
        longest = await chat.page.evaluate("window.longest")
        print(f"longest task: {longest} ms")
        assert longest < 5000
        chat.check()
