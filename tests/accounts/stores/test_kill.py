"""`kill -9` in a loop: whatever a child was told is kept is there afterwards."""

import random
import subprocess
import threading
from collections.abc import Callable
from typing import Any

ROUNDS = 20


async def test_nothing_acknowledged_is_lost(
    address: dict[str, Any],
    open_at: Callable[..., Any],
    start_child: Callable[..., "subprocess.Popen[str]"],
) -> None:
    """A child adds accounts and rotates their tokens, saying so after each; it is killed at a random moment."""
    moments = random.Random(20)
    added: set[str] = set()
    rotated: dict[str, int] = {}
    children = [start_child("write", address, f"child {number}") for number in range(2)]
    for number in range(ROUNDS):
        children.append(start_child("write", address, f"child {number + 2}"))  # starts while another one is killed
        said = run_and_kill(children.pop(0), moments.uniform(0.001, 0.12))
        for line in said:
            note(line, added, rotated)
        store = await open_at(**address)
        check(await store.load(), added, rotated)
        await store.close()
    assert len(added) > ROUNDS
    assert max(rotated.values()) >= 3


def run_and_kill(child: "subprocess.Popen[str]", seconds: float) -> list[str]:
    """The whole lines it said in `seconds` from its first one on, until it was killed in the middle of things."""
    assert child.stdout
    assert child.stdin
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("go\n")
    child.stdin.flush()
    first = child.stdout.readline()
    timer = threading.Timer(seconds, child.kill)
    timer.start()
    lines = [first, *child.stdout]
    timer.join()
    assert child.wait() == -9
    return [line for line in lines if line.endswith("\n")]


def note(line: str, added: set[str], rotated: dict[str, int]) -> None:
    what, *words = line.split()
    if what == "added":
        added.add(" ".join(words))
    else:
        rotated[" ".join(words[:-1])] = int(words[-1])


def check(rows: list[Any], added: set[str], rotated: dict[str, int]) -> None:
    found = {account.id: account for account, _ in rows}
    assert added <= set(found)
    for id, version in rotated.items():
        assert found[id].version >= version
    for id, account in found.items():
        assert account.refresh_token == f"token-of-{id}-in-version-{account.version}"
