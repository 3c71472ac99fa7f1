"""The survey counts what it says it counts: on a small made-up checkout exactly, and a real chat of this one."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from scripts.surveying.__main__ import print_table, way
from scripts.surveying.source import Helper, lines_of, modules, private_helpers, survey

ROOT = Path(__file__).parents[2]

ONE = '''
"""A module.

Of four lines.
"""

from shim import two
from .exchange import inner  # why not


class Thing:
    """One line."""

    def __init__(self):
        self.a, self.b = 1, 2
        self.c: int = 3

    def _once(self):
        return self._twice() + self.a

    def _twice(self):
        self.d += 1
        return self._once() + self._twice()


# A reason.
def _never():
    return "# no comment"


def _listed():
    pass


TABLE = [_listed]
'''

FILES = {
    "shim/__init__.py": "",
    "shim/one.py": ONE,
    "shim/two.py": "def _imported():\n    return 1\n\n\nclass Thing:\n    pass\n",
    "shim/exchange/__init__.py": "from .inner import x\nfrom shim.two import _imported\nimport json\n",
    "shim/exchange/inner.py": "from .. import two, one\nfrom shim.standin import said\nx = 1\n",
    "shim/standin/__init__.py": "class Thing:\n    pass\n",
    "tests/test_it.py": "def test_it():\n    pass\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"))
    return tmp_path


def test_every_line_is_counted_once(checkout: Path) -> None:
    (one,) = [module for module in modules(checkout, "shim") if module.path == "shim/one.py"]
    lines = lines_of(one)
    assert lines.all == len(one.text.splitlines())
    assert (lines.docstrings, lines.comments, lines.trailing) == (5, 1, 1)
    assert lines.code == 16


def test_helpers_are_counted_by_their_uses(checkout: Path) -> None:
    assert private_helpers(modules(checkout, "shim")) == {
        "shim/one.py:Thing._once": Helper(calls=1),
        "shim/one.py:Thing._twice": Helper(calls=2),
        "shim/one.py:_never": Helper(),
        "shim/one.py:_listed": Helper(values=1),
        "shim/two.py:_imported": Helper(calls=1),
    }


def test_to_read_a_property_is_to_call_it_and_so_is_a_decorator(tmp_path: Path) -> None:
    text = "class A:\n    @property\n    def _b(self): return 1\n    def c(self): return self._b\n"
    text += "def _d(it): return it\n\n@_d\ndef e(): return A._b\n"
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim/it.py").write_text(text)
    assert private_helpers(modules(tmp_path, "shim")) == {
        "shim/it.py:A._b": Helper(calls=2),
        "shim/it.py:_d": Helper(calls=1),
    }


def test_what_a_task_or_a_lambda_runs_later_is_handed_on(tmp_path: Path) -> None:
    text = "async def _a(): await _b()\nasync def _b(): return 1\ndef _c(): pass\n"
    text += "async def d(): create_task(_a()); retry(lambda: _c())\n"
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim/it.py").write_text(text)
    assert private_helpers(modules(tmp_path, "shim")) == {
        "shim/it.py:_a": Helper(values=1),
        "shim/it.py:_b": Helper(calls=1),
        "shim/it.py:_c": Helper(values=1),
    }


def test_what_an_abstract_class_leaves_to_others_is_handed_on(tmp_path: Path) -> None:
    text = "class A:\n    def b(self): self._c()\n    @abstractmethod\n    def _c(self): ...\n"
    text += "class D(A):\n    def _c(self): self._e()\n    def _e(self): self._c()\n"
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim/it.py").write_text(text)
    assert private_helpers(modules(tmp_path, "shim")) == {
        "shim/it.py:A._c": Helper(values=1),
        "shim/it.py:D._c": Helper(values=1),
        "shim/it.py:D._e": Helper(calls=1),
    }


def test_figures(checkout: Path) -> None:
    figures = survey(checkout)
    assert figures["product: modules"] == 5
    assert figures["stand-in: modules"] == figures["tests: modules"] == 1
    assert figures["functions"] == 6
    assert figures["private helpers used once, %"] == 60.0
    assert figures["private helpers called, not handed on"] == 3
    assert figures["private helpers called once, % of those"] == 66.7
    assert figures["private helpers used never, %"] == 20.0
    assert figures["classes: shared names"] == ["Thing"], "the stand-in's own does not count"
    assert figures["classes: most attributes"] == 4
    assert figures["imports of ours per module, exchange: median"] == 2.5
    assert figures["imports of ours per module, exchange: most"] == 3


def test_an_empty_checkout_has_figures_too(tmp_path: Path) -> None:
    assert survey(tmp_path)["product: lines"] == 0


def test_the_way_of_a_chat_leads_through_the_core_and_not_through_the_stand_in() -> None:
    figures = way(ROOT, chats=1)
    stops = figures["a chat's way"]
    assert isinstance(stops, list)
    assert figures["a chat's way: functions"] == len(stops) == len(set(stops))
    for folder in ("shim/apis/", "shim/protocol/", "shim/transport/", "shim/accounts/", "pow/"):
        assert any(stop.startswith(folder) for stop in stops), folder
    assert not any(stop.startswith("shim/standin/") for stop in stops)


def test_before_and_after_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"lines": 10, "new": 1, "names": ["Thing"]}, {"lines": 20})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[:3] == [["before", "now"], ["lines", "20", "10"], ["new", "-", "1"]]
    assert ["Thing"] in rows


def test_a_checkout_whose_chat_fails_is_refused(checkout: Path) -> None:
    (checkout / "shim/app.py").write_text("raise RuntimeError('broken')\n")
    command = [sys.executable, "-m", "scripts.surveying", "--repo", str(checkout), "--json", str(checkout / "out.json")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "broken" in ran.stderr
    assert not (checkout / "out.json").exists()
