"""What a failure says about an account, and whether it may be tried again: row by row."""

import pytest

from shim.accounts.outcomes import Attempt, Tries, event_of, may_retry
from shim.accounts.states import Limited, Refused, Released, TokenExpired
from shim.errors import (
    CredentialError,
    DeadlineError,
    LimitError,
    RefusedError,
    RequestError,
    UnavailableError,
    UpstreamError,
)

NOW = 1000.0
SENT, UNSENT = Attempt(sent=True), Attempt()


def said(error, *, renewable=False, own=False):
    return event_of(error, slug="gpt-4", renewable=renewable, now=NOW, own=own)


@pytest.mark.parametrize(
    ("error", "renewable", "event"),
    [
        (CredentialError("x", cause="unauthorized"), False, Refused("unauthorized")),
        (CredentialError("x", cause="token_revoked"), False, Refused("token_revoked")),
        (CredentialError("x", cause="token_expired"), False, TokenExpired()),
        (CredentialError("x", cause="token_invalidated"), True, TokenExpired()),
        (CredentialError("x", cause="account_deactivated"), True, Refused("account_deactivated")),
        (
            LimitError("x", code="model_cap_exceeded", retry_after=5),
            False,
            Limited(1005, "gpt-4", "model_cap_exceeded"),
        ),
        (LimitError("x", retry_after=5), False, Limited(1005, None, "rate_limit_exceeded")),
        (LimitError("x"), False, Limited(1060, None, "rate_limit_exceeded")),
        (LimitError("Only one message at a time."), False, Limited(1005, None, "rate_limit_exceeded")),
        (RefusedError("x"), False, Limited(1030, None, "upstream_forbidden")),
        (RefusedError("x", code="cf-please-wait"), False, Limited(1030, None, "cf-please-wait")),
        (RefusedError("x", code="proof_of_work_too_hard"), False, Released()),
        (RefusedError("x", type="upstream_challenge", code="turnstile_required"), False, Released()),
        (UnavailableError("x", code="proof_of_work_busy", retry_after=5), False, Released()),
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
    assert error.headers()["retry-after"] == "7"


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
        (RefusedError("x", type="upstream_challenge", code="turnstile_required"), False, False),
        (RefusedError("x", code="proof_of_work_too_hard"), False, False),
        (UnavailableError("x", code="proof_of_work_busy", retry_after=5), False, False),
        (RefusedError("x"), True, True),
        (CredentialError("x"), True, True),
        (LimitError("x"), True, True),
        (UpstreamError("x", code="upstream_502"), True, True),
        (UpstreamError("x", code="upstream_unreachable"), True, True),
        (UpstreamError("x", code="upstream_connection"), True, False),  # the turn may have been taken
        (DeadlineError("x"), False, False),
        (DeadlineError("x", code="connect_timeout"), True, True),
    ],
)
def test_what_may_be_tried_again(error, unsent, sent):
    assert may_retry(error, sent=False) is unsent
    assert may_retry(error, sent=True) is sent


def failures(tries, *errors, attempt=SENT):
    """How many of these failures are followed by another try."""
    for number, error in enumerate(errors):
        try:
            tries.note(error, attempt, f"account-{number}", NOW)
        except type(error):
            return number
    return len(errors)


def test_tries_are_counted():
    assert failures(Tries(3, NOW + 9, alone=False), *[UpstreamError("x", code="upstream_500")] * 9) == 3
    assert failures(Tries(0, NOW + 9, alone=False), UpstreamError("x", code="upstream_500")) == 0


def test_dead_accounts_found_before_anything_was_sent_use_no_tries_up():
    tries = Tries(1, NOW + 9, alone=False)
    assert failures(tries, *[CredentialError("x")] * 9, attempt=UNSENT) == 9
    assert tries.tried == {f"account-{number}" for number in range(9)}


def test_the_deadline_ends_all_tries():
    assert failures(Tries(3, NOW, alone=False), UpstreamError("x", code="upstream_500")) == 0


def test_what_upstream_has_taken_is_never_sent_again():
    accepted = Attempt(sent=True, accepted=True)
    assert failures(Tries(3, NOW + 9, alone=False), UpstreamError("x", code="upstream_500"), attempt=accepted) == 0


def test_with_nobody_else_only_what_may_pass_is_tried_again():
    for error, again in ((RefusedError("x"), 0), (LimitError("x"), 0), (UpstreamError("x", code="upstream_500"), 1)):
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


def test_pauses_grow_and_are_bounded():
    tries = Tries(3, NOW, alone=True)
    pauses = [tries.pause() for _ in range(8)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.25
    assert pauses[-1] == 4.0
