"""The account's model list, in its older form and in that of 2026 (protocol.md 7.1).

Rule: tolerant. Only the slug has to be there; a field of another type counts as absent.
"""

from typing import Any

import msgspec


class ListedModel(msgspec.Struct, frozen=True):
    """One model the account may choose. `max_tokens` is its context."""

    slug: str
    max_tokens: Any = None
    title: Any = None
    reasoning_type: Any = None
    configurable_thinking_effort: Any = None
    thinking_efforts: Any = None
    is_work_mode_model: Any = None
    enabled_tools: Any = None
    service_tier_options: Any = None


class ModelListing(msgspec.Struct, frozen=True):
    """The answer to GET P/models. `versions` hold the page's presets; their titles are in the account's language."""

    models: list[ListedModel]
    versions: Any = None


listing_decoder = msgspec.json.Decoder(ModelListing)
