"""An answer that has to be a picture, where words alone are none.

Rule: what is no picture is told by why there is none: the content was refused, the tool failed, or the model wrote
words instead. Those words are all that says what to change, so the client gets them, shortened; nobody else does.
"""

from shim.errors import About, GatewayError, RequestError, UpstreamError
from shim.protocol.events import Drawing, EndReason, Event, Failed, Finished, Picture, TextDelta
from shim.protocol.shaping.filter import Filter

_MAX_WORDS = 500  # characters of the model's own


class MustDraw(Filter):
    """Lets everything through, and ends an answer without a picture as a failure."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._has_picture = self._was_drawing = False
        self._words = ""

    def _handle(self, event: Event, given: list[Event]) -> None:
        match event:
            case Drawing():
                self._was_drawing = True
            case Picture():
                self._has_picture = True
            case TextDelta(text=text) if len(self._words) < _MAX_WORDS:
                self._words += text
            case Finished(reason=reason) if not self._has_picture:
                self.decided = True
                event = Failed(self._why_none(reason))
        given.append(event)

    def _why_none(self, reason: EndReason) -> GatewayError:
        said = f": {words}" if (words := " ".join(self._words.split())[:_MAX_WORDS]) else "."
        if reason == "content_filter":
            return RequestError(
                "Upstream's moderation took the answer back.", code="content_policy_violation", about=About.CONTENT
            )
        if self._was_drawing:
            return UpstreamError(f"Upstream's tool made no picture{said}", code="image_generation_failed")
        return RequestError(
            f"The model answered with words and no picture{said}", code="no_image", type="image_generation_user_error"
        )
