"""Which prompts a flow's own call can answer."""

from typing import Any

import pytest

from addons.crossing import is_one_call
from shim.protocol.prompt import Prompt, PromptMessage, Text, Wishes
from shim.settings import Settings


def prompt(*, stream: bool = True, **wishes: Any) -> Prompt:
    return Prompt("auto", (PromptMessage("user", (Text("Hi"),)),), stream=stream, wishes=Wishes(**wishes))


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
