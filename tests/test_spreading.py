"""Whatever shares what is costly runs on one worker, and begins early where it takes long."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.spreading import LONGEST, TOGETHER, ByFile, turn, unit

ROOT = Path(__file__).parents[1]


class Worker:
    """The part of a worker that xdist's scheduler speaks to."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.sent: list[list[int]] = []

    def send_runtest_some(self, places: list[int]) -> None:
        self.sent.append(places)

    def shutdown(self) -> None:
        self.shutting_down = True


@pytest.mark.parametrize("place", [*LONGEST, *TOGETHER])
def test_what_is_named_is_there(place: str) -> None:
    assert (ROOT / place).exists()


def test_a_folder_that_is_together_is_one_unit() -> None:
    assert unit("tests/replay/test_flows.py::test_one[a::b]") == unit("tests/replay/test_splits.py::test_two")
    assert unit("tests/http/test_links.py::TestIt::test_one[a::b]") == "tests/http/test_links.py"


def test_what_takes_longest_begins_first() -> None:
    rest = "tests/test_heap.py::test_it"
    assert turn("tests/replay/test_flows.py::test_it") < turn("tests/web/test_naming.py::test_it") < turn(rest)


def test_the_tests_of_a_file_run_on_one_worker() -> None:
    tests = [f"tests/test_{file}.py::test_it[{case}]" for case in range(4) for file in "abc"]
    settings = SimpleNamespace(tx=["2*popen"], loadscopereorder=False)
    config = SimpleNamespace(option=settings, getvalue=lambda name: getattr(settings, name))
    spread, workers = ByFile(config), [Worker("one"), Worker("other")]  # type: ignore[arg-type]
    for worker in workers:
        spread.add_node(worker)  # type: ignore[arg-type]
        spread.add_node_collection(worker, tests)  # type: ignore[arg-type]
    spread.schedule()
    for worker in workers:
        for place in [place for sent in worker.sent for place in sent]:
            spread.mark_test_complete(worker, place)  # type: ignore[arg-type]
    units = [[tests[place] for place in sent] for worker in workers for sent in worker.sent]
    assert sorted(units) == [[test for test in tests if f"_{file}.py" in test] for file in "abc"]
