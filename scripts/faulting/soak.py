"""Many streams held at once, then all kinds of calls for as long as wanted: a real gateway's memory stays flat.

    held    --streams answers open at once, each --hold seconds long
    soak    --minutes of calls by --clients at once: streamed, whole, broken off, refused, of each API

Calls come with the keys of three callers and are served by --accounts. Several --gateways share a Redis, as several
machines would, and are called by turns.
Exits with 1 where a stream is not whole, an answer is none that was wanted, or the last third of the soak has more
memory, descriptors or threads than the first (after a warm-up) by more than there is room for.
"""

import argparse
import asyncio
import collections
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle
from typing import NamedTuple

import aiohttp
from cryptography.fernet import Fernet

from scripts.faulting.measuring import Folders, descriptors, megabytes, threads
from shim.cli.progress import followed
from tests.redis_server import RedisServer
from tests.servers import Process, Running, gateways, standins

CHAT = "/v1/chat/completions"
ADMIN = "the-operator"
CALLERS = ("first-caller", "second-caller", "third-caller")
ROOM_MEGABYTES = 15.0
ROOM_SHARE = 0.06
ROOM_DESCRIPTORS = 16
ROOM_THREADS = 8
ROWS = 20
"""of the table that tells what became of the gateways over the time"""
_CHANCE = random.Random(1)  # noqa: S311  the same calls each time


def chat(text: str, **more: object) -> dict[str, object]:
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


class Look(NamedTuple):
    """What all gateways together have at a moment, and what has come of the calls until then."""

    seconds: float
    megabytes: float
    descriptors: int
    threads: int
    calls: int
    wrong: int


class Soak:
    """The calls of one run, and what came of them."""

    def __init__(self, gateways: list[Process], session: aiohttp.ClientSession) -> None:
        self._gateways, self._session = gateways, session
        self._turns = cycle([gateway.base_url for gateway in gateways])
        self._callers = cycle(CALLERS)
        self._numbers = count()
        self.seen: collections.Counter[str] = collections.Counter()
        self.first: list[float] = []

    def to(self, path: str) -> str:
        """The address of the gateway whose turn it is."""
        return next(self._turns) + path

    def key(self) -> dict[str, str]:
        """The headers of the caller whose turn it is."""
        return {"authorization": f"Bearer {next(self._callers)}"}

    def look(self, began: float) -> Look:
        gateways, seen = self._gateways, self.seen.copy()
        return Look(
            time.monotonic() - began,
            sum(map(megabytes, gateways)),
            sum(map(descriptors, gateways)),
            sum(map(threads, gateways)),
            seen.total(),
            sum(times for name, times in seen.items() if name.startswith("WRONG")),
        )

    async def looks(self, over: asyncio.Event, every: float) -> list[Look]:
        """Again and again, `every` so many seconds."""
        began, looks = time.monotonic(), []
        while not over.is_set():
            looks.append(await asyncio.to_thread(self.look, began))
            try:
                await asyncio.wait_for(over.wait(), every)
            except TimeoutError:
                continue
        return looks

    async def hold(self, streams: int, seconds: float) -> None:
        """So many answers at once. The last one begins while the first is still open."""
        words = max(4, int(seconds))
        body = chat(f"[[script=long words={words} delay={seconds / words:.2f}]] go", stream=True)

        async def one() -> None:
            began = time.monotonic()
            async with self._session.post(self.to(CHAT), json=body, headers=self.key()) as answer:
                first, text = True, b""
                async for piece in answer.content.iter_any():
                    if first:
                        self.first.append(time.monotonic() - began)
                        first = False
                    text = text[-100:] + piece
                whole = answer.status == 200 and text.rstrip().endswith(b"data: [DONE]")
                self.seen["held, whole" if whole else f"WRONG: held, {answer.status} {text[-100:]!r}"] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(one())
                await asyncio.sleep(0.002)

    async def run(self, clients: int, until: float) -> None:
        """Calls of all kinds, by `clients` at once."""

        async def client() -> None:
            while time.monotonic() < until:
                kind = _CHANCE.choice(KINDS)
                try:
                    self.seen[await kind(self)] += 1
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.seen[f"WRONG: {kind.__name__}, {type(error).__name__}"] += 1

        async def clock() -> None:
            for _ in followed("calls of all kinds", range(int(until - time.monotonic()))):
                await asyncio.sleep(1)

        await asyncio.gather(clock(), *(client() for _ in range(clients)))

    async def post(self, name: str, path: str, body: dict[str, object], wanted: int = 200) -> str:
        async with self._session.post(self.to(path), json=body, headers=self.key()) as answer:
            await answer.read()
            return name if answer.status == wanted else f"WRONG: {name}, {answer.status}"

    def text(self) -> str:
        return f"{next(self._numbers)} " + "what is asked " * _CHANCE.randrange(200)


async def whole(soak: Soak) -> str:
    return await soak.post("whole", CHAT, chat(soak.text()))


async def streamed(soak: Soak) -> str:
    return await soak.post("streamed", CHAT, chat(soak.text(), stream=True))


async def response(soak: Soak) -> str:
    return await soak.post("response", "/v1/responses", {"model": "auto", "input": soak.text(), "stream": True})


async def message(soak: Soak) -> str:
    return await soak.post("message", "/v1/messages", chat(soak.text(), max_tokens=1000))


async def refused(soak: Soak) -> str:
    return await soak.post("refused", CHAT, chat(soak.text(), model=f"no-such-{next(soak._numbers)}"), 404)


async def broken_off(soak: Soak) -> str:
    body = chat("[[script=long words=3000 delay=0.05]] go", stream=True)
    async with soak._session.post(soak.to(CHAT), json=body, headers=soak.key()) as answer:
        await answer.content.readany()
        answer.close()
        return "broken off" if answer.status == 200 else f"WRONG: broken off, {answer.status}"


async def metrics(soak: Soak) -> str:
    async with soak._session.get(soak.to("/metrics"), headers={"authorization": f"Bearer {ADMIN}"}) as answer:
        await answer.read()
        return "metrics" if answer.status == 200 else f"WRONG: metrics, {answer.status}"


KINDS: list[Callable[[Soak], Awaitable[str]]] = [
    whole,
    streamed,
    streamed,
    response,
    message,
    refused,
    broken_off,
    metrics,
]


def judged(looks: list[Look]) -> tuple[str, bool]:
    """What became of memory, descriptors and threads from the first third, after a fifth to warm up, to the last; and
    whether that is well."""
    steady = looks[len(looks) // 5 :]
    third = max(1, len(steady) // 3)
    before, after = (
        [statistics.median(kind) for kind in list(zip(*part, strict=True))[1:4]]
        for part in (steady[:third], steady[-third:])
    )
    names = ("MB", "descriptors", "threads")
    rooms = (max(ROOM_MEGABYTES, before[0] * ROOM_SHARE), ROOM_DESCRIPTORS, ROOM_THREADS)
    told = [f"{old:.0f} -> {new:.0f} {name}" for old, new, name in zip(before, after, names, strict=True)]
    well = all(new - old <= room for old, new, room in zip(before, after, rooms, strict=True))
    return ", ".join([*told, f"{len(looks)} looks"]), well


def table(looks: list[Look]) -> str:
    """Some of the looks, from the first to the last, a line each."""
    rows = [looks[number * (len(looks) - 1) // (ROWS - 1)] for number in range(ROWS)] if len(looks) > ROWS else looks
    lines = [f"  {'minute':>6} {'MB':>6} {'fds':>6} {'threads':>7} {'calls':>8} {'wrong':>5}"]
    for seconds, memory, opened, running, calls, wrong in rows:
        lines.append(f"  {seconds / 60:6.1f} {memory:6.0f} {opened:6} {running:7} {calls:8} {wrong:5}")
    return "\n".join(lines)


async def play(gateways: list[Process], options: argparse.Namespace) -> bool:
    timeout = aiohttp.ClientTimeout(total=options.hold * 3 + 120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        soak = Soak(gateways, session)
        for _ in range(20 * len(gateways)):
            await whole(soak)  # what is made once is made
        began = time.monotonic()
        before, over = soak.look(began), asyncio.Event()
        looking = asyncio.create_task(soak.looks(over, 1.0))
        await soak.hold(options.streams, options.hold)
        over.set()
        peak = max(await looking, key=lambda look: look.megabytes)
        first = statistics.quantiles(soak.first, n=100)
        print(f"held: {options.streams} streams, {time.monotonic() - began:.0f} s from the first to the last of them")
        each = (peak.megabytes - before.megabytes) * 1000 / options.streams
        print(f"  {before.megabytes:.0f} MB before, {peak.megabytes:.0f} MB at most ({each:.0f} KB each), ", end="")
        print(f"{peak.descriptors} descriptors")
        print(f"  first byte after {first[49]:.2f} s (half), {first[98]:.2f} s (99 %)", flush=True)
        over = asyncio.Event()
        looking = asyncio.create_task(soak.looks(over, min(5.0, options.minutes * 60 / 30)))
        began = time.monotonic()
        await soak.run(options.clients, began + options.minutes * 60)
        took = time.monotonic() - began
        over.set()
        looks = await looking
    told, well = judged(looks)
    print(table(looks))
    for name, number in sorted(soak.seen.items()):
        print(f"  {number:8} {name}")
    wrong = [name for name in soak.seen if name.startswith("WRONG")]
    calls = soak.seen.total() - soak.seen["held, whole"]
    print(f"soak: {calls} calls in {took:.0f} s ({calls / took:.0f} a second), {told}")
    if not well:
        print("soak: that is more than it may have grown")
    return well and not wrong


@contextmanager
def shared_place(gateways: int, folders: Folders) -> Iterator[dict[str, str]]:
    """The settings by which so many gateways share what they keep."""
    if gateways == 1:
        yield {}
        return
    redis = RedisServer(folders.mktemp("redis"))
    redis.start()
    try:
        yield {"REDIS_URL": redis.url, "STORE_KEY": Fernet.generate_key().decode()}
    finally:
        redis.kill()


def with_accounts(upstream: Running, gateway: Running, accounts: int) -> None:
    """Gives a gateway so many accounts of the stand-in."""
    tokens = [
        upstream.post("/standin/accounts", {"name": f"soak-{number}", "plan": "plus"}).json()["access_token"]
        for number in range(accounts)
    ]
    added = gateway.post("/tokens/api/accounts", {"text": "\n".join(tokens)}, authorization=f"Bearer {ADMIN}")
    assert len(added.json()["added"]) == accounts, added.text


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--hold", type=float, default=60.0, help="seconds that a held answer lasts")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1, help="of each gateway")
    parser.add_argument("--gateways", type=int, default=1, help="that share a Redis")
    options = parser.parse_args()
    folders = Folders()
    with (
        standins(folders) as make_standin,  # type: ignore[arg-type]
        shared_place(options.gateways, folders) as shared,
        gateways(folders) as make_gateway,  # type: ignore[arg-type]
    ):
        upstream = make_standin(process=True, seed=1)
        settings = {
            "CHATGPT_BASE_URL": upstream.base_url,
            "LOG_LEVEL": "warning",
            "WORKERS": str(options.workers),
            "AUTHORIZATION": ",".join(CALLERS),
            "ADMIN_KEY": ADMIN,
            "ACCOUNT_LIMIT": "64",
        }
        made = [make_gateway(process=True, **settings, **shared) for _ in range(options.gateways)]
        started = [one for one in made if isinstance(one, Process)]
        with_accounts(upstream, started[0], options.accounts)
        return 0 if asyncio.run(play(started, options)) else 1


if __name__ == "__main__":
    sys.exit(main())
