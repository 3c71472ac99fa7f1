"""Completion as it is installed, in the shells themselves. A shell that is not there is skipped."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from shim.cli.main import main

PROGRAM = Path(__file__).parents[2] / ".venv/bin/chat2api"
needs_program = pytest.mark.skipif(not PROGRAM.exists(), reason="there is no .venv: scripts/setup makes it")
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(params=SHELLS)
def shell(request):
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param} on this machine")
    return request.param


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def install(*arguments, code=0):
    ran = CliRunner().invoke(main, ["completion", *arguments])
    assert ran.exit_code == code, ran.output
    return ran.output


def typed(shell, home, keys):
    """What a terminal shows after somebody typed this into a new shell, until the completed flag is there."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C.UTF-8"}
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [shell, "-i"], stdin=inside, stdout=inside, stderr=inside, cwd=home, env=environment, start_new_session=True
    )
    shown, until, sent = b"", time.monotonic() + 60, False
    try:
        while time.monotonic() < until and b"--max-file-bytes" not in shown:
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 65536)
            elif not sent:  # its prompt is there
                os.write(terminal, keys.encode())
                sent = True
    finally:
        process.kill()
        process.wait()
        os.close(inside)
        os.close(terminal)
    return shown.decode(errors="replace")


@needs_program
def test_a_shell_completes_commands_and_flags_by_what_was_installed(shell, home, monkeypatch):
    monkeypatch.setattr("sys.executable", str(PROGRAM.with_name("python")))
    install(shell)
    if shell == "fish":
        asked = ["fish", "-c", f"complete -C '{PROGRAM} ser'; complete -C 'chat2api serve --max-f'"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        assert [line.split("\t")[0] for line in told.splitlines()] == ["serve", "--max-file-bytes"]
        return
    # The program is in no folder of PATH, and is typed with its path. The shell may go back over a blank.
    shown = typed(shell, home, f"{PROGRAM} ser\t--max-f\t")
    assert "serve --max-file-bytes" in shown.replace(" \x08", "")


def test_installing_again_adds_nothing_and_keeps_what_was_there(home):
    read_at_start = home / ".bashrc"
    read_at_start.write_text("alias mine=true")  # with no line break behind it
    install("bash")
    first = read_at_start.read_text()
    install("bash")
    assert read_at_start.read_text() == first
    script = home / ".local/share/chat2api/completion.bash"
    assert first == f"alias mine=true\nsource {script}\n"
    assert script.read_text() == install("bash", "--print")


def test_the_shell_is_that_of_the_user_unless_one_is_named(home, monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert str(home / ".config/fish/conf.d/chat2api.fish") in install()
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert "say which one is meant" in install(code=2)


def test_what_can_not_be_written_is_told_in_one_sentence(home):
    (home / ".local").write_text("no folder")
    assert "completion can't be installed: " in install("zsh", code=1)
    assert not (home / ".zshrc").exists()
