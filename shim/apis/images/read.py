"""A request for pictures becomes a prompt with the hint for them; what can only be said in words is said in words.

    JSON ────┐
             ├── one request ── its wishes in words, then the pictures and the client's own words ── Prompt
    a form ──┘

Rule: one picture is asked of each choice, so `n` pictures are `n` chats. Upstream takes no size, no background and no
mask; the model is told of them and follows them as well as it can, and the answer says what came of it.
"""

import base64
from typing import Any, TypeVar

import msgspec

from shim.apis.chatgpt_extension import continued_by, wishes_of
from shim.apis.decoding import decode, decoders_of, ignored_fields, missing, mistyped
from shim.apis.images import wire
from shim.errors import RequestError
from shim.http.multipart import FormPart, is_form, read_form
from shim.protocol.api import Asked
from shim.protocol.models import AUTO, without_provider
from shim.protocol.prompt import Image, Limits, Prompt, PromptMessage, Text
from shim.protocol.turn.inline_files import form_of_data

R = TypeVar("R", bound=wire.ImageRequest)

# Names of the real API's that make pictures and hold no chats: upstream's tool comes with any model.
_PICTURE_MODELS = ("gpt-image", "chatgpt-image", "dall-e")
_LINKED = "dall-e"  # whose clients expect links
_FILES = {"image": "images", "image[]": "images", "mask": "mask"}
_LISTED = frozenset({"images"})
# Fields without an effect, and the values that ask for nothing else than what happens anyway (in forms all are text).
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "input_fidelity": (),
    "moderation": ("auto",),
    "output_compression": (100, "100"),
    "output_format": ("png",),
    "quality": ("auto",),
    "style": (),
}


_PUBLISHED = decoders_of(wire.UnusedImageFields)


class ImageOptions(msgspec.Struct, frozen=True):
    """What only the writer has to know again. `kind` begins the names of events, `most` is how many pictures were asked
    for."""

    kind: str = "image_generation"
    data: bool = True
    most: int = 1


def read_generation(body: bytes, content_type: str = "", *, strict: bool = False) -> Asked:
    """The prompt of a request to make pictures. Raises RequestError (400)."""
    request, ignored = _read(body, content_type, wire.ImageGenerationRequest, strict=strict)
    return _asked(
        request, request.prompt, ignored, told=["Make one picture of what the user describes.", *_looks(request)]
    )


def read_edit(body: bytes, content_type: str, *, strict: bool = False) -> Asked:
    """The prompt of a request to edit pictures. Raises RequestError (400)."""
    request, ignored = _read(body, content_type, wire.ImageEditRequest, strict=strict)
    told = ["Make one picture by editing the picture or pictures of the user as they describe."]
    pictures = [_picture(one, f"images[{place}]") for place, one in enumerate(request.images)]
    if request.mask is not None:
        pictures.append(_picture(request.mask, "mask"))
        told.append(
            "The last picture is a mask for the first one: change only what lies where the mask is transparent, and "
            "keep everything else as it is."
        )
    told += _looks(request)
    return _asked(request, request.prompt, ignored, told=told, pictures=pictures, kind="image_edit")


def read_variation(body: bytes, content_type: str, *, strict: bool = False) -> Asked:
    """The prompt of a request for variations. Raises RequestError (400)."""
    request, ignored = _read(body, content_type, wire.ImageVariationRequest, strict=strict)
    pictures = [_picture(request.image, "image")]
    words = "Make one variation of this picture: the same subject and style, composed anew."
    return _asked(request, words, ignored, told=_looks(request), pictures=pictures)


def _looks(request: wire.ImageRequest) -> list[str]:
    """What the picture has to look like, in sentences: upstream's tool has no fields for it."""
    looks: list[str] = []
    if isinstance(request, wire.ImageGenerationRequest) and request.background not in {None, "auto"}:
        looks.append(f"The background of the picture has to be {request.background}.")
    if request.size not in {None, "auto"}:
        # Upstream chooses among a few sizes of its own, so the shape is what it can follow.
        width, height = map(int, str(request.size).split("x"))
        shape = "square" if width == height else "landscape" if width > height else "portrait"
        looks.append(f"The picture has to be {shape}, {width} pixels wide and {height} high.")
    return looks


def _asked(
    request: wire.ImageRequest,
    words: str,
    ignored: list[str],
    *,
    told: list[str],
    pictures: list[Image] | None = None,
    kind: str = "image_generation",
) -> Asked:
    streamed, previews = False, 0
    if isinstance(request, wire.ImageGenerationRequest):
        streamed, previews = bool(request.stream), request.partial_images or 0
    model = without_provider(request.model or AUTO)
    data = request.response_format != "url" and (bool(request.response_format) or not model.startswith(_LINKED))
    if streamed and request.response_format == "url":
        raise RequestError(
            "Streamed pictures are data: leave 'response_format' out, or do not stream.",
            param="response_format",
            code="unsupported_value",
        )
    if previews and not streamed:
        raise RequestError(
            "'partial_images' is only for streams: set 'stream' to true.", param="partial_images", code="invalid_value"
        )
    messages = [PromptMessage("user", (*(pictures or []), Text(words)))]
    if told:
        messages.insert(0, PromptMessage("system", (Text(" ".join(told)),)))
    count = request.n or 1
    wishes = wishes_of(request.chatgpt, hints=frozenset({"picture"}), store=None, tier=None)
    is_named_otherwise = model.startswith(_PICTURE_MODELS)
    prompt = Prompt(
        model=AUTO if is_named_otherwise else model,
        asked_model=model if is_named_otherwise else None,
        messages=tuple(messages),
        limits=Limits(choices=count),
        continues=continued_by(request.chatgpt),
        # Refused before a turn is made, which could come to nothing.
        wishes=msgspec.structs.replace(wishes, account="Pictures need an account"),
        pictures="data" if data or streamed else "links",
        previews=previews,
        stream=streamed,
    )
    return Asked(prompt, ignored, ImageOptions(kind, data or streamed, count))


def _picture(reference: wire.ImageReference, param: str) -> Image:
    if reference.image_url is not None:
        return Image(reference.image_url, form_of_data(reference.image_url), param)
    if reference.file_id:
        return Image(reference.file_id, "file_id", f"{param}.file_id")
    raise missing(param, "its 'image_url' or 'file_id'")


# --- JSON and forms ---------------------------------------------------------------------------------------------------


def _read(body: bytes, content_type: str, kind: type[R], *, strict: bool) -> tuple[R, list[str]]:
    """The request, and the names of its fields that are ignored."""
    if not is_form(content_type):
        # curl names what it sends a form; the other APIs do not look either.
        if "json" not in content_type and content_type and not body.lstrip().startswith(b"{"):
            raise RequestError("Send multipart/form-data, or JSON.", code="invalid_content_type")
        known = frozenset(kind.__struct_fields__)
        ignored = ignored_fields(body, known, _NEUTRAL, strict=strict, published=_PUBLISHED)
        return decode(msgspec.json.Decoder(kind), body), ignored
    fields = _of_form(read_form(body, content_type), kind)
    plain = msgspec.json.encode({name: value for name, value in fields.items() if isinstance(value, str)})
    ignored = ignored_fields(plain, frozenset(kind.__struct_fields__), _NEUTRAL, strict=strict)
    try:
        msgspec.convert(
            {name: fields[name] for name in _PUBLISHED.keys() & fields}, wire.UnusedImageFields, strict=False
        )
        return msgspec.convert(fields, kind, strict=False), ignored
    except msgspec.ValidationError as error:
        told = mistyped(str(error))
        if isinstance(told.param, str) and told.param.startswith("images"):  # a form calls its pictures by another name
            told = RequestError(told.message.replace("images", "image"), param="image", code=told.code)
        raise told from None


def _of_form(parts: list[FormPart], kind: type[wire.ImageRequest]) -> dict[str, Any]:
    """A form's fields as those of the JSON request of this kind; files become data."""
    fields: dict[str, Any] = {}
    for part in parts:
        name = _FILES.get(part.name)
        if name is None:
            if part.filename is not None:
                raise RequestError(f"The form's field '{part.name[:64]}' takes no file.", param=part.name[:64])
            fields[part.name] = part.text
            continue
        # A field with a URL or base64 in it is what some clients send in the place of a file.
        data = base64.b64encode(part.content).decode() if part.filename is not None else part.text
        if name in _LISTED and name in kind.__struct_fields__:
            fields.setdefault(name, []).append({"image_url": data})
        elif part.name in fields:
            text = f"The form has more than one '{part.name}'."
            raise RequestError(text, param=part.name, code="invalid_value")
        elif name in _LISTED:
            fields[part.name.removesuffix("[]")] = {"image_url": data}
        else:
            fields[name] = {"image_url": data}
    return fields
