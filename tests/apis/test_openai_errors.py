"""Errors as all of OpenAI's APIs tell them."""

import json

import pytest

from shim.apis.chat import CHAT
from shim.apis.completions import COMPLETIONS
from shim.apis.openai_api import OpenAIApi
from shim.apis.openai_errors import error_line
from shim.errors import Field, RequestError, UpstreamError


def test_no_message_can_end_the_line_of_an_error() -> None:
    """It may be upstream's own text, and many clients split lines as `str.splitlines` does, within JSON as well."""
    text = "a\nb\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029é"
    line, empty = error_line(UpstreamError(text)).decode().splitlines()
    assert json.loads(line.removeprefix("data: "))["error"]["message"] == text
    assert empty == ""


@pytest.mark.parametrize(("api", "name"), [(CHAT, "messages"), (COMPLETIONS, "prompt")])
def test_a_field_has_the_name_of_the_api_before_the_head_and_after_it(api: OpenAIApi, name: str) -> None:
    error = RequestError("no", param=Field.PROMPT)
    in_band = api.break_off(error).partition(b"\n")[0].removeprefix(b"data: ")
    for body in (in_band, api.refuse(error)[1]):
        assert json.loads(body)["error"]["param"] == name
