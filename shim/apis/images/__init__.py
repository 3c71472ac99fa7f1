"""`/v1/images/*`: pictures made, edited and varied."""

from collections.abc import Callable, Mapping

from shim.apis import openai_errors
from shim.apis.images.read import ImageOptions
from shim.apis.images.wire import FIELDS
from shim.apis.images.write import ImageWriter, as_image_error, error_event, images
from shim.apis.openai_api import OpenAIApi
from shim.errors import Field, GatewayError
from shim.protocol.api import AnswerInfo, Asked, LinkTo
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.must_draw import MustDraw
from shim.protocol.shaping.pipeline import FilterDependencies

ReadImages = Callable[..., Asked]


class ImagesApi(OpenAIApi):
    """See `shim.protocol.api.Api`. Each of the three calls is read in its own way, from JSON or from a form, as
    `content_type` says."""

    name = "images"
    fields: Mapping[Field, str] = FIELDS

    def __init__(self, read: ReadImages, content_type: str = "application/json") -> None:
        self._read, self._content_type = read, content_type

    def read(self, body: bytes, *, strict: bool) -> Asked:
        """The prompt of a request. Raises RequestError (400)."""
        return self._read(body, self._content_type, strict=strict)

    def filters(self, _prompt: Prompt, _needs: FilterDependencies, _link: LinkTo) -> list[Filter]:
        """What has no picture is no answer."""
        return [MustDraw()]

    def stream(self, answer: AnswerInfo, options: ImageOptions) -> ImageWriter:
        """Events of previews and pictures."""
        return ImageWriter(answer, options)

    def whole(self, answer: AnswerInfo, options: ImageOptions) -> bytes:
        """The pictures. Raises UpstreamError where one can't be fetched as data."""
        return images(answer, options)

    def break_off(self, error: GatewayError) -> bytes:
        """The in-band error."""
        return error_event(error)

    def refuse(self, error: GatewayError) -> tuple[dict[str, str], bytes]:
        """OpenAI's envelope."""
        return openai_errors.refuse(as_image_error(error), self.fields)
