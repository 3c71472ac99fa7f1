"""The door of the accounts page: who is let in, and how to log in and out.

    ADMIN_KEY set      `Authorization: Bearer ADMIN_KEY` (scripts), or the cookie of a log-in (the page)
    no ADMIN_KEY       this machine alone: peer and Host are loopback, and nobody forwarded the request

Rules:
* refused unless allowed: the guards run before every route of the page and before any body is read;
* what a browser sends by itself (the cookie, or being on this machine) changes nothing without the header
  `x-chat2api-csrf`, whose value only our own page can read;
* the cookie has no Path on purpose: a browser then takes the folder of the address that set it, which is that of the
  page even behind a proxy that changes paths. So only the routes right below `/tokens` may set it.

Litestar's own parts can't keep these. Its client-side sessions set their cookie with every answer, also below
`/tokens/api`, know no absolute end and no log-out, and can't tell whether TLS ended at a proxy. Its CSRF tokens belong
to no session, need a cookie that scripts can read, and are asked of programs with a key as well. Its rate limit counts
requests, not wrong keys.
"""

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler

from shim.apis.admin.sessions import (
    AdminSession,
    AdminSessions,
    GuessLimiter,
    is_equal,
    peer_name,
)
from shim.errors import CredentialError, LimitError, RequestError
from shim.http.origins import is_loopback, is_loopback_name, is_same_origin
from shim.settings import Settings

log = logging.getLogger("chat2api")

COOKIE = "chat2api_accounts"
CSRF = "x-chat2api-csrf"

Connection = ASGIConnection[Any, Any, Any, Any]

_NO_KEY = (
    "Without ADMIN_KEY the accounts can only be managed from the machine the gateway runs on, by its loopback address "
    "and without a proxy. Set ADMIN_KEY to manage them from elsewhere"
)
_NO_PAGE = (
    "Without ADMIN_KEY there is no accounts page here, as AUTHORIZATION or PUBLIC_BASE_URL says that this gateway is "
    "reached from elsewhere. Set ADMIN_KEY, or use `chat2api tokens` on the machine it runs on"
)
_NO_READER = (
    "Send the admin key (ADMIN_KEY) as 'Authorization: Bearer ADMIN_KEY'. Only where none of ADMIN_KEY, AUTHORIZATION "
    "and PUBLIC_BASE_URL is set, the machine the gateway runs on may ask without one, by its loopback address and "
    "without a proxy"
)
_WRONG_KEY = "This is not the admin key (ADMIN_KEY)"
_NO_LOGIN = "Log in, or send the admin key as 'Authorization: Bearer ADMIN_KEY'"
_NO_TOKEN = (
    f"A request that changes something needs the header {CSRF} with the value from tokens/session: reload the page"
)
_OTHER_ORIGIN = "Another web page made this request, so it was refused"


class SessionInfo(msgspec.Struct, frozen=True):
    """What the page learns about its session: how to log in here, whether this browser is, and its CSRF token."""

    access: Literal["key", "loopback"]
    signed_in: bool
    csrf: str | None
    chat_page: bool


class Door:
    """One for each application. `clock` gives seconds since 1970, `new_id` makes ids of 256 random bits."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._key = settings.admin_key
        self._chat_page = settings.enable_gateway
        self._public_url = settings.public_base_url
        # A proxy on this machine may forward everybody and say nothing of it (nginx as it comes does): then all of them
        # look like this machine.
        self._exposed = bool(settings.authorization or settings.public_base_url)
        self._clock = clock
        self._new_id = new_id
        self._sessions = AdminSessions(settings.admin_key)
        self._limiter = GuessLimiter()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    # --- guards -----------------------------------------------------------------------------------------------------

    def guard_place(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        """Guards what anyone who could log in may see. Raises GatewayError."""
        if not self._key and self._exposed:
            raise RequestError(_NO_PAGE, status=403, type="permission_error", code="admin_key_needed")
        if not self._key and not _is_at_this_machine(connection):
            raise RequestError(_NO_KEY, status=403, type="permission_error", code="admin_key_needed")

    def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Guards everything else. Raises GatewayError."""
        self.guard_place(connection, handler)
        key = _bearer(connection) if self._key else None
        # No browser sends the key by itself, so whoever has it needs neither an origin nor a CSRF token.
        if key is not None:
            self._try_key(connection, key)
            return
        self.guard_origin(connection, handler)
        session = self._session(connection)
        if self._key and session is None:
            raise CredentialError(_NO_LOGIN, code="admin_login_needed")
        if connection.scope["method"] not in {"GET", "HEAD"}:  # type: ignore[typeddict-item]
            token = connection.headers.get(CSRF, "")
            if session is None or not self._sessions.has_token(session, token):
                raise RequestError(_NO_TOKEN, status=403, type="permission_error", code="csrf_token_needed")

    def guard_reader(self, connection: Connection) -> None:
        """Guards what programs read: for the admin key; or, where no setting says that others are served, too, for this
        machine. A proxy that says nothing of whom it forwards would let everybody else read it. Raises GatewayError."""
        key = _bearer(connection)
        if self._key and key is not None:
            self._try_key(connection, key)
        elif self._key or self._exposed or not _is_at_this_machine(connection):
            raise RequestError(_NO_READER, status=403, type="permission_error", code="admin_key_needed")
        else:
            self.guard_origin(connection)

    def guard_origin(self, connection: Connection, _handler: BaseRouteHandler | None = None) -> None:
        """Refuses requests that another web page makes. Raises RequestError."""
        headers = connection.headers
        if not is_same_origin(
            headers.get("host", ""),
            self._public_url,
            origin=headers.get("origin"),
            site=headers.get("sec-fetch-site"),
            navigates=connection.scope["method"] == "GET",  # type: ignore[typeddict-item]
        ):
            raise RequestError(_OTHER_ORIGIN, status=403, type="permission_error", code="other_origin")

    # --- logging in and out -----------------------------------------------------------------------------------------

    def log_in(self, connection: Connection, key: str) -> tuple[SessionInfo, list[Cookie]]:
        """A session for the right key. Raises CredentialError for a wrong one, LimitError after too many."""
        if not self._key:
            raise RequestError("There is nothing to log in to: ADMIN_KEY is not set", code="admin_key_not_set")
        self._try_key(connection, key)
        return self._begin(connection)

    def session(self, connection: Connection) -> tuple[SessionInfo, list[Cookie]]:
        """The session of this browser. Asking counts as using it, so its idle time begins anew."""
        now = self._clock()
        session = self._session(connection)
        if session is not None:
            renewed = self._sessions.renewed(session, now)
            return self._info(session), [_cookie(connection, renewed)] if renewed else []
        # Without a key there is no log-in: a session is begun unasked, because CSRF tokens belong to one.
        return (SessionInfo("key", False, None, self._chat_page), []) if self._key else self._begin(connection)

    def log_out(self, connection: Connection) -> list[Cookie]:
        """End the session and have the browser forget the cookie."""
        session = self._session(connection)
        if session is not None:
            self._sessions.end(session)
        return [_cookie(connection, "", max_age=0)]

    def confirm_key(self, connection: Connection, key: str) -> None:
        """Ask for the admin key once more, where a session is all that a browser has shown. Raises GatewayError."""
        if self._key and _bearer(connection) is None:
            self._try_key(connection, key)

    # --- pieces -----------------------------------------------------------------------------------------------------

    def _begin(self, connection: Connection) -> tuple[SessionInfo, list[Cookie]]:
        now = self._clock()
        session = AdminSession(self._new_id(), int(now), int(now))
        return self._info(session), [_cookie(connection, self._sessions.cookie(session))]

    def _info(self, session: AdminSession) -> SessionInfo:
        return SessionInfo("key" if self._key else "loopback", True, self._sessions.token(session), self._chat_page)

    def _session(self, connection: Connection) -> AdminSession | None:
        return self._sessions.read(connection.cookies.get(COOKIE, ""), self._clock())

    def _try_key(self, connection: Connection, key: str) -> None:
        """Compare one key: the right one is let in, and of wrong ones only so many are told that they are. Nothing is
        awaited between asking the limiter and telling it: guesses made at once count."""
        if is_equal(key, self._key):
            return  # whatever others guess, or this one did before: nobody may lock the administrator out
        peer = peer_name(_peer(connection))
        now = self._clock()
        wait = self._limiter.wait(peer, now)
        if wait > 0:
            raise LimitError(
                f"Too many wrong admin keys: try again in {round(wait) or 1} s",
                code="too_many_attempts",
                retry_after=wait,
            )
        self._limiter.failed(peer, now)
        log.warning("a wrong admin key came from %s", peer)
        raise CredentialError(_WRONG_KEY, code="invalid_admin_key")


def _is_at_this_machine(connection: Connection) -> bool:
    """Whether a request comes from this machine itself. Behind a proxy on this machine everybody looks like loopback,
    and a Host of another name may be that of any web page (DNS rebinding), so both are refused."""
    headers = connection.headers
    if any(name.startswith("x-forwarded-") or name in _FORWARDING for name in headers):
        return False
    return is_loopback(_peer(connection)) and is_loopback_name(headers.get("host", ""))


def _peer(connection: Connection) -> str:
    return connection.client.host if connection.client is not None else ""


def _bearer(connection: Connection) -> str | None:
    """The bearer key. None for other schemes: the Basic log-in of a proxy is not a guess at our key."""
    scheme, _, key = connection.headers.get("authorization", "").strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _cookie(connection: Connection, value: str, max_age: int | None = None) -> Cookie:
    headers = connection.headers
    # Whether the browser spoke TLS, also where a proxy ended it. A client that lies here only loses its own cookie.
    forwarded = headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    secure = "https" in {connection.scope["scheme"], forwarded} or headers.get("origin", "").startswith("https://")
    # Litestar leaves an empty path out of the header; the docstring of this module says why it has to be left out.
    return Cookie(COOKIE, path="", value=value, max_age=max_age, httponly=True, samesite="strict", secure=secure)


# What proxies add, of the common kinds. One is enough: to be let in without a key, none may have passed the request on.
_FORWARDING = frozenset({"forwarded", "x-real-ip", "via", "cf-connecting-ip", "true-client-ip"})
