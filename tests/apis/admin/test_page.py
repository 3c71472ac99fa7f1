"""The accounts page in a real Chromium: what a person sees and does, and what the browser has to say against it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from shim.accounts.states import Limited, Refused
from shim.apis.admin.door import COOKIE
from shim.errors import Evidence
from shim.standin import make_access_token, make_refresh_token
from tests.browser import PATIENCE


class Watch:
    """What the browser says while a page is used. Where the page's own refusals are expected they are let pass."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        self.origin = origin
        context.on("request", lambda request: self.addresses.append(request.url))
        context.on("console", lambda message: self.complaints.append(message.text))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def check(self, *, refusals: bool = False) -> None:
        allowed = (
            re.compile(r"Failed to load resource: the server responded with a status of 4\d\d") if refusals else None
        )
        assert [text for text in self.complaints if not (allowed and allowed.match(text))] == []
        strangers = [url for url in self.addresses if not url.startswith((self.origin + "/", "data:", "blob:"))]
        assert strangers == []
        assert self.addresses


# All of it runs on one loop, as the browser does that is started once.
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def site(make_site) -> AsyncIterator[object]:
    """With an admin key."""
    async with make_site() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def open_site(make_site) -> AsyncIterator[object]:
    """Without one: this machine only."""
    async with make_site(admin_key="") as made:
        yield made


@pytest.fixture
def browse(chromium) -> Callable[..., object]:
    """`async with browse(site, **options of a context) as (page, watch)`."""

    @asynccontextmanager
    async def open_page(site, **options):
        context = await chromium.new_context(**({"viewport": {"width": 1200, "height": 900}} | options))
        context.set_default_timeout(PATIENCE)
        watch = Watch(context, re.match(r"https?://[^/]+", site.base_url)[0])
        page = await context.new_page()
        await page.goto(f"{site.base_url}/tokens")
        yield page, watch
        await context.close()

    return open_page


async def log_in(page: Page, key: str) -> None:
    await page.get_by_label("Admin key").fill(key)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("button", name="Log out")).to_be_visible()


async def add(page: Page, text: str) -> None:
    if not await page.locator("#add").evaluate("details => details.open"):
        await page.locator("#add > summary").click()
    await page.get_by_label("Access, refresh or session tokens").fill(text)
    await page.get_by_role("button", name="Add", exact=True).click()


def card(page: Page, state: str):
    return page.locator(f"#card-{state} b")


def row(page: Page, id: str):
    return page.locator(f'#rows tr[data-id="{id}"]')


async def test_a_day_with_the_page(site, browse):
    """Log in with the wrong key and with the right one, add, watch, reset, probe, remove, clear, log out."""
    one, two = make_access_token("one", "plus"), make_access_token("two", "free")
    async with browse(site) as (page, watch):
        await page.get_by_label("Admin key").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("not the admin key")
        await log_in(page, site.key)
        assert not await page.locator("#login").is_visible()
        await expect(page.get_by_text("There are no accounts yet")).to_be_visible()

        await add(page, f"# mine\n{one}\nnonsense\n{two}\n{one}")
        report = page.locator("#report")
        await expect(report).to_contain_text("2 accounts added, 2 not taken")
        await expect(report).to_contain_text("Line 3: it is neither")
        await expect(report).to_contain_text("Line 5: it is the same account as on line 2")
        assert await page.get_by_label("Access, refresh or session tokens").input_value() == ""
        await add(page, two)
        await expect(report).to_contain_text("Line 1: already here")
        first, second = (view.id for view in site.pool.page())
        await expect(card(page, "ready")).to_have_text("2")
        await expect(row(page, first)).to_contain_text("plus")

        site.pool.report(first, Limited(time.time() + 1500, None, "usage_limit_reached"))
        site.pool.report(second, Limited(time.time() + 60, "gpt-5", "model_cap"))
        await expect(card(page, "cooling")).to_have_text("1")
        await expect(row(page, first).locator(".state")).to_have_text("Cooling")
        await expect(row(page, first)).to_contain_text("usage_limit_reached")
        await expect(row(page, first).locator("time.until")).to_have_text("in 25 min")
        await expect(row(page, second).locator(".models")).to_contain_text("gpt-5 cools until")

        await page.get_by_role("button", name=f"Reset {first}").click()
        await expect(row(page, first).locator(".state")).to_have_text("Ready")
        await page.get_by_role("button", name=f"Probe {second}").click()
        await expect(row(page, second).locator(".state")).to_have_text("Parked")
        await expect(page.locator("#message")).to_contain_text("account_deactivated")

        await page.get_by_role("button", name=f"Remove {first}").click()
        await page.get_by_role("button", name="Cancel").click()
        assert len(site.pool) == 2
        await page.get_by_role("button", name=f"Remove {first}").click()
        await page.locator("#confirm-yes").click()
        await expect(row(page, first)).to_have_count(0)
        assert [view.id for view in site.pool.page()] == [second]

        await page.get_by_role("button", name="Remove all…").click()
        await expect(page.locator("#confirm-yes")).to_be_disabled()
        await page.keyboard.type("remove all")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("There are no accounts yet")).to_be_visible()
        assert len(site.pool) == 0

        html = await page.content()
        assert not [secret for secret in (one, two, one[20:60], site.key) if secret in html]
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Admin key")).to_be_focused()
        assert await page.context.cookies() == []
        watch.check(refusals=True)


async def test_the_cookie_as_the_browser_has_it(make_site, browse):
    async with make_site(api_prefix="hidden/deep") as site, browse(site) as (page, watch):
        await log_in(page, site.key)
        (cookie,) = await page.context.cookies()
        assert (cookie["name"], cookie["path"]) == (COOKIE, "/hidden/deep/tokens")
        assert cookie["httpOnly"] is True
        assert cookie["sameSite"] == "Strict"
        assert await page.evaluate("document.cookie") == ""
        await page.reload()
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()
        watch.check()


async def test_this_machine_needs_no_key_and_keyboard_is_enough(open_site, browse):
    async with browse(open_site) as (page, watch):
        await expect(page.get_by_text("There are no accounts yet")).to_be_visible()
        assert not await page.get_by_role("button", name="Log out").is_visible()
        await page.locator("#add > summary").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.insert_text(make_access_token("one", "plus"))
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(card(page, "ready")).to_have_text("1")
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.dataset.act") == "remove":
                break
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Remove", exact=False).first).to_be_focused()
        assert len(open_site.pool) == 1
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(card(page, "all")).to_have_text("0")
        watch.check()


async def test_a_file_is_chosen_or_dropped(open_site, browse):
    token = make_access_token("filed", "plus")
    async with browse(open_site) as (page, watch):
        await page.locator("#add > summary").click()
        codex = json.dumps({"tokens": {"access_token": make_access_token("coder", "plus")}}, indent=2)
        await page.locator("#file").set_input_files(
            [
                {"name": "auth.json", "mimeType": "application/json", "buffer": codex.encode()},
                {"name": "mine.txt", "mimeType": "text/plain", "buffer": token.encode()},
            ]
        )
        await expect(page.locator("#file-name")).to_contain_text("2 files")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(card(page, "all")).to_have_text("2")
        drop = """token => {
            const data = new DataTransfer();
            data.items.add(new File([token], "dropped.txt", { type: "text/plain" }));
            for (const kind of ["dragover", "drop"]) {
                const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
                document.getElementById("drop").dispatchEvent(event);
            }
        }"""
        await page.evaluate(drop, make_access_token("dropped", "free"))
        await expect(page.locator("#file-name")).to_contain_text("dropped.txt")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(card(page, "all")).to_have_text("3")
        watch.check()


async def test_a_log_in_that_ends_elsewhere_ends_here(site, browse):
    await site.add("one")
    async with browse(site) as (page, watch):
        await log_in(page, site.key)
        await expect(card(page, "all")).to_have_text("1")
        site.time.ahead += 3700
        await expect(page.get_by_label("Admin key")).to_be_visible()
        await expect(page.get_by_role("alert")).to_contain_text("log-in is over")
        assert site.pool.page()[0].id not in await page.content()
        watch.check(refusals=True)


async def test_ten_thousand_accounts_are_usable(open_site, browse):
    ids = await open_site.add(*(f"many {number}" for number in range(10_000)))
    for id in ids[5000:5150]:
        open_site.pool.report(id, Refused("gone"))
    async with browse(open_site) as (page, watch):
        await expect(card(page, "all")).to_have_text("10,000")
        await expect(page.locator("#rows tr")).to_have_count(100)
        began = time.perf_counter()
        await page.get_by_role("button", name="Last page").click()
        await expect(page.locator("#place")).to_have_text("9,901–10,000 of 10,000")
        await expect(row(page, ids[-1])).to_be_visible()
        await page.locator("#card-parked").click()
        await expect(page.locator("#place")).to_have_text("1–100 of 150")
        await page.get_by_role("button", name="Next page").click()
        await expect(page.locator("#rows tr")).to_have_count(50)
        assert time.perf_counter() - began < 30
        for id in ids[5100:5150]:
            await open_site.pool.reset(id)
        await expect(page.locator("#rows tr")).to_have_count(100)  # the page that is gone is left
        watch.check()


async def test_a_row_that_changes_stays_where_it_is_and_keeps_the_focus(open_site, browse):
    first, second = await open_site.add("one", "two")
    async with browse(open_site) as (page, watch):
        button = page.get_by_role("button", name=f"Probe {second}")
        await button.focus()
        open_site.pool.report(second, Refused("gone"))
        await expect(row(page, second).locator(".state")).to_have_text("Parked")
        await expect(button).to_be_focused()
        await open_site.pool.remove(first)
        await expect(page.locator("#rows tr")).to_have_count(1)
        await expect(button).to_be_focused()
        watch.check()


async def test_markup_in_what_upstream_said_is_text(open_site, browse):
    (id,) = await open_site.add("one")
    open_site.pool.report(id, Refused("<img src=x onerror=alert(1)>"))
    async with browse(open_site) as (page, watch):
        await expect(row(page, id)).to_contain_text("<img src=x onerror=alert(1)>")
        assert await page.locator("#rows img").count() == 0
        watch.check()


async def fill(site) -> None:
    ids = await site.add(*(f"picture {number}" for number in range(9)))
    now = time.time()
    said = Evidence(429, "You've hit your usage limit. Try again later.", "retry-after: 1500")
    site.pool.report(ids[1], Limited(now + 1500, None, "usage_limit_reached", said))
    site.pool.report(ids[2], Refused("account_deactivated", Evidence(401, "Your account was deactivated.")))
    await site.pool.adjust(ids[4], label="Finance department, second seat", limit=2)
    await site.pool.pause(ids[4])
    await site.pool.add(make_refresh_token("never"))
    site.pool.report(ids[3], Limited(now + 90_000, "gpt-5-thinking", "model_cap_exceeded"))
    site.pool.report(ids[3], Limited(now + 900, "gpt-4o", "model_cap_exceeded"))
    site.pool.report(ids[5], Limited(now + 200_000, None, "weekly limit"))


@pytest.mark.parametrize("name", ["light", "dark", "phone", "phone-dark"])
async def test_pictures(site, browse, tmp_path: Path, name):
    """Nothing is wider than the screen; the pictures are for people to look at."""
    await fill(site)
    options = {"color_scheme": "dark" if "dark" in name else "light"}
    if "phone" in name:
        options |= {"viewport": {"width": 375, "height": 720}, "has_touch": True, "is_mobile": True}
    async with browse(site, **options) as (page, watch):
        await page.screenshot(path=tmp_path / f"{name}-login.png")
        await log_in(page, site.key)
        await add(page, f"nonsense\n{make_access_token('picture 1', 'plus')}\nsk-oops")
        await expect(page.locator("#report")).to_contain_text("Line 2: already here")
        await asyncio.sleep(0.5)
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        await page.locator("#rows .tick input").first.check()
        await page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        await page.get_by_role("button", name="Edit").nth(4).click()
        await expect(page.locator("#edit-label")).to_be_focused()
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        await page.screenshot(path=tmp_path / f"{name}-edit.png")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Remove all…").click()
        await page.screenshot(path=tmp_path / f"{name}-confirm.png")
        watch.check()
