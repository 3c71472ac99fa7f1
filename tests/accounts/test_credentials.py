"""From the client's bearer to an identity."""

import base64
import json
import uuid

import pytest

from shim.accounts.credentials import account_hash, identify
from shim.errors import CredentialError

INSTALLATION = uuid.UUID("12345678-1234-4234-8234-123456789abc")
NOW = 1_800_000_000.0


def token(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part(claims)}.sig"


def who(header, keys=()):
    return identify(header, keys, INSTALLATION, NOW)


@pytest.mark.parametrize("header", [None, "", "Bearer ", "Bearer sk-anything", "Bearer x", "sk-bare"])
def test_without_keys_whatever_is_no_token_is_login_free(header):
    identity = who(header)
    assert identity.access_token is None
    assert identity.device_id == str(INSTALLATION)


@pytest.mark.parametrize("header", ["Bearer key-1", "bearer key-2", "BEARER  key-2 ", "key-1"])
def test_a_right_key_is_let_in(header):
    assert who(header, ("key-1", "key-2")).access_token is None


@pytest.mark.parametrize(
    "header", [None, "", "Bearer ", "Bearer key-", "Bearer key-11", "Bearer KEY-1", "Bearer kéy-1"]
)
def test_a_wrong_key_is_not(header):
    with pytest.raises(CredentialError) as caught:
        who(header, ("key-1", "key-2"))
    assert (caught.value.http_status, caught.value.code) == (401, "invalid_api_key")
    assert "key-" not in caught.value.message


def test_an_access_token_stands_for_its_own_account_always_the_same_device():
    first, second = token(sub="user-1", exp=NOW + 10), token(sub="user-1", exp=NOW + 999)
    assert who(f"Bearer {first}").access_token == first
    assert who(f"Bearer {first}", ("key",)).device_id == who(f"Bearer {second}").device_id
    assert who(f"Bearer {first}").device_id != who(f"Bearer {token(sub='user-2')}").device_id
    assert uuid.UUID(who(f"Bearer {first}").device_id)


def test_a_workspace_after_a_comma():
    identity = who(f"Bearer {token(sub='user-1')}, acc-1")
    assert (identity.account_id, identity.access_token) == ("acc-1", token(sub="user-1"))


def test_an_expired_token_is_refused_before_upstream_sees_it():
    with pytest.raises(CredentialError) as caught:
        who(f"Bearer {token(sub='user-1', exp=NOW)}")
    assert caught.value.code == "token_expired"


@pytest.mark.parametrize("bad", ["eyJhbGciOi.!!!.sig", "eyJ.eyJ.eyJ", "eyJhbGciOi.W10.sig", "eyJhbGciOi..sig"])
def test_what_looks_like_a_token_but_is_not_one(bad):
    with pytest.raises(CredentialError):
        who(f"Bearer {bad}")


def test_the_log_name_tells_accounts_apart_and_tells_nothing_else():
    one, two = who(f"Bearer {token(sub='user-1')}"), who(f"Bearer {token(sub='user-2')}")
    assert account_hash(one) != account_hash(two)
    assert len(account_hash(one)) == 8
    assert account_hash(who(None)) == "anonymous"
    assert account_hash(one) not in one.device_id
