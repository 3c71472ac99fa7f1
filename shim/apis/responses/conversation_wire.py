"""`/v1/conversations`: requests and answers. Items are those of `/v1/responses`, as they were written."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# As published: 16 pairs, names of up to 64 characters, values of up to 512.
MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)]
RawItem = dict[str, msgspec.Raw]
# As published: so many at a time.
Items = Annotated[list[RawItem], Meta(max_length=20)]


class CreateConversationRequest(msgspec.Struct, frozen=True):
    """A new conversation, with what it begins with."""

    items: Items | None = None
    metadata: Metadata | None = None


class UpdateConversationRequest(msgspec.Struct, frozen=True):
    """What takes the place of the metadata."""

    metadata: Metadata | None


class AddItemsRequest(msgspec.Struct, frozen=True):
    """Items to add."""

    items: Annotated[list[RawItem], Meta(min_length=1, max_length=20)]


class ConversationObject(msgspec.Struct, frozen=True):
    """A conversation without its items. `created_at` is in whole seconds since 1970."""

    id: str
    created_at: int
    metadata: dict[str, str]
    object: Literal["conversation"] = "conversation"


class DeletedConversation(msgspec.Struct, frozen=True):
    """A conversation is kept no more."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: bool = True
