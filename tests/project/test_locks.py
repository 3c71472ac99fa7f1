"""The lock files fit pyproject.toml and one another, and each environment holds only what it may."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
RUNTIME: list[str] = PYPROJECT["project"]["dependencies"]
MITMPROXY: list[str] = PYPROJECT["project"]["optional-dependencies"]["mitmproxy"]
DEV: list[str] = PYPROJECT["dependency-groups"]["dev"]
DIRECT = {
    "requirements.lock": RUNTIME,
    "requirements-mitmproxy.lock": RUNTIME + MITMPROXY,
    "requirements-dev.lock": RUNTIME + DEV,
}


def pins(lock: str) -> list[Requirement]:
    """Every pinned requirement of a lock file; one name may be pinned several times under different markers."""
    text = (PROJECT / lock).read_text().replace("\\\n", " ")
    return [Requirement(line.partition(" --hash")[0]) for line in text.splitlines() if line]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def pinned_version(pin: Requirement) -> Version:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", pin
    return Version(specifier.version)


@pytest.mark.parametrize("lock", DIRECT)
def test_direct_dependencies_are_pinned_within_their_bounds(lock: str) -> None:
    pinned = pins(lock)
    for wanted in map(Requirement, DIRECT[lock]):
        versions = [pinned_version(pin) for pin in pinned if names([pin]) == names([wanted])]
        assert versions, f"{lock} lacks {wanted}: run scripts/lock"
        assert all(version in wanted.specifier for version in versions), f"{lock} does not fit {wanted}"


@pytest.mark.parametrize("name", ["curl-cffi", "prometheus-client"])
def test_what_is_used_by_names_that_are_not_published_ends_with_the_minor_version_that_was_tested(name: str) -> None:
    (wanted,) = (one for one in map(Requirement, RUNTIME) if canonicalize_name(one.name) == name)
    for pin in (pin for lock in DIRECT for pin in pins(lock) if canonicalize_name(pin.name) == name):
        major, minor, *_ = pinned_version(pin).release
        assert f"{major}.{minor}.99" in wanted.specifier
        assert f"{major}.{minor + 1}.0" not in wanted.specifier, f"test {name} {major}.{minor + 1} before it is allowed"


@pytest.mark.parametrize("lock", DIRECT)
def test_every_pin_has_hashes_and_no_address(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE)
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("unwanted", ["pydantic", "openai", *sorted(names([*map(Requirement, DEV)]))])
def test_test_tools_stay_out_of_the_runtime(unwanted: str) -> None:
    assert unwanted not in names(pins("requirements.lock"))


def test_the_dev_lock_runs_the_very_versions_users_run() -> None:
    runtime = {str(pin) for pin in pins("requirements.lock")}
    theirs = [pin for pin in pins("requirements-dev.lock") if names([pin]) <= names(pins("requirements.lock"))]
    assert names(pins("requirements.lock")) <= names(theirs)
    assert {f"{pin.name}{pin.specifier}" for pin in theirs} == {entry.split(";")[0].strip() for entry in runtime}
