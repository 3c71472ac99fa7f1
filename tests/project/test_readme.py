"""The README says what is, in English and in Chinese, and so do the pages of settings and errors behind it."""

import re
from pathlib import Path

import pytest
from click import Group

from shim import errors
from shim.app import OPERATIONS
from shim.cli.main import main
from shim.settings import describe

ROOT = Path(__file__).parents[2]
README, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh.md"))
ERRORS = (ROOT / "docs/errors.md").read_text()
SETTINGS = ROOT / "docs/settings.md"
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Pages and what is passed on: the OpenAPI document leaves them out.
BESIDE = {"/", "/tokens", "/openapi.json", "/docs", "/metrics", "/backend-api/…", "/backend-anon/…"}


def rows(text):
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def blocks(text, language):
    return [block.strip() for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)]


def test_the_settings_table_is_the_program_own(request):
    """`--update-golden` writes it anew."""
    made = [f"| `{name}` | {f'`{default}`' if default else ''} | {text} |\n" for name, default, text in describe()]
    page = SETTINGS.read_text()
    written = re.sub(r"(?:^\| `.*\n)+", lambda _: "".join(made), page, flags=re.M)
    if request.config.getoption("update_golden"):
        SETTINGS.write_text(written)
    else:
        assert page == written, "run pytest with --update-golden, and read what it wrote"
    assert "".join(made) in written


def test_every_status_we_give_is_explained():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GatewayError)]
    explained = {row[0] for row in rows(ERRORS)}
    assert {str(kind.status) for kind in kinds} <= explained
    assert {"400", "401", "403", "404", "413", "429", "500", "502", "504"} <= explained


def test_the_readme_is_short_and_begins_with_what_is_looked_for_first():
    assert len(README.splitlines()) <= 85
    first = "\n".join(README.splitlines()[:40])
    for needed in ("scripts/demo", "scripts/test", "from openai import OpenAI", "What it does not do"):
        assert needed in first


@pytest.mark.parametrize("page", [README, CHINESE], ids=["English", "Chinese"])
def test_the_python_snippet_runs(page, gateway, capsys):
    (code,) = blocks(page, "python")
    exec(code.replace("http://127.0.0.1:5005", gateway.base_url), {})
    assert "demo" in capsys.readouterr().out


def test_the_table_of_endpoints_names_every_public_path_and_no_other():
    def nameless(path):
        return re.sub(r"\{\w+\}", "{}", path)

    shown = {nameless(path) for row in rows(README) for path in re.findall(r"/[^`, ]*", row[0])}
    served = {nameless(operation.path) for operation in OPERATIONS}
    begun = tuple(path.removesuffix("…") for path in shown if path.endswith("…"))
    assert {path for path in shown - BESIDE if not path.endswith("…")} <= served
    assert {path for path in served - shown if not path.startswith(begun)} == set()


def test_the_chinese_readme_has_the_commands_paths_and_links_of_the_english_one():
    def bare(text):
        return [re.sub(r"\s+#.*", "", line) for block in blocks(text, r"\w+") for line in block.splitlines()]

    def links(text):
        return sorted(set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.zh.md"})

    assert bare(CHINESE) == bare(README)
    assert links(CHINESE) == links(README)
    assert [row[0] for row in rows(CHINESE)][1:] == [row[0] for row in rows(README)][1:]
    assert re.findall(r"^#", CHINESE, re.M) == re.findall(r"^#", README, re.M)


def test_the_page_of_the_command_line_has_every_command():
    page = (ROOT / "docs/cli.md").read_text()
    for name, command in main.commands.items():
        (row,) = (line for line in page.splitlines() if line.startswith("| ") and f"`chat2api {name}`" in line)
        missing = [one for one in getattr(command, "commands", {}) if f"`{one}`" not in row]
        assert missing == [], name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_script_named_is_there(page):
    for name in re.findall(r"(?<![\w/.])scripts/(\w+)\b(?!/|\.)", page.read_text()):
        assert (ROOT / "scripts" / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_named_is_there(page):
    """Of `chat2api` in code, with the subcommand and its flags as far as they are written."""
    text = page.read_text()
    code = [*blocks(text, "sh"), *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))]
    for words in (re.sub(r"\s#.*", "", line).split() for one in code for line in one.splitlines()):
        if "chat2api" not in (names := [Path(word).name for word in words]):
            continue
        command, rest = main, words[names.index("chat2api") + 1 :]
        while rest and isinstance(command, Group) and not rest[0].startswith("-"):
            command = command.commands.get(rest.pop(0))
            assert command is not None, words
        known = {
            flag
            for one in command.get_params(command.make_context("x", [], resilient_parsing=True))
            for flag in [*one.opts, *one.secondary_opts]
        }
        asked = [word.strip("[]") for word in rest if word.strip("[]").startswith("--")]
        if "--" in asked:
            asked = asked[: asked.index("--")]
        assert set(asked) <= known, words
