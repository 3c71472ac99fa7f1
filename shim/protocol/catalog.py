"""What is known of the models an account may choose, from upstream's own list (protocol.md 4.1, 4.3, 7.1).

Rule: a list without a field says nothing about it. Where nothing is known of a model's efforts (`efforts` is None),
only those that have thinking in their name are sent one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from shim.chatgpt.models import ListedModel, ModelListing
from shim.protocol.prompt import Effort

EFFORTS = ("min", "standard", "extended", "max")
"""Upstream's words, rising."""
# The efforts clients know -> upstream's, in the words of the page's own presets.
_WORDS: dict[Effort, str] = {
    "none": "min",
    "minimal": "min",
    "low": "min",
    "medium": "standard",
    "high": "extended",
    "xhigh": "max",
    "max": "max",
}
_PRESETS = {"min": "light", "standard": "medium", "extended": "high", "max": "extra-high"}


class KnownModel(msgspec.Struct, frozen=True):
    """One model. `context` is in tokens, `efforts` are upstream's words, `tools` and `tiers` upstream's own names.
    `works` says that it is a Work model, `pro` that it thinks long enough to hand its answers over."""

    slug: str
    title: str | None = None
    context: int | None = None
    efforts: tuple[str, ...] | None = None
    tools: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    works: bool = False
    pro: bool = False


class Preset(msgspec.Struct, frozen=True):
    """A choice of the page: a model with an effort, under a name of ours that is the same in every language."""

    name: str
    slug: str
    effort: str | None = None


class Catalog(msgspec.Struct, frozen=True):
    """The models in upstream's order, and the page's presets. Empty where the list could not be had."""

    models: tuple[KnownModel, ...] = ()
    presets: tuple[Preset, ...] = ()

    @property
    def slugs(self) -> tuple[str, ...]:
        """The slugs of all of them."""
        return tuple([model.slug for model in self.models])

    def model(self, slug: str) -> KnownModel | None:
        """What is known of a slug."""
        for model in self.models:
            if model.slug == slug:
                return model
        return None

    def preset(self, name: str) -> Preset | None:
        """The preset of this name, where the account has its model."""
        for preset in self.presets:
            if preset.name == name:
                # Lists name presets of models that the plan does not have.
                return preset if self.model(preset.slug) is not None else None
        return None


def read_catalog(listing: ModelListing) -> Catalog:
    """What upstream's list says."""
    return Catalog(tuple(map(_model, listing.models)), tuple(_presets(listing.versions)))


def union(catalogs: Iterable[Catalog]) -> Catalog:
    """All models and presets of several accounts, each once, in the order they are first met."""
    models: dict[str, KnownModel] = {}
    presets: dict[str, Preset] = {}
    for catalog in catalogs:
        for model in catalog.models:
            # The first that names a model describes it: accounts come in the order of their use.
            models.setdefault(model.slug, model)
        for preset in catalog.presets:
            presets.setdefault(preset.name, preset)
    return Catalog(tuple(models.values()), tuple(presets.values()))


def effort_word(asked: Effort, slug: str, known: KnownModel | None) -> str | None:
    """Upstream's word for an effort: the nearest of the model's own that is not above it, else its lowest; None where
    the model takes none."""
    wanted = _WORDS[asked]
    if known is None or known.efforts is None:
        return wanted if slug.endswith("-thinking") else None
    listed = [word for word in EFFORTS if word in known.efforts]
    # Rather less than was asked for than more: more costs the account's quota, and a client's patience.
    fitting = [word for word in listed if EFFORTS.index(word) <= EFFORTS.index(wanted)]
    return fitting[-1] if fitting else next(iter(listed), None)


def _model(listed: ListedModel) -> KnownModel:
    # The older list has the suffix alone.
    works = listed.is_work_mode_model is True or listed.slug.endswith("-wm")
    return KnownModel(
        listed.slug,
        listed.title if isinstance(listed.title, str) else None,
        listed.max_tokens if isinstance(listed.max_tokens, int) else None,
        _efforts(listed),
        tuple(_words(listed.enabled_tools)),
        tuple(_words(listed.service_tier_options)),
        works,
        listed.reasoning_type == "pro",
    )


def _efforts(listed: ListedModel) -> tuple[str, ...] | None:
    """None where the list says nothing of efforts, which the older one does not."""
    if not isinstance(listed.thinking_efforts, list):
        return None if listed.configurable_thinking_effort is not False else ()
    if listed.configurable_thinking_effort is False:
        return ()
    named = (one.get("thinking_effort") for one in listed.thinking_efforts if isinstance(one, dict))
    return tuple(word for word in named if word in EFFORTS)


def _presets(versions: Any) -> Iterator[Preset]:
    for version in versions if isinstance(versions, list) else ():
        presets = version.get("intelligence_presets") if isinstance(version, dict) else None
        for preset in presets if isinstance(presets, list) else ():
            match preset:
                # Others can't be chosen with this account.
                case {"model_slug": str(slug), "lane": str(lane), "preset_type": "available", **rest}:
                    effort = rest.get("thinking_effort")
                    name = _PRESETS.get(effort, lane) if isinstance(effort, str) else lane
                    yield Preset(f"{version.get('id')}-{name}", slug, effort if effort in EFFORTS else None)


def _words(value: Any) -> Iterator[str]:
    yield from (one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
