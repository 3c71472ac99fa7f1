"""The README says what is: its settings table, its error table and its snippets are checked against the program."""

import re
from pathlib import Path

import pytest

from shim import errors
from shim.cli.main import main
from shim.settings import describe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text):
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def test_the_settings_table_is_the_program_own():
    shown = [row for row in rows(section("Settings")) if row[0].startswith("`")]
    assert shown == [[f"`{name}`", f"`{default}`" if default else "", text] for name, default, text in describe()]


def test_every_status_we_give_is_explained():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GatewayError)]
    explained = {row[0] for row in rows(section("Errors"))}
    assert {str(kind.status) for kind in kinds} <= explained
    assert {"400", "401", "403", "404", "413", "429", "500", "502", "504"} <= explained


def test_the_two_commands_are_on_the_first_screen():
    first = "\n".join(README.splitlines()[:40])
    for needed in ("scripts/demo", "scripts/test", "from openai import OpenAI", "What it does not do"):
        assert needed in first


def test_the_python_snippet_runs(gateway, capsys):
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code is not None
    exec(code[1].replace("http://127.0.0.1:5005", gateway.base_url), {})
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize("command", re.findall(r"^(scripts/\w+)", README, re.M))
def test_every_script_named_is_there(command):
    assert (ROOT / command).stat().st_mode & 0o111


@pytest.mark.parametrize("word", sorted(set(re.findall(r"chat2api ([a-z]+)(?=`| |\n)", README)) - {"is", "answers"}))
def test_every_subcommand_named_is_there(word):
    assert word in main.commands
