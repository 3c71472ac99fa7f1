"""This installation's own id: one UUID, made once and kept in DATA_DIR.

It is the device id of login-free chats and the seed of the accounts' device ids, so that upstream sees the same device
each time. It is never rotated.
"""

import os
import secrets
import stat
import threading
import uuid
from pathlib import Path

_FILE = "installation-id"
_LINKS = "link-secret"


def installation_id(data_dir: Path) -> uuid.UUID:
    """The id, made at the first call. Several processes that start at once agree on one.

    Raises OSError where DATA_DIR can't be written, ValueError where the file there holds something else.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # the accounts' tokens lie there as well
    path = data_dir / _FILE
    text = _kept(path, str(uuid.uuid4()))
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValueError(f"{path} does not hold a UUID; delete it to become a new installation") from None


def link_secret(data_dir: Path) -> str:
    """What this installation signs file links with, made in the same way. It has nothing to do with any key: whoever
    has one could sign links, and each link would be a way to find a key that is easy to guess."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _kept(data_dir / _LINKS, secrets.token_hex(32))


def _kept(path: Path, fresh: str) -> str:
    if not path.exists():
        # Under a name of its own at first: a process that looks meanwhile must not find half of it.
        made = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        with open(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{fresh}\n")
        try:
            os.link(made, path)  # all or nothing; where another process was first, its id counts
        except FileExistsError:
            pass
        finally:
            made.unlink()
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)  # of an older version, or copied
    return path.read_text().strip()
