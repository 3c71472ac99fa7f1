"""The lists the clients' environments are made from: pinned to the byte, with no address in them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LISTS = PROJECT / "scripts" / "client_envs"
NAMES = sorted(path.stem for path in LISTS.glob("*.in"))


def test_every_environment_is_known_to_the_script():
    refused = subprocess.run([PROJECT / "scripts/clients", "nothing"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    (known,) = re.findall(r"\[([\w|]+) \.\.\.\]", refused.stderr)
    assert sorted(known.split("|")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_python_package_is_pinned_with_hashes(name):
    text = (LISTS / f"{name}.lock").read_text()
    assert "://" not in text
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line]
    assert lines
    for line in lines:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_for_is_in_the_lock(name):
    asked = re.findall(r"^([\w-]+)", (LISTS / f"{name}.in").read_text(), re.MULTILINE)
    locked = re.findall(r"^([\w.-]+)==", (LISTS / f"{name}.lock").read_text(), re.MULTILINE)
    assert asked
    assert set(asked) <= set(locked)


def test_every_node_package_is_pinned_with_a_hash():
    lock = json.loads((LISTS / "node" / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert {f"node_modules/{name}" for name in lock["packages"][""]["dependencies"]} <= set(packages)
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
