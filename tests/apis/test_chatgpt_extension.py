"""The object `chatgpt` means the same in every API that makes a prompt."""

from typing import Any

import msgspec
import pytest

from shim.apis.chat import CHAT
from shim.apis.completions import COMPLETIONS
from shim.apis.images.read import read_generation
from shim.apis.messages import MESSAGES
from shim.apis.responses import RESPONSES
from shim.errors import RequestError
from shim.protocol.prompt import Prompt

WORDS = [{"role": "user", "content": "hello"}]
APIS: dict[str, tuple[Any, dict[str, Any]]] = {
    "chat": (CHAT.read, {"messages": WORDS}),
    "completions": (COMPLETIONS.read, {"prompt": "hello"}),
    "images": (read_generation, {"prompt": "a cat"}),
    "messages": (MESSAGES.read, {"messages": WORDS, "max_tokens": 9}),
    "responses": (RESPONSES.read, {"input": "hello"}),
}


def prompt_of(api: str, **extension: Any) -> Prompt:
    read, body = APIS[api]
    text = msgspec.json.encode({"model": "auto", **body, "chatgpt": extension})
    asked = read(text, strict=True)
    assert "chatgpt" not in asked.ignored
    return asked.prompt


@pytest.mark.parametrize("api", APIS)
def test_wishes_reach_the_prompt(api: str) -> None:
    wishes = prompt_of(api, temporary=False, memory=False, project="g-p-1234", hints=["search"]).wishes
    assert (wishes.temporary, wishes.memory, wishes.project) == (False, False, "g-p-1234")
    assert "search" in wishes.hints


@pytest.mark.parametrize("api", APIS)
def test_a_kept_chat_is_gone_on_with(api: str) -> None:
    continues = prompt_of(api, conversation_id="c.1", parent_message_id="m").continues
    assert continues is not None
    assert (continues.conversation_id, continues.message_id) == ("c.1", "m")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("extension", "param"),
    [
        ({"conversation_id": "c"}, "chatgpt.parent_message_id"),
        ({"temporary": True, "memory": False}, "chatgpt.temporary"),
        ({"project": "../x"}, "chatgpt.project"),
        ({"hints": ["agent"]}, "chatgpt.hints[0]"),
        ({"unheard": 1}, "chatgpt"),
    ],
)
def test_what_can_not_be_is_named(api: str, extension: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refused:
        prompt_of(api, **extension)
    assert (refused.value.http_status, refused.value.param) == (400, param)
