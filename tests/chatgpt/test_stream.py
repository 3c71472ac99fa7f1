"""What arrives on the stream, as structs: tolerant of nulls, of new fields and of other types than expected."""

from typing import Any

import pytest
from msgspec import UNSET

from shim.chatgpt.stream import Author, Content, Metadata, decode_item, decode_operation, item_of


def test_an_operation_knows_what_is_missing() -> None:
    operation = decode_operation(b'{"v": "x"}')
    assert operation is not None
    assert (operation.v, operation.p, operation.o, operation.c) == ("x", UNSET, UNSET, UNSET)


def test_a_null_value_is_a_value() -> None:
    operation = decode_operation(b'{"p": "", "o": "replace", "v": null, "c": 3, "new": 1}')
    assert operation is not None
    assert (operation.v, operation.p, operation.o, operation.c) == (None, "", "replace", 3)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"v1"', b"null", b'{"p": 1}', b'{"c": "0"}', b'{"o": null}'])
def test_json_of_another_shape_is_no_operation(data: bytes) -> None:
    assert decode_operation(data) is None


@pytest.mark.parametrize("data", [b"[]", b"1", b'"v1"', b"null", b'{"message": 3}', b'{"message": {"author": 1}}'])
def test_json_of_another_shape_is_no_item(data: bytes) -> None:
    assert decode_item(data) is None


@pytest.mark.parametrize("decode", [decode_item, decode_operation])
@pytest.mark.parametrize("data", [b"", b"{", b"{]", b"\xff", b'{"v": NaN}', b'{"message": {"id": tru', b'"v1'])
def test_what_is_not_json_is_an_error(decode: Any, data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


@pytest.mark.parametrize("message", [b"{}", b'{"author": null, "content": null, "metadata": null}'])
def test_a_message_without_anything(message: bytes) -> None:
    item = decode_item(b'{"message": %s}' % message)
    assert item is not None
    assert item.message is not None
    assert (item.message.author, item.message.content, item.message.metadata) == (Author(), Content(), Metadata())


def test_fields_of_odd_types_are_kept_for_whoever_reads_them() -> None:
    item = decode_item(b'{"message": {"id": [1], "author": {"role": 5}, "channel": {}}, "type": 7, "error": [0]}')
    assert item is not None
    assert item.message is not None
    assert (item.message.id, item.message.author.role, item.message.channel) == ([1], 5, {})
    assert (item.type, item.error) == (7, [0])


def test_a_root_reads_like_a_snapshot() -> None:
    data = b'{"message": {"id": "a1", "author": {"role": "assistant"}}, "conversation_id": "c1", "error": null}'
    root = {"message": {"id": "a1", "author": {"role": "assistant"}}, "conversation_id": "c1", "error": None}
    assert item_of(root) == decode_item(data)


@pytest.mark.parametrize("root", [None, [], "x", 1, {"message": 3}, {"message": {"metadata": []}}])
def test_a_root_of_another_shape_is_none(root: Any) -> None:
    assert item_of(root) is None


@pytest.mark.parametrize(
    ("escaped", "text"),
    [(rb"\ud83c\udf89", "🎉"), (rb"\ud83c", "\ufffd"), (rb"\udf89!", "\ufffd!"), (rb"\ud83c\u0041", "\ufffdA")],
)
def test_half_a_surrogate_pair_is_replaced(escaped: bytes, text: str) -> None:
    operation = decode_operation(b'{"v": "%s", "p": "/x"}' % escaped)
    assert operation is not None
    assert (operation.v, operation.p) == (text, "/x")
    item = decode_item(b'{"error": "%s"}' % escaped)
    assert item is not None
    assert item.error == text
