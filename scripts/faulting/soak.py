"""Many streams held at once, then all kinds of calls for as long as wanted: a real gateway's memory stays flat.

    held    --streams answers open at once, each --hold seconds long
    soak    --minutes of calls by --clients at once: streamed, whole, broken off, refused, of each API

Exits with 1 where a stream is not whole, an answer is none that was wanted, or the last third of the soak has more
memory or descriptors than the first (after a warm-up) by more than there is room for.
"""

import argparse
import asyncio
import collections
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count

import aiohttp

from scripts.faulting.measuring import Folders, descriptors, megabytes
from tests.servers import Process, gateways, standins

CHAT = "/v1/chat/completions"
ROOM_MEGABYTES = 15.0
ROOM_SHARE = 0.06
ROOM_DESCRIPTORS = 16
_CHANCE = random.Random(1)  # noqa: S311  the same calls each time


def chat(text: str, **more: object) -> dict[str, object]:
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


class Soak:
    """The calls of one run, and what came of them."""

    def __init__(self, gateway: Process, session: aiohttp.ClientSession) -> None:
        self._gateway, self._session = gateway, session
        self._numbers = count()
        self.seen: collections.Counter[str] = collections.Counter()
        self.first: list[float] = []

    async def hold(self, streams: int, seconds: float) -> None:
        """So many answers at once. The last one begins while the first is still open."""
        words = max(4, int(seconds) - 10)  # some ten events come before the first word
        body = chat(f"[[script=long words={words} delay={seconds / (words + 10):.2f}]] go", stream=True)

        async def one() -> None:
            began = time.monotonic()
            async with self._session.post(CHAT, json=body) as answer:
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

        await asyncio.gather(*(client() for _ in range(clients)))

    async def post(self, name: str, path: str, body: dict[str, object], wanted: int = 200) -> str:
        async with self._session.post(path, json=body) as answer:
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
    async with soak._session.post(CHAT, json=chat("[[script=long words=3000 delay=0.05]] go", stream=True)) as answer:
        await answer.content.readany()
        answer.close()
        return "broken off" if answer.status == 200 else f"WRONG: broken off, {answer.status}"


async def metrics(soak: Soak) -> str:
    async with soak._session.get("/metrics") as answer:
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


async def sampled(gateway: Process, over: asyncio.Event, every: float) -> list[tuple[float, int]]:
    """Megabytes and descriptors, again and again."""
    samples = []
    while not over.is_set():
        samples.append((await asyncio.to_thread(megabytes, gateway), await asyncio.to_thread(descriptors, gateway)))
        try:
            await asyncio.wait_for(over.wait(), every)
        except TimeoutError:
            continue
    return samples


def judged(samples: list[tuple[float, int]]) -> tuple[str, bool]:
    """What became of memory and descriptors from the first third, after a fifth to warm up, to the last; and whether
    that is well."""
    steady = samples[len(samples) // 5 :]
    third = max(1, len(steady) // 3)
    before, after = (
        [statistics.median(one) for one in zip(*part, strict=True)] for part in (steady[:third], steady[-third:])
    )
    text = f"{before[0]:.0f} -> {after[0]:.0f} MB, {before[1]:.0f} -> {after[1]:.0f} descriptors, {len(samples)} looks"
    well = after[0] - before[0] <= max(ROOM_MEGABYTES, before[0] * ROOM_SHARE)
    return text, well and after[1] - before[1] <= ROOM_DESCRIPTORS


async def play(gateway: Process, options: argparse.Namespace) -> bool:
    timeout = aiohttp.ClientTimeout(total=options.hold * 3 + 120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(gateway.base_url, timeout=timeout, connector=connector) as session:
        soak = Soak(gateway, session)
        for _ in range(20):
            await whole(soak)  # what is made once is made
        began, before = time.monotonic(), megabytes(gateway)
        over = asyncio.Event()
        looking = asyncio.create_task(sampled(gateway, over, 1.0))
        await soak.hold(options.streams, options.hold)
        over.set()
        peak = max(await looking)
        first = statistics.quantiles(soak.first, n=100)
        print(f"held: {options.streams} streams, {time.monotonic() - began:.0f} s from the first to the last of them")
        each = (peak[0] - before) * 1000 / options.streams
        print(f"  {before:.0f} MB before, {peak[0]:.0f} MB at most ({each:.0f} KB each), {peak[1]} descriptors")
        print(f"  first byte after {first[49]:.2f} s (half), {first[98]:.2f} s (99 %)", flush=True)
        over = asyncio.Event()
        looking = asyncio.create_task(sampled(gateway, over, min(5.0, options.minutes * 60 / 30)))
        began = time.monotonic()
        await soak.run(options.clients, began + options.minutes * 60)
        took = time.monotonic() - began
        over.set()
        told, well = judged(await looking)
    for name, number in sorted(soak.seen.items()):
        print(f"  {number:8} {name}")
    wrong = [name for name in soak.seen if name.startswith("WRONG")]
    calls = sum(soak.seen.values()) - soak.seen["held, whole"]
    print(f"soak: {calls} calls in {took:.0f} s ({calls / took:.0f} a second), {told}")
    if not well:
        print("soak: that is more than it may have grown")
    return well and not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--hold", type=float, default=60.0, help="seconds that a held answer lasts")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    folders = Folders()
    with standins(folders) as make_standin, gateways(folders) as make_gateway:  # type: ignore[arg-type]
        upstream = make_standin(process=True, seed=1)
        gateway = make_gateway(
            process=True, CHATGPT_BASE_URL=upstream.base_url, LOG_LEVEL="warning", WORKERS=str(options.workers)
        )
        assert isinstance(gateway, Process)
        return 0 if asyncio.run(play(gateway, options)) else 1


if __name__ == "__main__":
    sys.exit(main())
