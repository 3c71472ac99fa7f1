"""What the tests of exchanges share: a real gateway on an upstream that is a list, and a client that asks it.

Rule: no socket, no process and no wait; upstream is what a test has said it will answer, in that order.
"""

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shim.apis.chat import CHAT
from shim.errors import UpstreamError
from shim.exchange import ClientCall, Clock, Exchange, Gateway
from shim.exchange.assembly import open_gateway
from shim.protocol.commands import HttpRequest
from shim.settings import Settings
from shim.standin import make_access_token
from shim.transport import ConnectionKey

KEY = "fk-a-key-of-these-tests"
NOW = 1_800_000_000.0


class Said:
    """One answer of upstream: what it says piece by piece, and whether anybody let go of it. An exception among the
    pieces is raised instead; after the last piece comes the end."""

    def __init__(self, *pieces: bytes | Exception, status: int = 200, content_type: str = "text/event-stream") -> None:
        self.status, self.headers = status, {"content-type": content_type}
        self.closed = self.released = False
        self._pieces = iter(pieces)

    @classmethod
    def refusal(cls, status: int, detail: Any = "no") -> "Said":
        return cls(json.dumps({"detail": detail}).encode(), status=status, content_type="application/json")

    async def chunk(self) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed = True

    def release(self, then: Callable[[], None]) -> None:
        self.released = True
        then()

    @property
    def is_over(self) -> bool:
        return self.closed or self.released


class Listed:
    """A transport that gives the next answer of a list to each call, and remembers whose call it was. `always` has what
    is said to calls whose path ends so, which take none of the list."""

    def __init__(self) -> None:
        self.always: dict[str, Callable[[], Said]] = {}
        self.answers: list[Said | Exception] = []
        self.asked: list[tuple[str, str | None]] = []  # (path, who asks)

    def will_say(self, *answers: Said | Exception) -> None:
        self.answers += answers

    async def send(self, request: HttpRequest, connection: ConnectionKey) -> Said:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.url.rpartition(".test")[2], headers.get("authorization")))
        for end, say in self.always.items():
            if request.url.partition("?")[0].endswith(end):
                return say()
        if not self.answers:
            raise AssertionError(f"nothing is said to {request.method} {request.url}")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class NoProofs:
    """In the place of the solver: gateways that send bare conversations prove nothing."""

    def __init__(self, *, workers: int) -> None:
        pass

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


class House:
    """A gateway, its upstream, and how a client asks."""

    key = KEY

    def __init__(self, gateway: Gateway, upstream: Listed) -> None:
        self.gateway, self.upstream = gateway, upstream

    async def open(self, *, key: str = KEY, **fields: Any) -> Exchange:
        """The exchange of a chat, at its head, for a driver that reads the streams itself."""
        return await self.gateway.open(self._call(key, fields))

    async def adopt(self, *, key: str = KEY, **fields: Any) -> Exchange:
        """The same for a driver that is pushed the stream: the call is prepared, and made by somebody else."""
        call, turns = self._call(key, fields), self.gateway.turns
        wanted = await self.gateway.wanted(call.asked.prompt, call.caller)
        prepared = await turns.prepare(wanted, turns.tries(wanted.seeker))
        return self.gateway.exchange(call, wanted, [turns.adopt(prepared, Said())])

    def _call(self, key: str, fields: dict[str, Any]) -> ClientCall:
        asked = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]} | fields
        caller = self.gateway.caller(CHAT.credential({"authorization": f"Bearer {key}"}))
        request = CHAT.read(json.dumps(asked).encode(), strict=False)
        return ClientCall(request, caller, CHAT, "http://gateway.test")

    @property
    def conversations(self) -> list[str | None]:
        """Who sent each conversation, in their order."""
        return [who for path, who in self.upstream.asked if path.endswith("/conversation")]


OpenHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def open_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenHouse:
    """`async with open_house(accounts=2, retry_times=3) as house`: with these settings, and so many accounts."""
    monkeypatch.setattr("shim.exchange.driving.Solver", NoProofs)
    numbers = itertools.count()

    @asynccontextmanager
    async def make(accounts: int = 2, **more: Any) -> AsyncIterator[House]:
        settings = Settings(
            data_dir=str(tmp_path / str(next(numbers))),
            authorization=(KEY,),
            chatgpt_base_url=("http://upstream.test",),
            **({"conversation_only": True, "sentinel": "one-step"} | more),
        )
        upstream = Listed()
        clock = Clock(now=lambda: NOW, new_id=lambda: f"{next(numbers):08}-0000-4000-8000-000000000000")
        async with open_gateway(settings, upstream, clock) as gateway:
            names = [make_access_token(f"account-{number}", "plus") for number in range(accounts)]
            await gateway.leases.pool.add("\n".join(names))
            yield House(gateway, upstream)

    return make


@pytest.fixture
def said() -> type[Said]:
    """`said(b"...", UpstreamError(...))`: an answer of upstream; `said.refusal(503)`: one that is none."""
    return Said


@pytest.fixture
def lost() -> Callable[..., UpstreamError]:
    """`lost()`: a connection that broke; `lost(sent=Sent.NEVER)`: one that was never made."""
    return partial(UpstreamError, "the connection is gone", code="upstream_connection")
