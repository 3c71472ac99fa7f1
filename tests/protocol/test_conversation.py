"""A chat request as a conversation, field by field of protocol.md 4.1 and 4.2."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shim.apis.chat.read import read
from shim.protocol.catalog import KnownModel, Preset
from shim.protocol.prompt import Prompt
from shim.protocol.turn.conversation import Chosen, conversation_for, encode_conversation
from shim.protocol.turn.uploads import UploadedFile

NOW = 1780661199.386


def prompt_of(*messages: dict[str, Any], **fields: Any) -> Prompt:
    return read(json.dumps({"model": "gpt-4o", "messages": messages, **fields}).encode()).prompt


def sent(
    *messages: dict[str, Any],
    slug: str = "gpt-4o",
    temporary: bool = True,
    placed: Mapping[tuple[int, int], UploadedFile] | None = None,
    known: KnownModel | None = None,
    preset: Preset | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """The body that goes upstream; ids are 1, 2, 3 in the order they are made. `placed` names parts by the places of
    their message and of themselves in it."""
    ids: Iterator[int] = iter(range(1, 1000))
    prompt = prompt_of(*messages, **fields)
    conversation = conversation_for(
        prompt,
        Chosen(slug, known, preset),
        {prompt.messages[message].parts[part]: file for (message, part), file in (placed or {}).items()},
        temporary=temporary,
        now=NOW,
        new_id=lambda: f"id-{next(ids)}",
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
    assert sent({"role": role, "content": "x"})["messages"][0]["author"]["role"] == upstream


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
    assert prompt_of(message).messages[0].text == text


# --- files ------------------------------------------------------------------------------------------------------------

PNG = UploadedFile("file-p", "a.png", "image/png", 10, 3, 2)
NEW_PNG = UploadedFile("file_0000q", "b.png", "image/png", 11, 4, 4)
PDF = UploadedFile("file-d", "c.pdf", "application/pdf", 12)
TEXT = {"type": "text", "text": "look"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}}
DOCUMENT = {"type": "file", "file": {"file_data": "aGk=", "filename": "c.pdf"}}


def pointer(scheme: str, file: UploadedFile) -> dict[str, Any]:
    return {
        "content_type": "image_asset_pointer",
        "asset_pointer": f"{scheme}://{file.id}",
        "size_bytes": file.size,
        "width": file.width,
        "height": file.height,
    }


def test_pictures_stand_among_the_texts_in_their_order() -> None:
    placed = {(1, 0): PNG, (1, 2): NEW_PNG}
    message = sent(user("first"), user([PICTURE, TEXT, PICTURE]), placed=placed)["messages"][1]
    assert message["content"] == {
        "content_type": "multimodal_text",
        "parts": [pointer("file-service", PNG), "look", pointer("sediment", NEW_PNG)],
    }
    assert [one["id"] for one in message["metadata"]["attachments"]] == ["file-p", "file_0000q"]


def test_other_files_are_named_beside_the_text() -> None:
    message = sent(user([TEXT, DOCUMENT]), placed={(0, 1): PDF})["messages"][0]
    assert message["content"] == {"content_type": "multimodal_text", "parts": ["look"]}
    assert message["metadata"] == {
        "attachments": [{"id": "file-d", "size": 12, "name": "c.pdf", "mime_type": "application/pdf"}]
    }


def test_a_file_of_another_message_is_not_taken() -> None:
    body = sent(user([TEXT, PICTURE]), user([TEXT, PICTURE]), placed={(1, 1): PNG})
    assert body["messages"][0]["content"]["parts"] == ["look"]
    assert len(body["messages"][1]["content"]["parts"]) == 2


# --- tools and formats ------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


def test_the_tools_are_told_behind_the_clients_own_instructions() -> None:
    body = sent({"role": "system", "content": "Be brief."}, user("Hi"), tools=[TOOL])
    assert [message["author"]["role"] for message in body["messages"]] == ["system", "system", "user"]
    told = parts_of(body)[1]
    assert "### add" in told
    assert parts_of(body)[0] == "Be brief."


def test_tools_that_must_not_be_called_are_not_told() -> None:
    assert parts_of(sent(user("Hi"), tools=[TOOL], tool_choice="none")) == ["Hi"]


def test_a_history_without_a_user_ends_with_the_instructions() -> None:
    assert len(parts_of(sent({"role": "system", "content": "x"}, tools=[TOOL]))) == 2


def test_calls_and_results_are_written_down_as_the_model_was_taught() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "2"}]}
    body = sent(user("1+1?"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, result, tools=[TOOL])
    called, given = parts_of(body)[2:]
    assert "<tool_call>" in called
    assert '"name":"add"' in called
    assert "call_1" in given
    assert "\n2\n" in given


def test_a_format_is_asked_for() -> None:
    schema = {"name": "sum", "schema": {"type": "object", "properties": {"total": {"type": "integer"}}}}
    told = parts_of(sent(user("x"), response_format={"type": "json_schema", "json_schema": schema}))[0]
    assert '"total"' in told
    assert parts_of(sent(user("x"), response_format={"type": "text"})) == ["x"]


def test_names_go_up() -> None:
    assert sent(user("x", name="Ann"))["messages"][0]["author"] == {"role": "user", "name": "Ann"}


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_gpt_is_a_mode_of_the_conversation() -> None:
    body = sent(user("x"), model="gpt-4-gizmo-g-abc123")
    assert body["conversation_mode"] == {"kind": "gizmo_interaction", "gizmo_id": "g-abc123"}
    assert body["model"] == "gpt-4o"


@pytest.mark.parametrize(("effort", "goes_up"), [("low", "min"), ("xhigh", "max"), (None, None)])
def test_an_effort_goes_up_in_upstreams_word(effort: str | None, goes_up: str | None) -> None:
    body = sent(user("x"), slug="gpt-5-thinking", reasoning_effort=effort)
    assert body.get("thinking_effort") == goes_up


def test_a_preset_brings_its_effort_unless_the_request_has_one() -> None:
    preset = Preset("latest-extra-high", "gpt-5-thinking", "max")
    known = KnownModel("gpt-5-thinking", efforts=("min", "max"))
    assert sent(user("x"), slug="gpt-5-thinking", preset=preset, known=known)["thinking_effort"] == "max"
    body = sent(user("x"), slug="gpt-5-thinking", preset=preset, known=known, reasoning_effort="high")
    assert body["thinking_effort"] == "min"


def test_a_slug_that_does_not_think_is_not_told_an_effort() -> None:
    assert "thinking_effort" not in sent(user("x"), slug="gpt-4o", reasoning_effort="high")


def test_a_conversation_is_gone_on_with_by_upstreams_own_id() -> None:
    body = sent(user("x"), conversation_id="c-1.0123456789abcdef", parent_message_id="m-1")
    assert (body["conversation_id"], body["parent_message_id"]) == ("c-1", "m-1")
