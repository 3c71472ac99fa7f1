"""This installation's own id: one UUID, made once and kept in DATA_DIR.

It is the device id of login-free chats and the seed of the accounts' device ids, so that upstream sees the same device
each time. It is never rotated.
"""

import contextlib
import os
import uuid
from pathlib import Path

_FILE = "installation-id"


def installation_id(data_dir: Path) -> uuid.UUID:
    """The id, made at the first call. Several processes that start at once agree on one.

    Raises OSError where DATA_DIR can't be written.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = data_dir / _FILE
    with contextlib.suppress(ValueError, FileNotFoundError):
        return uuid.UUID(path.read_text().strip())
    fresh = path.with_name(f"{_FILE}.{os.getpid()}")
    fresh.write_text(f"{uuid.uuid4()}\n")
    try:
        os.link(fresh, path)  # fails where another process was first: then its id counts
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return uuid.UUID(path.read_text().strip())
