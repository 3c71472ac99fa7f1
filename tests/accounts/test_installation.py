"""The installation's id: made once, kept, agreed on by processes that start at once."""

import os
import stat
import subprocess
import sys
import uuid

import pytest

from shim.accounts.installation import installation_id, link_secret


def test_it_is_made_once_and_kept(tmp_path):
    folder = tmp_path / "deep" / "data"
    first = installation_id(folder)
    assert first.version == 4
    assert installation_id(folder) == first
    assert [path.name for path in folder.iterdir()] == ["installation-id"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_processes_that_start_at_once_agree(tmp_path):
    code = "import pathlib, sys, shim.accounts.installation as i; print(i.installation_id(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = {one.communicate()[0].strip() for one in running}
    assert len(said) == 1
    assert uuid.UUID(said.pop())


def test_a_damaged_file_is_not_silently_replaced(tmp_path):
    """A new id would look like a new device: the operator should know."""
    (tmp_path / "installation-id").write_text("rubbish")
    with pytest.raises(ValueError, match="installation-id"):
        installation_id(tmp_path)
    assert (tmp_path / "installation-id").read_text() == "rubbish"


def test_what_is_kept_is_its_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        installation_id(tmp_path)
        secret = link_secret(tmp_path)
    finally:
        os.umask(before)
    assert len(secret) == 64
    assert link_secret(tmp_path) == secret
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
    (tmp_path / "installation-id").chmod(0o644)
    installation_id(tmp_path)
    assert (tmp_path / "installation-id").stat().st_mode & 0o777 == 0o600
