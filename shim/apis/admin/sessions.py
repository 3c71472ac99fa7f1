"""Who may see and change the accounts: sessions, CSRF tokens, and a limit on guesses at the key.

Rules:
* pure: clock and ids are arguments, nothing is read from a socket, keys are compared in constant time;
* a session is a signed cookie and is stored nowhere, so that it is good in every worker and on every machine with the
  same ADMIN_KEY, and survives a restart. The price: logging out makes the browser forget it and this process refuse it,
  but a copy stolen before stays good in other processes until it expires; a new ADMIN_KEY ends all of them;
* a limit counts in one process: with N workers a guesser has N times as many tries.
"""

import functools
import hashlib
import hmac
from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_network

import msgspec

from shim.http.origins import address_of

LIFE_SECONDS = 12 * 3600.0
IDLE_SECONDS = 3600.0
RENEW_SECONDS = 60.0  # how exact the idle time is; a new cookie with every request would say no more
_SKEW_SECONDS = 60.0  # another machine's clock may be ahead of ours
_MAX_ENDED = 1024  # log-outs remembered; an older one is good again only for who kept a copy of its cookie


class AdminSession(msgspec.Struct, frozen=True):
    """One log-in. Times are in seconds since 1970: when it began, and when a person last used it."""

    id: str
    began: int
    used: int


class AdminSessions:
    """Makes and reads session cookies and their CSRF tokens. `key` is ADMIN_KEY, or "".

    Without a key a session grants nothing: it is only what a CSRF token is bound to.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._ended: OrderedDict[str, None] = OrderedDict()

    @functools.cached_property  # half of what starting the app would cost, and most gateways are never administered
    def _secret(self) -> bytes:
        # A slow derivation, once: a cookie that leaks must not make the key behind it cheap to guess.
        return hashlib.scrypt(self._key.encode(), salt=b"chat2api sessions 1", n=2**14, r=8, p=1, dklen=32)

    def begin(self, id: str, now: float) -> str:
        """The cookie of a new session. `id` is random, of 256 bits, in the alphabet of base64url."""
        return self.cookie(AdminSession(id, int(now), int(now)))

    def cookie(self, session: AdminSession) -> str:
        """The session as a cookie's value."""
        told = f"{session.began}.{session.used}.{session.id}"
        return f"{told}.{self._sign('session', told)}"

    def read(self, cookie: str, now: float) -> AdminSession | None:
        """The session of a cookie; None if it is forged, has expired or was ended here."""
        told, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", told).encode()):
            return None
        # Only what we have signed gets here, so its fields need no further check.
        began, used, id = told.split(".")
        session = AdminSession(id, int(began), int(used))
        if id in self._ended or session.used > now + _SKEW_SECONDS:
            return None
        return session if now < session.began + LIFE_SECONDS and now < session.used + IDLE_SECONDS else None

    def renewed(self, session: AdminSession, now: float) -> str | None:
        """A new cookie that says the session was used now; None if the last one is recent enough."""
        if now - session.used < RENEW_SECONDS:
            return None
        return self.cookie(msgspec.structs.replace(session, used=int(now)))

    def end(self, session: AdminSession) -> None:
        """Revoke the session in this process."""
        self._ended[session.id] = None
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)

    def token(self, session: AdminSession) -> str:
        """The CSRF token, which a request that changes something has to carry besides the cookie."""
        return self._sign("csrf", session.id)

    def has_token(self, session: AdminSession, token: str) -> bool:
        """Whether `token` is this session's CSRF token."""
        return is_equal(token, self.token(session))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.digest(self._secret, f"{purpose}:{text}".encode(), "sha256").hex()


class GuessLimiter:
    """How soon a key may be tried again, for each peer and for all together.

    A peer has FREE failures; each further one makes it wait twice as long as the one before, up to LONGEST. All peers
    together may fail ALL times in a minute. From then on a wrong key is told to wait, whatever it is; a right one is
    let in all the same, or anybody could lock the administrator out. Peers behind one proxy count as one, because
    forwarding headers can be made up.
    """

    FREE = 5  # typing errors
    FIRST = 10.0
    LONGEST = 300.0  # the rightful owner must not be locked out for long by somebody else's guesses
    ALL = 30
    FORGOTTEN = 900.0
    PEERS = 4096  # guesses from more addresses than this meet the limit for all together

    def __init__(self) -> None:
        self._peers: OrderedDict[str, tuple[int, float, float]] = OrderedDict()  # failures, wait until, last failure
        self._recent: deque[float] = deque(maxlen=self.ALL)

    def wait(self, peer: str, now: float) -> float:
        """Seconds until `peer` may try; 0.0 where it may at once."""
        _failures, until, _last = self._peers.get(peer, (0, 0.0, 0.0))
        everyone = self._recent[0] + 60.0 if len(self._recent) == self.ALL else 0.0
        return max(0.0, until - now, everyone - now)

    def failed(self, peer: str, now: float) -> None:
        """Count a wrong key, from which on `peer` may have to wait."""
        failures, _until, last = self._peers.pop(peer, (0, 0.0, now))
        failures = 1 if now - last > self.FORGOTTEN else failures + 1
        over = failures - self.FREE
        # The exponent is bounded, because a float is not: 2.0**1024 overflows.
        until = now + min(self.LONGEST, self.FIRST * 2 ** min(over, 16)) if over >= 0 else 0.0
        self._peers[peer] = (failures, until, now)
        self._recent.append(now)
        if len(self._peers) > self.PEERS:
            self._peers.popitem(last=False)


def is_equal(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on how much is equal. Hashes, because lengths would show otherwise."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(expected.encode()).digest())


def peer_name(host: str) -> str:
    """What counts as one guesser: an IPv4 address, or an IPv6 network of the size one customer gets (/64)."""
    address = address_of(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address) if address is not None else "unknown"
