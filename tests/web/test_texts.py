"""What the page says: every text is in the tables of shim/web/chat/texts, with the same keys and places to fill."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

WEB = Path(__file__).parents[2] / "shim" / "web"
CHAT = WEB / "chat"
TABLES = sorted(path.stem for path in (CHAT / "texts").glob("*.js"))
CODE = {path.name: path.read_text("utf-8") for path in sorted(CHAT.glob("*.js"))}
PAGE = (WEB / "chat.html").read_text("utf-8")
# A key: words in camel case with dots between. What else looks like one is the name of a file or of a store.
KEY = re.compile(r'"([a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*)+)"')
NO_KEYS = re.compile(r".*\.(?:js|json|html|txt|png|svg)|chat2api\.\w+|response\.\w+|code\.math")
HELP = "Put each of them, translated, into shim/web/chat/texts/{0}.js (CONTRIBUTING.md, 'The texts of the page')."


def table(code: str) -> dict[str, Any]:
    """The table of a language; the file is JSON but for comments, `export default` and `;`."""
    text = (CHAT / "texts" / f"{code}.js").read_text("utf-8")
    head, found, body = text.partition("export default ")
    assert found, f"texts/{code}.js has no `export default`"
    assert all(line.startswith("//") for line in head.splitlines()), f"texts/{code}.js begins with comments"
    body = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("//"))
    pairs = json.loads(re.sub(r",(\s*\})", r"\1", body.rstrip().removesuffix(";")), object_pairs_hook=list)
    twice = {key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number])}
    assert not twice, f"texts/{code}.js has these keys twice: {sorted(twice)}"
    return {key: dict(value) if isinstance(value, list) else value for key, value in pairs}


def places(entry: Any) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", entry if isinstance(entry, str) else entry["other"]))


ENGLISH = table("en")


def test_each_table_is_a_language_of_the_page():
    rows = re.findall(r'^\s+"?([\w-]+)"?: \{ name: "[^"]+", dir: "(?:ltr|rtl)" \},$', CODE["first.js"], re.MULTILINE)
    assert sorted(rows) == TABLES
    assert "en" in rows


@pytest.mark.parametrize("code", [code for code in TABLES if code != "en"])
def test_a_language_has_the_keys_and_the_places_of_english(code):
    other = table(code)
    missing, unknown = sorted(ENGLISH.keys() - other.keys()), sorted(other.keys() - ENGLISH.keys())
    lines = "".join(f"\n  {json.dumps(key)}: {json.dumps(ENGLISH[key], ensure_ascii=False)}," for key in missing)
    assert not missing, f"These texts are in English only:{lines}\n{HELP.format(code)}"
    assert not unknown, f"texts/{code}.js has keys that texts/en.js has not: {unknown}"
    assert [key for key in ENGLISH if isinstance(ENGLISH[key], str) != isinstance(other[key], str)] == []
    wrong = {key: sorted(places(ENGLISH[key])) for key in ENGLISH if places(other[key]) != places(ENGLISH[key])}
    assert not wrong, f"texts/{code}.js has to have these places in these texts: {wrong}"


def test_no_text_is_empty_and_a_count_is_what_decides_a_plural():
    for code in TABLES:
        for key, entry in table(code).items():
            forms = [entry] if isinstance(entry, str) else list(entry.values())
            assert all(form.strip() for form in forms), (code, key)
            assert isinstance(entry, str) or "count" in places(entry), (code, key)


def keys_of_the_page() -> set[str]:
    in_html = re.findall(r'\bdata-(?:text|label|name|title|placeholder)="([^"]*)"', PAGE)
    in_code = [key for code in CODE.values() for key in KEY.findall(code) if not NO_KEYS.fullmatch(key)]
    return set(in_html) | set(in_code)


def test_every_key_is_in_the_table_and_every_text_is_used():
    unknown = sorted(keys_of_the_page() - ENGLISH.keys())
    assert not unknown, f"The page asks for texts that shim/web/chat/texts/en.js has not: {unknown}"
    unused = sorted(ENGLISH.keys() - keys_of_the_page())
    assert not unused, f"Nothing on the page uses these texts of shim/web/chat/texts: {unused}"


class Texts(HTMLParser):
    """What a page says by itself: its text, and the attributes that are read out or shown."""

    SHOWN = frozenset({"aria-label", "title", "placeholder", "alt", "aria-description", "label", "value"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.found += [value for name, value in attrs if name in self.SHOWN and tag != "option" and _has_words(value)]

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if _has_words(data) and "noscript" not in self._open:  # Without scripts there are no tables.
            self.found.append(data.strip())


def _has_words(text: str | None) -> bool:
    return bool(text and re.search(r"[^\W\d_]", text))


def test_the_html_says_nothing_by_itself():
    own = [text for text in Texts(PAGE).found if text not in {"chat2api", "g-p-…"}]
    assert not own, f"chat.html has texts of its own; name them with data-text, -label, -name or -placeholder: {own}"
    assert Texts('<p title="Hello">you</p><option value="x">one</option>').found == ["Hello", "you", "one"]


# One token of JavaScript; what matters of it are the literals. A regular expression may hold quotes.
TOKEN = re.compile(
    r"""(?xs)
      //[^\n]* | /\*.*?\*/
    | "(?:\\.|[^"\\\n])*"
    | (?:(?<=[(,=:\[!&|?{};\n][ ])|(?<=[(]))/(?![/*])(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n\[])+/\w*
    | `(?:\\.|\$\{(?:[^{}]|\{[^{}]*\})*\}|[^`\\])*`
    """
)
# A text for people: a word that begins with a capital, or two words of letters with a space between.
PROSE = re.compile(r"\b[A-Z][a-z]+|[a-z’]{2,} [a-z’]{2,}|[^\x00-\x7f·…☐☑“”\s]{2,}")
# The exceptions: names of keys, events, errors and headers; what programs read; errors that nobody is shown.
NO_TEXT = re.compile(
    r"""Escape|Enter|Arrow\w+|\w+Error|Files|Bearer |HEAD|GET|POST|DELETE|Content-Security-Policy|Esc|Shift\+Enter
    |Ctrl\+\w|Ctrl\+Shift\+\w|noopener noreferrer nofollow
    |The browser gave up storing|IndexedDB does not answer|the link has ended""".replace("\n    ", "")
)
# Where a literal is no text: a class, a selector, a policy, a style.
NO_TEXT_BEFORE = re.compile(
    r"(?:\bclass: |className = |Selector(?:All)?\(|closest(?:\?\.)?\(|POLICY = |STYLE = )"
    r"""(?:[^"`;,]*\? ("[^"]*" : )?)?$"""
)


def texts_of(code: str) -> list[str]:
    found = []
    for token in TOKEN.finditer(code):
        literal = token[0]
        if literal[0] not in '"`' or NO_TEXT_BEFORE.search(code[max(0, token.start() - 60) : token.start()]):
            continue
        inner = literal[1:-1]
        said = re.sub(r"\$\{(?:[^{}]|\{[^{}]*\})*\}", "", inner) if literal[0] == "`" else inner
        said = re.sub(r"<[^>]*>", "", said)  # markup; what stands between it is said
        nested = re.findall(r"\$\{((?:[^{}]|\{[^{}]*\})*)\}", inner) if literal[0] == "`" else []
        found += [text for part in nested for text in texts_of(part)]
        if PROSE.search(said) and not NO_TEXT.fullmatch(said) and not KEY.fullmatch(literal):
            found.append(inner)
    return found


def test_the_code_says_nothing_by_itself():
    own = {name: texts for name, code in CODE.items() if name != "first.js" and (texts := texts_of(code))}
    assert not own, f"These texts belong into shim/web/chat/texts, and t(key) in their place: {own}"


@pytest.mark.parametrize(
    "code",
    [
        'el("p", { text: "Nothing here" })',
        "toast(`It is ${name}`)",
        'x = on ? "yes it is" : ""',
        'f(`${a ? "Bad" : ""}`)',
    ],
)
def test_the_finder_of_texts_finds_them(code):
    assert texts_of(code)


def test_no_text_is_asked_for_before_the_language_is_known():
    """What a module asks for while it is loaded stays English, whatever is chosen then."""
    at_once = re.compile(r"""^(?!\s*//)(?!.*(?:=>|function)).*\bt\(["`]""")
    lines = [
        f"{name}: {line}"
        for name, code in CODE.items()
        for line in re.sub(r"(?ms)^(?:export )?(?:async )?(?:function|class) .*?^\}", "", code).splitlines()
        if at_once.match(line) and line[0] not in " }"
    ]
    assert not lines, f"Keep the key and ask for the text when it is shown: {lines}"
    assert at_once.match('const NAMES = { one: t("answer.name") };')


# What goes by the reader's left and right stays there in a page from right to left.
PHYSICAL = re.compile(
    r"(?:margin|padding|border|inset)-(?:left|right)|(?<![\w-])(?:left|right|float|clear):|text-align: (?:left|right)"
    r"|(?:margin|padding|inset): ([^\s;]+) ([^\s;]+) ([^\s;]+) (?!\2;)[^\s;]+;|translateX\((?!calc\([^)]*--forward)"
)


def test_the_styles_go_by_the_direction_of_the_page():
    """But for columns of a table that was written with a side, and what is out of sight."""
    rules = [
        (path.name, rule)
        for path in sorted(CHAT.glob("*.css"))
        for rule in re.findall(r"[^{}]+\{[^{}]*\}", path.read_text("utf-8"))
        if PHYSICAL.search(rule) and not re.search(r"\.table \.(left|right)|#diagrams|\.table \.center", rule)
    ]
    assert not rules, f"Use logical properties (margin-inline-start, inset-inline, text-align: start): {rules}"
    for bad in ("margin-left: 1px", "left: 0;", "padding: 1px 2px 3px 4px;", "text-align: left;", "translateX(-50%)"):
        assert PHYSICAL.search(bad), bad
    assert not PHYSICAL.search("padding: 1px 2px 3px 2px; margin: 0 auto; margin-inline-start: 0")
