"""This installation's own id: one UUID, made once and kept in DATA_DIR.

It is the device id of login-free chats and the seed of the accounts' device ids, so that upstream sees the same device
each time. It is never rotated.
"""

import os
import uuid
from pathlib import Path

_FILE = "installation-id"


def installation_id(data_dir: Path) -> uuid.UUID:
    """The id, made at the first call. Several processes that start at once agree on one.

    Raises OSError where DATA_DIR can't be written, ValueError where the file there holds something else.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # the accounts' tokens lie there as well
    path = data_dir / _FILE
    if not path.exists():
        # Linked into place: the file is there as a whole or not at all, and where another process was first, its id
        # counts.
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_text(f"{uuid.uuid4()}\n")
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    text = path.read_text().strip()
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValueError(f"{path} does not hold a UUID; delete it to become a new installation") from None
