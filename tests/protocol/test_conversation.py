"""A chat request as a conversation, field by field of protocol.md 4.1 and 4.2."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shim.errors import RequestError
from shim.openai.chat import ChatRequest
from shim.openai.decode import chat_request
from shim.protocol.conversation import check_messages, conversation_for, encode_conversation, text_of

NOW = 1780661199.386


def request_of(*messages: dict[str, Any]) -> ChatRequest:
    return chat_request(json.dumps({"model": "gpt-4o", "messages": messages}).encode())[0]


def sent(*messages: dict[str, Any], slug: str = "gpt-4o", temporary: bool = True) -> dict[str, Any]:
    """The body that goes upstream; ids are 1, 2, 3 in the order they are made."""
    ids: Iterator[int] = iter(range(1, 1000))
    conversation = conversation_for(
        request_of(*messages), slug, temporary=temporary, now=NOW, new_id=lambda: f"id-{next(ids)}"
    )
    body: dict[str, Any] = json.loads(encode_conversation(conversation))
    return body


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def parts_of(body: dict[str, Any]) -> list[str]:
    return ["".join(message["content"]["parts"]) for message in body["messages"]]


def test_the_body_is_the_one_of_4_1() -> None:
    assert sent(user("Hello")) == {
        "action": "next",
        "messages": [
            {
                "id": "id-1",
                "author": {"role": "user"},
                "create_time": NOW,
                "content": {"content_type": "text", "parts": ["Hello"]},
                "metadata": {},
            }
        ],
        "parent_message_id": "id-2",
        "model": "gpt-4o",
        "timezone_offset_min": 0,
        "history_and_training_disabled": True,
        "conversation_mode": {"kind": "primary_assistant"},
        "force_nulligen": False,
        "force_paragen": False,
        "force_paragen_model_slug": "",
        "force_rate_limit": False,
        "force_use_sse": True,
        "reset_rate_limits": False,
        "suggestions": [],
        "variant_purpose": "comparison_implicit",
        "websocket_request_id": "id-3",
        "supports_buffering": True,
        "supported_encodings": ["v1"],
    }


def test_a_new_conversation_has_no_id() -> None:
    assert "conversation_id" not in sent(user("Hello"))


@pytest.mark.parametrize("temporary", [True, False])
def test_temporary_or_saved(temporary: bool) -> None:
    assert sent(user("x"), temporary=temporary)["history_and_training_disabled"] is temporary


def test_the_slug_goes_up_not_the_name() -> None:
    assert sent(user("x"), slug="gpt-5-2")["model"] == "gpt-5-2"


def test_the_whole_history_oldest_first_each_with_its_own_id() -> None:
    body = sent(
        {"role": "system", "content": "Be brief."}, user("Hi"), {"role": "assistant", "content": "Hey"}, user("?")
    )
    assert parts_of(body) == ["Be brief.", "Hi", "Hey", "?"]
    assert [message["author"]["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    ids = [*(message["id"] for message in body["messages"]), body["parent_message_id"], body["websocket_request_id"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("role", "upstream"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("tool", "tool"),
        ("function", "tool"),
    ],
)
def test_roles(role: str, upstream: str) -> None:
    assert sent({"role": role, "content": "x"})["messages"][0]["author"] == {"role": upstream}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (user("a\nb"), "a\nb"),
        (user(""), ""),
        (user(None), ""),
        ({"role": "assistant"}, ""),
        (user([]), ""),
        (user([{"type": "text", "text": "a"}]), "a"),
        (user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "a\nb"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        (user("你好 🎉 \u2028"), "你好 🎉 \u2028"),
    ],
)
def test_content_becomes_one_part_of_plain_text(message: dict[str, Any], text: str) -> None:
    """4.2: parts are plain strings; an empty list of parts would be refused (422)."""
    assert sent(message)["messages"][0]["content"] == {"content_type": "text", "parts": [text]}
    assert text_of(request_of(message).messages[0]) == text


UNSUPPORTED = {
    "image_url": {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}},
    "input_audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "file": {"type": "file", "file": {"file_id": "file-1"}},
}


@pytest.mark.parametrize(("kind", "part"), UNSUPPORTED.items())
def test_a_part_that_cannot_be_sent_is_refused_by_its_place(kind: str, part: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        sent(user("first"), user([{"type": "text", "text": "look"}, part]))
    assert caught.value.http_status == 400
    assert caught.value.param == "messages[1].content[1].type"
    assert caught.value.code == "unsupported_content"
    assert f"'{kind}'" in caught.value.message


def test_no_messages() -> None:
    request, _ = chat_request(b'{"model": "auto", "messages": []}')
    with pytest.raises(RequestError) as caught:
        check_messages(request)
    assert (caught.value.http_status, caught.value.param, caught.value.code) == (400, "messages", "empty_array")
