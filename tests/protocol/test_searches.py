"""What a search of the model's asked for."""

from typing import Any

import msgspec
import pytest

from shim.chatgpt.stream import Message
from shim.protocol.answer.searches import Searches, query_of
from shim.protocol.events import Link, Searched


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ('search("a fox")', "a fox"),
        ('search("a \\"quoted\\" fox", recency_days=3)', 'a "quoted" fox'),
        ('search("one")\nsearch("two")', "one; two"),
        ('{"search_query": [{"q": "one"}, {"q": "two", "recency": 3}]}', "one; two"),
        ('{"queries": ["one", 2, ""]}', "one"),
        ('{"query": "one"}', "one"),
        ('{"open": [{"ref_id": "turn0search0"}]}', ""),
        ('open_url("https://a.test")', ""),
        ('search("cut', ""),
        ("", ""),
        ("[1]", ""),
        ('search("\\x")', ""),
        (f'search("{"x" * 5000}")', "x" * 1000),
    ],
)
def test_queries(text: str, query: str) -> None:
    assert query_of(text) == query


def heard(searches: Searches, **message: Any) -> list[Searched]:
    root = {"message": {"id": "m", **message}}
    return searches.heard(msgspec.convert(root["message"], Message), root)


CALL = {"author": {"role": "assistant"}, "recipient": "web"}
TOOL = {"author": {"role": "tool", "name": "web"}}


def test_a_search_is_told_once_and_when_it_has_answered() -> None:
    searches = Searches()
    call = {"message": {"id": "c", **CALL, "content": {"content_type": "code", "text": ""}}}
    assert searches.heard(msgspec.convert(call["message"], Message), call) == []
    call["message"]["content"]["text"] = 'search("grown since")'  # deltas write into the same JSON
    assert heard(searches, **TOOL, content={"content_type": "text", "parts": [""]}) == [Searched("grown since")]
    assert heard(searches, **TOOL, content={"content_type": "text", "parts": [""]}) == []


def test_a_search_tells_the_pages_it_found() -> None:
    searches = Searches()
    call = {"message": {"id": "c", **CALL, "content": {"content_type": "code", "text": 'search("a fox")'}}}
    searches.heard(msgspec.convert(call["message"], Message), call)
    page = {"title": "Foxes", "url": "https://a.test/?utm_source=chatgpt.com"}
    entries = [page, page, {"url": "javascript:x"}, {"url": 3}, None, {"url": "https://b.test/"}]
    many = [{"url": f"https://c.test/{number}"} for number in range(99)]
    groups = [{"entries": entries}, "odd", {"entries": many}]
    (told,) = heard(searches, **TOOL, content={"content_type": "text"}, metadata={"search_result_groups": groups})
    links = [Link("Foxes", "https://a.test/"), Link("https://b.test/", "https://b.test/")]
    assert (told.query, list(told.found[:2]), len(told.found)) == ("a fox", links, 50)


def test_other_tools_and_answers_without_a_call_tell_nothing() -> None:
    searches = Searches()
    assert heard(searches, author={"role": "tool", "name": "python"}, content={"content_type": "text"}) == []
    assert heard(searches, **TOOL, content={"content_type": "text"}) == []
    assert heard(searches, author={"role": "assistant"}, recipient="all", content={"content_type": "text"}) == []
