"""The bar is for people: it is on a terminal or nowhere, and never in what is printed."""

import os
import pty
import subprocess
import sys

import pytest

SCRIPT = """
import sys
sys.stdout.reconfigure(line_buffering=True)
from shim.cli.progress import followed
for number in followed("accounts", range(int(sys.argv[1]))):
    print(f"line {number}")
"""


def shown(count, *, stdout_is_terminal):
    """(standard output, what the terminal shows) of a program that follows `count` things."""
    terminal, inside = pty.openpty()
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(count)],
        stdin=subprocess.DEVNULL,
        stdout=inside if stdout_is_terminal else subprocess.PIPE,
        stderr=inside,
        check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.write(inside, b"\n.")  # so that there is something to read
    seen = b""
    while not seen.endswith(b"."):
        seen += os.read(terminal, 65536)
    os.close(terminal)
    os.close(inside)
    return (ran.stdout or b"").decode(), seen.decode()


@pytest.mark.parametrize("stdout_is_terminal", [False, True])
def test_a_bar_is_on_the_terminal_and_the_lines_are_whole(stdout_is_terminal):
    out, terminal = shown(3, stdout_is_terminal=stdout_is_terminal)
    assert "3/3" in terminal
    assert "accounts" in terminal
    lines = (terminal if stdout_is_terminal else out).splitlines()
    assert [line for line in lines if line.endswith(("line 0", "line 1", "line 2"))]
    if not stdout_is_terminal:
        assert lines == ["line 0", "line 1", "line 2"]


def test_a_single_thing_has_no_bar():
    assert shown(1, stdout_is_terminal=False) == ("line 0\n", "\r\n.")


def test_without_a_terminal_there_is_none():
    ran = subprocess.run([sys.executable, "-c", SCRIPT, "3"], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("line 0\nline 1\nline 2\n", "")
