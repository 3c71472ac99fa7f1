"""Tasks beside requests: what goes wrong in one is logged and told, it goes on, and none is begun by another way."""

import ast
import asyncio
from pathlib import Path

import pytest

from shim.background import Background

ROOT = Path(__file__).parents[1]

# Who begins tasks by themselves, and who looks at what becomes of them.
AWAITED = {
    "shim/background.py": "this is the way",
    "shim/accounts/rotations.py": "logs whatever fails, goes on, and is ended by `close`",
    "shim/exchange/ahead.py": "whoever takes what was made awaits it",
    "shim/exchange/assembly.py": "the gateway ends the making of the tables with itself, and who counts makes them too",
    "shim/exchange/conversations.py": "a hold's renewal logs what fails, and ends with the hold",
    "shim/exchange/exchange.py": "the exchange awaits its choices",
    "shim/exchange/gateway.py": "the gateway awaits the turns of a request's choices",
    "shim/exchange/jobs.py": "logs whatever fails, and keeps it as the job's end",
    "shim/exchange/sockets.py": "whoever listens is woken when the reader ends, however it does",
    "shim/files/together.py": "awaited by whoever wants the files",
    "shim/http/presence.py": "the block ends its watcher, and looks at it",
    "shim/http/responses.py": "the stream awaits its comment",
    "shim/server/granian.py": "whoever serves awaits the server",
    "shim/server/heartbeats.py": "one that died is a worker that hangs, and is replaced",
    "shim/server/replay.py": "awaited by the call",
    "shim/single_flight.py": "whoever asked awaits the flight",
    "shim/transport/outgoing.py": "the upload awaits its reader",
    "shim/transport/websocket.py": "an answer to a ping ends with the socket; who reads hears what is broken",
    "addons/bridge.py": "logs whatever fails, and ends mitmproxy",
}


def test_tasks_are_begun_where_somebody_looks_at_their_end() -> None:
    begins = set()
    paths = [path for room in ("shim", "addons", "pow", "arkose") for path in (ROOT / room).rglob("*.py")]
    for path in paths:
        called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {func.attr for func in called if isinstance(func, ast.Attribute)}
        if names & {"create_task", "ensure_future"} and "standin" not in path.parts:
            begins.add(str(path.relative_to(ROOT)))
    assert begins == set(AWAITED)


async def until(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.005)


async def test_what_fails_again_and_again_is_told_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    background, ran, well = Background("the tests"), [], asyncio.Event()

    async def work() -> None:
        ran.append(len(ran))
        if not well.is_set():
            raise ValueError("not yet")

    background.repeat(0.005, "work", work)
    await until(lambda: len(ran) > 3)
    assert background.failing == {"work": "ValueError"}
    well.set()
    await until(lambda: not background.failing)
    await background.close()
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "background task 'work' of the tests failed; it is tried again",
        "background task 'work' of the tests is well again",
    ]


async def test_what_is_done_once_and_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    background, done = Background("the tests"), []

    async def fails() -> None:
        raise ValueError("no")

    async def works() -> None:
        await asyncio.sleep(0.01)
        done.append(True)

    background.spawn(fails())
    background.spawn(works())
    await background.settled()
    assert done
    await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == ["a background task of the tests failed"]
    await background.close()


async def test_nobody_waits_longer_than_wanted() -> None:
    background, forever = Background("the tests"), asyncio.Event()

    async def waits() -> None:
        await forever.wait()

    background.spawn(waits())
    await background.settled(0.01)
    forever.set()
    await background.close()
