"""From the client's bearer to who calls."""

import uuid

import pytest

from shim.accounts.account import Account, account_of, parse_credential
from shim.accounts.credentials import account_hash, caller_of, identity_of, own_account
from shim.errors import CredentialError
from shim.standin import make_access_token, make_refresh_token, make_session_token

INSTALLATION = uuid.UUID("12345678-1234-4234-8234-123456789abc")
NOW = 1_800_000_000.0
KEYS = ("key-1", "key-2")
HEX_KEY = "0123456789abcdef" * 4
FOREIGN = [
    HEX_KEY,
    HEX_KEY * 2,
    "Ab+/" * 22,
    "github_pat_" + "A" * 82,
    "xai-" + "A" * 80,
    ("ghp_" + "A" * 45)[:45],
    "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6IjEifQ.c2ln",
    "v1.0",
]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer ", "Bearer sk-anything", "Bearer x", "sk-bare", *(f"Bearer {key}" for key in FOREIGN)]
)
def test_without_keys_whatever_is_no_token_may_use_the_pool(header):
    assert caller_of(header, ()).own is None


@pytest.mark.parametrize("header", ["Bearer key-1", "bearer key-2", "BEARER  key-2 ", "key-1"])
def test_a_right_key_is_let_in(header):
    assert caller_of(header, KEYS).own is None


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "Bearer ", "Bearer key-", "Bearer key-11", "Bearer KEY-1", "Bearer kéy-1"),
        *(f"Bearer {key}" for key in FOREIGN),
    ],
)
def test_a_wrong_key_is_not_and_is_not_taken_for_a_token(header):
    with pytest.raises(CredentialError) as caught:
        caller_of(header, KEYS)
    assert (caught.value.http_status, caught.value.code) == (401, "invalid_api_key")
    assert "key-" not in caught.value.message


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (make_access_token("alice"), "access"),
        (make_refresh_token("alice"), "refresh"),
        (make_session_token("alice"), "session"),
        ("fk-share-token", "access"),
    ],
)
@pytest.mark.parametrize("keys", [(), KEYS])
def test_each_kind_of_token_stands_for_its_own_account(token, kind, keys):
    own = caller_of(f"Bearer {token}, team-1", keys).own
    assert own is not None
    assert (own.kind, own.secret_token, own.workspace_id) == (kind, token, "team-1")


def test_a_key_that_looks_like_a_token_is_still_a_key():
    key = make_refresh_token("nobody")
    assert caller_of(f"Bearer {key}", (key,)).own is None


@pytest.mark.parametrize("bad", ["eyJhbGciOi.!!!.sig", "eyJ.eyJ.eyJ", "eyJhbGciOi.W10.sig", "eyJhbGciOi..sig"])
def test_what_only_seems_a_token(bad):
    with pytest.raises(CredentialError) as caught:
        caller_of(f"Bearer {bad}", ())
    assert bad not in caught.value.message


def test_an_expired_token_is_refused_before_upstream_sees_it():
    with pytest.raises(CredentialError) as caught:
        own_account(parse_credential(make_access_token("alice", expires_at=NOW)), NOW)
    assert caught.value.code == "token_expired"
    assert own_account(parse_credential(make_access_token("alice", expires_at=NOW + 1)), NOW).user


def account(name, expires_at=NOW + 10):
    return account_of(parse_credential(make_access_token(name, expires_at=expires_at)), NOW)


def test_an_account_is_always_the_same_device_and_nobody_is_the_installation():
    first, later = identity_of(account("a"), INSTALLATION), identity_of(account("a", NOW + 99), INSTALLATION)
    assert first.device_id == later.device_id
    assert first.access_token != later.access_token
    assert identity_of(account("b"), INSTALLATION).device_id != first.device_id
    assert identity_of(None, INSTALLATION).device_id == str(INSTALLATION)
    assert identity_of(Account("x"), INSTALLATION).access_token is None


def test_the_log_name_tells_accounts_apart_and_tells_nothing_else():
    one, two = (identity_of(account(name), INSTALLATION) for name in "ab")
    assert account_hash(one) != account_hash(two)
    assert len(account_hash(one)) == 8
    assert account_hash(one) not in one.device_id
    assert account_hash(identity_of(None, INSTALLATION)) == "anonymous"
