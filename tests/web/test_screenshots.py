"""The pictures of the page in docs/screenshots. They are made in every run, and kept where SCREENSHOTS names a folder:

SCREENSHOTS=docs/screenshots .venv-dev/bin/python -m pytest tests/web/test_screenshots.py
"""

import os
from pathlib import Path

import pytest
from playwright.async_api import expect

MOST_BYTES = 200_000
WIDE = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
EARLIER = ("Rename a branch safely", "Packing list for a rainy week", "What is a monad, really?")
QUESTION = "How fast does a binary search find something, and why?"
ANSWER = r"""It halves what is left with every look, so it needs about $\log_2 n$ of them:

$$
T(n) = T\!\left(\frac{n}{2}\right) + O(1) \;\Longrightarrow\; T(n) = O(\log n)
$$

```python
def find(values: list[int], wanted: int) -> int | None:
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle  # it is here or before
    return low if low < len(values) and values[low] == wanted else None
```

| values | looks, at most |
|-------:|---------------:|
| 1 000 | 10 |
| 1 000 000 | 20 |
| 1 000 000 000 | 30 |

The list has to be **sorted**; see the [notes on `bisect`](https://example.test/bisect).
"""
DIAGRAM = """The name is looked up first, then the page is asked for:

```mermaid
sequenceDiagram
  participant You as Your browser
  participant Names as DNS
  participant Site as The site
  You->>Names: Where is example.org?
  Names-->>You: 192.0.2.10
  You->>Site: GET / (encrypted)
  Site-->>You: The page
  Note over You,Site: Pictures and styles come the same way
```
"""
SHORT = "Because it halves what is left with every look: **20 looks** are enough for a million values."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    named = os.environ.get("SCREENSHOTS")
    made = Path(named) if named else tmp_path
    made.mkdir(parents=True, exist_ok=True)
    return made


async def picture(chat, folder: Path, name: str) -> None:
    await chat.page.evaluate("() => document.fonts.ready.then(() => {})")
    await chat.page.mouse.move(0, 0)
    await chat.page.wait_for_timeout(300)
    body = await chat.page.screenshot(path=folder / f"{name}.png", animations="disabled", caret="hide")
    assert 10_000 < len(body) < MOST_BYTES
    chat.check()


async def some_chats(chat, say) -> None:
    for title in EARLIER:
        say(SHORT)
        await chat.ask(title)
        # By its id: on a phone the list, and with it this button, is out of sight.
        await chat.page.locator("#new-chat").evaluate("button => button.click()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_chat_in_light_and_dark(gateway, visit, say, folder, scheme):
    async with visit(f"{gateway.base_url}/", color_scheme=scheme, **WIDE) as chat:
        await some_chats(chat, say)
        say(ANSWER, script="reasoning")
        answer = await chat.ask(QUESTION)
        await expect(answer.locator(".katex")).to_have_count(2)
        await expect(answer.locator(".hljs-keyword").first).to_be_visible()
        await chat.page.locator("#scroller").evaluate("scroller => scroller.scrollTo(0, 0)")
        await picture(chat, folder, f"chat-{scheme}")


async def test_a_failure(gateway, visit, say, folder):
    async with visit(f"{gateway.base_url}/", **WIDE) as chat:
        await some_chats(chat, say)
        say(SHORT)
        await chat.ask("Why is binary search fast?")
        say("On a linked list every look has to walk there first, so the halving no longer helps.", script="error")
        await chat.send("And how does it do on linked lists?")
        await expect(chat.answers.last.locator(".failure")).to_be_visible()
        await picture(chat, folder, "chat-failure")


async def test_a_beginning(gateway, visit, say, folder):
    async with visit(f"{gateway.base_url}/", **WIDE) as chat:
        await some_chats(chat, say)
        await expect(chat.page.locator("#suggestions button")).to_have_count(5)
        await picture(chat, folder, "chat-start")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_diagram(gateway, visit, say, folder, scheme):
    async with visit(f"{gateway.base_url}/", color_scheme=scheme, **WIDE) as chat:
        await some_chats(chat, say)
        say(DIAGRAM)
        answer = await chat.ask("How does a web page reach me? Draw it.")
        await expect(answer.locator(".diagram img")).to_be_visible(timeout=60_000)
        await picture(chat, folder, f"chat-diagram-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone(gateway, visit, say, folder, scheme):
    async with visit(f"{gateway.base_url}/", color_scheme=scheme, **PHONE) as chat:
        await some_chats(chat, say)
        say(ANSWER)
        answer = await chat.ask(QUESTION)
        await expect(answer.locator(".katex")).to_have_count(2)
        await chat.page.locator("#scroller").evaluate("scroller => scroller.scrollTo(0, 0)")
        await picture(chat, folder, "chat-phone" if scheme == "light" else "chat-phone-dark")
        if scheme == "light":
            await chat.button("Open the list of chats").tap()
            await picture(chat, folder, "chat-phone-list")
