"""Pictures in the OpenAPI document, with examples that tests decode."""

import msgspec

from shim.apis.images.wire import (
    ImageEditRequest,
    ImageEvent,
    ImageGenerationRequest,
    ImageInputDetails,
    ImageList,
    ImageUsage,
    MadeImage,
)
from shim.http.openapi import EVENTS, FILE, JSON, OPTIONAL, Json, OpenApiOperation

_PNG = "iVBORw0KGgo="
_ASK = {"prompt": "A cat asleep"}
_USAGE = ImageUsage(12, 4, 16, ImageInputDetails(0, 12))
_WHOLE = ImageList(1741288944, [MadeImage(b64_json=_PNG)], _USAGE, "1024x1024", "png")
_LINE = ImageEvent("image_generation.completed", _PNG, 1741288944, "1024x1024", "png", usage=_USAGE)
_STREAM = f"event: {_LINE.type}\ndata: {msgspec.json.encode(_LINE).decode()}\n\n"
_ABOUT = (
    "Events by name: `{kind}.partial_image` where previews are asked for and upstream gives them, then "
    "`{kind}.completed` for each picture, or `error`. Comments (lines that begin with `:`) keep the connection alive."
)
_STATUSES = (400, 401, 403, 404, 413, 429, 502, 503, 504)


def _optional(**schema: object) -> Json:
    return {**schema, OPTIONAL: True}


_COMMON = {
    "model": _optional(type="string"),
    "n": _optional(type="integer", minimum=1, maximum=10),
    "response_format": _optional(type="string", enum=["url", "b64_json"]),
}

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/images/generations",
        "createImage",
        "Make pictures: whole, or with `stream` as events.",
        takes=ImageGenerationRequest,
        examples={"data": _ASK, "streamed": _ASK | {"stream": True, "partial_images": 1}},
        gives={JSON: ImageList, EVENTS: str},
        example={JSON: _WHOLE, EVENTS: _STREAM},
        about_events=_ABOUT.format(kind="image_generation"),
        errors=_STATUSES,
    ),
    OpenApiOperation(
        "post",
        "/v1/images/edits",
        "createImageEdit",
        "Make pictures of others: a form with the files, or JSON with their URLs.",
        takes=ImageEditRequest,
        form={
            "image": FILE,
            "mask": FILE | {OPTIONAL: True},
            "prompt": {"type": "string", "minLength": 1},
            "stream": _optional(type="boolean"),
            **_COMMON,
        },
        examples={"data": _ASK | {"images": [{"image_url": f"data:image/png;base64,{_PNG}"}]}},
        gives={JSON: ImageList, EVENTS: str},
        example={JSON: _WHOLE, EVENTS: _STREAM.replace("image_generation", "image_edit")},
        about_events=_ABOUT.format(kind="image_edit"),
        errors=_STATUSES,
    ),
    OpenApiOperation(
        "post",
        "/v1/images/variations",
        "createImageVariation",
        "Make pictures like another.",
        form={"image": FILE, **_COMMON},
        gives={JSON: ImageList},
        example={JSON: _WHOLE},
        errors=_STATUSES,
    ),
)
