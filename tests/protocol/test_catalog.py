"""What is known of models from upstream's list: efforts for each, context, tools, presets."""

import json
from typing import Any

import pytest

from shim.chatgpt.models import listing_decoder
from shim.protocol.catalog import EFFORTS, Catalog, KnownModel, Preset, effort_word, read_catalog, union


def listed(**fields: Any) -> KnownModel:
    body = json.dumps({"models": [{"slug": "m", **fields}]}).encode()
    return read_catalog(listing_decoder.decode(body)).models[0]


def efforts(*words: str) -> list[dict[str, str]]:
    return [{"thinking_effort": word, "full_label": word} for word in words]


def test_the_recorded_list_of_a_paid_account(capture: Any) -> None:
    catalog = read_catalog(listing_decoder.decode(capture("models-picker-2026-09.json")))
    assert len(catalog.models) == 20
    known = {model.slug: model for model in catalog.models}
    assert known["gpt-5-6-thinking"].efforts == EFFORTS
    assert known["gpt-5-5-pro"].efforts == ("standard", "extended")
    assert known["gpt-5-6-pro"].efforts == ("standard",)
    assert {known[slug].efforts for slug in ("gpt-5-6", "gpt-5-6-instant", "gpt-5-6-t-mini", "research")} == {()}
    assert (known["gpt-5-6"].context, known["gpt-6-pro"].context) == (52815, 410000)
    assert [slug for slug, model in known.items() if model.works] == [slug for slug in known if slug.endswith("-wm")]
    assert [slug for slug, model in known.items() if model.pro] == [slug for slug in known if slug.endswith("-pro")]
    assert "search" in known["gpt-5-6"].tools
    assert "search" not in known["research"].tools
    assert catalog.preset("latest-instant") == Preset("latest-instant", "gpt-5-6-instant")
    assert catalog.preset("latest-medium") == Preset("latest-medium", "gpt-5-6-thinking", "standard")
    assert catalog.preset("latest-high") == Preset("latest-high", "gpt-5-6-thinking", "extended")
    assert catalog.preset("latest-extra-high") == Preset("latest-extra-high", "gpt-5-6-thinking", "max")
    assert catalog.preset("latest-pro") == Preset("latest-pro", "gpt-6-pro")
    assert len(catalog.presets) == 15, "three versions, five each"


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, None),
        ({"configurable_thinking_effort": False, "thinking_efforts": efforts("max")}, ()),
        ({"configurable_thinking_effort": False}, ()),
        ({"configurable_thinking_effort": True, "thinking_efforts": efforts("min", "brand-new")}, ("min",)),
        ({"configurable_thinking_effort": True, "thinking_efforts": [7, None]}, ()),
        ({"thinking_efforts": "max"}, None),
    ],
)
def test_what_a_list_says_of_efforts(fields: dict[str, Any], known: tuple[str, ...] | None) -> None:
    assert listed(**fields).efforts == known


@pytest.mark.parametrize(
    ("asked", "words", "sent"),
    [
        ("none", EFFORTS, "min"),
        ("minimal", EFFORTS, "min"),
        ("low", EFFORTS, "min"),
        ("medium", EFFORTS, "standard"),
        ("high", EFFORTS, "extended"),
        ("xhigh", EFFORTS, "max"),
        ("xhigh", ("standard", "extended"), "extended"),
        ("high", ("standard",), "standard"),
        ("low", ("standard", "extended"), "standard"),
        ("low", ("extended",), "extended"),
        ("medium", ("min", "max"), "min"),
        ("high", (), None),
    ],
)
def test_an_effort_is_clamped_to_the_models_own(asked: Any, words: tuple[str, ...], sent: str | None) -> None:
    assert effort_word(asked, "gpt-5-6-thinking", KnownModel("gpt-5-6-thinking", efforts=words)) == sent


@pytest.mark.parametrize("known", [None, KnownModel("x")])
def test_without_a_list_only_what_is_called_thinking_gets_one(known: KnownModel | None) -> None:
    slugs = ("gpt-5-6-thinking", "gpt-5-6-pro", "gpt-5", "o3", "auto", "gpt-5.6-sol-wm")
    assert [effort_word("high", slug, known) for slug in slugs] == ["extended"] + [None] * 5


@pytest.mark.parametrize(
    "rubbish",
    [7, "x", [7], [{}], [{"id": "latest"}], [{"intelligence_presets": [7, {}]}], [{"intelligence_presets": 7}]],
)
def test_presets_that_cannot_be_read_are_none(rubbish: Any) -> None:
    body = json.dumps({"models": [{"slug": "m"}], "versions": rubbish}).encode()
    assert read_catalog(listing_decoder.decode(body)).presets == ()


def test_a_preset_of_a_model_that_is_not_there_is_none() -> None:
    assert Catalog((KnownModel("a"),), (Preset("latest-pro", "b"),)).preset("latest-pro") is None


def test_a_union_has_each_once_in_the_order_they_are_met() -> None:
    first = Catalog((KnownModel("a"), KnownModel("b", context=1)), (Preset("latest-pro", "a"),))
    second = Catalog((KnownModel("b", context=2), KnownModel("c")), (Preset("latest-pro", "c"),))
    both = union([first, second])
    assert both.slugs == ("a", "b", "c")
    assert both.model("b") == KnownModel("b", context=1)
    assert both.presets == (Preset("latest-pro", "a"),)
