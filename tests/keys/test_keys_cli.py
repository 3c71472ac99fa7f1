"""`chat2api keys` in a process of its own, as its users run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / ".venv" / "bin" / "python"
PYTHON = str(RUNTIME) if RUNTIME.exists() else sys.executable


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [PYTHON, "-m", "shim", "keys", *arguments],
        env=kept | {"PYTHONPATH": str(ROOT), "DATA_DIR": str(folder / "data")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_key_from_the_command_line(tmp_path: Path) -> None:
    assert "no keys" in run(tmp_path, "list").stdout
    made = run(
        tmp_path, "add", "ci", "--models", "gpt-5*, auto", "--requests-per-minute", "20", "--expires", "2999-01-31"
    )
    secret = made.stdout.strip()
    assert (made.returncode, secret.startswith("c2a-")) == (0, True)
    (listed,) = json.loads(run(tmp_path, "list", "--json").stdout)
    assert listed["limits"] == {"models": ["gpt-5*", "auto"], "requests_per_minute": 20}
    assert "hash" not in listed
    shown = run(tmp_path, "list").stdout
    assert "0/20 requests a minute" in shown
    assert "until 2999-02-01 00:00 UTC" in shown
    rotated = run(tmp_path, "rotate", "ci").stdout.strip()
    assert rotated not in {"", secret}
    for wrong, complaint in (
        (("add", "ci"), "already"),
        (("add", "env-1"), "another name"),
        (("add", "x", "--expires", "soon"), "neither a span"),
        (("add", "x", "--expires", "2020-01-31"), "over already"),
        (("add", "x", "--expires", "9999-12-31"), "9999"),
        (("add", "x", "--models", ""), "names no model"),
        (("add", "x", "--models", " ,"), "names no model"),
        (("add", "x", "--concurrent", "0"), "concurrent"),
        (("rotate", "nobody"), "no key"),
        (("remove", "nobody"), "no key"),
    ):
        refused = run(tmp_path, *wrong)
        assert refused.returncode != 0, wrong
        assert complaint in refused.stderr, wrong
        assert "Traceback" not in refused.stderr
    assert "removed" in run(tmp_path, "remove", "ci").stdout
    assert "no keys" in run(tmp_path, "list").stdout
