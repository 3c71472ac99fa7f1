"""The installation's id: made once, kept, agreed on by processes that start at once."""

import stat
import subprocess
import sys
import uuid

import pytest

from shim.accounts.installation import installation_id


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
