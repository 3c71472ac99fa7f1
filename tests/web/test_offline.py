"""Without the gateway: the page opens with its chats, says so, and goes on when it is back, also as another version."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from playwright.async_api import expect

from shim.http import static
from tests.servers import Running
from tests.web.conftest import Chat
from tests.web.test_files import WEB, address

KEPT = """async () => {
    const names = await caches.keys();
    const all = names.map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url));
    return [names, (await Promise.all(all)).flat()];
}"""
LEFT = "async () => [await caches.keys(), (await navigator.serviceWorker.getRegistrations()).length]"


class Door:
    """One address, behind which is this gateway, another one, or nobody."""

    def __init__(self) -> None:
        self._behind: Running | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def lead_to(self, gateway: Running | None) -> None:
        self._behind = gateway
        for writer in self._open:
            writer.close()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._behind is not None:
                host, _, port = self._behind.base_url.removeprefix("http://").partition(":")
                inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
                self._open.add(inner_writer)
                await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))
        finally:
            writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def door_to(gateway: Running) -> AsyncIterator[tuple[Door, str]]:
    door = Door()
    door.lead_to(gateway)
    server = await asyncio.start_server(door.pass_on, "127.0.0.1", 0)
    try:
        yield door, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        door.lead_to(None)


@asynccontextmanager
async def staying(visit, url: str) -> AsyncIterator[Chat]:
    """The page, which tells when a worker that was made meanwhile has taken it over."""
    async with visit("about:blank", service_workers="allow") as chat:
        await chat.page.add_init_script(
            "navigator.serviceWorker?.addEventListener('controllerchange', () => { window.taken = true; });"
        )
        await chat.page.goto(url)
        yield chat


async def kept(chat: Chat, version: str) -> list[str]:
    """The addresses that are kept, once all of this version are, and are what is used."""
    await chat.page.wait_for_function("() => window.taken", timeout=60_000)
    names, addresses = await chat.page.evaluate(KEPT)
    assert names[-1].endswith(version)
    return addresses


def version_of(gateway: Running, prefix: str = "/") -> str:
    return re.search(r"web/(\w+)/", address(gateway, "chat/app.js", prefix))[1]


def test_the_worker_is_asked_for_again_and_names_what_there_is(gateway):
    answer = gateway.get("/offline.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"] == "default-src 'none'; connect-src 'self'"
    version = version_of(gateway)
    assert f'"{version}"' in answer.text
    assert gateway.get("/").headers["x-chat2api-page"] == version
    files = re.search(r'const FILES = "(.*)"\.split', answer.text)[1].split(" ")
    assert {"chat/app.js", "chat/page.css", "chat/markdown.js", "chat/texts/en.js"} <= set(files)
    assert not [name for name in files if "mermaid" in name or "katex" in name]
    assert [name for name in files if gateway.get(f"/web/{version}/{name}").status_code != 200] == []


def test_without_the_page_there_is_no_worker(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, ENABLE_GATEWAY="false")
    assert gateway.get("/offline.js").status_code == 404


async def test_it_opens_without_the_gateway_and_takes_up_another_version(
    gateway, start_gateway, shared_standin, visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = shutil.copytree(WEB, tmp_path / "web")
    texts = folder / "chat/texts/en.js"
    texts.write_text(texts.read_text("utf-8").replace("What would you like to know?", "Newer than before"), "utf-8")
    monkeypatch.setattr(static, "_own_site", lambda: static.Site(folder))
    newer = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url)
    without = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, ENABLE_GATEWAY="false")
    async with door_to(gateway) as (door, url), staying(visit, f"{url}/") as chat:
        await chat.ask("Lighthouses")
        addresses = await kept(chat, version_of(gateway))
        assert all(one == f"{url}/" or one.startswith(f"{url}/web/{version_of(gateway)}/") for one in addresses)

        door.lead_to(None)
        await chat.page.reload()
        await expect(chat.questions).to_have_text([re.compile("Lighthouses")])
        await expect(chat.answers.last.locator(".prose p").first).to_be_visible()
        await expect(chat.page.locator("#notice")).to_contain_text("can’t be reached")
        await chat.send("Ships")
        await expect(chat.page.locator("#trouble")).to_contain_text("Not sent yet")
        await expect(chat.field).to_have_value("Ships")
        door.lead_to(gateway)
        await chat.page.keyboard.press("Enter")
        await expect(chat.questions).to_have_count(2)
        await expect(chat.page.locator("#notice")).to_be_hidden()
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")

        door.lead_to(newer)
        await chat.page.reload()
        await expect(chat.page.locator("#welcome h2")).to_have_text("Newer than before")
        await kept(chat, version_of(newer))
        door.lead_to(None)
        await chat.page.reload()
        await expect(chat.page.locator("#welcome h2")).to_have_text("Newer than before")
        await expect(chat.questions).to_have_count(2)

        door.lead_to(without)
        assert (await chat.page.reload()).status == 404
        await chat.page.wait_for_function(f"() => ({LEFT})().then(([names, count]) => !names.length && !count)")
        chat.check(refusals=True)


async def test_a_full_disk_takes_no_part_of_the_page_away(gateway, visit, say):
    """What the page fetches later can't be kept then; it works all the same."""
    async with door_to(gateway) as (_, url), staying(visit, f"{url}/") as chat:
        await kept(chat, version_of(gateway))
        full = "() => { Cache.prototype.put = async () => { throw new DOMException('full', 'QuotaExceededError'); }; }"
        await chat.page.context.service_workers[0].evaluate(full)
        say("$x^2$\n\n```python\nprint(1)\n```\n")
        await chat.ask("Squares")
        await expect(chat.answers.last.locator(".katex")).to_be_visible()
        await expect(chat.answers.last.locator("pre .hljs-number")).to_have_text("1")
        chat.check()


async def test_below_a_prefix_it_keeps_its_own_and_nothing_else(start_gateway, shared_standin, visit):
    gateway = start_gateway("/deep/healthz", CHATGPT_BASE_URL=shared_standin.base_url, API_PREFIX="deep")
    async with door_to(gateway) as (door, url), staying(visit, f"{url}/deep/") as chat:
        addresses = await kept(chat, version_of(gateway, "/deep/"))
        assert all(one.startswith(f"{url}/deep/") for one in addresses)
        scopes = "navigator.serviceWorker.getRegistrations().then((all) => all.map(({ scope }) => scope))"
        assert await chat.page.evaluate(scopes) == [f"{url}/deep/"]
        door.lead_to(None)
        await chat.page.reload()
        await expect(chat.page.locator("#welcome")).to_be_visible()
        chat.check(refusals=True)


async def test_another_program_at_the_address_is_left_alone(gateway, visit):
    """Where something else answers in the page's place, the worker goes; where a proxy says it is away, it stays."""
    async with door_to(gateway) as (_, url), staying(visit, f"{url}/") as chat:
        await kept(chat, version_of(gateway))
        worker = chat.page.context.service_workers[0]
        answers = """([status, body]) => {
            self.fetch = async () => new Response(body, { status, headers: { "content-type": "text/html" } });
        }"""
        await worker.evaluate(answers, [502, "away"])
        await chat.page.reload()
        await expect(chat.page.locator("#welcome")).to_be_visible()
        await worker.evaluate(answers, [200, "<p>Another program</p>"])
        await chat.page.reload()
        await expect(chat.page.locator("p")).to_have_text("Another program")
        await chat.page.wait_for_function(f"() => ({LEFT})().then(([names, count]) => !names.length && !count)")
