"""Several workers, one answer: prometheus-client's files, one set for each place among the workers.

Rules:
* a worker's files are named after its place and not after its process. Whoever takes a dead worker's place goes on with
  its counters, and there are never more files than there are places;
* the files have their room on the disk before they are written: a page of them that the disk has no room for would end
  the worker by a signal (SIGBUS). Where there is no room, a worker counts for itself alone.
"""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # as prometheus-client calls it
# Four times the most workers there may be: those that were replaced hold their place until they have ended.
_MOST_PLACES = 256
_KIB = 1024
# A file of each kind, and more than all values together can fill that labels may have (a test fills them).
_FILE_BYTES = {
    "counter": 2048 * _KIB,
    "histogram": 512 * _KIB,
    "gauge_max": 64 * _KIB,
    "gauge_min": 64 * _KIB,
    "gauge_sum": 64 * _KIB,
}

log = logging.getLogger("chat2api")

_places: dict[int, int] = {}  # our own place, and its lock, held for as long as this process lives


@contextmanager
def shared_by_workers(workers: int) -> Iterator[None]:
    """While the block runs, processes started in it have a folder to share what they count; one alone needs none."""
    os.environ.pop(_FOLDER, None)
    if workers < 2:
        yield
        return
    try:
        made = tempfile.TemporaryDirectory(prefix="chat2api-metrics-", ignore_cleanup_errors=True)
    except OSError as error:
        log.warning("each worker tells its own metrics alone, for there is no temporary folder: %s", error.strerror)
        yield
        return
    with made as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            os.environ.pop(_FOLDER, None)


def as_worker() -> None:
    """What is counted in this process from now on goes to the folder, where there is one."""
    folder = os.environ.get(_FOLDER)
    if folder:
        place = _free_place(Path(folder))
        try:
            _reserve(Path(folder), place)
        except OSError as error:
            log.warning("this worker's metrics can't be shared with the others' in %s: %s", folder, error.strerror)
            os.close(_places.pop(place))
            return
        # Here, so that the main process does without the library; and before the first metric is made.
        from prometheus_client import values  # noqa: PLC0415

        values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]


def shared_folder() -> str | None:
    """The folder, where this process shares what it counts."""
    return os.environ.get(_FOLDER) if _places else None


def own_place() -> str:
    """What this process is called among the workers."""
    return str(next(iter(_places), 1))


def _reserve(folder: Path, place: int) -> None:
    """Have the blocks of a place's files. Raises OSError where the disk has no room for them."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    for kind, room in _FILE_BYTES.items():
        file = os.open(folder / f"{kind}_{place}.db", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, room)
        finally:
            os.close(file)


def _free_place(folder: Path) -> int:
    """The first place that no living process has: the system lets go of a lock when its process ends, however."""
    for place in range(1, _MOST_PLACES + 1):
        lock = os.open(folder / f"{place}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _places[place] = lock
        return place
    raise RuntimeError(f"more than {_MOST_PLACES} workers")
