"""How tests are spread over workers (`pytest -n 4 --dist loadfile`): those of a file run on one, which makes for itself
what they share, be it a gateway, a browser or a client's program; and nobody waits for a long file at the end.

Groups that are marked (`xdist_group`) would be finer, but with pytest 9.2 xdist 3.8 takes no notice of them.
"""

from xdist.scheduler import LoadFileScheduling

# What takes longest begins first: files, and folders whose files do. All others follow as they are collected. Of the
# first eight, the second, fourth, … mostly wait: they run beside those that calculate.
LONGEST = (
    "tests/clients/test_clients.py",
    "tests/faults/test_upstream.py",
    "tests/project/test_bench.py",
    "tests/gateway/test_background.py",
    "tests/fuzz/test_operations.py",
    "tests/addons/test_faults.py",
    "tests/replay/",
    "tests/gateway/test_files_api.py",
    "tests/web/",
    "tests/gateway/test_machines.py",
    "tests/gateway/test_pool.py",
    "tests/project/test_printed.py",
    "tests/addons/",
    "tests/apis/admin/",
    "tests/faults/",
    "tests/clients/",
    "tests/test_tokenizer.py",
    "tests/pow/test_solver.py",
    "tests/usage/",
    "tests/upstream/",
)
# Folders whose files share something, too: the answers to a cassette.
TOGETHER = ("tests/replay/",)


def unit(nodeid: str) -> str:
    """What runs on one worker with this test."""
    return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.partition("::")[0])


def turn(nodeid: str) -> int:
    """When it begins: the smaller, the sooner."""
    return next((place for place, start in enumerate(LONGEST) if nodeid.startswith(start)), len(LONGEST))


class ByFile(LoadFileScheduling):
    """xdist's own by file, but for what is together."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
