"""Diagrams: drawn when they are whole and seen, as pictures that do nothing, whatever their code wants."""

import json
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from playwright.async_api import Error, expect

from tests.web.conftest import Chat

FLOW = "flowchart LR\n  accTitle: A way\n  A[Start] --> B[End]"
TOLD = ".mermaid .trouble:not([hidden])"
PICTURE = ".mermaid .diagram:not([hidden]) img"
PLANT = "() => { window.runs = 0; window.planted = () => { window.runs += 1; }; }"
# Each wants to run `planted`, to ask planted.test, or to lower the guard.
INIT = '%%{init: {"securityLevel": "loose", "htmlLabels": true, "flowchart": {"htmlLabels": true}, "maxTextSize": 9e9, '
HOSTILE = {
    "click": 'flowchart LR\nA-->B\nclick A href "javascript:parent.planted()"\nclick B call planted()',
    "label": 'flowchart LR\nA["<img src=x onerror=parent.planted()>"] --> B["<script>parent.planted()</script>"]',
    "init": INIT
    + '"secure": []}}%%\nflowchart LR\nA["<img src=https://planted.test/i onerror=parent.planted()>"] --> B',
    "css": INIT
    + '"themeCSS": "* { background: url(https://planted.test/c) } @import url(https://planted.test/d);"}}%%\n'
    "flowchart LR\nA --> B\nstyle A fill:url(https://planted.test/e)\n"
    "classDef x fill:u\\72l(https://planted.test/f)\nclass B x",
    "font": INIT + '"fontFamily": "x; } </style><script>parent.planted()</script>"}}%%\nflowchart LR\nA --> B',
    "front": "---\nconfig:\n  securityLevel: loose\n  htmlLabels: true\n---\nflowchart LR\n"
    "A[\"<iframe srcdoc='<script>top.planted()</script>'></iframe>\"] --> B",
    "entities": 'flowchart LR\nA["#60;img src=x onerror=parent.planted()#62; '
    '&lt;script&gt;parent.planted()&lt;/script&gt;"] --> B',
    "image": 'flowchart LR\nA@{ img: "https://planted.test/g.png", label: "x", w: 60, h: 60 } --> B',
    "sequence": 'sequenceDiagram\nparticipant A\nlinks A: {"x": "javascript:parent.planted()"}\n'
    "A->>A: <svg onload=parent.planted()><foreignObject><body onload=parent.planted()>",
    "pie": 'pie title <img src=x onerror=parent.planted()>\n"<script>parent.planted()</script>": 5\n"b": 3',
}
INERT = {
    *(
        "circle",
        "clipPath",
        "defs",
        "desc",
        "ellipse",
        "g",
        "line",
        "linearGradient",
        "marker",
        "mask",
        "path",
        "pattern",
    ),
    *(
        "polygon",
        "polyline",
        "radialGradient",
        "rect",
        "stop",
        "svg",
        "switch",
        "symbol",
        "text",
        "textPath",
        "title",
        "tspan",
    ),
    *("filter", "feDropShadow"),
}


async def drawn(chat: Chat, say, code: str, *, words: str = "Draw it") -> None:
    say(f"Look:\n\n```mermaid\n{code}\n```\n")
    answer = await chat.ask(words)
    await expect(answer.locator(f"{PICTURE}, {TOLD}").first).to_be_visible(timeout=60_000)


async def svg_of(chat: Chat) -> str:
    source = await chat.answers.last.locator(PICTURE).get_attribute("src")
    head, _, body = source.partition(",")
    assert head == "data:image/svg+xml;charset=utf-8"
    return unquote(body)


def assert_inert(svg: str) -> None:
    """Shapes and words only, which point nowhere."""
    for node in ElementTree.fromstring(svg).iter():
        assert node.tag.removeprefix("{http://www.w3.org/2000/svg}") in INERT
        for name, value in node.attrib.items():
            assert not re.match(r"on|style$|class$", name), name
            assert not re.search(r"planted\.test|javascript|url\((?![\"']?#)", value), (name, value)


async def test_a_diagram_is_a_picture_with_its_code_behind_it(gateway, visit, say, tmp_path: Path):
    async with visit(f"{gateway.base_url}/", color_scheme="light") as chat:
        assert not [url for url in chat.addresses if "diagram" in url]
        await drawn(chat, say, FLOW)
        answer = chat.answers.last
        await expect(answer.get_by_role("img", name="A way")).to_be_visible()
        await expect(answer.locator("pre")).to_be_hidden()
        large = "image => image.decode().then(() => image.naturalWidth > 100 && image.naturalHeight > 40)"
        assert await answer.locator(PICTURE).evaluate(large)
        light = await svg_of(chat)
        assert "Start" in light
        assert_inert(light)

        await answer.get_by_role("button", name="Show the code").click()
        await expect(answer.locator("pre")).to_contain_text("A[Start] --> B[End]")
        await answer.get_by_role("button", name="Show the diagram").click()
        async with chat.page.expect_download() as download:
            await answer.get_by_role("button", name="Download the diagram (SVG)").click()
        await (await download.value).save_as(tmp_path / "diagram.svg")
        assert (tmp_path / "diagram.svg").read_text() == light

        await answer.locator(PICTURE).click()
        await expect(chat.page.locator("#picture-whole")).to_be_visible()
        await expect(chat.button("Change this picture")).to_be_hidden()
        await chat.page.keyboard.press("Escape")

        before = await answer.locator(PICTURE).get_attribute("src")
        await chat.page.emulate_media(color_scheme="dark")
        await expect(answer.locator(PICTURE)).not_to_have_attribute("src", before)
        await chat.reload()
        await expect(chat.answers.last.locator(PICTURE)).to_be_visible(timeout=60_000)
        chat.check()


async def test_what_is_inherited_in_it_is_what_the_style_sheet_said(gateway, visit, say):
    """The names of a sequence's actors stand in a group with a stroke, and have none."""
    async with visit(f"{gateway.base_url}/") as chat:
        await drawn(chat, say, "sequenceDiagram\n  participant A as Alice\n  A->>A: Hello")
        names = [
            node.attrib["stroke"]
            for node in ElementTree.fromstring(await svg_of(chat)).iter("{http://www.w3.org/2000/svg}tspan")
            if node.text == "Alice"
        ]
        assert len(names) == 2
        assert set(names) == {"none"}


async def test_it_is_drawn_when_it_is_whole_only(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate(
            """async (text) => {
                const base = document.querySelector("script[type=module]").src;
                const { Growing } = await import(new URL("growing.js", base));
                window.growing = new Growing();
                document.getElementById("welcome").hidden = true;
                document.getElementById("thread").append(growing.element);
                growing.show(text);
            }""",
            "```mermaid\n" + FLOW,
        )
        await expect(chat.page.locator(".mermaid pre")).to_be_visible()
        await chat.page.evaluate("growing.show(growing.text + '\\n B --> C')")
        await expect(chat.page.locator(".mermaid pre")).to_contain_text("B --> C")
        assert not [url for url in chat.addresses if "diagram" in url]
        await chat.page.evaluate("growing.finish()")
        await expect(chat.page.locator(PICTURE)).to_be_visible(timeout=60_000)
        chat.check()


async def test_what_cannot_be_drawn_is_told_and_its_code_stays(gateway, visit, say):
    async with visit(f"{gateway.base_url}/") as chat:
        for code, told in (
            ("flowchart LR\nA --> --> B", "There is a mistake in this diagram’s code"),
            ("mindmap\n  root\n    a", "This kind of diagram can’t be drawn here"),
            ("flowchart LR\n" + "A --> B\n" * 3000, "This diagram is too large"),
            ("flowchart LR\n" + "A --> B\n" * 450, "This diagram is too large"),  # than as many lines as are drawn
            (
                "flowchart LR\n" + "".join(f"a{number} --> b{number}\n" for number in range(900)),
                "mistake|too large|too long",
            ),
        ):
            await drawn(chat, say, code)
            await expect(chat.answers.last.locator(TOLD)).to_have_text(re.compile(told))
            await expect(chat.answers.last.locator("pre")).to_contain_text(code[:20])
        chat.check()


async def test_hostile_diagrams_do_nothing(gateway, visit, say):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate(PLANT)
        stopped = []
        chat.page.context.on("requestfailed", lambda request: stopped.append((request.url, request.failure)))
        drawings = []
        for name, code in HOSTILE.items():
            await drawn(chat, say, code, words=name)
            if not await chat.answers.last.locator(PICTURE).count():
                continue  # It is not drawn at all.
            drawings.append(await svg_of(chat))
            assert_inert(drawings[-1])
        # In a tab of its own, and only now: behind another tab, a page sees two seconds late what has come into sight.
        opened = await chat.page.context.new_page()
        await opened.add_init_script(f"({PLANT})()")
        for svg in drawings:
            await opened.goto("data:image/svg+xml;charset=utf-8," + json.dumps(svg)[1:-1].replace("#", "%23"))
            assert await opened.evaluate("window.runs") == 0
        assert await chat.page.locator(PICTURE).count() >= 5
        assert await chat.page.evaluate("window.runs") == 0
        # One kind of node asks for its picture, and is stopped by the frame's policy before anything leaves.
        wanted = [url for url in chat.addresses if "planted.test" in url]
        assert [(url, "csp") for url in wanted] == [(url, failure) for url, failure in stopped if "planted.test" in url]
        chat.addresses[:] = [url for url in chat.addresses if url not in wanted]
        chat.check(policy=True)


async def test_the_frame_reaches_nothing_and_may_hang(gateway, visit, say):
    """As if a diagram had taken the frame over: it is alone in there, and a loop without end does not stop the page."""
    async with visit(f"{gateway.base_url}/") as chat:
        await drawn(chat, say, FLOW)
        frame = next(frame for frame in chat.page.frames if "diagram.html" in frame.url)
        assert await frame.evaluate("origin") == "null"
        for reach in (
            "parent.document.body",
            "localStorage.length",
            "fetch('/v1/models')",
            f"fetch('{gateway.base_url}/v1/models')",
            "indexedDB.open('chat2api').onsuccess",
            "top.location = 'https://planted.test/'",
        ):
            with pytest.raises(Error):
                await frame.evaluate(f"async () => {{ await ({reach}); }}")
        await frame.evaluate("() => { window.mermaid.render = () => { for (;;); }; }")
        await chat.hurry({6000: 1000})  # so long it waits for a drawing
        say(f"```mermaid\n{FLOW} --> C\n```")
        answer = await chat.ask("Another")
        await chat.button("System prompt").click()  # The page answers meanwhile.
        await expect(chat.page.get_by_role("dialog")).to_be_visible()
        await chat.page.keyboard.press("Escape")
        await expect(answer.locator(TOLD)).to_have_text("This diagram took too long to draw.", timeout=60_000)
        await expect(chat.page.locator("#diagrams")).to_have_count(0)
        await chat.hurry({})
        await drawn(chat, say, f"{FLOW} --> D")
        await expect(chat.answers.last.locator(PICTURE)).to_be_visible()

        # It can't leave either: the page's own policy says where its frames may be.
        stopped = []
        chat.page.context.on("requestfailed", lambda request: stopped.append(request.url))
        frame = next(frame for frame in chat.page.frames if "diagram.html" in frame.url)
        async with chat.page.expect_event("framenavigated"):
            await frame.evaluate("() => { setTimeout(() => { location = 'https://planted.test/'; }); }")
        assert chat.page.url.startswith(gateway.base_url)
        assert [url for url in chat.addresses if "planted.test" in url] == stopped


async def test_what_the_frame_says_is_made_harmless(gateway, visit):
    """The wall behind the frame: whatever it hands out as a drawing."""
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate(PLANT)
        made = await chat.page.evaluate(
            """async (svg) => {
                const base = document.querySelector("script[type=module]").src;
                const { sanitizedDrawing } = await import(new URL("sanitize.js", base));
                return [sanitizedDrawing(svg), sanitizedDrawing("<p>text</p>"), sanitizedDrawing("")];
            }""",
            """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="planted()">
            <script>planted()</script><style>@import "https://planted.test/a";</style>
            <a href="javascript:planted()"><text fill="url(https://planted.test/b)">words</text></a>
            <image href="https://planted.test/c.png"/><use href="https://planted.test/d.svg#x"/>
            <rect fill="u\\72l(https://planted.test/e)" mask="image-set('https://planted.test/f')" stroke="url('#ok')"/>
            <foreignObject><img src=x onerror="planted()"></foreignObject><set to="javascript:planted()"/>
            <path d="M0 0" marker-end="url(#head)" transform="translate(1 2)" fill="rgba(1, 2, 3, .5)"/></svg>""",
        )
        assert made[1:] == ["", ""]
        assert_inert(made[0])
        for kept in ("words", "url('#ok')", "url(#head)", "translate(1 2)", "rgba(1, 2, 3, .5)", 'viewBox="0 0 9 9"'):
            assert kept in made[0]
        assert await chat.page.evaluate("window.runs") == 0
        chat.check(policy=True, refusals=True)


async def test_a_saved_page_has_the_picture_and_the_code(gateway, visit, say, tmp_path: Path):
    async with visit(f"{gateway.base_url}/") as chat:
        await drawn(chat, say, FLOW)
        await chat.chats.first.hover()
        await chat.button("Export", exact=False).nth(0).click()
        async with chat.page.expect_download() as download:
            await chat.button("Web page (HTML)").click()
        saved = tmp_path / "chat.html"
        await (await download.value).save_as(saved)
        chat.check()
        page = await chat.page.context.new_page()
        await page.goto(saved.as_uri())
        await expect(page.get_by_role("img", name="A way")).to_be_visible()
        assert await page.locator("img").evaluate("image => image.naturalWidth > 100")
        await expect(page.locator("pre")).to_contain_text("A[Start] --> B[End]")
        assert await page.locator("script, iframe, button").count() == 0
