"""`/v1/images/*`: the three requests, the pictures, and the events of a stream.

Rule: a request field that is declared here is honoured, asked of the model in words (`size`, `background`, the mask),
or refused by name; one that is not declared is reported as ignored.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shim.apis.chatgpt_extension import ChatgptWishes
from shim.errors import Field

FIELDS = {Field.PROMPT: "prompt", Field.MODEL: "model", Field.EFFORT: "model"}
"""What this API calls the fields that the core knows."""

# Characters, as published; so are the number of pictures, of previews, and of pictures to be edited.
Words = Annotated[str, Meta(min_length=1, max_length=32_000)]
Size = Annotated[str, Meta(pattern="^(auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})$")]
Background = Literal["transparent", "opaque", "auto"]
Count = Annotated[int, Meta(ge=1, le=10)]


class ImageRequest(msgspec.Struct, frozen=True):
    """What all three calls have in common. Without a `response_format` the pictures are data, but for models of the
    name `dall-e-2` and `dall-e-3`, whose clients expect links."""

    model: str | None = None
    n: Count | None = None
    size: Size | None = None
    response_format: Literal["url", "b64_json"] | None = None
    chatgpt: ChatgptWishes | None = None
    # Accepted, as the real API does, and without effect on the answer.
    user: str | None = None


class UnusedImageFields(msgspec.Struct, frozen=True):
    """Fields of the published schema that have no effect here: what they may be."""

    input_fidelity: Literal["high", "low"] | None = None
    moderation: Literal["low", "auto"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    output_format: Literal["png", "jpeg", "webp", "gif", "svg"] | None = None
    quality: Literal["standard", "hd", "low", "medium", "high", "xhigh", "max", "auto"] | None = None
    style: Literal["vivid", "natural"] | None = None


class ImageGenerationRequest(ImageRequest, frozen=True, kw_only=True):
    """A picture of what `prompt` says."""

    prompt: Words
    background: Background | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None


class ImageReference(msgspec.Struct, frozen=True):
    """A picture by its URL, which may be a data URL, or by the id of an uploaded file."""

    image_url: str | None = None
    file_id: str | None = None


class ImageEditRequest(ImageGenerationRequest, frozen=True, kw_only=True):
    """The same from pictures. In a form they are files, `image` or `image[]` and `mask`."""

    images: Annotated[list[ImageReference], Meta(min_length=1, max_length=16)]
    mask: ImageReference | None = None


class ImageVariationRequest(ImageRequest, frozen=True, kw_only=True):
    """Another picture like `image`, which in a form is a file."""

    image: ImageReference


class ImageInputDetails(msgspec.Struct, frozen=True):
    """What the input tokens are of."""

    image_tokens: int
    text_tokens: int


class ImageUsage(msgspec.Struct, frozen=True):
    """Tokens, counted here. Pictures of the answer count none: upstream counts them by number."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: ImageInputDetails


class MadeImage(msgspec.Struct, frozen=True):
    """One picture: its data or a link, and what the tool was asked for, where upstream says so."""

    b64_json: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET


class ImageList(msgspec.Struct, frozen=True):
    """The pictures. `size` and `output_format` are those of the first as it came, where they are known."""

    created: int
    data: list[MadeImage]
    usage: ImageUsage
    size: str | UnsetType = UNSET
    output_format: str | UnsetType = UNSET


class ImageEvent(msgspec.Struct, frozen=True):
    """A preview or a picture in a stream. What upstream does not say is `auto`."""

    type: Literal[
        "image_generation.partial_image",
        "image_generation.completed",
        "image_edit.partial_image",
        "image_edit.completed",
    ]
    b64_json: str
    created_at: int
    size: str
    output_format: str
    background: Background = "auto"
    quality: Literal["auto"] = "auto"
    partial_image_index: int | UnsetType = UNSET
    usage: ImageUsage | UnsetType = UNSET
