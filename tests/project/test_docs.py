"""The pages on APIs say of every request field what becomes of it, and say the same as the program."""

import re
from pathlib import Path

import pytest

from shim.apis.chat.read import _NEUTRAL
from shim.apis.chat.wire import ChatRequest
from shim.apis.completions.read import _NEUTRAL as COMPLETIONS_NEUTRAL
from shim.apis.completions.wire import TextCompletionRequest
from shim.apis.images.read import _NEUTRAL as IMAGES_NEUTRAL
from shim.apis.images.wire import ImageEditRequest
from shim.apis.messages.read import _NEUTRAL as MESSAGES_NEUTRAL
from shim.apis.messages.wire import MessagesRequest
from tests.named_tests import is_there

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "parameters.md").read_text()
PAGES = sorted((ROOT / "docs").glob("*.md"))


def section(title):
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def fields(title):
    return re.findall(r"^\| `(\w+)` \|", section(title), re.M)


def test_every_field_that_is_read_is_in_one_of_the_tables():
    honoured, accepted = fields("Honoured"), fields("Accepted, without effect on the answer")
    assert sorted([*honoured, *accepted]) == sorted(ChatRequest.__struct_fields__)


def test_every_field_with_a_neutral_value_is_named_as_having_no_effect():
    named = set(re.findall(r"`(\w+)`", section("No effect")))
    assert set(_NEUTRAL) <= named
    assert not named & set(ChatRequest.__struct_fields__)


# The other APIs: their page, the request, and the fields that are ignored unless they ask for nothing.
OTHERS = {
    "completions": (TextCompletionRequest, COMPLETIONS_NEUTRAL),
    "images": (ImageEditRequest, IMAGES_NEUTRAL),
    "messages": (MessagesRequest, MESSAGES_NEUTRAL),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_page_of_an_api_has_every_field_where_it_belongs(name):
    request, neutral = OTHERS[name]
    works, ignored, refused = re.split(r"\n## (?:Ignored|Refused)\n", (ROOT / "docs" / f"{name}.md").read_text())
    rows = re.findall(r"^\| `(\w+)`", works + refused, re.M)
    assert set(rows) == set(request.__struct_fields__)
    named = set(re.findall(r"`(\w+)`", ignored))
    assert set(neutral) <= named
    assert named & set(rows) <= {"thinking"}  # by the model


def anchors(page):
    """What a heading is reached by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_the_pages_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index and page.name != "README.md"] == []
    assert "](docs/README.md)" in (ROOT / "README.md").read_text()


def test_every_client_of_the_page_names_tests_that_are_there():
    table = re.findall(r"^\| .+ \| .+ \| (.+) \|$", (ROOT / "docs" / "clients.md").read_text(), re.M)[1:]
    assert len(table) > 20
    for seen in table:
        tests = re.findall(r"`(tests/[^`]+)`", seen)
        assert tests or re.fullmatch(r"not verified|by hand(: [\d.]+)?", seen), seen
        assert [test for test in tests if not is_there(test)] == []
