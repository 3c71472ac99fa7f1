"""A person's short tour in a real Firefox: what it does otherwise than Chromium would show here."""

import json

from tests.firefox import firefox

ANSWER = r"""It takes $\log_2 n$ looks:

```python
print("look")
```

```mermaid
flowchart LR
  accTitle: A way
  A[Low] --> B[High]
```
"""
LAST = "[...document.querySelectorAll('article.answer')].at(-1)"
READY = "document.activeElement?.id === 'text'"
ROOT = "document.documentElement"
DONE = f"{LAST}?.getAttribute('aria-busy') === 'false'"


async def test_a_short_tour_in_firefox(gateway, say):
    async with firefox() as page:
        await page.resize(1100, 800)
        await page.open(f"{gateway.base_url}/")
        await page.until(READY)
        say(ANSWER)
        await page.press("How fast is it?")
        await page.press("Enter")
        await page.until(
            f"{DONE} && {LAST}.querySelector('.katex') && {LAST}.querySelector('.hljs-built_in, .hljs-string')"
        )
        await page.until(f"{LAST}.querySelector('.diagram:not([hidden]) img')?.naturalWidth > 100")
        assert await page.run(f"{LAST}.querySelector('.diagram img').alt") == "A way"
        assert len(await page.picture()) > 10_000

        # Another version of the answer, and the way back.
        say("It is fast.")
        await page.click("[aria-label='Answer again']")
        await page.until(f"{DONE} && {LAST}.querySelector('.place')?.textContent === '2/2'")
        await page.click("article.answer [aria-label='Earlier version']")
        await page.until(f"{LAST}.querySelector('.place').textContent === '1/2' && {LAST}.querySelector('.katex')")

        # An answer that is stopped keeps what had come.
        say("word " * 3000, delay=0.05)
        await page.run("document.getElementById('text').focus()")
        await page.press("Go on")
        await page.press("Enter")
        await page.until(
            f"document.querySelectorAll('article.answer').length === 2 && {LAST}.textContent.includes('word')"
        )
        await page.press("Escape")
        await page.until(
            f"{LAST}.textContent.includes('You stopped this answer') && {LAST}.textContent.includes('word')"
        )

        # Dark, and still so after a reload; the chat is there, and found.
        for name in ("Light theme", "Dark theme"):
            await page.click("#theme")
            await page.until(f"document.getElementById('theme-name').textContent === {json.dumps(name)}")
        await page.open(f"{gateway.base_url}/")
        await page.until(f"{READY} && document.querySelectorAll('#chats button.chat').length === 1")
        assert await page.run("getComputedStyle(document.documentElement).colorScheme") == "dark"
        await page.click("#find")
        await page.press("how fast")
        await page.until("document.querySelectorAll('#found button').length === 1")
        await page.press("Enter")
        await page.until("document.querySelectorAll('article').length === 4")
        await page.resize(390, 800)
        await page.until("document.documentElement.scrollWidth === 390")
        assert len(await page.picture()) > 10_000

        # From right to left: the list is on the other side, and each paragraph is read from its own.
        await page.resize(1100, 800)
        say("1. واحد\n2. two\n\nand `code` on")
        await page.run("document.getElementById('language').value = 'ar'")
        await page.run("document.getElementById('language').dispatchEvent(new Event('change'))")
        await page.until(f"{ROOT}.dir === 'rtl' && document.getElementById('new-chat').textContent.includes('محادثة')")
        await page.run("document.getElementById('text').focus()")
        await page.press("مرحبا")
        await page.press("Enter")
        await page.until(
            f"document.querySelectorAll('article').length === 6 && {DONE} && {LAST}.querySelector('p code')"
        )
        sides = f"""(() => {{
            const range = document.createRange();
            const nodes = [...{LAST}.querySelectorAll('li, p:has(code)'), document.querySelector('#chats .chat')];
            return nodes.map((node) => {{
                range.selectNodeContents(node);
                const [text, box] = [range.getBoundingClientRect(), node.getBoundingClientRect()];
                return text.left - box.left < box.right - text.right ? 'left' : 'right';
            }}).join(' ');
        }})()"""
        assert await page.run(sides) == "right right left right"
        assert await page.run("document.getElementById('sidebar').getBoundingClientRect().right") == 1100
        assert await page.run(f"{ROOT}.scrollWidth") == 1100
        assert len(await page.picture()) > 10_000
        assert page.complaints == []
