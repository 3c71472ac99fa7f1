"""The scripts: they parse, can be run, and pick the Python they promise to pick."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SH_SCRIPTS = sorted(
    path
    for path in [*(PROJECT / "scripts").iterdir(), PROJECT / ".ci/run"]
    if path.is_file() and path.suffix in {"", ".sh"}
)
COMMANDS = [path for path in SH_SCRIPTS if not path.suffix]
PROMISED = {"clients", "setup", "demo", "check", "test", "record", "lock", "survey"}

# Runs the real interpreter, but lets it take itself for another one first. $1 is -c, $2 the program, $3 its argument.
FAKE_PYTHON = """#!/bin/sh
exec {real} -c "import sys; sys.executable, sys.version_info = '$0', {version}
{prelude}
$2" $3
"""


def relative(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def test_promised_scripts_are_there() -> None:
    assert {path.name for path in COMMANDS} >= PROMISED


@pytest.mark.parametrize("script", SH_SCRIPTS, ids=relative)
def test_shell_syntax(script: Path) -> None:
    checked = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("script", "argument", "link"),
    [
        ("setup", "runtime", ".venv"),
        ("setup", "mitmproxy", ".venv-mitmproxy"),
        ("setup", "dev", ".venv-dev"),
        ("clients", "openai3", ".clients"),
        ("clients", "openai3", ".clients/openai3"),
    ],
)
def test_no_environment_is_made_through_a_link(tmp_path: Path, script: str, argument: str, link: str) -> None:
    """It would be emptied where it really is, in the checkout of somebody else."""
    shutil.copytree(PROJECT / "scripts", tmp_path / "here/scripts")
    kept = tmp_path / "elsewhere/bin/python"
    kept.parent.mkdir(parents=True)
    kept.write_text("an environment")
    (tmp_path / "here" / link).parent.mkdir(exist_ok=True)
    (tmp_path / "here" / link).symlink_to(tmp_path / "elsewhere")
    command = [tmp_path / "here/scripts" / script, argument]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr == f"{script}: {link} is a symbolic link, and making it would empty what it leads to: " + (
        "remove the link first.\n"
    )
    assert kept.read_text() == "an environment"


@pytest.mark.parametrize("script", COMMANDS, ids=relative)
def test_commands_can_be_run_and_stop_at_the_first_error(script: Path) -> None:
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines[1].startswith("# ")
    assert "set -eu" in lines


def test_setup_names_what_it_can_make() -> None:
    refused = subprocess.run([PROJECT / "scripts/setup", "nothing"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr == "usage: scripts/setup [runtime|mitmproxy|dev]\n"


class Machine:
    """A machine of fake interpreters: folders on PATH and a pyenv root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = [folder / "first", folder / "second"]

    def add(self, name: str, version: tuple[int, int, int], *, level: str = "final", prelude: str = "") -> str:
        text = FAKE_PYTHON.format(real=sys.executable, version=(*version, level, 0), prelude=prelude)
        return self.write(name, text)

    def write(self, name: str, text: str) -> str:
        python = self.folder / name
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(text)
        python.chmod(0o755)
        return str(python)

    def newest(self) -> str | None:
        environment = {"PATH": ":".join(map(str, self.path)), "PYENV_ROOT": f"{self.folder}/pyenv", "HOME": "/nowhere"}
        asked = subprocess.run(
            ["/bin/sh", "-euc", '. "$0"; newest_python', PROJECT / "scripts/python.sh"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.stderr == ""
        assert (asked.returncode == 0) == bool(asked.stdout)
        return asked.stdout.strip() or None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_newest_on_path_wins_whatever_the_order(machine: Machine) -> None:
    machine.add("first/python3", (3, 11, 9))
    newest = machine.add("second/python3.13", (3, 13, 2))
    machine.add("second/python3.12", (3, 12, 12))
    assert machine.newest() == newest


def test_of_equals_the_first_on_path_wins(machine: Machine) -> None:
    first = machine.add("first/python3.12", (3, 12, 1))
    machine.add("second/python3.12", (3, 12, 1))
    assert machine.newest() == first


def test_pyenv_versions_are_found_without_being_on_path(machine: Machine) -> None:
    machine.add("first/python3", (3, 11, 2))
    machine.add("pyenv/versions/3.9.18/bin/python3", (3, 9, 18))
    newest = machine.add("pyenv/versions/3.13.0/bin/python3", (3, 13, 0))
    assert machine.newest() == newest


def test_versions_managed_by_uv_are_found(machine: Machine) -> None:
    machine.add("first/python3", (3, 11, 2))
    newest = machine.add("managed/cpython-3.14.0-linux/bin/python3.14", (3, 14, 0))
    machine.write("first/uv", f'#!/bin/sh\n[ "$*" = "python dir" ] && echo "{machine.folder}/managed"\n')
    assert machine.newest() == newest


def test_a_shim_that_fails_hides_nothing(machine: Machine) -> None:
    machine.write("first/python3.13", "#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    real = machine.add("second/python3.13", (3, 13, 0))
    assert machine.newest() == real


def test_python_without_ensurepip_is_passed_over(machine: Machine) -> None:
    machine.add("first/python3.13", (3, 13, 0), prelude="sys.modules['ensurepip'] = None")
    complete = machine.add("second/python3", (3, 11, 2))
    assert machine.newest() == complete


def test_python_without_ensurepip_is_enough_for_uv(machine: Machine) -> None:
    machine.write("first/uv", "#!/bin/sh\necho /nowhere\n")
    newest = machine.add("first/python3.13", (3, 13, 0), prelude="sys.modules['ensurepip'] = None")
    machine.add("second/python3", (3, 11, 2))
    assert machine.newest() == newest


def test_pre_releases_are_passed_over(machine: Machine) -> None:
    machine.add("first/python3.14", (3, 14, 0), level="candidate")
    assert machine.newest() is None


def test_what_no_wheels_exist_for_is_the_last_choice(machine: Machine) -> None:
    newer = machine.add("first/python3.15", (3, 15, 0))
    assert machine.newest() == newer
    older = machine.add("second/python3.11", (3, 11, 2))
    assert machine.newest() == older


def test_too_old_is_none(machine: Machine) -> None:
    machine.add("first/python3", (3, 10, 13))
    assert machine.newest() is None


def test_a_chattering_interpreter_is_passed_over(machine: Machine) -> None:
    machine.write("first/python3", "#!/bin/sh\necho hello\n")
    assert machine.newest() is None
