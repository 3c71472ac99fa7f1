"""Signed links to files: only ours open, for as long as they live, and they hold no credential."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.errors import RequestError
from shim.exchange.links import LIFETIME, Links
from shim.protocol.events import FileRef

NOW = 1_700_000_000.0
FILE = FileRef(conversation_id="c1", file_id="file-abc")
LINKS = Links("a secret")


def token_of(links: Links, file: FileRef = FILE, account: str | None = "acc") -> str:
    return links.path_of(file, account, NOW).rpartition("/")[2]


@given(st.builds(FileRef, *[st.none() | st.text(max_size=40)] * 5), st.none() | st.text(max_size=40))
def test_a_link_says_again_what_was_put_into_it(file: FileRef, account: str | None) -> None:
    ticket = LINKS.read(token_of(LINKS, file, account), NOW)
    assert (ticket.file, ticket.account) == (file, account)


def test_a_link_ends() -> None:
    token = token_of(LINKS)
    assert LINKS.read(token, NOW + LIFETIME - 1).file == FILE
    with pytest.raises(RequestError) as over:
        LINKS.read(token, NOW + LIFETIME + 1)
    assert (over.value.http_status, over.value.code) == (404, "file_not_found")


def test_gateways_with_the_same_keys_read_each_others_links() -> None:
    assert Links("a secret").read(token_of(LINKS), NOW).file == FILE
    with pytest.raises(RequestError):
        Links("another secret").read(token_of(LINKS), NOW)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_link_that_was_changed_anywhere_is_none(place: int, change: int) -> None:
    token = token_of(LINKS)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[place % len(raw)] ^= change
    with pytest.raises(RequestError):
        LINKS.read(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), NOW)


@pytest.mark.parametrize("change", ["{}!", "{}==", "{}=", "!{}", "{} ", "{}\n", "{}A"])
def test_there_is_one_way_to_write_a_link(change: str) -> None:
    with pytest.raises(RequestError):
        LINKS.read(change.format(token_of(LINKS)), NOW)


def test_no_key_of_a_client_makes_links(start_gateway, shared_standin) -> None:
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="sk-weak")
    for secret in ("sk-weak", "chat2api file links\nsk-weak"):
        link = Links(secret).path_of(FILE, None, time.time())
        assert gateway.get(link).status_code == 404


@pytest.mark.parametrize("token", ["", "a", "..", "é" * 8, "A" * 5000, "=" * 20, "AAAA" * 20])
def test_what_is_no_link_is_refused(token: str) -> None:
    with pytest.raises(RequestError):
        LINKS.read(token, NOW)
