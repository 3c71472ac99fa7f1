"""The account's model list (protocol.md 7.1)."""

import msgspec


class ListedModel(msgspec.Struct, frozen=True):
    """One model the account may choose."""

    slug: str


class ModelListing(msgspec.Struct, frozen=True):
    """The answer to GET P/models."""

    models: list[ListedModel]


listing_decoder = msgspec.json.Decoder(ModelListing)
