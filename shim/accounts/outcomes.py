"""What is done about a failure: what it leaves at rest, and whether the turn may be tried again.

Rules: one table, by what the failure is about (`shim.errors.About`); no code and no sentence is looked at here. A limit
is honoured for as long as upstream says, and for a default where it says nothing; a refusal rests the account for a
short while; what is the request's own fault says nothing and is never tried again.
"""

import enum

import msgspec

from shim.accounts.states import Limited, Refused, Released, TokenExpired, TurnEvent
from shim.errors import MAX_WAIT_SECONDS, About, CredentialError, GatewayError, LimitError, Sent

_BACKOFF_SECONDS = 0.25  # doubles with every try
# A client waits for its first byte meanwhile, and FIRST_BYTE_TIMEOUT ends all tries together.
_MAX_BACKOFF_SECONDS = 4.0
# Upstream's edge asks for patience with a page. Sooner, it would only show the page again.
_EDGE_SECONDS = 1.0
# Of a limit that says it is over already. Less, and the next request would be refused in the same breath.
_MIN_LIMIT_SECONDS = 1.0
_PROXY_SECONDS = 30.0  # that an account rests whose own proxy failed, as one of PROXY_URL does


class Retry(enum.Enum):
    """With whom a turn that failed may be tried again, as long as upstream has not taken it."""

    NEVER = "never"
    ELSEWHERE = "elsewhere"  # another account may do; the same one would fail in the same way
    ANYWHERE = "anywhere"  # it may pass by itself: also the same account, after a pause


class Rest(enum.Enum):
    """What a failure leaves out for a while."""

    PROXY = "proxy"
    ORIGIN = "origin"
    ACCOUNT = "account"
    MODEL = "model"


class Policy(msgspec.Struct, frozen=True):
    """What is done about a failure: of what is in `rests`, the first that there is rests. `seconds` is for how long an
    account or a model does where upstream gives no time (FailoverList has its own rule)."""

    retry: Retry
    rests: tuple[Rest, ...] = ()
    seconds: float = 0.0


_POLICIES = {
    About.REQUEST: Policy(Retry.NEVER),
    About.CONTENT: Policy(Retry.NEVER),
    About.CHECK: Policy(Retry.NEVER),
    About.ADDRESS: Policy(Retry.ELSEWHERE, (Rest.ACCOUNT,), 30.0),
    About.ACCESS: Policy(Retry.ELSEWHERE, (Rest.ACCOUNT,), 30.0),
    About.TOKEN: Policy(Retry.ELSEWHERE),  # what becomes of the account: `event_of`
    About.ACCOUNT: Policy(Retry.ELSEWHERE, (Rest.ACCOUNT,), 60.0),
    About.MODEL: Policy(Retry.ELSEWHERE, (Rest.MODEL,), 60.0),
    About.TURNS: Policy(Retry.ELSEWHERE, (Rest.ACCOUNT,), 5.0),  # the other turn is soon over
    About.PROXY: Policy(Retry.ANYWHERE, (Rest.PROXY,)),
    About.ROUTE: Policy(Retry.ANYWHERE, (Rest.PROXY, Rest.ORIGIN)),
    About.ORIGIN: Policy(Retry.ANYWHERE, (Rest.ORIGIN,)),
    About.TIME: Policy(Retry.NEVER, (Rest.ORIGIN,)),  # the time for a further try is used up
    About.UPSTREAM: Policy(Retry.ANYWHERE),
    About.POOL: Policy(Retry.NEVER),  # every account has been asked
    About.POOL_BUSY: Policy(Retry.NEVER),
    About.PROOF: Policy(Retry.NEVER),  # another account would wait for the same solver
    About.GATEWAY: Policy(Retry.ANYWHERE),
}


def policy_of(error: GatewayError) -> Policy:
    """What is done about `error`."""
    return _POLICIES[error.about]


def may_pass(error: GatewayError) -> bool:
    """Whether the same call by the same account may fare better after a pause."""
    return error.transient and policy_of(error).retry is Retry.ANYWHERE


def is_refusal(error: GatewayError) -> bool:
    """Whether upstream said no to who asks, or from where: what a client can do nothing about, and waiting may not
    mend. Told for what it is, also where every account rests because of it."""
    return error.about in {About.ADDRESS, About.ACCESS}


def may_retry(error: GatewayError, *, sent: bool) -> bool:
    """Whether the turn may be tried again. `sent` tells that the conversation call had begun: then only what never went
    out, or an answer that said no, proves that upstream has not taken it."""
    if not may_pass(error) and policy_of(error).retry is not Retry.ELSEWHERE:
        return False
    return not sent or error.sent is not Sent.MAYBE_TAKEN


class Attempt(msgspec.Struct):
    """How far one attempt at a turn got: whether the conversation call had begun, and whether upstream had taken it."""

    sent: bool = False
    accepted: bool = False


class Tries:
    """The attempts at one turn: who has been tried, what failed last, and whether there may be another.

    `alone`: no other account can take over, so only what may pass by itself is tried again, or once with a new token.
    `until` is in seconds since 1970. What shows that an account can't be used, before anything was sent with it, does
    not use a try up: otherwise a few dead accounts would fail a request while others are free.
    """

    def __init__(self, times: int, until: float, *, alone: bool) -> None:
        self.alone = alone
        self.tried: frozenset[str] = frozenset()
        self.failure: GatewayError | None = None
        self.waits = False  # whether the same account is to be asked once more, after a pause
        self.again: str | None = None  # that account
        self._asked_again = False
        self._times = times
        self._left = times
        self._until = until
        self._pauses = 0
        self._renewed: set[str] = set()

    def asks_again(self, error: GatewayError, attempt: Attempt, account: str | None, now: float) -> bool:
        """Whether the same account is asked once more because upstream's edge said wait, which often passes. Then it is
        not to rest, and `again` names it (None: nobody in particular). Once in a turn; it is one of its tries."""
        patient = error.about is About.ADDRESS and not attempt.accepted and not self._asked_again
        if not patient or self._left < 1 or now + _EDGE_SECONDS >= self._until:
            return False
        self._left -= 1
        self._asked_again, self.waits, self.again, self.failure = True, True, account, error
        return True

    def note(
        self, error: GatewayError, attempt: Attempt, account: str | None, now: float, *, renewable: bool = False
    ) -> None:
        """An attempt with `account` failed. Raises `error` where it was the last one. An account whose token was
        refused may be tried again if it is `renewable`, with a new token, once."""
        by_token = isinstance(error, CredentialError) and renewable and account not in self._renewed
        # Where nobody else can take over, only time or a new token of the same account helps.
        alone = self.alone and not may_pass(error)
        helps = by_token if alone else may_retry(error, sent=attempt.sent)
        if attempt.accepted or now >= self._until or not self._times or not helps:
            raise error
        # A refusal or limit that came before anything was sent costs no try: a few dead accounts use up none.
        if attempt.sent or not isinstance(error, CredentialError | LimitError):
            self._left -= 1
        if self._left < 0:
            raise error
        self.failure = error
        if account is None:
            return
        if by_token:
            self._renewed.add(account)
        else:
            self.tried |= {account}

    @property
    def may_pass(self) -> bool:
        """Whether what failed last may pass by itself."""
        return self.failure is not None and may_pass(self.failure)

    def pause(self) -> float:
        """Seconds to wait before the same way is tried again; longer each time, and no shorter than it was said."""
        if self.waits:
            return _EDGE_SECONDS
        self._pauses += 1
        said = self.failure.retry_after if self.failure is not None else None
        return max(min(_BACKOFF_SECONDS * 2.0 ** (self._pauses - 1), _MAX_BACKOFF_SECONDS), said or 0.0)


def event_of(
    error: GatewayError, *, slug: str, renewable: bool, now: float, own: bool = False, own_proxy: bool = False
) -> TurnEvent:
    """What the pool is told of a turn that failed with `error`. `now` is in seconds since 1970.

    For a caller's `own` account only what upstream itself says is kept: nobody else is there to take the turn, so a
    rest of our making would only stand in the way. With an `own_proxy` it is the account that rests when that proxy
    fails: there is no other way for it.
    """
    if isinstance(error, CredentialError):
        # An expired token is not a dead account; one that was taken back is, unless it can be renewed.
        if error.about is not About.ACCOUNT and (renewable or error.expired):
            return TokenExpired(error.evidence)
        return Refused(error.cause or "unauthorized", error.evidence)
    policy, seconds = policy_of(error), error.retry_in(now)
    if own_proxy and Rest.PROXY in policy.rests:
        return Limited(now + _PROXY_SECONDS, None, error.code or error.about.value)
    rests = {Rest.ACCOUNT, Rest.MODEL}.intersection(policy.rests)
    if not rests or (own and seconds is None):
        return Released()
    seconds = policy.seconds if seconds is None else min(max(seconds, _MIN_LIMIT_SECONDS), MAX_WAIT_SECONDS)
    model = slug if Rest.MODEL in rests else None
    return Limited(now + seconds, model, error.code or error.about.value, error.evidence)
