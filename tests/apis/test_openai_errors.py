"""Errors as all of OpenAI's APIs tell them."""

import json

from shim.apis.openai_errors import error_line
from shim.errors import UpstreamError


def test_no_message_can_end_the_line_of_an_error() -> None:
    """It may be upstream's own text, and many clients split lines as `str.splitlines` does, within JSON as well."""
    text = "a\nb\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029é"
    line, empty = error_line(UpstreamError(text)).decode().splitlines()
    assert json.loads(line.removeprefix("data: "))["error"]["message"] == text
    assert empty == ""
