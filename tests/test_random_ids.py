"""Ids that nobody can guess."""

import ast
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from shim.random_ids import random_hex, random_uuid


def test_ids_are_uuids_of_version_4_and_no_two_are_the_same() -> None:
    made = [random_uuid() for _ in range(1000)]

    assert len(set(made)) == len(made)
    for id in made:
        known = uuid.UUID(id)
        assert (known.version, known.variant, str(known)) == (4, uuid.RFC_4122, id)


def test_hexadecimal_ids_have_128_bits() -> None:
    made = [random_hex() for _ in range(1000)]

    assert len(set(made)) == len(made)
    assert {len(id) for id in made} == {32}
    assert len({bytes.fromhex(id)[0] for id in made}) > 200  # of 256


def test_threads_get_different_ones() -> None:
    all_there = threading.Barrier(4)

    def some() -> list[str]:
        all_there.wait(30)
        return [random_hex() for _ in range(5000)]

    with ThreadPoolExecutor(4) as threads:
        made = [id for future in [threads.submit(some) for _ in range(4)] for id in future.result()]

    assert len(set(made)) == len(made) == 20_000


FORKED = """
import os
from shim.random_ids import random_hex
random_hex()  # some are left now
if child := os.fork():
    os.waitpid(child, 0)  # so that their lines do not mix
print([random_hex() for _ in range(100)], flush=True)
"""


def test_a_forked_worker_makes_others_than_its_parent() -> None:
    # In a process of its own, which has no other threads.
    said = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=60).stdout
    ours, theirs = map(ast.literal_eval, said.splitlines())

    assert len({*ours, *theirs}) == 200
