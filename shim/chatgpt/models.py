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
    # `pro` alone matters: such models hand their answers over as a rule (5.6).
    reasoning_type: Any = None
    # Both have to say so before an effort is sent: a model without a list refuses the field altogether (4.1).
    configurable_thinking_effort: Any = None
    thinking_efforts: Any = None
    # The older list has no such field; there the slug's end tells (4.3).
    is_work_mode_model: Any = None
    enabled_tools: Any = None
    # A tier that is not among these is refused upstream, so it is left out (4.1).
    service_tier_options: Any = None


class ModelListing(msgspec.Struct, frozen=True):
    """The answer to GET P/models. `versions` hold the page's presets; their titles are in the account's language."""

    models: list[ListedModel]
    versions: Any = None


listing_decoder = msgspec.json.Decoder(ModelListing)
