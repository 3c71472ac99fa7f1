"""The solver with real processes: answers, bounds, cancellation, a killed child, and its end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import psutil
import pytest

from pow import (
    Challenge,
    ClientProfile,
    ProofNotSolvedError,
    Solver,
    SolverBrokenError,
    SolverBusyError,
    SolverClosedError,
    proof_config,
    search,
    verify,
)
from pow.children import NICENESS, Children

CONFIG = proof_config(ClientProfile(), now=datetime(2026, 1, 1, tzinfo=UTC), performance_ms=1.5, session_id="an-id")
EASY = Challenge("0.42", "0fffff")
HARD = Challenge("0.42", "000fff")
IMPOSSIBLE = Challenge("0.42", "0" * 64)
ENDLESS = 10**12


@pytest.fixture
async def make_solver() -> AsyncIterator[Callable[..., Solver]]:
    made: list[Solver] = []

    def make(**options: int) -> Solver:
        made.append(Solver(**options))
        return made[-1]

    yield make
    for solver in made:
        await asyncio.wait_for(solver.close(), 30)


def working_children(parent: psutil.Process | None = None) -> list[psutil.Process]:
    """The processes that hash are known by their niceness; the fork server and the resource tracker are not nice. They
    are our children or the fork server's: what is further down belongs to servers that other tests have started."""
    ours = (parent or psutil.Process()).children()
    found = [*ours, *(grandchild for child in ours for grandchild in child.children())]
    return [child for child in found if child.is_running() and child.nice() == NICENESS]


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  nothing announces the end of another process
            await asyncio.sleep(0.02)


async def test_it_finds_what_search_finds(make_solver):
    solver = make_solver(slice_attempts=100)
    token = await solver.solve(HARD, CONFIG)
    assert token == search(HARD, CONFIG)
    assert verify(token, HARD)


async def test_used_up_attempts_are_an_error(make_solver):
    solver = make_solver(attempts=250, slice_attempts=100)
    with pytest.raises(ProofNotSolvedError, match=r"^proof of work not solved$"):
        await solver.solve(IMPOSSIBLE, CONFIG)


async def test_exactly_as_many_attempts_as_allowed(make_solver):
    needed = next(n for n in range(1, 100_000) if search(HARD, CONFIG, start=n - 1, attempts=1))
    enough, too_few = (make_solver(attempts=attempts, slice_attempts=100) for attempts in (needed, needed - 1))
    assert verify(await enough.solve(HARD, CONFIG), HARD)
    with pytest.raises(ProofNotSolvedError):
        await too_few.solve(HARD, CONFIG)


@pytest.mark.parametrize("workers", [1, 2])
async def test_many_at_once(make_solver, workers):
    solver = make_solver(workers=workers, slice_attempts=500)
    challenges = [Challenge(f"0.{number}", "007fff") for number in range(20)]
    tokens = await asyncio.gather(*(solver.solve(challenge, CONFIG) for challenge in challenges))
    assert all(verify(token, challenge) for token, challenge in zip(tokens, challenges, strict=True))


async def test_an_endless_challenge_does_not_hold_up_an_easy_one(make_solver):
    solver = make_solver(attempts=ENDLESS, slice_attempts=2_000)
    endless = asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG))
    await asyncio.sleep(0)
    assert verify(await asyncio.wait_for(solver.solve(EASY, CONFIG), 30), EASY)
    endless.cancel()


async def test_more_than_the_queue_holds_are_refused_at_once(make_solver):
    solver = make_solver(attempts=ENDLESS, slice_attempts=2_000, queue=2)
    tasks = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(SolverBusyError):
        await solver.solve(EASY, CONFIG)

    tasks[0].cancel()  # and a place is free again
    await asyncio.wait(tasks[:1])
    assert verify(await solver.solve(EASY, CONFIG), EASY)
    for task in tasks:
        task.cancel()


async def test_cancelling_frees_the_child_within_a_slice(make_solver):
    solver = make_solver(attempts=ENDLESS, slice_attempts=2_000)
    await solver.start()
    tasks = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(20)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in ended)

    (child,) = working_children()
    await eventually(lambda: child.cpu_percent(interval=0.1) < 10)
    assert verify(await asyncio.wait_for(solver.solve(EASY, CONFIG), 30), EASY)


async def test_start_brings_up_nice_children_that_ignore_ctrl_c(make_solver):
    solver = make_solver()
    assert working_children() == []
    await solver.start()
    (child,) = working_children()
    child.send_signal(signal.SIGINT)
    await asyncio.sleep(0.1)
    assert verify(await solver.solve(EASY, CONFIG), EASY)
    assert working_children() == [child]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_killed_child_is_replaced_and_its_slice_done_again(make_solver, workers):
    solver = make_solver(workers=workers, attempts=ENDLESS, slice_attempts=20_000)
    await solver.start()
    busy = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(workers)]
    solving = asyncio.create_task(solver.solve(HARD, CONFIG))
    await asyncio.sleep(0.05)
    killed = working_children()
    for child in killed:
        child.kill()

    assert await asyncio.wait_for(solving, 60) == search(HARD, CONFIG)
    assert not set(killed) & set(working_children())
    assert not any(task.done() for task in busy)
    for task in busy:
        task.cancel()


async def test_an_idle_child_that_was_killed_is_replaced(make_solver):
    solver = make_solver()
    for _ in range(3):
        await solver.start()
        (child,) = working_children()
        child.kill()
        await eventually(lambda child=child: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        assert verify(await asyncio.wait_for(solver.solve(EASY, CONFIG), 30), EASY)


def test_work_that_kills_every_child_is_given_up():
    children = Children(1)
    with pytest.raises(SolverBrokenError):
        children.call(os._exit, 3)
    assert children.call(os.getpid) != os.getpid()
    children.close()


def test_an_error_in_a_child_reaches_the_caller():
    children = Children(1)
    with pytest.raises(ValueError, match="13 to 25"):
        children.call(search, EASY, [])
    children.close()


async def test_close_ends_the_children_and_the_unfinished_solves(make_solver):
    solver = make_solver(attempts=ENDLESS, slice_attempts=2_000)
    await solver.start()
    tasks = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(5)]
    await asyncio.sleep(0.05)
    await asyncio.wait_for(solver.close(), 30)

    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
    assert all(isinstance(error, SolverClosedError) for error in ended)
    assert working_children() == []
    with pytest.raises(SolverClosedError):
        await solver.solve(EASY, CONFIG)
    await solver.close()


async def test_closing_a_solver_that_never_started(make_solver):
    await make_solver().close()
    assert working_children() == []


async def test_the_event_loop_keeps_its_time(make_solver):
    """Generous on purpose; hashing in a thread of this process would be 5 ms late at the median."""
    solver = make_solver(attempts=100_000)
    await solver.start()
    loop, late = asyncio.get_running_loop(), []
    solving = asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG))
    while not solving.done():
        due = loop.time() + 0.005
        await asyncio.sleep(0.005)
        late.append(loop.time() - due)
    assert isinstance(solving.exception(), ProofNotSolvedError)
    assert sorted(late)[len(late) // 2] < 0.004


PARENT = """
import asyncio
from pow import Challenge, Solver

async def main():
    solver = Solver(attempts=10**12)
    await solver.start()
    asyncio.create_task(solver.solve(Challenge("0.42", "0" * 64), [0] * 13))
    print("started", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_children_die_with_a_killed_parent():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert await parent.stdout.readline() == b"started\n"
    descendants = psutil.Process(parent.pid).children(recursive=True)
    assert working_children(psutil.Process(parent.pid))
    parent.kill()
    await parent.wait()
    await eventually(lambda: not [child for child in descendants if child.is_running()])
