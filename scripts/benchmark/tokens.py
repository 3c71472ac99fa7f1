"""The part about counting tokens: what it costs, and how late it makes an event loop, whatever the text."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import psutil
import uvloop

from scripts.benchmark.report import Row
from scripts.benchmark.sizes import Sizes
from shim import tokenizer

_TICK = 0.001
_MEGABYTE = 1_000_000
_PROSE = "The quick brown fox, he said, isn't as quick as the lazy dog thinks.\n"
# Seeded, so that every run counts the same text.
_CHANCE = random.Random(1)  # noqa: S311  the same texts each time
_TEXTS = {
    "prose": _PROSE * (_MEGABYTE // len(_PROSE)),
    **{repr(sign): sign * _MEGABYTE for sign in "-=*/#a \n"},
    "Chinese": "".join(_CHANCE.choices("中文字久国产", k=_MEGABYTE // 3)),
    "a sign that no token begins with": "\N{TELUGU SIGN ANUSVARA}" * (_MEGABYTE // 3),
    "emoji": "😀🚀" * (_MEGABYTE // 8),
    # Private use and unassigned: no token has learnt them, so each byte is one.
    "random characters": "".join(chr(_CHANCE.randrange(0xE000, 0x110000)) for _ in range(_MEGABYTE // 4)),
}


def tokens(sizes: Sizes, tell: Callable[[str], None]) -> list[Row]:
    """Memory of the tables, cost of short and long texts, lateness of a loop beside which a megabyte is counted."""
    process = psutil.Process()
    before = process.memory_info().rss
    tell("the vocabulary")
    encode = tokenizer.load().encode_ordinary
    after = process.memory_info().rss
    rows = [_row("Memory with the tables loaded", "MB", after / 2**20, before / 2**20, "without")]
    for size, unit, factor in ((20, "us", 1e6), (140_000, "ms", 1e3)):
        tell(f"{size} characters")
        text = _TEXTS["prose"][:size]
        repeats = sizes.repeats * (1000 if size < 1000 else 5)
        # The shortest of many: others on the machine only ever make it longer.
        bare = min(_seconds(lambda text=text: encode(text)) for _ in range(repeats))
        counted = min(_seconds(lambda text=text: tokenizer.count(text)) for _ in range(repeats))
        rows.append(_row(f"Count {size:,} characters", unit, counted * factor, bare * factor, "bare tiktoken"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        idle = runner.run(_lateness(asyncio.sleep(0.5)))
        for name, text in _TEXTS.items():
            tell(f"a megabyte of {name}")
            late = max(runner.run(_lateness(tokenizer.total([text]))))
            rows.append(
                _row(
                    f"Latest tick beside a megabyte of {name}", "ms", late * 1e3, max(idle) * 1e3, "idle loop", aim=5.0
                )
            )
    return rows


def _row(name: str, unit: str, measured: float, baseline: float, against: str, *, aim: float | None = None) -> Row:
    return Row(
        part="tokens", name=name, unit=unit, measured=measured, baseline=baseline, baseline_name=against, aim=aim
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


async def _lateness(work: Awaitable[object]) -> list[float]:
    """How late each tick came as long as `work` was under way."""
    working = asyncio.ensure_future(work)
    late = []
    while not working.done():
        before = time.perf_counter()
        await asyncio.sleep(_TICK)
        late.append(time.perf_counter() - before - _TICK)
    await working
    return late
