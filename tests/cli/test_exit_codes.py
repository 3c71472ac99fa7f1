"""What a command ends with, as docs/cli.md has it."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from shim.cli.main import main
from tests.servers import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PORT", str(free_port()))
    return lambda *words, typed=None: CliRunner().invoke(main, words, input=typed)


def test_the_page_has_each_code_that_is_tested_here():
    assert re.findall(r"^\| (\d+) \|", PAGE, re.M) == ["0", "1", "2"]


def test_what_is_done_is_0(run, tmp_path):
    assert run("config").exit_code == 0
    assert run("keys", "add", "NAME").exit_code == 0
    assert run("tokens", "add", "-", typed=f"rt_{'a' * 60}\n").exit_code == 0
    assert run("tokens", "clear", "--yes").exit_code == 0
    for words in (("--help",), ("--version",), ("serve", "--help")):
        assert run(*words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (("config", "--port", "none"), None),
        (("serve", "--port", "none"), None),
        (("keys", "remove", "NAME"), None),
        (("tokens", "remove", "nobody"), None),
        (("tokens", "add", "-"), "what is this?\n"),
        (("tokens", "clear"), "n\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_done_is_1_and_says_why_without_a_traceback(run, words, typed):
    ran = run(*words, typed=typed)
    assert ran.exit_code == 1
    assert ran.stderr.strip()
    assert "Traceback" not in ran.output
    assert isinstance(ran.exception, SystemExit)


@pytest.mark.parametrize("words", [("sreve",), ("serve", "--prot", "1"), ("keys", "add"), ("demo", "--port", "x")])
def test_a_wrong_command_line_is_2(run, words):
    ran = run(*words)
    assert ran.exit_code == 2
    assert "Usage: " in ran.stderr


def test_doctor_is_1_where_something_stands_in_the_way_and_says_what_to_do(run, monkeypatch, upstream):
    monkeypatch.setenv("CHATGPT_BASE_URL", f"http://127.0.0.1:{free_port()}")
    ran = run("doctor")
    assert ran.exit_code == 1
    assert "Check the network, CHATGPT_BASE_URL and PROXY_URL." in ran.output
    monkeypatch.setenv("CHATGPT_BASE_URL", upstream.base_url)
    ran = run("doctor", "--json")
    assert (ran.exit_code, '"ready": true' in ran.output) == (0, True), ran.output
