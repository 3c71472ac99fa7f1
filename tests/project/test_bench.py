"""The bench runs and reports every figure it promises. How large they are is no test's business."""

import asyncio
import contextlib
import json
import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from scripts.benchmark.__main__ import main
from scripts.benchmark.load import Order, run
from scripts.benchmark.plot import _bars
from scripts.benchmark.report import Report
from scripts.benchmark.upstream import WORD

PROJECT = Path(__file__).parents[2]
PARTS = {"memory", "selection", "small", "bursts", "paced", "crowd", "rush", "hard", "start", "pow", "tokens"}
DIFFERENCES = ("Added", "Memory")  # of two measurements, so with tiny sizes noise may make them zero or less

SECONDS = 300  # it starts a dozen servers one after the other, also on a machine that does ten times as much besides

pytestmark = [
    pytest.mark.skipif(
        not (PROJECT / ".venv/bin/chat2api").exists(), reason="the bench needs the runtime environment: scripts/setup"
    ),
    pytest.mark.timeout(SECONDS + 60),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "scripts.benchmark", "--quick", "--out", str(out)]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "chat2api against a pass-through" in ran.stdout
    return out


def test_every_part_is_reported_in_positive_numbers(folder: Path) -> None:
    rows = json.loads((folder / "bench.json").read_text())["rows"]
    with_addon = {"addon"} if (PROJECT / ".venv-mitmproxy/bin/mitmdump").exists() else set()
    assert {row["part"] for row in rows} == PARTS | with_addon
    for row in rows:
        figures = [row["measured"], row["baseline"]] + ([] if row["raw"] is None else [row["raw"]])
        assert all(map(math.isfinite, figures)), row
        # What is not to happen at all may well not have happened.
        assert row["name"].startswith(DIFFERENCES) or min(figures) > 0 or row["aim"] == 0, row


def test_a_picture_is_drawn(folder: Path) -> None:
    assert (folder / "bench.png").read_bytes().startswith(b"\x89PNG")
    for row in msgspec.json.decode((folder / "bench.json").read_bytes(), type=Report).rows:
        names = [name for name, _, _ in _bars(row)]
        assert len(names) == len(set(names)), row  # else one bar lies on the other


def test_every_row_is_in_the_tables_for_the_documents(folder: Path) -> None:
    rows = json.loads((folder / "bench.json").read_text())["rows"]
    written = [line for line in (folder / "bench.md").read_text().splitlines() if line.startswith("| ")]
    assert len(written) == len(rows) + 4  # two tables, with two lines of heads each


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ("another", "is not NAME=http://HOST:PORT"),
        ("another=127.0.0.1:5005", "is not NAME=http://HOST:PORT"),
        ("another=http://127.0.0.1:99999", "is not NAME=http://HOST:PORT"),
        ("chat2api=http://127.0.0.1:5005", "there is a 'chat2api' already"),
    ],
)
def test_what_cannot_be_another_gateway_is_refused_before_anything_is_measured(other: str, complaint: str) -> None:
    outcome = CliRunner().invoke(main, ["--quick", "--other", other])
    assert outcome.exit_code == 2
    assert complaint in outcome.output


@pytest.mark.parametrize(("fresh", "connections"), [(False, 2), (True, 6)])
async def test_a_call_has_a_connection_of_its_own_where_that_is_asked_for(fresh: bool, connections: int) -> None:
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the load hangs up
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(WORD), WORD.encode()))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        outcome = await run(Order(server.sockets[0].getsockname()[1], "/", connections=2, rounds=3, fresh=fresh))
    assert (outcome.words, len(outcome.first), seen) == (6, 6, connections)
