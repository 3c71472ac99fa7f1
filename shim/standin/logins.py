"""Where one logs in again: refresh tokens and session cookies, and what becomes of them (protocol.md 8).

Rules:
* each token has a generation. A session cookie is renewed with every answer, a refresh token only for accounts that
  rotate; there the older ones are refused, which is how a client that uses one twice is found out;
* a refresh token is good with one client id (8.1). Asking with another one is refused and costs it nothing;
* whoever uses a refresh token twice ends all those that descend from the same log-in.
"""

from collections.abc import Mapping

from shim.standin import listings
from shim.standin.accounts import Account, Accounts, Clock, make_refresh_token, make_session_token, read_session_token
from shim.standin.failures import refused
from shim.standin.memory import remember
from shim.standin.stats import Stats
from shim.standin.steps import Json

SESSION_COOKIE = "__Secure-next-auth.session-token"
CALLBACK_COOKIE = "__Secure-next-auth.callback-url"
COOKIE_CHUNK = 3933  # characters of a session in one cookie


class Logins:
    """The token endpoint and the session endpoint."""

    def __init__(self, accounts: Accounts, stats: Stats, clock: Clock) -> None:
        self._accounts = accounts
        self._stats = stats
        self._clock = clock
        self._refresh_tokens: dict[str, tuple[str, str, int]] = {}
        self._newest: dict[str, int] = {}
        self._ended: dict[str, bool] = {}

    def refresh(self, token: str, client_id: str) -> Json:
        """An access token for a refresh token; refuses with the rows of LOGIN_FAILURES."""
        name, client, generation = self._refresh_tokens.get(token, ("", "", 0))
        if not name:
            name, client = self._accounts.by_first_refresh_token(token) or ("", "")
        account = self._accounts.get(name)
        if account is None:
            raise refused("refresh_request_expired" if token.startswith("rt_") else "invalid_grant")
        if client_id != client:
            raise refused("invalid_grant")
        if failure := account.take_failure("refresh"):
            raise failure
        family = f"refresh:{client}:{name}"
        if family in self._ended:
            raise refused("refresh_token_invalidated")
        if generation != self._newest.get(family, 0):
            remember(self._ended, family, True)
            raise refused("refresh_token_reused")
        self._count("refresh", account, generation)
        following = generation + account.rotates
        new = make_refresh_token(name, following, client)
        remember(self._newest, family, following)
        remember(self._refresh_tokens, new, (name, client, following))
        return listings.refreshed(account, self._clock(), new, client)

    def session(self, cookies: Mapping[str, str]) -> tuple[Json, dict[str, str]]:
        """(body, cookies to set); nobody is `{}` and no cookies."""
        name, generation = read_session_token(joined(cookies)) or ("", 0)
        account = self._accounts.get(name)
        if account is None:
            return {}, {}
        if failure := account.take_failure("session"):
            raise failure
        newest = self._newest.get(f"session:{name}", 0)
        if account.rotates and generation != newest:
            return {}, {}
        self._count("session", account, generation)
        remember(self._newest, f"session:{name}", newest + 1)
        new = make_session_token(name, newest + 1, account.session_length)
        callback = {CALLBACK_COOKIE: "https%3A%2F%2Fchatgpt.com%2F"}
        return listings.session(account, self._clock()), callback | cut(new)

    def _count(self, kind: str, account: Account, generation: int) -> None:
        self._stats.exchanges[f"{kind}:{account.name}:{generation}"] += 1


def joined(cookies: Mapping[str, str]) -> str:
    """The session in its one cookie, or in several: `.0`, `.1` and so on."""
    pieces = [cookies.get(SESSION_COOKIE, "")]
    while piece := cookies.get(f"{SESSION_COOKIE}.{len(pieces) - 1}"):
        pieces.append(piece)
    return "".join(pieces)


def cut(session: str) -> dict[str, str]:
    """The cookies that hold a session; a browser keeps none above 4096 bytes."""
    if len(session) <= COOKIE_CHUNK:
        return {SESSION_COOKIE: session}
    pieces = [session[begin : begin + COOKIE_CHUNK] for begin in range(0, len(session), COOKIE_CHUNK)]
    return {f"{SESSION_COOKIE}.{number}": piece for number, piece in enumerate(pieces)}
