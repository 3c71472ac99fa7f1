"""Public model names and upstream slugs, both ways by one table (protocol.md 4.3).

Rule: nothing is served under a false name. A name maps to a slug only if the account's list has that slug; what does
not is unknown, and is an error unless DEFAULT_MODEL names what answers instead.
"""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import get_args

import msgspec

from shim.errors import About, Field, RequestError
from shim.protocol.prompt import Effort, Prompt

AUTO = "auto"


class ModelName(msgspec.Struct, frozen=True):
    """One row: names that match `pattern` (whole) mean `slug`; `slug` is listed as `public`."""

    pattern: re.Pattern[str]
    slug: str
    public: str


def _row(pattern: str, slug: str, public: str | None = None) -> ModelName:
    return ModelName(re.compile(pattern), slug, public or slug)


_DATE = r"(-\d{4}-\d{2}-\d{2}|-\d{4})?"

# Only names that the dot-to-dash rule and the list itself do not already settle.
TABLE = (
    _row(rf"gpt-3\.5(-turbo)?(-16k|-instruct)?{_DATE}", "text-davinci-002-render-sha", "gpt-3.5-turbo"),
    _row(rf"gpt-4o-mini{_DATE}", "gpt-4o-mini"),
    _row(rf"(chat)?gpt-4o(-latest)?{_DATE}", "gpt-4o"),
    _row(r"gpt-4-mobile", "gpt-4-mobile"),
    _row(rf"gpt-4(-turbo|-32k)?(-vision)?{_DATE}(-preview|-vision-preview)?", "gpt-4"),
    _row(rf"o1-preview{_DATE}", "o1-preview"),
    _row(rf"o1-mini{_DATE}", "o1-mini"),
    _row(rf"(o[1-9](?:-mini|-pro)?){_DATE}", r"\1", ""),
    _row(rf"(gpt-\d+(?:\.\d+)?(?:-[a-z]+)*){_DATE}", r"\1", ""),
)
_GIZMO = re.compile(r"(?:gpt-4(?:o)?-gizmo-)?(?P<id>g-[A-Za-z0-9_-]{2,128})")
# What a GPT runs on, best first. `auto` is always there.
_UNDER_A_GIZMO = ("gpt-4o", AUTO)
# Names of the page's presets (`shim.protocol.catalog`): which slug each means only the account's list says.
_PRESET = re.compile(r"(latest|\d+(\.\d+)?)-(instant|light|medium|high|extra-high|pro)")
# Models whose answers upstream finishes elsewhere as a rule (5.6), so that a temporary chat may lose them.
_HANDS_OVER = re.compile(r"(?:.*-)?pro|research|.*-wm")
_ALIAS = re.compile(
    rf"(?P<name>[^\s=:*]+\*?|\*)\s*=\s*(?P<model>[^\s=:*]+)(:(?P<effort>{'|'.join(get_args(Effort))}))?", re.ASCII
)
_LONGEST_NAME = 256  # characters
_DOTTED = re.compile(r"\bgpt-(\d+)-(\d)(?=-|$)")


def without_provider(model: str) -> str:
    """The name without `openai/`, by which routers tell providers apart."""
    return model.removeprefix("openai/")


def gizmo_of(model: str) -> str | None:
    """The id of the GPT that a model name means (`g-...`, or `gpt-4-gizmo-g-...`), or None."""
    match = _GIZMO.fullmatch(model)
    return match["id"] if match else None


def works(slug: str) -> bool:
    """Whether a slug is a Work model's, as far as its name tells. Such names keep their dots (4.3)."""
    return slug.endswith("-wm")


def hands_over(slug: str) -> bool:
    """Whether a model's answers are handed over as a rule."""
    return _HANDS_OVER.fullmatch(slug) is not None


def slug_candidates(model: str) -> tuple[str, ...]:
    """The slugs `model` could mean, best first: by the table, by dots to dashes, as it stands."""
    # The names of a program are few, and looking one up is 20 calls. What is longer than any is not kept: a name is the
    # client's own text, and 128 long ones would be kept for nothing.
    return _candidates(model) if len(model) <= _LONGEST_NAME else (_dashed(model), model)


@lru_cache(maxsize=128)
def _candidates(model: str) -> tuple[str, ...]:
    if gizmo_of(model):
        return _UNDER_A_GIZMO
    # Before the table: its rows would take the dots out of the name (4.3).
    if works(model):
        return (model,)
    if _PRESET.fullmatch(model):
        return (AUTO,)  # which every account has; the one that is taken says what the preset means
    for row in TABLE:
        match = row.pattern.fullmatch(model)
        if match:
            return _dashed(match.expand(row.slug)), _dashed(model), model
    return _dashed(model), model


def slug_for(model: str, listed: Collection[str]) -> str | None:
    """The slug for a public name, or None where the account does not have it. `auto` is always there.

    An empty `listed` means that the list could not be had: then the best guess is taken and upstream decides.
    """
    if model == AUTO or works(model):
        return model  # a Work model is asked for by name, list or no list
    if _PRESET.fullmatch(model):
        return None  # not without knowing what it means
    candidates = slug_candidates(model)
    # Better an answer of upstream's than a refusal of ours that may be wrong.
    if not listed:
        return candidates[0]
    for slug in candidates:
        if slug in listed or slug == AUTO:
            return slug
    return None


def public_name(slug: str) -> str:
    """The name a slug is listed under: the table read backwards, else dashes to dots."""
    for row in TABLE:
        if row.slug == slug:
            return row.public
    return _DOTTED.sub(r"gpt-\1.\2", slug)


def resolve(model: str, listed: Collection[str], default: str | None) -> tuple[str, str]:
    """(the name the answer carries, the slug that goes up).

    Raises RequestError 404 `model_not_found` where neither `model` nor `default` is in the account's list.
    """
    slug = slug_for(model, listed)
    if slug is not None:
        return model, slug
    if default is not None and (fallback := slug_for(default, listed)) is not None:
        return default, fallback
    raise model_not_found(model)


def answered_model(asked: str, sent: str, answered: str | None) -> str:
    """The name the answer carries when upstream says which slug really answered: the one asked for, unless upstream
    put another model in its place."""
    # What `auto` and a GPT run on was upstream's choice from the beginning, and is no other model in its place.
    if answered is None or sent in {AUTO, answered} or gizmo_of(asked):
        return asked
    return public_name(answered)


class ModelAlias(msgspec.Struct, frozen=True):
    """A name of the operator's for a model, with the effort that goes with it. A name that ends in `*` stands for all
    that begin so."""

    name: str
    model: str
    effort: Effort | None = None

    def means(self, asked: str) -> bool:
        """Whether `asked` is this name."""
        return asked.startswith(self.name[:-1]) if self.name.endswith("*") else asked == self.name


def alias_of(written: str) -> ModelAlias:
    """`name=model` or `name=model:effort` as an alias. Raises ValueError where it is neither."""
    match = _ALIAS.fullmatch(written)
    if match is None:
        raise ValueError(written)
    return msgspec.convert(match.groupdict(), ModelAlias)


def under_alias(prompt: Prompt, aliases: Iterable[ModelAlias]) -> Prompt:
    """The prompt for the model that its model's name stands for, where that is an alias; the first that fits counts.
    The client's own effort goes before that of the alias. What counts is the name that the client asked for: an API may
    have put another in its place (a picture is made by any model)."""
    asked = prompt.asked_model or prompt.model
    for alias in aliases:
        if alias.means(asked):
            effort = prompt.effort or alias.effort
            return msgspec.structs.replace(prompt, model=alias.model, effort=effort, asked_model=asked)
    return prompt


def model_not_found(model: str, about: About | None = None) -> RequestError:
    """The real API's sentence for a model that is not there."""
    return RequestError(
        f"The model `{model[:100]}` does not exist or you do not have access to it.",
        status=404,
        code="model_not_found",
        param=Field.MODEL,
        about=about,
    )


def _dashed(model: str) -> str:
    return model.replace(".", "-")
