"""A real gateway in front of the stand-in, both in the test's own loop, with the waits of the core made short.

Rule: what a test asks goes the whole way, over sockets; only `Wait` is compressed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from shim.apis.chat import CHAT
from shim.exchange import ClientCall, Exchange, Gateway
from shim.exchange.assembly import open_gateway
from shim.protocol.commands import Wait
from shim.settings import load_settings
from shim.standin import RunningStandin, StandinOptions, make_access_token, serve_standin
from shim.standin.accounts import Account
from shim.transport.driver import Driver

COMPRESSION = 500.0  # times


class Seen:
    """The gateway, the stand-in behind it, and the seconds it would have waited."""

    def __init__(self, gateway: Gateway, standin: RunningStandin, waits: list[float]) -> None:
        self.gateway, self.standin, self.waits = gateway, standin, waits

    @property
    def upstream(self) -> Any:
        """The stand-in's state."""
        return self.standin.upstream

    def requests(self, path: str) -> int:
        """How often the stand-in was asked for a path that ends so."""
        return sum(count for asked, count in self.upstream.stats.requests.items() if asked.endswith(path))

    async def open(self, prompt: str, model: str = "auto", account: str = "alice", **fields: Any) -> Exchange:
        """An exchange at its head, asked with an account's own token."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        plan = self.upstream.accounts[account].plan if self.upstream.accounts.get(account) else "plus"
        caller = self.gateway.caller(f"Bearer {make_access_token(account, plan)}")
        asked = CHAT.read(msgspec.json.encode(body), strict=True)
        return await self.gateway.open(ClientCall(asked, caller, CHAT, "http://gateway.test"))

    async def ask(self, prompt: str, model: str = "auto", account: str = "alice", **fields: Any) -> dict[str, Any]:
        """The whole completion. Raises GatewayError."""
        exchange = await self.open(prompt, model, account, **fields)
        try:
            completion: dict[str, Any] = msgspec.json.decode(await exchange.whole())
        finally:
            exchange.close()
        return completion

    async def say(self, prompt: str, model: str = "auto", account: str = "alice", **fields: Any) -> str:
        """The text of the whole completion."""
        return str((await self.ask(prompt, model, account, **fields))["choices"][0]["message"]["content"])

    async def stream(self, prompt: str, **fields: Any) -> list[Any]:
        """The chunks of a streamed answer, `[DONE]` as a string."""
        exchange = await self.open(prompt, stream=True, **fields)
        lines: list[bytes] = []

        async def send(data: bytes) -> None:
            lines.append(data)

        try:
            lines.append(await exchange.run(send))
        finally:
            exchange.close()
        told = [line.removeprefix(b"data: ") for line in b"".join(lines).split(b"\n\n") if line.startswith(b"data: ")]
        return ["[DONE]" if line == b"[DONE]" else msgspec.json.decode(line) for line in told]


Going = Callable[..., Any]


@pytest.fixture
def going(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Going:
    """`async with going(Account(...), SETTING="value") as seen`."""
    waits: list[float] = []
    perform = Driver._perform

    async def compressed(driver: Driver, command: Any, connection: Any) -> Any:
        if isinstance(command, Wait):
            waits.append(command.seconds)
            await asyncio.sleep(command.seconds / COMPRESSION)
            return None
        return await perform(driver, command, connection)

    monkeypatch.setattr(Driver, "_perform", compressed)

    @asynccontextmanager
    async def go(*accounts: Account, options: dict[str, Any] | None = None, **settings: str) -> AsyncIterator[Seen]:
        made = StandinOptions(accounts=accounts, seed=1, difficulty="ffffff", **(options or {}))
        async with serve_standin(made) as standin:
            environment = {"CHATGPT_BASE_URL": standin.base_url, "DATA_DIR": str(tmp_path), "POW_DIFFICULTY": "000000"}
            loaded = load_settings(environment | settings, dotenv=tmp_path / "none")
            async with open_gateway(loaded) as gateway:
                yield Seen(gateway, standin, waits)

    return go
