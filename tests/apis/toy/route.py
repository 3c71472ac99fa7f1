"""The toy API as a value, and its path."""

from collections.abc import Mapping
from typing import Any, ClassVar

from litestar.types import ASGIApp

from shim.errors import Field, GatewayError
from shim.http.answering import answer
from shim.http.routing import AnyRequest, DirectPost
from shim.protocol.api import AnswerInfo, Asked, LinkTo
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.pipeline import FilterDependencies, filters_for
from tests.apis.toy import read, write


class ToyApi:
    name = "toy"
    fields: ClassVar[Mapping[Field, str]] = {field: field.value for field in Field}

    def credential(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-toy-key")

    def read(self, body: bytes, *, strict: bool) -> Asked:
        return read.read(body)

    def filters(self, prompt: Prompt, needs: FilterDependencies, _link: LinkTo) -> list[Filter]:
        return filters_for(prompt, needs)

    def stream(self, _answer: AnswerInfo, _options: Any) -> write.EchoWriter:
        return write.EchoWriter()

    def whole(self, answer: AnswerInfo, _options: Any) -> bytes:
        return write.whole(answer)

    def break_off(self, error: GatewayError) -> bytes:
        return write.refusal(error) + b"\n\n"

    def refuse(self, error: GatewayError) -> tuple[dict[str, str], bytes]:
        return {"content-type": "application/json"}, write.refusal(error)


TOY = ToyApi()


@DirectPost("/v1/echo")
async def create_echo(request: AnyRequest) -> ASGIApp:
    return await answer(request, TOY)
