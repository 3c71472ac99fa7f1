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
        assert page.complaints == []
