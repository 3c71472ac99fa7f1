"""`chat2api tokens` as its users run it, with and without a running server. Whole lives, terminals and secrets are in
processes of their own; the rest is in this one, as most of what a command costs is its start."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from shim.cli.main import main
from shim.standin import make_access_token, make_refresh_token
from shim.standin.accounts import CODEX_CLIENT

ROOT = Path(__file__).parents[3]
RUNTIME = ROOT / ".venv" / "bin" / "python"
PYTHON = str(RUNTIME) if RUNTIME.exists() else sys.executable
ONE, TWO = make_access_token("one", "plus"), make_access_token("two", "free")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "DATA_DIR": str(data_dir), "NO_PROXY": "*"} | settings


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("list", "--json", input="...", SETTING="...")`, in this process."""
    monkeypatch.chdir(tmp_path)
    for name in {*os.environ} - {"PATH", "HOME", "TMPDIR"}:
        monkeypatch.delenv(name)

    def call(*arguments: str, input: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
        ran = CliRunner().invoke(
            main, ["tokens", *arguments], input=input, env=environment(tmp_path / "data", **settings)
        )
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return subprocess.CompletedProcess(arguments, ran.exit_code, ran.stdout, ran.stderr)

    return call


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """The same as a process."""

    def call(*arguments: str, input: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PYTHON, "-m", "shim", "tokens", *arguments],
            input=input,
            env=environment(tmp_path / "data", **settings),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def listed(run: Run, *arguments: str) -> list[dict[str, object]]:
    done = run("list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    accounts: list[dict[str, object]] = json.loads(done.stdout)
    return accounts


@pytest.mark.timeout(400)
def test_a_life_of_accounts(command: Run, tmp_path: Path) -> None:
    assert command("list").stdout.strip() == "no accounts"
    done = command("add", "-", input=f"# mine\n{ONE}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"line 2: added \w{16}\n1 added, 0 updated, 1 in all\n", done.stdout)
    (tmp_path / "more.txt").write_text(f"\ufeff{ONE}\nnonsense\r\n{TWO}\n")
    done = command("add", "more.txt")
    assert done.returncode == 1
    assert "line 1: already here" in done.stderr
    assert "line 2: it is neither" in done.stderr
    assert done.stdout.endswith("1 added, 0 updated, 2 in all\n")

    first, second = (account["id"] for account in listed(command))
    table = command("list").stdout
    assert str(first) in table
    assert "plus" in table
    assert "ready" in table
    assert "2 in all" in table
    assert listed(command, "--state", "parked") == []
    assert command("list", "--state", "nice").returncode == 2

    done = command("reset", str(first), "unknown")
    assert (done.returncode, done.stdout.strip()) == (1, f"{first}: ready")
    assert "no account unknown" in done.stderr
    done = command("probe", str(first))
    assert (done.returncode, done.stdout.strip()) == (0, f"{first}: ready (nothing to renew it with)")
    assert command("remove", str(first)).returncode == 0
    assert command("remove", str(first)).returncode == 1
    assert [account["id"] for account in listed(command)] == [second]

    assert command("clear", input="n\n").returncode == 1
    assert len(listed(command)) == 1
    assert "1 removed" in command("clear", input="y\n").stdout
    assert command("clear", "--yes").stdout.strip() == "0 removed"


def test_the_files_of_a_folder_and_an_export_that_is_taken_again(run: Run, tmp_path: Path) -> None:
    refresh = make_refresh_token("one", client_id=CODEX_CLIENT)
    folder = tmp_path / "files"
    (folder / "more.json").mkdir(parents=True)
    codex = {"tokens": {"access_token": ONE, "refresh_token": refresh, "account_id": "x"}}
    (folder / "a.json").write_text(json.dumps(codex, indent=2))
    (folder / "b.json").write_text(json.dumps([{"type": "claude", "access_token": "x"}, {"type": "codex"}]))
    (folder / "c.txt").write_text(f"{TWO},team-1 # mine\n")
    (folder / "notes.rtf").write_text("nothing of ours")
    done = run("add", "files")
    assert done.returncode == 1
    lines = sorted(re.sub(r"\w{16}", "ID", done.stdout + done.stderr).splitlines())
    assert lines == [
        "2 added, 0 updated, 2 in all, 1 passed over",
        "A refresh token is good once: if the program this file is from renews it too, it ends there or here. Sign in"
        " once more for one of the two.",
        "a.json, line 1: added ID",
        "b.json, line 1, entry 1: it is an account of another platform",
        "b.json, line 1, entry 2: it is JSON, but of no kind of account file that is known here",
        "c.txt, line 1: added ID",
    ]
    before = listed(run)

    assert run("export", "out.json", input="n\n").returncode == 1
    assert not (tmp_path / "out.json").exists()
    done = run("export", "out.json", input="y\n")
    assert (done.returncode, done.stdout) == (0, "2 accounts written to out.json\n")
    assert "2 accounts, readable, to out.json" in done.stderr
    assert ONE not in done.stdout + done.stderr
    kept = (tmp_path / "out.json").read_text()
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o600
    assert refresh in kept
    assert TWO in kept
    done = run("export", "out.json", "--yes")
    assert (done.returncode, done.stderr) == (1, "Error: out.json is there already, and is not overwritten\n")
    assert run("export", "-", "--yes").stdout == kept

    run("clear", "--yes")
    assert run("add", "-", input=kept).returncode == 0
    assert [account["id"] for account in listed(run)] == [account["id"] for account in before]
    assert run("export", "-", "--yes").stdout == kept


def test_labels_pauses_proxies_and_turns_at_once(run: Run) -> None:
    run("add", "-", input=f"{ONE}\n{make_refresh_token('never')}\n")
    first, never = (str(account["id"]) for account in listed(run))
    assert [account["state"] for account in listed(run)] == ["ready", "new"]
    assert run("label", first, "Anna's").stdout.strip() == f"{first}: label Anna's"
    assert run("limit", first, "2").returncode == 0
    done = run("proxy", first, "-", input="http://someone:hunter2@proxy.test:8080\n")
    assert done.stdout.strip() == f"{first}: by http://proxy.test:8080"
    assert run("pause", first, never).stdout.splitlines() == [
        f"{one}: paused (paused by an operator)" for one in (first, never)
    ]
    (account,) = listed(run, "--search", "anna's", "--state", "paused")
    assert (account["label"], account["limit"], account["proxy"]) == ("Anna's", 2, "http://proxy.test:8080")
    table = run("list", COLUMNS="200").stdout
    for told in (
        "Anna's",
        "o…@example.test",
        "paused by an operator",
        "being resumed",
        "http://proxy.test:8080",
        "2 at once",
    ):
        assert told in table
    assert "hunter2" not in table
    small, piped = run("list", COLUMNS="80").stdout, run("list").stdout
    assert max(map(len, small.splitlines())) <= 80
    assert "last used" not in small
    assert "last used" in piped
    for told in ("  paused  ", "paused by an operator", "ends by: being resumed", "by http://proxy.test:8080"):
        assert told in small, small
        assert told in piped, piped
    assert run("resume", first).stdout.strip() == f"{first}: ready"
    for wrong in (
        ["label", first, "x" * 65],
        ["limit", first, "65"],
        ["proxy", first, "http://u:p@x"],
        ["proxy", first, "x"],
    ):
        assert run(*wrong).returncode == 2, wrong
    assert run("pause", "none").returncode == 1


@pytest.mark.parametrize("ends", [500_000_000_000, 253_402_300_799, -500_000_000_000])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati"])
def test_an_end_that_no_calendar_has(run: Run, monkeypatch: pytest.MonkeyPatch, ends: int, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        run("add", "-", input=make_access_token("far", expires_at=ends))
        done = run("list")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (done.returncode, "1 in all" in done.stdout) == (0, True), done.stdout


def test_a_folder_without_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("add", "empty")
    assert (done.returncode, done.stderr) == (1, "Error: empty has no .csv, .json or .txt files in it\n")


def test_no_token_is_shown(command: Run) -> None:
    tokens = [ONE, TWO, make_refresh_token("r"), "sk-not-a-chatgpt-token", "nonsense-nonsense"]
    outputs = [command("add", "-", input="\n".join(tokens)), command("list"), command("list", "--json")]
    outputs += [
        command("remove", ONE),
        command("probe", str(listed(command)[2]["id"]), OAUTH_URL="http://127.0.0.1:9/x"),
    ]
    told = "".join(done.stdout + done.stderr for done in outputs[:3] + outputs[4:])
    assert not [token for token in tokens if token in told or token[8:40] in told]


def test_what_goes_wrong_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"SQLite format 3\0")
    (tmp_path / "plain-file").write_text("")
    for done in (
        run("add", "binary"),
        run("list", WORKERS="none"),
        run("list", DATA_DIR=str(tmp_path / "plain-file" / "x")),
    ):
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert len(done.stderr.strip().splitlines()) == 1
    assert run("add", "missing.txt").returncode == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "installation-id").write_text("x")
    for place, why in (("plain-file", "can't be written: File exists"), ("other", "does not hold a UUID")):
        told = run("list", DATA_DIR=str(tmp_path / place)).stderr
        assert told.startswith("Error: DATA_DIR is "), told
        assert why in told


def test_a_narrow_terminal_still_shows_whole_ids(command: Run, tmp_path: Path) -> None:
    command("add", "-", input=f"{ONE}\n{TWO}")
    ids = [str(account["id"]) for account in listed(command)]
    ours, theirs = pty.openpty()
    words = [PYTHON, "-m", "shim", "tokens", "list"]
    terminal = environment(tmp_path / "data", COLUMNS="60", TERM="xterm")
    subprocess.run(words, env=terminal, cwd=tmp_path, stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert all(id in shown for id in ids)


def test_a_running_server_follows(start_gateway, tmp_path: Path) -> None:
    """And what the server was given, the terminal sees."""
    data_dir = tmp_path / "data"
    server = start_gateway(ADMIN_KEY="key", DATA_DIR=str(data_dir))

    def tokens(*arguments: str, input: str = "") -> str:
        command = [PYTHON, "-m", "shim", "tokens", *arguments]
        done = subprocess.run(
            command, input=input, env=environment(data_dir), cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    import time

    import httpx

    with httpx.Client(base_url=server.base_url, headers={"authorization": "Bearer key"}, trust_env=False) as script:

        def total() -> int:
            number: int = script.get("/tokens/api/summary").json()["total"]
            return number

        def becomes(number: int) -> bool:
            until = time.monotonic() + 30
            while total() != number and time.monotonic() < until:
                time.sleep(0.05)
            return total() == number

        tokens("add", "-", input=ONE)
        assert becomes(1)
        assert script.post("/tokens/upload", content=TWO).json()["tokens_count"] == 2
        assert len(json.loads(tokens("list", "--json"))) == 2
        tokens("clear", "--yes")
        assert becomes(0)
    assert ONE not in server.log
