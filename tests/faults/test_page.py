"""docs/faults.md has a row for each fault that is played, with its outcome; other rows name tests that exist."""

import re
from pathlib import Path

import pytest

from tests.faults.faulty import EVERY_TRY, FAULTS
from tests.named_tests import is_there

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text()


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title):
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def shown(outcome, streamed):
    status, code = outcome
    if status != 200 or code is None:
        return f"{status} `{code}`" if code else ("whole" if status == 200 else str(status))
    return f"text so far, then `{code}`" if streamed else f"200 `{code}`"


def test_the_page_has_the_outcome_of_every_fault_of_upstream():
    played = [
        [name, shown(fault.whole, False), shown(fault.stream, True), "each try" if fault.asked == EVERY_TRY else "once"]
        for name, fault in FAULTS.items()
    ]
    assert rows("Upstream, at the conversation call") == played


OTHERS = (
    "Upstream, at other calls",
    "Proxies and TLS",
    "Ourselves",
    "Clients and strangers",
    "Settings",
    "Under load",
    "Under attack",
    "Under fuzz",
)


@pytest.mark.parametrize("title", OTHERS)
def test_every_other_row_names_a_test_that_is_there(title):
    assert rows(title)
    for *_, test in rows(title):
        assert is_there(test.strip("`")), test


def test_there_are_no_other_sections():
    sections = ["Upstream, at the conversation call", *OTHERS, "What is left afterwards", "Not held"]
    assert re.findall(r"^## (.*)$", PAGE, re.M) == sections
