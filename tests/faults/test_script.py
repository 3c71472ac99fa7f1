"""`scripts/faults`, short: the same parts as by hand, and memory comes back to its level."""

import subprocess
import sys

import pytest

from tests.servers import ROOT, clean_environment

SHORT = {
    "failures": ("--times", "100", "--only", "one event of 40 MB"),
    "strangers": ("--times", "60"),
    "bodies": ("--clients", "4", "--megabytes", "3"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("part", SHORT)
def test_memory_comes_back_to_its_level(part):
    command = [sys.executable, "-m", "scripts.faulting", part, *SHORT[part]]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert part in done.stdout
