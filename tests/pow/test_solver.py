"""The solver, in threads and in processes: answers, turns, bounds, cancellation, a killed child, and its end."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

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
    hashing,
    proof_config,
    search,
    verify,
)
from pow import solver as solver_module
from pow.children import Children
from pow.hashing import NICENESS

CONFIG = proof_config(ClientProfile(), now=datetime(2026, 1, 1, tzinfo=UTC), performance_ms=1.5, session_id="an-id")
EASY = Challenge("0.42", "0fffff")
HARD = Challenge("0.42", "0003ff")
IMPOSSIBLE = Challenge("0.42", "0" * 64)
ENDLESS = 10**12
PATIENT = 1e12

MakeSolver = Callable[..., Solver]


@pytest.fixture
async def make_any() -> AsyncIterator[MakeSolver]:
    made: list[Solver] = []

    def make(**options: object) -> Solver:
        made.append(Solver(**options))
        return made[-1]

    yield make
    for solver in made:
        await asyncio.wait_for(solver.close(), 30)


@pytest.fixture(params=["threads", "processes"])
def make_solver(request: pytest.FixtureRequest, make_any: MakeSolver) -> MakeSolver:
    """Both kinds of workers, whatever is compiled: slow threads are as right as fast ones."""
    return lambda **options: make_any(in_threads=request.param == "threads", **options)


@pytest.fixture
def with_children(make_any: MakeSolver) -> MakeSolver:
    return lambda **options: make_any(in_threads=False, **options)


def niceness_of_children() -> int:
    """Theirs is counted from ours, which is not 0 where the tests themselves are run nicely; 19 is the highest."""
    return min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


def working_children(parent: psutil.Process | None = None) -> list[psutil.Process]:
    """The processes that hash are known by their niceness."""
    found = []
    for child in (parent or psutil.Process()).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
            if child.status() != psutil.STATUS_ZOMBIE and child.nice() == niceness_of_children():
                found.append(child)
    return found


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  nothing announces the end of another process
            await asyncio.sleep(0.02)


async def test_it_finds_what_search_finds(make_solver):
    solver = make_solver(slice_attempts=100)
    token = await solver.solve(HARD, CONFIG)
    assert token == search(HARD, CONFIG)
    assert verify(token, HARD)


async def test_an_easy_one_is_solved_without_any_worker(make_solver):
    threads = threading.active_count()
    solver = make_solver()
    assert await solver.solve(EASY, CONFIG) == search(EASY, CONFIG)
    assert threading.active_count() == threads
    assert working_children() == []


async def test_an_unlucky_easy_one_lets_the_loop_in(make_any, monkeypatch):
    # As if an attempt took so long that no more than sixteen are made at a time.
    monkeypatch.setattr(solver_module, "SECONDS_PER_ATTEMPT", solver_module.EASY_SECONDS / 16)
    unlucky = next(
        challenge
        for challenge in (Challenge(f"0.{number}", "0fffff") for number in range(1000))
        if search(challenge, CONFIG, attempts=64) is None
    )
    solving = asyncio.create_task(make_any().solve(unlucky, CONFIG))
    steps = 0
    while not solving.done():
        await asyncio.sleep(0)
        steps += 1
    assert steps > 4
    assert solving.result() == search(unlucky, CONFIG)


async def test_a_config_that_is_none(make_solver):
    for challenge in (EASY, HARD):
        with pytest.raises(ValueError, match="13 to 25"):
            await make_solver().solve(challenge, [0] * 12)


@pytest.mark.parametrize("challenge", [IMPOSSIBLE, Challenge("0.42", "00ffff")], ids=["hard", "easy"])
async def test_used_up_attempts_are_an_error(make_solver, challenge):
    solver = make_solver(attempts=25, slice_attempts=10)
    assert search(challenge, CONFIG, attempts=25) is None
    with pytest.raises(ProofNotSolvedError, match=r"^proof of work not solved$"):
        await solver.solve(challenge, CONFIG)


@pytest.mark.parametrize("challenge", [HARD, EASY], ids=["hard", "easy"])
async def test_exactly_as_many_attempts_as_allowed(make_solver, challenge):
    needed = next(n for n in range(1, 1_000_000) if search(challenge, CONFIG, start=n - 1, attempts=1))
    enough, too_few = (make_solver(attempts=attempts, slice_attempts=1000) for attempts in (needed, needed - 1))
    assert verify(await enough.solve(challenge, CONFIG), challenge)
    with pytest.raises(ProofNotSolvedError):
        await too_few.solve(challenge, CONFIG)


@pytest.mark.parametrize("workers", [1, 2])
async def test_many_at_once(make_solver, workers):
    solver = make_solver(workers=workers, slice_attempts=500)
    challenges = [Challenge(f"0.{number}", "0007ff") for number in range(20)]
    tokens = await asyncio.gather(*(solver.solve(challenge, CONFIG) for challenge in challenges))
    assert all(verify(token, challenge) for token, challenge in zip(tokens, challenges, strict=True))


async def test_an_endless_challenge_does_not_hold_up_another(make_solver):
    solver = make_solver(workers=1, attempts=ENDLESS, slice_attempts=2_000)
    endless = asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG))
    await asyncio.sleep(0)
    for challenge in (EASY, HARD):
        assert verify(await asyncio.wait_for(solver.solve(challenge, CONFIG), 30), challenge)
    assert not endless.done()
    endless.cancel()


async def test_each_gets_its_turn(make_any, monkeypatch):
    """Slices of all that wait alternate, so that none is done long before the others."""
    turns: list[object] = []
    solver = make_any(workers=1, in_threads=True, attempts=5_000, slice_attempts=1_000)

    def find(seed: bytes, *rest: object) -> None:
        turns.append(seed)
        time.sleep(0.005)  # time enough for the loop to have the next slice wait behind the others'

    monkeypatch.setattr(solver, "_find", find)
    seeds = ["first", "second", "third"]
    solves = [solver.solve(Challenge(seed, "0" * 64), CONFIG) for seed in seeds]
    ended = await asyncio.gather(*solves, return_exceptions=True)
    assert all(isinstance(error, ProofNotSolvedError) for error in ended)
    assert turns == [seed.encode() for seed in seeds] * 5


async def test_who_would_wait_too_long_is_refused_at_once_and_told_when_to_come_back(make_solver):
    waiting = Challenge("0.42", "000032")
    wait = waiting.expected_attempts * hashing.SECONDS_PER_ATTEMPT
    solver = make_solver(workers=1, slice_attempts=2_000, patience=1.5 * wait)
    tasks = [asyncio.create_task(solver.solve(Challenge(seed, "000032"), CONFIG)) for seed in ("0.1", "0.2")]
    await asyncio.sleep(0)
    with pytest.raises(SolverBusyError) as refused:
        await solver.solve(waiting, CONFIG)
    assert refused.value.retry_after == pytest.approx(0.5 * wait)

    tasks[0].cancel()  # and there is room again
    await asyncio.wait(tasks[:1])
    solving = asyncio.create_task(solver.solve(waiting, CONFIG))
    await asyncio.sleep(0)
    assert not solving.done()
    assert verify(await solver.solve(HARD, CONFIG), HARD)  # there is always room for one whose turns are soon over
    for task in [solving, *tasks]:
        task.cancel()


async def test_two_workers_are_waited_for_half_as_long(make_any):
    wait = HARD.expected_attempts * hashing.SECONDS_PER_ATTEMPT
    solver = make_any(workers=2, patience=0.9 * wait)
    tasks = [asyncio.create_task(solver.solve(Challenge(seed, "0003ff"), CONFIG)) for seed in ("0.1", "0.2")]
    await asyncio.sleep(0)
    with pytest.raises(SolverBusyError) as refused:
        await solver.solve(HARD, CONFIG)
    assert refused.value.retry_after == pytest.approx(0.1 * wait)
    for task in tasks:
        task.cancel()


async def test_easy_ones_are_never_refused(make_any):
    solver = make_any(workers=1, attempts=ENDLESS, patience=0.0)
    endless = asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG))
    await asyncio.sleep(0)
    with pytest.raises(SolverBusyError):
        await solver.solve(HARD, CONFIG)
    assert verify(await solver.solve(EASY, CONFIG), EASY)
    endless.cancel()


async def test_cancelling_frees_the_worker_within_a_slice(make_solver):
    solver = make_solver(workers=1, attempts=ENDLESS, slice_attempts=20_000, patience=PATIENT)
    tasks = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(20)]
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in ended)

    def is_idle() -> bool:
        processes = [psutil.Process(), *working_children()]
        before = sum(sum(process.cpu_times()[:2]) for process in processes)
        time.sleep(0.2)
        return sum(sum(process.cpu_times()[:2]) for process in processes) - before < 0.05

    await eventually(is_idle)
    assert verify(await asyncio.wait_for(solver.solve(HARD, CONFIG), 30), HARD)


async def test_there_are_as_many_workers_as_cores(make_any):
    solver = make_any(attempts=ENDLESS, patience=PATIENT, in_threads=False)
    tasks = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(solver_module.cores() + 2)]
    await eventually(lambda: len(working_children()) == solver_module.cores())
    await asyncio.sleep(0.2)
    assert len(working_children()) == solver_module.cores()
    for task in tasks:
        task.cancel()


async def test_children_start_with_the_first_hard_one_and_go_when_there_is_none(with_children):
    solver = with_children(workers=1, idle=0.2)
    for _ in range(2):
        assert working_children() == []
        assert verify(await solver.solve(HARD, CONFIG), HARD)
        assert len(working_children()) == 1
        await eventually(lambda: working_children() == [])


async def test_children_that_are_needed_again_stay(with_children):
    solver = with_children(workers=1, idle=0.3)
    await solver.solve(HARD, CONFIG)
    (child,) = working_children()
    for _ in range(6):
        await solver.solve(HARD, CONFIG)
        await asyncio.sleep(0.1)
    assert working_children() == [child]


async def test_children_are_nice_and_ignore_ctrl_c(with_children):
    solver = with_children(workers=1)
    await solver.solve(HARD, CONFIG)
    (child,) = working_children()
    assert child.nice() == niceness_of_children()
    assert os.getpgid(child.pid) != os.getpgid(0)  # so a terminal's Ctrl-C does not reach it


own_threads = pytest.mark.skipif(
    sys.platform != "linux" or not hashing.LANES,
    reason="no compiled solver (there was no C compiler), or threads without a policy and niceness of their own",
)


@own_threads
async def test_what_hashes_steps_back_and_no_thread_that_takes_the_gil_does(make_any):
    usual = stand_of(threading.get_native_id())
    solver = make_any(workers=1, in_threads=True, attempts=ENDLESS, slice_attempts=2_000_000)
    solving = asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG))
    await eventually(lambda: any(map(steps_back, stands().values())))
    ours = {thread.native_id for thread in threading.enumerate()}
    found = stands()
    assert {found[thread] for thread in ours} == {usual}
    assert all(stand == usual or steps_back(stand) for thread, stand in found.items() if thread not in ours)
    solving.cancel()


@own_threads
async def test_what_never_gets_an_idle_core_goes_on_nicely():
    """Two searches on one core, of which one is always to run: the other would take a hundred times as long as it does
    with a niceness."""
    core, over = {min(os.sched_getaffinity(0))}, threading.Event()
    order = (b"0.42", b"[0,", b",1,2,", b",3]")

    def use_all() -> None:
        os.sched_setaffinity(0, core)  # of this thread, and of those that it starts
        while not over.is_set():
            hashing.find(*order, 0, 50_000, bytes(64))

    def search_nicely() -> int | None:
        os.sched_setaffinity(0, core)
        return hashing.find_nicely(*order, 0, 1_000_000, bytes(64))

    using = threading.Thread(target=use_all)
    using.start()
    try:
        searching = asyncio.create_task(asyncio.to_thread(search_nicely))
        await eventually(lambda: searching.done() or Stand(os.SCHED_OTHER, NICENESS) in stands().values())
        assert not searching.done()
    finally:
        over.set()
        using.join()
    assert await searching is None


@own_threads
async def test_what_hashes_idly_pauses_while_others_are_at_work_on_its_core():
    """So that who waits behind another on a core can be moved to this one, before the clock's next tick."""
    core, over = {min(os.sched_getaffinity(0))}, threading.Event()
    order = (b"0.42", b"[0,", b",1,2,", b",3]")

    def search_idly() -> None:
        os.sched_setaffinity(0, core)
        while not over.is_set():
            hashing.find_nicely(*order, 0, 1_000_000, bytes(64))

    def come_and_go() -> None:
        os.sched_setaffinity(0, core)
        while not over.wait(0.001):
            pass

    threads = [threading.Thread(target=work) for work in (search_idly, come_and_go)]
    for thread in threads:
        thread.start()
    try:
        await eventually(have_paused)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def have_paused() -> bool:
    for thread, stand in stands().items():
        if stand.policy == os.SCHED_IDLE:
            pauses, preemptions = switches_of(thread)
            # Each sign of others is good for so many pauses, and without one there are none.
            assert pauses <= 32 * preemptions + 5
            if pauses > 10:
                return True
    return False


def switches_of(thread: int) -> tuple[int, int]:
    """How often it let go of its core by itself, and how often it had to; both 0 when it has ended."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/self/task/{thread}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            found[name] = value.strip()
    return int(found.get("voluntary_ctxt_switches", 0)), int(found.get("nonvoluntary_ctxt_switches", 0))


class Stand(NamedTuple):
    policy: int
    niceness: int


def stands() -> dict[int, Stand]:
    """Those of the threads of this process."""
    found = {}
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            found[thread] = stand_of(thread)
    return found


def stand_of(thread: int) -> Stand:
    return Stand(os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread))


def steps_back(stand: Stand) -> bool:
    return stand.policy == os.SCHED_IDLE or stand.niceness == NICENESS


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_killed_child_is_replaced_and_its_slice_done_again(with_children, workers):
    solver = with_children(workers=workers, attempts=ENDLESS, slice_attempts=200_000, patience=PATIENT)
    busy = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(workers)]
    await eventually(lambda: len(working_children()) == workers)
    killed = working_children()
    for child in killed:
        child.kill()

    await eventually(lambda: len(set(working_children()) - set(killed)) == workers)
    assert not any(task.done() for task in busy)
    assert await asyncio.wait_for(solver.solve(HARD, CONFIG), 60) == search(HARD, CONFIG)
    for task in busy:
        task.cancel()


async def test_an_idle_child_that_was_killed_is_replaced(with_children):
    solver = with_children(workers=1)
    for _ in range(3):
        await solver.solve(HARD, CONFIG)
        (child,) = working_children()
        child.kill()
        await eventually(lambda: working_children() == [])
        assert verify(await asyncio.wait_for(solver.solve(HARD, CONFIG), 30), HARD)


async def test_work_that_kills_every_child_is_given_up(with_children, monkeypatch):
    monkeypatch.setattr("pow.children.sys.executable", "/bin/false")
    with pytest.raises(SolverBrokenError):
        await with_children(workers=1).solve(HARD, CONFIG)


def test_an_order_that_a_child_cannot_carry_out_is_given_up(capfd):
    children = Children()
    with pytest.raises(SolverBrokenError):
        children.find("not bytes", b"", b"", b"", 0, 1, b"")
    assert "TypeError" in capfd.readouterr().err
    assert working_children() == []


async def test_close_ends_the_workers_and_the_unfinished_solves(make_solver):
    solver = make_solver(workers=1, attempts=ENDLESS, slice_attempts=2_000, patience=PATIENT)
    tasks = [asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG)) for _ in range(5)]
    await asyncio.sleep(0.05)
    await asyncio.wait_for(solver.close(), 30)

    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
    assert all(isinstance(error, SolverClosedError) for error in ended)
    assert working_children() == []
    for challenge in (EASY, HARD):
        with pytest.raises(SolverClosedError):
            await solver.solve(challenge, CONFIG)
    await solver.close()


async def test_closing_a_solver_that_never_started(make_solver):
    await make_solver().close()
    assert working_children() == []


@pytest.mark.parametrize(
    "in_threads", [False, pytest.param(True, marks=pytest.mark.skipif(not hashing.LANES, reason="not compiled"))]
)
async def test_the_event_loop_keeps_its_time(make_any, in_threads):
    """A thread that held the GIL would let go of it after the switch interval only, which is made as long as no load of
    this machine makes anybody wait."""
    solver = make_any(workers=1, attempts=ENDLESS, patience=PATIENT, in_threads=in_threads)
    loop, late = asyncio.get_running_loop(), []
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5.0)
    try:
        solving = asyncio.create_task(solver.solve(IMPOSSIBLE, CONFIG))
        end = loop.time() + 0.5
        while loop.time() < end:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            late.append(loop.time() - due)
    finally:
        sys.setswitchinterval(usual)
    assert not solving.done()
    solving.cancel()
    assert max(late) < 2.5


PARENT = """
import asyncio
from pow import Challenge, Solver

async def main():
    solver = Solver(attempts=10**12, in_threads=False)
    asyncio.create_task(solver.solve(Challenge("0.42", "0" * 64), [0] * 13))
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_children_die_with_a_killed_parent():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, env=environment)
    await eventually(lambda: working_children(psutil.Process(parent.pid)))
    descendants = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not [child for child in descendants if child.is_running()])
