"""The usage page in a real Chromium, in the real server: charts, tables, the log."""

import asyncio
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urljoin

import httpx
import pytest
from playwright.async_api import Page, expect

from shim.notes import open_notes
from shim.usage import CallBook, CallRecord
from tests.browser import PATIENCE
from tests.web.test_access import DIALOG, violations

DAY = 86400.0
CODES = {"stop": 200, "rate_limit_exceeded": 429, "upstream_cut": 502, "model_not_found": 404}


async def fill(data: Path) -> list[CallRecord]:
    """Calls of 90 days, as another worker would have written them: 20 on each of the last three days, fewer before."""
    chance = random.Random(7)
    now = time.time()
    records = []
    for days_ago in range(89, -1, -1):
        for number in range(20 if days_ago < 3 else 3):
            status = chance.choice(["stop"] * 6 + [*CODES][1:])
            records.append(
                CallRecord(
                    f"req_{days_ago}_{number}",
                    now - days_ago * DAY - 300 + number,
                    chance.choice(["chat", "responses", "messages"]),
                    status,
                    chance.uniform(300, 9000),
                    code=CODES[status],
                    failed=status != "stop",
                    model=chance.choice(["gpt-5", "gpt-5-thinking", "<img src=x onerror=alert(1)>"]),
                    account=chance.choice(["acc-one", "acc-two"]),
                    key=chance.choice(["ci", "me", *(f"key-{name}" for name in range(9))]),
                    stream=True,
                    tries=1,
                    first_ms=chance.uniform(200, 900),
                    tokens=(chance.randrange(2000), chance.randrange(900)),
                )
            )
    async with open_notes(data_dir=data) as notes:
        book = CallBook(notes)
        for record in records:
            book.note(record)
        await book.write()
    return records


@pytest.fixture(scope="module")
def server(start_gateway, shared_standin, tmp_path_factory):
    data = tmp_path_factory.mktemp("usage")
    with ThreadPoolExecutor(1) as thread:  # this one's loop is the browser's
        records = thread.submit(asyncio.run, fill(data)).result()
    running = start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url,
        ADMIN_KEY="admin-key",
        AUTHORIZATION="first-key",
        DATA_DIR=str(data),
    )
    running.records = records
    return running


@asynccontextmanager
async def opened(browser, server, path: str = "/tokens/usage", **options):
    """The page, logged in, of which nothing is asked elsewhere and the browser complains of nothing."""
    context = await browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    addresses: list[str] = []
    context.on("console", lambda message: complaints.append(message.text))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("request", lambda request: addresses.append(request.url))
    page = await context.new_page()
    await page.goto(server.base_url + path)
    await page.get_by_label("Admin key").fill("admin-key")
    await page.keyboard.press("Enter")
    await expect(page.locator("#totals tr").first).to_be_visible()
    yield page
    await context.close()
    assert complaints == []  # nothing that the policy of the page had to stop, too
    assert [url for url in addresses if not url.startswith((server.base_url + "/", "data:"))] == []


async def shown(page: Page) -> list[str]:
    return list(await page.locator("#calls [data-of=id]").all_inner_texts())


async def test_charts_tables_and_the_log(chromium, server, tmp_path):
    records = server.records
    newest = [record.id for record in sorted(records, key=lambda record: -record.at)]
    week = [record for record in records if record.at > time.time() // DAY * DAY - 6 * DAY]
    async with opened(chromium, server) as page:
        await expect(page.locator(".plot canvas")).to_have_count(4)
        await page.get_by_label("Days", exact=True).select_option("7")
        await expect(page.locator("#totals td").first).to_have_text(str(len(week)))
        await page.locator("#chart-errors summary").click()
        errors = await page.locator("#chart-errors tbody td").all_inner_texts()
        assert len(errors) == 7
        assert sum(map(int, errors)) == sum(record.failed for record in week)
        await page.get_by_label("By", exact=True).select_option("key")
        await expect(page.locator("#chart-requests .legend li")).to_have_count(7)
        await expect(page.locator("#chart-requests .legend")).to_contain_text("others")
        await page.get_by_label("By", exact=True).select_option("model")
        await expect(page.locator("#totals")).to_contain_text("<img src=x onerror=alert(1)>")
        assert await page.locator("#totals img").count() == 0
        async with page.expect_download() as download:
            await page.get_by_role("link", name="CSV").click()
        lines = (await asyncio.to_thread(Path(await (await download.value).path()).read_text)).splitlines()
        assert lines[0].startswith("day,model,requests,errors")
        await page.get_by_label("Days", exact=True).select_option("90")
        await page.screenshot(path=tmp_path / "wide.png", full_page=True)

        # The log: paged, filtered, and by its address.
        await expect(page.locator("#calls tr")).to_have_count(50)
        assert await shown(page) == newest[:50]
        await page.get_by_role("button", name="Older").click()
        await expect(page.locator("#log-place")).to_have_text("Page 2")
        await expect(page.locator(f'#calls tr[data-id="{newest[50]}"]')).to_be_visible()
        assert set(newest[:50]).isdisjoint(await shown(page))
        await page.get_by_role("button", name="Newer").click()
        await page.get_by_label("Outcome", exact=True).select_option("true")
        await page.get_by_label("Key", exact=True).fill("ci")
        failed = [record.id for record in records if record.failed and record.key == "ci"]
        assert len(failed) > 2
        await expect(page.locator("#calls tr")).to_have_count(len(failed))
        assert set(await shown(page)) == set(failed)
        assert "failed=true" in page.url
        await page.get_by_role("button", name="Clear").click()
        await page.get_by_label("Any text").fill("REQ_1_7")
        await expect(page.locator("#calls tr")).to_have_count(1)
        await page.get_by_label("Any text").fill("nothing like this")
        await expect(page.get_by_text("No call is like this.")).to_be_visible()
        await page.get_by_role("button", name="Clear").click()

        # What happens now is there without a reload.
        body = {"model": "no-such-model", "messages": [{"role": "user", "content": "hi"}]}
        answer = server.post("/v1/chat/completions", body, authorization="Bearer first-key")
        mine = page.locator(f'#calls tr[data-id="{answer.headers["x-request-id"]}"]')
        await expect(mine).to_contain_text("model_not_found · 404")
        await expect(mine).to_contain_text("env-1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_serious_on_a_phone_and_on_a_desk(chromium, server, scheme):
    colours = scheme == "dark"
    for width in (1280, 390):
        size = {"width": width, "height": 844}
        # Calls of every outcome, and few: what axe-core does grows faster than the tables.
        path = f"/tokens/usage?account={quote('acc-one')}&model=gpt-5-thinking#log"
        async with opened(chromium, server, path, color_scheme=scheme, viewport=size) as page:
            await expect(page.get_by_label("Account", exact=True)).to_have_value("acc-one")
            await page.get_by_label("Days", exact=True).select_option("7")
            await page.get_by_label("By", exact=True).select_option("key")
            await page.locator("#chart-requests summary").click()
            await expect(page.locator("#chart-requests tbody tr")).to_have_count(7)
            await expect(page.locator("#chart-requests .legend li")).to_have_count(7)
            for code in CODES:
                await expect(page.locator("#calls tr").filter(has_text=code).first).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            assert await violations(page, colours=colours) == []
            await page.get_by_role("button", name="Record the next calls…").click()
            await expect(page.get_by_label("Of the key")).to_be_focused()
            assert await violations(page, DIALOG, colours=colours) == []
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("button", name="Record the next calls…")).to_be_focused()


async def test_by_keyboard_alone(chromium, server):
    async with opened(chromium, server) as page:
        await page.get_by_label("By", exact=True).focus()
        await page.keyboard.type("key")
        await expect(page.locator("#totals")).to_contain_text("key-3")
        for _ in range(3):
            await page.keyboard.press("Tab")
        await expect(page.get_by_role("region", name="Sums")).to_be_focused()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")  # the first chart's table
        await expect(page.locator("#chart-requests table")).to_be_visible()
        await page.get_by_label("Any text").focus()
        await page.keyboard.type("req_0_3")
        await expect(page.locator("#calls tr")).to_have_count(1)
        await page.get_by_role("button", name="Log out").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Admin key")).to_be_focused()
        assert "req_0_3" not in await page.locator("main").all_inner_texts()


def test_programs_read_the_same_below_admin(server):

    key = {"authorization": "Bearer admin-key"}
    with httpx.Client(base_url=server.base_url, trust_env=False) as client:
        told = client.get("/admin/usage?days=90&by=key", headers=key)
        assert told.status_code == 200
        assert told.headers["cache-control"] == "no-store"
        assert told.json() == client.get("/tokens/api/usage?days=90&by=key", headers=key).json()
        for headers in ({"authorization": "Bearer first-key"}, {"x-forwarded-for": "192.0.2.1"}):
            assert client.get("/admin/usage", headers=headers).status_code in {401, 403}
        assert client.get("/tokens/usage/", follow_redirects=False).headers["location"] == "../usage"
        for name in ("uplot.js", "usage.css"):
            part = client.get(f"/tokens/parts/{name}")
            assert (part.status_code, part.headers["x-content-type-options"]) == (200, "nosniff")
        for name in ("frame.html", "accounts.html", "usage.html", "..%2fsession.js", "VENDOR"):
            assert client.get(f"/tokens/parts/{name}").status_code == 404
        html = client.get("/tokens/usage").text + client.get("/tokens").text
        assert not re.findall(r"\{\w+\}", html)  # places of the frame that were left open
    assert not re.search(r"<style|\bstyle=|\son\w+=|https?://|<script(?![^>]*\bsrc=)", html)


async def test_the_pages_lead_to_each_other(chromium, server):
    async with opened(chromium, server) as page:
        places = page.get_by_role("navigation", name="Pages of the gateway")
        await places.get_by_role("link", name="Keys").click()
        await expect(page.get_by_label("Requests a minute")).to_be_visible()
        assert page.url.endswith("/tokens#keys")
        await page.locator("#keys > summary").click()
        await places.get_by_role("link", name="Accounts").click()
        await places.get_by_role("link", name="Log", exact=True).click()
        await expect(page.locator("#calls tr").first).to_be_in_viewport()
        answers = [link.get_attribute("href") for link in await places.get_by_role("link").all()]
        for address in [await answer for answer in answers]:
            assert (await page.request.get(urljoin(page.url, address))).status == 200, address
