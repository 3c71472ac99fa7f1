"""Scripts whose text holds markers, and the references that explain them (protocol.md 5.4)."""

import json
from collections.abc import Iterator

from shim.standin.scripts.saying import Steps, finished, plain
from shim.standin.steps import PART, Change, Json, Op, Turn, append, finish, replace
from shim.standin.wording import pieces

OPEN, SEPARATOR, CLOSE = "\ue200", "\ue202", "\ue201"
REFERENCES = "/message/metadata/content_references"
FIRST_TEXT_LENGTH = len("The demo cites a page")


def citations(turn: Turn) -> Steps:
    """A search and an answer with markers whose references are patched while they grow (protocol.md 5.4)."""
    yield turn.start(finished(turn, "assistant", plain('search("standin")'), recipient="web", end_turn=False))
    yield turn.start(
        finished(turn, "tool", plain(""), name="web", weight=0.0, metadata={"search_result_groups": [_group()]})
    )
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield answer
    yield Change((append(PART, "The demo cites a page"),), answer.channel)
    yield from (Change(ops, answer.channel) for ops in _cited_page())
    yield Change((append(PART, " and names a thing, "),), answer.channel)
    yield from (Change(ops, answer.channel) for ops in _named_entity())
    yield Change((append(PART, "; this marker has no reference"),), answer.channel)
    yield Change((append(PART, f"{OPEN}cite{SEPARATOR}turn0search9{CLOSE}."),), answer.channel)
    yield Change(finish(), answer.channel)


def citation_groups(turn: Turn) -> Steps:
    """A marker whose page is only named in search_result_groups, of the search and of the answer."""
    metadata = {"search_result_groups": [_group()]}
    yield turn.start(finished(turn, "tool", plain(""), name="web", weight=0.0, metadata=metadata))
    answer = turn.start(turn.answer(plain(""), channel="final", metadata=metadata))
    yield answer
    told = f"The demo found a page{OPEN}cite{SEPARATOR}turn0search0{CLOSE} and nothing else."
    yield from (Change((append(PART, piece),), answer.channel) for piece in pieces(told, turn.rng))
    yield Change(finish(), answer.channel)


def citations_split(turn: Turn) -> Steps:
    """Every kind of marker, one character at a time; each reference comes when its marker has been closed."""
    answer = turn.start(turn.answer(plain(""), channel="final"))
    yield answer
    place = 0
    for words, marker, reference in MARKED:
        yield Change((append(PART, words),), answer.channel)
        yield from (Change((append(PART, character),), answer.channel) for character in marker)
        start, place = place + len(words), place + len(words) + len(marker)
        yield from _explained(answer.channel, marker, start, reference)
    yield Change((append(PART, "."), *finish()), answer.channel)


def _explained(channel: int, marker: str, start: int, reference: Json) -> Steps:
    """The reference of a closed marker, or the older range that stands for it."""
    if "start_ix" in reference:
        ranged = reference | {"start_ix": start, "end_ix": start + len(marker)}
        yield Change((append("/message/metadata/citations", [ranged]),), channel)
    elif reference:
        known = {key: value for key, value in _hidden_reference(marker, start).items() if key != "invalid"}
        yield Change((append(REFERENCES, [known | {"status": "done"} | reference]),), channel)


def _mark(*fields: str) -> str:
    return OPEN + SEPARATOR.join(fields) + CLOSE


def _page(number: int) -> Json:
    link = f"https://example.test/page{number}?utm_source=chatgpt.com"
    known = {"snippet": "A page.", "attribution": "example.test"}
    return {"title": f"Page {number}", "url": link, "pub_date": None, **known}


def _range(title: str, url: str) -> Json:
    """An entry of the older `citations`; the place is filled in when it is known."""
    known = {"type": "webpage", "title": title, "url": url, "text": "A page."}
    return {"start_ix": 0, "end_ix": 0, "citation_format_type": "tether_og", "metadata": known}


# Words before a marker, the marker, and its reference without the fields that tell the place.
MARKED: tuple[tuple[str, str, Json], ...] = (
    (
        "A page",
        _mark("cite", "turn0search0", "turn0news1"),
        {
            "type": "grouped_webpages",
            "alt": "([example.test](https://example.test/page1?utm_source=chatgpt.com))",
            "items": [_page(1)],
        },
    ),
    (
        ", one without alt",
        _mark("cite", "turn543019search2"),
        {"type": "grouped_webpages", "items": [_page(2)], "fallback_items": None},
    ),
    (
        ", a list",
        _mark("navlist", "More about the demo", "turn0news1"),
        {"type": "nav_list", "title": "More about the demo", "items": [_page(3)]},
    ),
    (
        ", a file",
        _mark("filecite", "turn0file0", "L3-L8"),
        {"type": "file", "name": "notes.txt", "id": "file-standin", "source": "my_files", "alt": None},
    ),
    (
        ", a thing ",
        _mark("entity", json.dumps(["software", "chat2api", "demo"], separators=(",", ":"))),
        {"type": "entity", "alt": "chat2api", "name": "chat2api", "category": "software"},
    ),
    (", a thing without reference ", _mark("entity", '["place","Utrecht","city"]'), {}),
    (
        ", a picture",
        _mark("i", "turn0image0", "turn0image1"),
        {"type": "image_group", "alt": "", "images": [{"url": "https://example.test/a.png", "title": "A"}]},
    ),
    (
        ", a video",
        _mark("video", "A video", "turn0search4"),
        {"type": "video", "alt": "", "title": "A video", "url": "https://example.test/video"},
    ),
    (", a widget", _mark("genui", '{"kind":"clock","of":{"zone":"UTC"}}'), {}),
    (
        ", goods",
        _mark("products", '{"selections":[["turn0product0","A lamp"]]}'),
        {"type": "products", "alt": "", "products": [{"title": "A lamp", "url": "https://example.test/lamp"}]},
    ),
    (", an older file", "\u30104:0\u2020notes.txt\u3011", _range("notes.txt", "https://example.test/notes")),
    (", an older page", "\u30105\u2020example.test\u3011", _range("Page 5", "https://example.test/page5")),
    (", an unknown kind", _mark("brandnew", "turn0thing0"), {}),
)


def _group() -> Json:
    entry = {
        "type": "search_result",
        "url": "https://example.test/standin",
        "title": "The stand-in",
        "snippet": "A demo page.",
        "ref_id": {"turn_index": 0, "ref_type": "search", "ref_index": 0},
        "pub_date": None,
        "attribution": "example.test",
    }
    return {"type": "search_result_group", "domain": "example.test", "entries": [entry]}


def _cited_page() -> Iterator[tuple[Op, ...]]:
    """One cite marker in two pieces: hidden and invalid, then named, as recorded in 2026-08."""
    opened, closed = f"{OPEN}cite{SEPARATOR}turn0", f"search0{CLOSE}"
    reference = _hidden_reference(opened, FIRST_TEXT_LENGTH)
    yield append(PART, opened), append(REFERENCES, [reference])
    yield append(PART, closed), append(f"{REFERENCES}/0/matched_text", closed)
    link = "https://example.test/standin?utm_source=chatgpt.com"
    item = {
        "title": "The stand-in",
        "url": link,
        "pub_date": None,
        "snippet": "A demo page.",
        "attribution": "example.test",
    }
    yield (
        replace(f"{REFERENCES}/0/end_idx", FIRST_TEXT_LENGTH + len(opened + closed)),
        append(f"{REFERENCES}/0/safe_urls", [link]),
        replace(f"{REFERENCES}/0/alt", f"([example.test]({link}))"),
        replace(f"{REFERENCES}/0/type", "grouped_webpages"),
        Op(f"{REFERENCES}/0/invalid", "remove"),
        append(f"{REFERENCES}/0", {"items": [item], "status": "done"}),
    )


def _named_entity() -> Iterator[tuple[Op, ...]]:
    """One entity marker, opened by a lone character, as recorded in 2026-02."""
    start = FIRST_TEXT_LENGTH + len(f"{OPEN}cite{SEPARATOR}turn0search0{CLOSE}") + len(" and names a thing, ")
    body, closed = f'entity{SEPARATOR}["software","chat2api","demo', f'"]{CLOSE}'
    yield append(PART, OPEN), append(REFERENCES, [_hidden_reference(OPEN, start)])
    yield (
        append(PART, body),
        append(f"{REFERENCES}/1/matched_text", body),
        replace(f"{REFERENCES}/1/alt", "chat2api"),
        replace(f"{REFERENCES}/1/type", "entity"),
        Op(f"{REFERENCES}/1/invalid", "remove"),
        append(f"{REFERENCES}/1", {"category": "software", "status": "loading", "name": "chat2api"}),
    )
    yield append(PART, closed), append(f"{REFERENCES}/1/matched_text", closed)
    yield (
        replace(f"{REFERENCES}/1/end_idx", start + len(OPEN + body + closed)),
        replace(f"{REFERENCES}/1/status", "done"),
    )


def _hidden_reference(matched: str, start: int) -> Json:
    return {
        "matched_text": matched,
        "start_idx": start,
        "end_idx": start + len(matched),
        "safe_urls": [],
        "refs": [],
        "alt": None,
        "prompt_text": None,
        "type": "hidden",
        "invalid": True,
    }
