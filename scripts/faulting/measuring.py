"""Memory and descriptors of a real gateway, all its processes together, seen from outside."""

import collections
import os
import tempfile
from pathlib import Path

from tests.servers import Process


class Folders:
    """As pytest's factory, without pytest."""

    def mktemp(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"chat2api-{name}-"))


def family(pid: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = collections.defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int((entry / "stat").read_text().rpartition(")")[2].split()[1])].append(int(entry.name))
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += parents[one]
    return found


def megabytes(gateway: Process) -> float:
    """Resident memory of the gateway, all its processes together."""
    pages = 0
    for pid in family(gateway.process.pid):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(gateway: Process) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in family(gateway.process.pid))


def threads(gateway: Process) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in family(gateway.process.pid))
