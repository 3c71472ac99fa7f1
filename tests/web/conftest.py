"""What the tests of the chat page share: a real Chromium on the real gateway, and somebody who listens to the browser.

Rule: whatever a test does, nothing may be asked of another origin, and the browser may have nothing to complain of.
"""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser import PATIENCE

FOLDER = Path(__file__).parent
# What Chromium says by itself of an HTTP error or of a server that is away.
FAILED_LOAD = re.compile(r"Failed to load resource: ")
# What it says of markup that a policy keeps from running, even in a document that is only parsed.
STOPPED = re.compile(r"(?s).*violates the following Content Security Policy")
BLOCKED = "Service Worker registration blocked by Playwright"

HURRY = """(waits) => {
    const real = (window.realTimeout ??= window.setTimeout);
    const shorter = new Map(waits);
    window.setTimeout = (work, delay, ...more) => real(work, shorter.get(delay) ?? delay, ...more);
}"""


@dataclass
class Chat:
    """The page as a person uses it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    @property
    def field(self) -> Locator:
        return self.page.get_by_label("Message", exact=True)

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("article", name="Answer")

    @property
    def questions(self) -> Locator:
        return self.page.get_by_role("article", name="You")

    @property
    def chats(self) -> Locator:
        return self.page.locator("#chats button.chat")

    def button(self, name: str, *, exact: bool = True) -> Locator:
        return self.page.get_by_role("button", name=name, exact=exact)

    async def saved(self) -> None:
        """Return when the page has saved what there was to save: what writes to its database does so one by one. (Who
        reloads as soon as an answer is there may be quicker.)"""
        await self.page.evaluate(
            """() => new Promise((done) => {
                const asked = indexedDB.open("chat2api");
                asked.onsuccess = () => {
                    const last = asked.result.transaction([...asked.result.objectStoreNames], "readwrite");
                    last.oncomplete = () => {
                        asked.result.close();
                        done();
                    };
                };
            })"""
        )

    async def reload(self) -> None:
        """Reload the page, once it has saved what there was to save."""
        await self.saved()
        await self.page.reload()

    async def without_background(self) -> None:
        """The gateway as one that has chat completions only."""
        await self.page.route("**/v1/responses", lambda route: route.fulfill(status=404, json={"error": {}}))

    async def hurry(self, waits: dict[int, int]) -> None:
        """What the page, until it is loaded again, would wait so many milliseconds for takes so many; `{}`: as ever."""
        await self.page.evaluate(HURRY, [[*pair] for pair in waits.items()])

    async def send(self, text: str) -> None:
        await self.field.fill(text)
        await self.page.keyboard.press("Enter")

    async def ask(self, text: str) -> Locator:
        """Send a message and wait for the end of the answer."""
        before = await self.answers.count()
        await self.send(text)
        await expect(self.answers).to_have_count(before + 1)
        answer = self.answers.last
        await expect(answer).to_have_attribute("aria-busy", "false", timeout=30_000)
        await expect(answer.locator(".failure")).to_have_count(0)
        return answer

    def check(self, *, refusals: bool = False, policy: bool = False) -> None:
        """Nobody else was asked, and the browser had no complaint but those that a test is about."""
        expected = [pattern for pattern, wanted in ((FAILED_LOAD, refusals), (STOPPED, policy)) if wanted]
        assert [text for text in self.complaints if not any(pattern.match(text) for pattern in expected)] == []
        origin = re.match(r"https?://[^/]+/", self.page.url)[0]
        assert [url for url in self.addresses if not url.startswith((origin, "data:", "blob:"))] == []
        assert self.addresses


def watched(context: BrowserContext, page: Page) -> Chat:
    chat = Chat(page)
    context.on("request", lambda request: chat.addresses.append(request.url))
    context.on("console", lambda message: None if message.text == BLOCKED else chat.complaints.append(message.text))
    context.on("weberror", lambda error: chat.complaints.append(str(error.error)))
    return chat


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them run on one loop, as the browser they share does; each has a context, a profile of its own, in it."""
    for item in items:
        if item.path.parent == FOLDER and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture
def visit(chromium: Browser) -> Callable[..., Any]:
    """`async with visit(url, key=..., **options of a context) as chat`: the page, opened and ready, the key entered;
    in another browser that was `started`, if need be."""

    @asynccontextmanager
    async def open_page(url: str, key: str = "", started: Browser = chromium, **options: Any) -> AsyncIterator[Chat]:
        # A page that keeps itself for later costs every test some fetches; those that are about it allow it.
        usual = {"viewport": {"width": 1200, "height": 860}, "service_workers": "block"}
        context = await started.new_context(**(usual | options))
        context.set_default_timeout(PATIENCE)
        if key:
            await context.add_init_script(f"sessionStorage.setItem('chat2api.key', {json.dumps(key)})")
        chat = watched(context, await context.new_page())
        await chat.page.goto(url)
        if url != "about:blank":
            await expect(chat.page.locator("#text:focus, dialog :focus")).to_have_count(1)
        yield chat
        await context.close()

    return open_page


@pytest.fixture
def say(upstream) -> Callable[..., None]:
    """`say(text, **directives)`: what the model answers next, whatever it is asked."""

    def plan(text: str, **directives: object) -> None:
        upstream.post("/standin/plan", {"directives": {"say": text, **directives}}).raise_for_status()

    return plan
