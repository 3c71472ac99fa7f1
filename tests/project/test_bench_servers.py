"""What the bench starts ends with it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).parents[2]
BENCH = """
import pathlib, sys, time
from scripts.benchmark.servers import Server
print(Server("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], 9, pathlib.Path(sys.argv[1]), {}).pid)
sys.stdout.flush()
time.sleep(600)
"""


def is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_with_a_bench_that_is_killed(tmp_path, number):
    command = [sys.executable, "-c", BENCH, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as bench:
        try:
            pid = int(bench.stdout.readline())
            assert is_there(pid)
        finally:
            bench.send_signal(number)
        bench.wait(60)
    until = time.monotonic() + 60
    while is_there(pid):
        assert time.monotonic() < until
        time.sleep(0.02)
