"""The parts of a URL: scheme, host, port and path, parsed in one place only.

Rule: a URL is parsed once. The parts found here are what is checked, connected to and sent. A spelling that another
parser might read differently (numbers in disguise, backslashes, control characters, zones) is refused, not interpreted.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote, urljoin, urlsplit

import idna
import msgspec

from shim.errors import ConfigurationError, RequestError

DEFAULT_PORTS = {"http": 80, "https": 443}
# What most servers take of a request line, and what the DNS takes of a name (RFC 1035).
_MAX_URL = 8192
_MAX_HOST = 253

# Parsers differ in what they make of them (a backslash is a slash to browsers, a tab nothing to Python), and who looks
# at the host has to read what curl reads.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label that makes other readers take the whole for an address (the WHATWG's URL standard, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BRACKETED = re.compile(r"\[[0-9a-f:.%]+\](?::\d*)?", re.IGNORECASE | re.ASCII)
# What a path may have unescaped (RFC 3986); `%` among it, because what was escaped stays so.
_PLAIN = "/%:@!$&'()*+,;=~"
_ALLOWED = re.compile(r"(?P<host>\[[^\]]+\]|[^\[\]:]+)(?::(?P<port>\d{1,5}))?")


class Target(msgspec.Struct, frozen=True):
    """Where to connect and what to ask for. `host` is a name or a numeric address without brackets; `path` has the
    query, and only characters a request line may have."""

    scheme: str
    host: str
    port: int
    path: str
    numeric: bool = False

    @property
    def secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def name(self) -> str:
        """The last word of the path: what the file may be called."""
        return unquote(self.path.partition("?")[0].rpartition("/")[2])


class AllowList:
    """ALLOW_PRIVATE_URLS: each `host[:port]` that files may be fetched from although it is private. A host (a name or
    a numeric address) is compared as a whole; an entry without a port allows the default port of the scheme only."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries: set[tuple[str, int | None]] = set()
        for entry in entries:
            found = _ALLOWED.fullmatch(entry.strip())
            try:
                if found is None:
                    raise not_allowed("its host is malformed")
                host, _ = _host_of(found["host"].strip("[]"), bracketed=found["host"].startswith("["))
            except RequestError as error:
                raise ConfigurationError(f"ALLOW_PRIVATE_URLS has {entry!r}: allowed are host and host:port") from error
            self._entries.add((host, int(found["port"]) if found["port"] else None))

    def allows(self, target: Target) -> bool:
        """Whether the operator has allowed this target."""
        port = None if target.port == DEFAULT_PORTS[target.scheme] else target.port
        return not self._entries.isdisjoint({(target.host, port), (target.host, target.port)})


def target_of(url: str) -> Target:
    """The target of an http(s) URL. Raises RequestError (400) for any other, and for every odd spelling."""
    if len(url) > _MAX_URL:
        raise not_allowed("it is too long")
    if _UNSAFE.search(url):
        raise not_allowed("it has characters a URL can't have")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise not_allowed("it is malformed") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise not_allowed("only http and https URLs, and data URLs, are read")
    if "@" in parts.netloc:
        raise not_allowed("it has a user name or a password in it")
    if (bracketed := "[" in parts.netloc) and not _BRACKETED.fullmatch(parts.netloc):
        raise not_allowed("its host is malformed")
    host, numeric = _host_of(parts.hostname or "", bracketed=bracketed)
    if port == 0:
        raise not_allowed("it has no usable port")
    # Other characters are percent-encoded; what was encoded stays as it is. The fragment is never sent.
    path = quote(parts.path or "/", safe=_PLAIN)
    if parts.query:
        path += f"?{quote(parts.query, safe=_PLAIN + '?')}"
    return Target(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], path, numeric)


def redirected(url: str, location: str) -> str:
    """The URL a redirect leads to. Raises RequestError (400) where it leads nowhere."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise not_allowed("it is redirected to a malformed one") from error


def not_allowed(why: str) -> RequestError:
    """The error for a URL that is refused. It never quotes the URL, which may hold a signature."""
    return RequestError(f"This URL is not fetched: {why}.", code="file_url_not_allowed")


def _host_of(host: str, *, bracketed: bool) -> tuple[str, bool]:
    """(the host in its one spelling, whether it is a numeric address)."""
    if bracketed:
        try:
            address = IPv6Address(host)
        except ValueError as error:
            raise not_allowed("its host is malformed") from error
        # A zone names an interface of this machine (RFC 4007).
        if address.scope_id is not None:
            raise not_allowed("its address has a zone")
        return str(address), True
    if not host.isascii():
        # Before it is mapped, which takes its time for a long text, only to be refused afterwards.
        if len(host) > _MAX_HOST:
            raise not_allowed("its host is malformed")
        try:
            # As the DNS knows it: UTS 46 maps international names, and digits in disguise to digits.
            host = idna.encode(host, uts46=True, std3_rules=True).decode()
        except idna.IDNAError as error:
            raise not_allowed("its host is malformed") from error
    # The dot of the root makes it no other host.
    name = host.lower().removesuffix(".")
    if len(name) > _MAX_HOST or not _NAME.fullmatch(name):
        raise not_allowed("its host is malformed")
    if not _NUMBER.fullmatch(name.rpartition(".")[2]):
        return name, False
    try:
        return str(IPv4Address(name)), True
    except ValueError as error:
        raise not_allowed("its host is an address in an unusual spelling") from error
