"""What a failure says about an account, and whether it may be tried again: row by row."""

import pytest
from curl_cffi import CurlError
from curl_cffi.const import CurlECode

from shim.accounts.outcomes import Attempt, Rest, Tries, event_of, may_retry, policy_of
from shim.accounts.states import Limited, Refused, Released, TokenExpired
from shim.errors import (
    About,
    ConfigurationError,
    CredentialError,
    DeadlineError,
    LimitError,
    RefusedError,
    RequestError,
    Sent,
    UnavailableError,
    UpstreamError,
)
from shim.protocol.refusals import refusal_of, turnstile_required
from shim.transport.failures import failure_of_curl
from tests.servers import REAL_BACKOFF

NOW = 1000.0
SENT, UNSENT = Attempt(sent=True), Attempt()


def said(error, *, renewable=False, own=False):
    return event_of(error, slug="gpt-4", renewable=renewable, now=NOW, own=own)


@pytest.mark.parametrize(
    ("error", "renewable", "event"),
    [
        (CredentialError("x", cause="unauthorized"), False, Refused("unauthorized")),
        (CredentialError("x", cause="token_revoked"), False, Refused("token_revoked")),
        (CredentialError("x", cause="token_expired", expired=True), False, TokenExpired()),
        (CredentialError("x", cause="token_invalidated"), True, TokenExpired()),
        (
            CredentialError("x", cause="account_deactivated", about=About.ACCOUNT),
            True,
            Refused("account_deactivated"),
        ),
        (
            LimitError("x", code="model_cap_exceeded", retry_after=5, about=About.MODEL),
            False,
            Limited(1005, "gpt-4", "model_cap_exceeded"),
        ),
        (LimitError("x", retry_after=5), False, Limited(1005, None, "rate_limit_exceeded")),
        (LimitError("x"), False, Limited(1060, None, "rate_limit_exceeded")),
        (LimitError("x", retry_after=0), False, Limited(1001, None, "rate_limit_exceeded")),
        (LimitError("x", retry_after=1e9), False, Limited(1000 + 31 * 86400, None, "rate_limit_exceeded")),
        (LimitError("x", about=About.TURNS), False, Limited(1005, None, "rate_limit_exceeded")),
        (RefusedError("x"), False, Limited(1030, None, "upstream_forbidden")),
        (RefusedError("x", code="cf-please-wait", about=About.ADDRESS), False, Limited(1030, None, "cf-please-wait")),
        (RefusedError("x", code="proof_of_work_too_hard", about=About.CHECK), False, Released()),
        (turnstile_required(), False, Released()),
        (UnavailableError("x", retry_after=5, about=About.PROOF), False, Released()),
        (UpstreamError("x"), False, Released()),
        (DeadlineError("x"), False, Released()),
        (RequestError("x", status=413), False, Released()),
    ],
)
def test_what_is_kept_of_each_failure(error, renewable, event):
    assert said(error, renewable=renewable) == event


def test_a_limit_that_says_when_it_ends_is_kept_until_then():
    error = LimitError("x", resets_at=NOW + 7)
    assert said(error) == Limited(1007, None, "rate_limit_exceeded")
    assert error.headers(NOW)["retry-after"] == "7"
    assert said(LimitError("x", resets_at=NOW - 7)) == Limited(1001, None, "rate_limit_exceeded")
    assert said(LimitError("x", resets_at=1e18)) == Limited(1000 + 31 * 86400, None, "rate_limit_exceeded")


def test_an_error_that_several_waiters_hold_is_not_changed():
    error = LimitError("x", resets_at=NOW + 7)
    before = dict(vars(error))
    said(error)
    error.headers(NOW + 3)
    assert error.retry_in(NOW + 5) == 2.0
    assert vars(error) == before


def test_for_a_callers_own_account_only_upstreams_word_is_kept():
    assert said(LimitError("x", retry_after=5), own=True) == Limited(1005, None, "rate_limit_exceeded")
    assert said(LimitError("x"), own=True) == Released()
    assert said(RefusedError("x"), own=True) == Released()


@pytest.mark.parametrize(
    ("error", "unsent", "sent"),
    [
        (RequestError("x", status=400), False, False),
        (RequestError("x", status=404), False, False),
        (RequestError("x", status=413), False, False),
        (RequestError("x", status=422), False, False),
        (RequestError("x", about=About.CONTENT), False, False),
        (turnstile_required(), False, False),
        (RefusedError("x", code="proof_of_work_too_hard", about=About.CHECK), False, False),
        (UnavailableError("x"), True, True),
        (ConfigurationError("x"), False, False),
        (RefusedError("x"), True, True),
        (CredentialError("x"), True, True),
        (LimitError("x"), True, True),
        (refusal_of(502, {}, b""), True, True),
        (refusal_of(404, {}, b""), True, False),
        (failure_of_curl(CurlError("x", CurlECode.COULDNT_CONNECT)), True, True),
        (failure_of_curl(CurlError("x", CurlECode.SSL_CONNECT_ERROR)), True, True),
        (failure_of_curl(CurlError("x", CurlECode.PROXY)), True, True),
        (failure_of_curl(CurlError("x", CurlECode.GOT_NOTHING)), True, False),  # the turn may have been taken
        (UpstreamError("x"), True, False),
        (UpstreamError("x", about=About.POOL), False, False),
        (LimitError("x", about=About.POOL_BUSY), False, False),
        (UnavailableError("x", retry_after=5, about=About.PROOF, sent=Sent.NEVER), False, False),
        (DeadlineError("x"), False, False),
        (failure_of_curl(CurlError("x", CurlECode.OPERATION_TIMEDOUT)), True, True),
    ],
)
def test_what_may_be_tried_again(error, unsent, sent):
    assert may_retry(error, sent=False) is unsent
    assert may_retry(error, sent=True) is sent


@pytest.mark.parametrize(
    ("error", "rests"),
    [
        (failure_of_curl(CurlError("x", CurlECode.PROXY)), (Rest.PROXY,)),
        (failure_of_curl(CurlError("x", CurlECode.COULDNT_CONNECT)), (Rest.PROXY, Rest.ORIGIN)),
        (failure_of_curl(CurlError("x", CurlECode.OPERATION_TIMEDOUT)), (Rest.PROXY, Rest.ORIGIN)),
        (failure_of_curl(CurlError("x", CurlECode.SSL_CONNECT_ERROR)), (Rest.ORIGIN,)),
        (failure_of_curl(CurlError("x", CurlECode.RECV_ERROR)), (Rest.ORIGIN,)),
        (DeadlineError("x"), (Rest.ORIGIN,)),
        *((refusal_of(status, {}, b""), (Rest.ORIGIN,)) for status in (500, 502, 503, 504, 520, 524)),
        (refusal_of(501, {}, b""), ()),
        (refusal_of(404, {}, b""), ()),
        (UpstreamError("x", code="upstream_json"), ()),
    ],
)
def test_what_a_failure_leaves_out_of_proxies_and_origins(error, rests):
    assert policy_of(error).rests == rests


def test_there_is_a_policy_for_all_that_a_failure_can_be_about():
    for about in About:
        assert policy_of(UpstreamError("x", about=about))


def failures(tries, *errors, attempt=SENT):
    """How many of these failures are followed by another try."""
    for number, error in enumerate(errors):
        try:
            tries.note(error, attempt, f"account-{number}", NOW)
        except type(error):
            return number
    return len(errors)


def test_tries_are_counted():
    assert failures(Tries(3, NOW + 9, alone=False), *[refusal_of(500, {}, b"")] * 9) == 3
    assert failures(Tries(0, NOW + 9, alone=False), refusal_of(500, {}, b"")) == 0


def test_dead_accounts_found_before_anything_was_sent_use_no_tries_up():
    tries = Tries(1, NOW + 9, alone=False)
    assert failures(tries, *[CredentialError("x")] * 9, attempt=UNSENT) == 9
    assert tries.tried == {f"account-{number}" for number in range(9)}


def test_the_deadline_ends_all_tries():
    assert failures(Tries(3, NOW, alone=False), refusal_of(500, {}, b"")) == 0


def test_what_upstream_has_taken_is_never_sent_again():
    accepted = Attempt(sent=True, accepted=True)
    assert failures(Tries(3, NOW + 9, alone=False), refusal_of(500, {}, b""), attempt=accepted) == 0


def test_with_nobody_else_only_what_may_pass_is_tried_again():
    for error, again in ((RefusedError("x"), 0), (LimitError("x"), 0), (refusal_of(500, {}, b""), 1)):
        assert failures(Tries(3, NOW + 9, alone=True), error) == again


def test_a_refused_token_is_renewed_once_and_no_more():
    for alone in (False, True):
        tries = Tries(3, NOW + 9, alone=alone)
        tries.note(CredentialError("x"), UNSENT, "a", NOW, renewable=True)
        assert tries.tried == frozenset()
        if alone:
            with pytest.raises(CredentialError):
                tries.note(CredentialError("x"), UNSENT, "a", NOW, renewable=True)
        else:
            tries.note(CredentialError("x"), UNSENT, "a", NOW, renewable=True)
            assert tries.tried == {"a"}


def test_pauses_grow_and_are_bounded(monkeypatch):
    monkeypatch.setattr("shim.accounts.outcomes._BACKOFF_SECONDS", REAL_BACKOFF)
    tries = Tries(3, NOW, alone=True)
    pauses = [tries.pause() for _ in range(8)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.25
    assert pauses[-1] == 4.0
