"""Names and slugs, both ways, row by row of protocol.md 4.3."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.errors import RequestError
from shim.protocol.models import (
    AUTO,
    ModelAlias,
    alias_of,
    answered_model,
    gizmo_of,
    hands_over,
    public_name,
    resolve,
    slug_candidates,
    slug_for,
    under_alias,
    works,
)
from shim.protocol.prompt import Prompt

# Every slug that protocol.md 4.3 names, each with the name it is listed under.
SLUGS = {
    "auto": "auto",
    "text-davinci-002-render-sha": "gpt-3.5-turbo",
    "gpt-4": "gpt-4",
    "gpt-4-mobile": "gpt-4-mobile",
    "gpt-4o": "gpt-4o",
    "gpt-4o-mini": "gpt-4o-mini",
    "gpt-4o-canmore": "gpt-4o-canmore",
    "gpt-4-1": "gpt-4.1",
    "o1": "o1",
    "o1-mini": "o1-mini",
    "o1-preview": "o1-preview",
    "o3": "o3",
    "o4-mini": "o4-mini",
    "o4-mini-high": "o4-mini-high",
    "gpt-5": "gpt-5",
    "gpt-5-instant": "gpt-5-instant",
    "gpt-5-thinking": "gpt-5-thinking",
    "gpt-5-2": "gpt-5.2",
    "gpt-5-2-instant": "gpt-5.2-instant",
    "gpt-5-2-thinking": "gpt-5.2-thinking",
    "gpt-5-2-pro": "gpt-5.2-pro",
    "gpt-5-3": "gpt-5.3",
    "gpt-5-3-mini": "gpt-5.3-mini",
    "gpt-5-5": "gpt-5.5",
    "gpt-5-5-instant": "gpt-5.5-instant",
    "gpt-5-5-thinking": "gpt-5.5-thinking",
    "gpt-5-5-pro": "gpt-5.5-pro",
    "gpt-5-6": "gpt-5.6",
    "gpt-5-6-thinking": "gpt-5.6-thinking",
    "gpt-5-6-pro": "gpt-5.6-pro",
    "gpt-5-6-t-mini": "gpt-5.6-t-mini",
    "research": "research",
}
LISTED = [slug for slug in SLUGS if slug != AUTO]

# Names that are not simply the public form of a slug.
OTHER_NAMES = {
    "gpt-3.5-turbo-0125": "text-davinci-002-render-sha",
    "gpt-3.5-turbo-16k-0613": "text-davinci-002-render-sha",
    "gpt-3.5-turbo-instruct-0914": "text-davinci-002-render-sha",
    "gpt-3.5": "text-davinci-002-render-sha",
    "gpt-4-0613": "gpt-4",
    "gpt-4-32k-0613": "gpt-4",
    "gpt-4-turbo": "gpt-4",
    "gpt-4-turbo-2024-04-09": "gpt-4",
    "gpt-4-turbo-preview": "gpt-4",
    "gpt-4-1106-preview": "gpt-4",
    "gpt-4-vision-preview": "gpt-4",
    "gpt-4-1106-vision-preview": "gpt-4",
    "gpt-4o-2024-05-13": "gpt-4o",
    "gpt-4o-2024-11-20": "gpt-4o",
    "chatgpt-4o-latest": "gpt-4o",
    "gpt-4o-mini-2024-07-18": "gpt-4o-mini",
    "gpt-4.1-2025-04-14": "gpt-4-1",
    "o1-2024-12-17": "o1",
    "o1-mini-2024-09-12": "o1-mini",
    "o1-preview-2024-09-12": "o1-preview",
    "o3-2025-04-16": "o3",
    "o4-mini-2025-04-16": "o4-mini",
    "gpt-5-2025-08-07": "gpt-5",
    "gpt-5.2-2025-12-11": "gpt-5-2",
    "gpt-5.2-pro-2025-12-11": "gpt-5-2-pro",
}
UNKNOWN = [
    "",
    " ",
    "gpt-6",
    "gpt-4o ",
    "GPT-4o",
    "claude-3",
    "gpt-4-gizmo-abc",
    "gpt-4o-mini-tts",
    "gpt-4o-20",
    "auto2",
    "a" * 999,
]


@pytest.mark.parametrize(("slug", "name"), SLUGS.items())
def test_a_slug_is_listed_under_its_public_name(slug: str, name: str) -> None:
    assert public_name(slug) == name


@pytest.mark.parametrize("slug", SLUGS)
def test_there_and_back(slug: str) -> None:
    assert slug_for(public_name(slug), LISTED) == slug


@pytest.mark.parametrize("slug", SLUGS)
def test_a_slug_is_a_name_too(slug: str) -> None:
    assert slug_for(slug, LISTED) == slug


def test_no_two_slugs_share_a_public_name() -> None:
    assert len({public_name(slug) for slug in SLUGS}) == len(SLUGS)


@pytest.mark.parametrize(("name", "slug"), OTHER_NAMES.items())
def test_a_dated_or_older_name_means_the_slug(name: str, slug: str) -> None:
    assert slug_for(name, LISTED) == slug
    assert slug_for(name, ["research"]) is None


@pytest.mark.parametrize(("name", "slug"), {**{name: slug for slug, name in SLUGS.items()}, **OTHER_NAMES}.items())
def test_without_a_list_the_best_guess_is_taken(name: str, slug: str) -> None:
    assert slug_for(name, ()) == slug
    assert resolve(name, (), None) == (name, slug)


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_no_model(name: str) -> None:
    assert slug_for(name, LISTED) is None
    with pytest.raises(RequestError) as caught:
        resolve(name, LISTED, None)
    assert (caught.value.http_status, caught.value.code) == (404, "model_not_found")
    assert caught.value.error_type == "invalid_request_error"
    assert len(caught.value.message) < 200


def test_the_sentence_is_the_real_apis() -> None:
    with pytest.raises(RequestError, match=r"^The model `gpt-9` does not exist or you do not have access to it.$"):
        resolve("gpt-9", LISTED, None)


@pytest.mark.parametrize("listed", [[], LISTED, ["research"]])
def test_auto_is_always_there(listed: list[str]) -> None:
    assert resolve("auto", listed, None) == ("auto", "auto")


def test_a_name_is_not_shortened_into_another_model() -> None:
    """chat2api's substring test would answer gpt-4o-mini with gpt-4o, and o1-pro with o1."""
    assert slug_for("gpt-4o-mini", ["gpt-4o"]) is None
    assert slug_for("o1-pro", ["o1"]) is None
    assert slug_for("gpt-5.2-pro", ["gpt-5-2", "gpt-5"]) is None
    assert slug_for("gpt-4-mobile", ["gpt-4"]) is None


def test_the_table_comes_before_the_list() -> None:
    assert slug_for("gpt-4-turbo", ["gpt-4-turbo", "gpt-4"]) == "gpt-4"
    assert slug_for("gpt-4-turbo", ["gpt-4-turbo"]) == "gpt-4-turbo"


def test_dots_become_dashes_where_that_slug_is_listed() -> None:
    assert slug_for("brand-9.9-new", ["brand-9-9-new"]) == "brand-9-9-new"
    assert slug_for("brand-9.9-new", ["brand-9.9-new"]) == "brand-9.9-new"
    assert slug_candidates("brand-9.9-new") == ("brand-9-9-new", "brand-9.9-new")


def test_a_name_as_long_as_a_book_is_looked_for_and_not_kept() -> None:
    kept = slug_candidates("brand-9.9")
    assert slug_candidates("brand-9.9") is kept  # what is looked up with every request
    endless = "brand-9.9" * 100
    assert slug_candidates(endless) == (endless.replace(".", "-"), endless)
    assert slug_candidates(endless) is not slug_candidates(endless)


# --- DEFAULT_MODEL ----------------------------------------------------------------------------------------------------


def test_the_default_answers_unknown_names_under_its_own_name() -> None:
    assert resolve("claude-3", LISTED, "gpt-4o") == ("gpt-4o", "gpt-4o")
    assert resolve("claude-3", LISTED, "auto") == ("auto", "auto")


def test_the_default_does_not_touch_known_names() -> None:
    assert resolve("gpt-5.2", LISTED, "gpt-4o") == ("gpt-5.2", "gpt-5-2")


def test_a_default_nobody_has_is_no_help() -> None:
    with pytest.raises(RequestError, match="claude-3"):
        resolve("claude-3", LISTED, "gpt-9")


# --- who really answered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "sent", "answered", "name"),
    [
        pytest.param("gpt-4o", "gpt-4o", None, "gpt-4o", id="upstream does not say"),
        pytest.param("gpt-4o-2024-05-13", "gpt-4o", "gpt-4o", "gpt-4o-2024-05-13", id="the dated name stays"),
        pytest.param("gpt-5.2", "gpt-5-2", "gpt-5-2", "gpt-5.2", id="the one that was asked for"),
        pytest.param("gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o-mini", id="a silent downgrade shows"),
        pytest.param("gpt-5.5-pro", "gpt-5-5-pro", "gpt-5-5-instant", "gpt-5.5-instant", id="in its public form"),
        pytest.param("gpt-5", "gpt-5", "i-5-mini-m", "i-5-mini-m", id="a slug nobody knows"),
        pytest.param("auto", "auto", "gpt-5-2", "auto", id="auto may be anything"),
    ],
)
def test_the_answer_carries_the_name_of_who_answered(asked: str, sent: str, answered: str | None, name: str) -> None:
    assert answered_model(asked, sent, answered) == name


SLUG = st.one_of(
    st.sampled_from(LISTED), st.from_regex(r"(gpt-\d(-\d)?|o\d|[a-z]{2,6})(-[a-z]{2,8}){0,2}", fullmatch=True)
)


@settings(max_examples=60)
@given(st.lists(SLUG, max_size=4), SLUG)
def test_whatever_is_listed_can_be_asked_for_by_its_public_name(others: list[str], slug: str) -> None:
    if public_name(slug) in SLUGS and public_name(slug) != slug:
        return  # "gpt-3-5": only a real list could tell which one is meant
    assert slug_for(public_name(slug), [*others, slug]) in {slug, *others}
    assert slug_for(slug, [slug]) == slug


@settings(max_examples=200)
@given(st.sampled_from(LISTED), st.sampled_from(LISTED))
def test_the_name_never_lies(sent: str, answered: str) -> None:
    name = answered_model(public_name(sent), sent, answered)
    assert (slug_for(name, LISTED) == answered) or sent == answered


@settings(max_examples=80)
@given(st.text(max_size=30), st.lists(SLUG, max_size=4))
def test_a_slug_is_never_made_up(name: str, listed: list[str]) -> None:
    slug = slug_for(name, ["research", *listed])
    assert slug is None or slug == AUTO == name or slug in {"research", *listed}


# --- GPTs and efforts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["g-abc123XYZ", "gpt-4-gizmo-g-abc123XYZ", "gpt-4o-gizmo-g-abc123XYZ"])
def test_a_gpt_is_named_by_its_id(model: str) -> None:
    assert gizmo_of(model) == "g-abc123XYZ"
    assert slug_candidates(model) == ("gpt-4o", AUTO)


@pytest.mark.parametrize(
    "model", ["gpt-4", "g-", "g-a", "gpt-4-gizmo-", "gizmo-g-abc123", "g-abc/../x", "", "G-abc123"]
)
def test_other_names_are_no_gpts(model: str) -> None:
    assert gizmo_of(model) is None


def test_a_gpt_runs_on_what_the_account_has_and_keeps_its_name() -> None:
    assert resolve("g-abc123", ["gpt-4", "gpt-4o"], None) == ("g-abc123", "gpt-4o")
    assert resolve("g-abc123", ["gpt-4"], None) == ("g-abc123", AUTO)
    assert answered_model("g-abc123", "gpt-4o", "gpt-4o-mini") == "g-abc123"


# --- names of 2026 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [(), ("gpt-5-6",), ("gpt-5.6-sol-wm",)])
def test_a_work_model_keeps_its_dots_list_or_no_list(listed: tuple[str, ...]) -> None:
    assert slug_candidates("gpt-5.6-sol-wm") == ("gpt-5.6-sol-wm",)
    assert slug_for("gpt-5.6-sol-wm", listed) == "gpt-5.6-sol-wm"
    assert public_name("gpt-5.6-sol-wm") == "gpt-5.6-sol-wm"
    assert works("gpt-5.6-sol-wm")
    assert not works("gpt-5-6-thinking")


@pytest.mark.parametrize("name", ["latest-high", "5.6-extra-high", "latest-pro", "latest-instant"])
def test_what_a_preset_means_only_the_accounts_list_says(name: str) -> None:
    assert slug_candidates(name) == (AUTO,)
    assert slug_for(name, LISTED) is None
    assert slug_for(name, ()) is None


def test_models_that_hand_over() -> None:
    slugs = ("gpt-5-6-pro", "gpt-6-pro", "o1-pro", "research", "gpt-5.5-wm", "gpt-5-6-thinking", "gpt-5-6", "auto")
    assert [hands_over(slug) for slug in slugs] == [True] * 5 + [False] * 3


# --- aliases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "alias"),
    [
        ("fast=gpt-4o-mini", ModelAlias("fast", "gpt-4o-mini")),
        ("claude-* = gpt-5.2:high", ModelAlias("claude-*", "gpt-5.2", "high")),
        ("gizmo=g-abc", ModelAlias("gizmo", "g-abc")),
        ("*=auto", ModelAlias("*", "auto")),
    ],
)
def test_an_alias_is_read(written, alias):
    assert alias_of(written) == alias


@pytest.mark.parametrize("written", ["", "fast", "=x", "fast=", "fast=x:", "fast=x:much", "a*b=x", "fast=x*", "a b=x"])
def test_what_is_no_alias_is_refused(written):
    with pytest.raises(ValueError, match="^" + re.escape(written)):
        alias_of(written)


@pytest.mark.parametrize(
    ("asked", "effort", "model", "told"),
    [
        ("claude-x", None, "gpt-5.2", "high"),
        ("claude-x", "low", "gpt-5.2", "low"),  # the client's own counts
        ("claude-opus", None, "gpt-5.2-pro", None),  # the first that fits
        ("claude", "low", "claude", "low"),
        ("fast", None, "gpt-4o-mini", None),
        ("faster", None, "faster", None),
    ],
)
def test_a_prompt_goes_to_the_model_its_name_stands_for(asked, effort, model, told):
    aliases = [alias_of(one) for one in ("claude-opus=gpt-5.2-pro", "claude-*=gpt-5.2:high", "fast=gpt-4o-mini")]
    prompt = under_alias(Prompt(asked, (), effort=effort), aliases)
    assert (prompt.model, prompt.effort) == (model, told)
    assert prompt.asked_model == (asked if model != asked else None)
