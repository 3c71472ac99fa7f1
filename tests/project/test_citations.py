"""What code and pages cite is there: each page that is named, and each section of the protocol."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
HEADINGS = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?) ", PROTOCOL, re.MULTILINE))

NUMBER = r"\d{1,2}(?:\.\d{1,2})?"
# "protocol.md 5.2", "protocol.md section 5.2", and what follows it: "4.1, 4.2 and 5", "5.0 to 5.2".
CITED = re.compile(
    rf"protocol\.md,?(?: sections?)? ({NUMBER}(?:(?:, | and | to |, and ){NUMBER})*)(?![\w-])", re.IGNORECASE
)
# Later in the same file the number stands alone: "(5.6)", "(4.1, 6.5)". A bare "(5)" would be anything.
ALONE = re.compile(r"\((\d{1,2}\.\d{1,2}(?:(?:, | and | to )\d{1,2}\.\d{1,2})*)\)")
PAGE = re.compile(r"(?<![\w/.-])((?:[\w.-]+/)*[\w-]+\.md)\b")
# A recording, named by what it holds and when it was made.
RECORDING = re.compile(r"[\w-]+-20\d\d-\d\d[\w.-]*\.(?:sse|json|ndjson)\b")
# Names that a test or an example makes up.
INVENTED = {"a.md", "x.md", "file.md", "readme.md", "bench.md", "LICENSE.md"}  # or made elsewhere


def files(*patterns: str) -> list[Path]:
    """What git keeps of them, or would; without git, all but hidden and generated folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        paths = [path for pattern in patterns for path in ROOT.rglob(pattern)]
        return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def prose(path: Path) -> str:
    """Comments and strings of a Python file, on their lines; any other file whole."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string for token in tokens if token.type in {tokenize.COMMENT, tokenize.STRING})


def citations(text: str) -> Iterator[str]:
    """The sections of the protocol that a text which speaks of it cites."""
    found = [match[1] for match in CITED.finditer(text)]
    if "protocol.md" in text.lower():
        found += [match[1] for match in ALONE.finditer(text)]
    for numbers in found:
        yield from re.findall(NUMBER, numbers)


CODE = files("*.py")
PAGES = files("*.md")


def test_every_section_of_the_protocol_that_is_cited_has_its_heading() -> None:
    cited = {path: set(citations(prose(path))) for path in CODE if path != Path(__file__)}
    assert sum(map(len, cited.values())) > 100, "the citations are no longer found"
    assert {str(path.relative_to(ROOT)): gone for path, numbers in cited.items() if (gone := numbers - HEADINGS)} == {}


def test_every_section_that_the_protocol_itself_cites_has_its_heading() -> None:
    assert set(citations(PROTOCOL + "\nprotocol.md")) - HEADINGS == set()


def test_the_protocol_has_its_sections_in_order() -> None:
    numbers = re.findall(rf"^#{{2,3}} ({NUMBER}) ", PROTOCOL, re.MULTILINE)
    assert numbers == sorted(set(numbers), key=lambda number: [int(part) for part in number.split(".")])


def test_every_page_named_is_in_the_repository() -> None:
    """By its path, or by its name alone, as in "protocol.md 5.2"."""
    there = {str(path.relative_to(ROOT)) for path in PAGES} | {path.name for path in PAGES} | INVENTED
    there.add("Protocol.md")  # where a sentence begins with it
    texts = [path for path in [*CODE, *PAGES, *files("scripts", ".ci", "*.toml", "*.yaml")] if path != Path(__file__)]
    named = {path: {page.removeprefix("../") for page in PAGE.findall(prose(path))} for path in texts}
    assert any("protocol.md" in pages for pages in named.values())
    assert {str(path.relative_to(ROOT)): gone for path, pages in named.items() if (gone := pages - there)} == {}


def test_every_recording_that_the_product_names_is_in_the_repository() -> None:
    there = {path.name for path in files("*.sse", "*.json", "*.ndjson")}
    product = [path for path in CODE if path.relative_to(ROOT).parts[0] != "tests"]
    named = {path: set(RECORDING.findall(prose(path))) for path in product}
    assert {str(path.relative_to(ROOT)): gone for path, names in named.items() if (gone := names - there)} == {}


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("(protocol.md 5.2)", ["5.2"]),
        ("Protocol.md 8: and more", ["8"]),
        ("of protocol.md 6.1 to 6.4, 9", ["6.1", "6.4", "9"]),
        ("protocol.md 4.1, 4.2 and 10. Then (5.6).", ["4.1", "4.2", "10", "5.6"]),
        ("sleep(0.5) alone cites nothing (5.6)", []),
    ],
)
def test_citations_are_read_in_every_form_they_take(text: str, cited: list[str]) -> None:
    assert list(citations(text)) == cited
