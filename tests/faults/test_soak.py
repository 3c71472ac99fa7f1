"""`scripts/soak`, short: streams held at once come whole, and calls of all kinds leave nothing open."""

import re
import subprocess
import sys

import pytest

from tests.servers import ROOT, clean_environment


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_short_soak_is_flat():
    short = ("--streams", "50", "--hold", "2", "--minutes", "0.1", "--clients", "4")
    command = [sys.executable, "-m", "scripts.faulting.soak", *short]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"50 held, whole", done.stdout)
    assert "WRONG" not in done.stdout
