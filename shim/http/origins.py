"""Where a request comes from, as far as its headers tell: this machine, our own pages, or another web page.

Rule: pure, and refused unless recognised; a browser sends its user's requests to any address that a page names.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    address = address_of(host)
    return address is not None and address.is_loopback


def name_in(host: str) -> str:
    """The name or address in a Host header, in lower case and without its port; "" where it has none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


@lru_cache(16)  # asked for each request, nearly always about the same name
def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine itself. Any other name may have been pointed here (DNS rebinding)."""
    name = name_in(host)
    return name == "localhost" or is_loopback(name)


def is_same_origin(
    host: str, public_url: str, *, origin: str | None, site: str | None, navigates: bool = False
) -> bool:
    """Whether a browser made the request from our own pages, or no browser did.

    `site` is Sec-Fetch-Site, which pages can't set: where it is there, it counts alone. As a proxy may have changed
    `host`, a page of `public_url` is ours, too. With `navigates` the address bar and bookmarks will do.
    """
    if site is not None:
        return site == "same-origin" or (navigates and site == "none")
    if origin is None:
        return True
    return origin_of(origin) in {origin_of(f"http://{host}"), origin_of(f"https://{host}"), origin_of(public_url)} - {
        None
    }


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """An address as a number; an IPv4 one that IPv6 wraps is unwrapped. None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a URL; None where it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None
