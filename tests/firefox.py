"""A real Firefox as its users have it, driven by its own protocol (WebDriver BiDi).

Playwright asks of a Firefox what the release for long support does not know yet; what the tour needs is little.
"""

import asyncio
import base64
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
START_SECONDS = 90
# Nothing of its own goes out: whatever is not this machine is asked for at a port where nobody is.
PREFERENCES = {
    "app.update.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "intl.accept_languages": "en",
    "network.captive-portal-service.enabled": False,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.type": 1,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}
KEYS = {"Enter": "\ue007", "Escape": "\ue00c"}


class FirefoxPage:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._tab = ""
        self.complaints: list[str] = []

    async def send(self, method: str, **params: Any) -> Any:
        """The result of a command; what happens meanwhile is noted. Raises AssertionError for an error."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            told = json.loads((await self._socket.receive()).data)
            if told.get("method") == "log.entryAdded" and told["params"]["level"] in {"warn", "error"}:
                self.complaints.append(told["params"]["text"])
            if told.get("id") == self._number:
                assert told["type"] == "success", told
                return told["result"]

    async def begin(self) -> None:
        await self.send("session.new", capabilities={})
        await self.send("session.subscribe", events=["log.entryAdded"])
        self._tab = (await self.send("browsingContext.getTree"))["contexts"][0]["context"]

    async def open(self, url: str) -> None:
        await self.send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def resize(self, width: int, height: int) -> None:
        await self.send("browsingContext.setViewport", context=self._tab, viewport={"width": width, "height": height})

    async def run(self, code: str) -> Any:
        """What an expression of JavaScript gives: null, a string, a number or a truth."""
        told = await self.send("script.evaluate", expression=code, target={"context": self._tab}, awaitPromise=True)
        assert told["type"] == "success", told
        return told["result"].get("value")

    async def until(self, code: str) -> None:
        """Wait until an expression is true."""
        for _ in range(600):
            if await self.run(f"Boolean({code})"):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"never true: {code}\n{await self.run('document.body.innerText')}")

    async def press(self, keys: str) -> None:
        """Type a text, or press one of KEYS."""
        actions = [{"type": kind, "value": key} for key in KEYS.get(keys, keys) for kind in ("keyDown", "keyUp")]
        await self.send(
            "input.performActions", context=self._tab, actions=[{"type": "key", "id": "keyboard", "actions": actions}]
        )

    async def click(self, selector: str) -> None:
        """Press the middle of the first element that fits, once it can be seen."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].findLast((one) => one.checkVisibility())"
        await self.until(found)
        place = await self.run(
            f"(() => {{ const one = {found}; one.scrollIntoView({{ block: 'nearest' }}); const box = one"
            ".getBoundingClientRect(); return JSON.stringify([box.x + box.width / 2, box.y + box.height / 2]); })()"
        )
        x, y = (round(number) for number in json.loads(place))
        actions = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        await self.send(
            "input.performActions", context=self._tab, actions=[{"type": "pointer", "id": "mouse", "actions": actions}]
        )

    async def picture(self) -> bytes:
        """What is on the screen, as a PNG."""
        return base64.b64decode((await self.send("browsingContext.captureScreenshot", context=self._tab))["data"])


@asynccontextmanager
async def firefox() -> AsyncIterator[FirefoxPage]:
    """A Firefox with a profile of its own; the test is skipped where there is none."""
    if FIREFOX is None:
        pytest.skip("there is no Firefox on PATH (Debian: apt install firefox-esr)")
    with _profile() as profile:
        process = await asyncio.create_subprocess_exec(
            *(FIREFOX, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", profile),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            address = await asyncio.wait_for(_address(process.stderr), START_SECONDS)
            talk = asyncio.create_task(_drain(process.stderr))
            async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/session") as socket:
                page = FirefoxPage(socket)
                await page.begin()
                yield page
            talk.cancel()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextmanager
def _profile() -> Iterator[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
        Path(folder, "user.js").write_text("".join(lines))
        yield folder


async def _address(talk: asyncio.StreamReader) -> str:
    while line := (await talk.readline()).decode(errors="replace"):
        if found := re.search(r"BiDi listening on (ws://\S+)", line):
            return found[1]
    raise AssertionError("Firefox ended before it listened")


async def _drain(talk: asyncio.StreamReader) -> None:
    while await talk.read(65_536):
        pass
