"""Which prompts a flow's own call can answer."""

import json
from typing import Any

import pytest

from addons.crossing import INLINE, is_one_call
from shim.apis.messages import MESSAGES
from shim.errors import RequestError
from shim.protocol.prompt import Prompt, PromptMessage, Text, Wishes
from shim.settings import Settings


def prompt(*, stream: bool = True, **wishes: Any) -> Prompt:
    return Prompt("auto", (PromptMessage("user", (Text("Hi"),)),), stream=stream, wishes=Wishes(**wishes))


@pytest.mark.parametrize("stream", [True, False])
def test_no_message_of_anthropics_api_is_one_call(stream: bool) -> None:
    """Why it is not `INLINE`: the shortest request that there may be has a bound for its answer."""
    short = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    with pytest.raises(RequestError, match="max_tokens"):
        MESSAGES.read(json.dumps(short).encode(), strict=False)
    asked = MESSAGES.read(json.dumps(short | {"max_tokens": 64_000}).encode(), strict=False)
    assert not is_one_call(asked.prompt, Settings())
    assert "/v1/messages" not in INLINE


@pytest.mark.parametrize(
    ("wishes", "history_disabled", "inline"),
    [
        ({}, True, True),
        ({}, False, False),  # a kept chat can be resumed where its stream is lost, which a flow can't
        ({"temporary": False}, True, False),
        ({"temporary": True}, False, True),
        ({"memory": False}, True, False),
        ({"memory": True}, True, True),
        ({"hints": frozenset({"search"})}, True, True),
        ({"hints": frozenset({"research"})}, True, False),
    ],
)
def test_what_a_client_wishes_of_its_chat_decides_as_the_operator_does(
    wishes: dict[str, Any], history_disabled: bool, inline: bool
) -> None:
    settings = Settings(history_disabled=history_disabled)
    assert is_one_call(prompt(**wishes), settings) is inline
    assert is_one_call(prompt(stream=False, **wishes), settings), "a whole answer is still in our hands"
