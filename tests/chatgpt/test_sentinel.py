"""The sentinel's answers as recorded and described in protocol.md 2.1 and 2.2."""

import msgspec
import pytest

from shim.chatgpt.models import listing_decoder
from shim.chatgpt.sentinel import requirements_decoder

ONE_STEP = b"""{
  "persona": "chatgpt-paid", "token": "gAAAAAB....", "expire_after": 540, "expire_at": 1767133302,
  "arkose": {"required": true, "dx": "blob"}, "turnstile": {"required": false, "dx": null},
  "proofofwork": {"required": true, "seed": "0.6180339887", "difficulty": "061a80"}, "force_login": false}"""


def test_the_one_step_answer() -> None:
    asked = requirements_decoder.decode(ONE_STEP)
    assert (asked.persona, asked.token, asked.prepare_token, asked.force_login) == (
        "chatgpt-paid",
        "gAAAAAB....",
        None,
        False,
    )
    assert asked.arkose is not None
    assert (asked.arkose.required, asked.arkose.dx) == (True, "blob")
    assert asked.turnstile is not None
    assert asked.turnstile.required is False
    assert asked.proofofwork is not None
    assert (asked.proofofwork.seed, asked.proofofwork.difficulty) == ("0.6180339887", "061a80")


def test_the_prepare_answer() -> None:
    asked = requirements_decoder.decode(b'{"persona": "chatgpt-paid", "prepare_token": "p1", "so": {"required": true}}')
    assert (asked.prepare_token, asked.token, asked.arkose) == ("p1", None, None)
    assert asked.so is not None
    assert asked.so.required is True


def test_any_object_may_be_missing() -> None:
    asked = requirements_decoder.decode(b"{}")
    assert not any((asked.token, asked.arkose, asked.turnstile, asked.so, asked.proofofwork, asked.force_login))


@pytest.mark.parametrize("body", [b'{"token": 7}', b'{"proofofwork": {"required": "yes"}}', b"[]"])
def test_another_shape_is_an_error(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        requirements_decoder.decode(body)


def test_the_list_of_models() -> None:
    body = b'{"models": [{"slug": "gpt-4o", "max_tokens": 8192, "tags": ["gpt4"]}, {"slug": "auto"}], "categories": []}'
    assert [model.slug for model in listing_decoder.decode(body).models] == ["gpt-4o", "auto"]
