"""Which addresses are public, so that a file may be fetched from them without the operator's permission.

Rule: an address is public only if it is known to be. An IPv6 address that carries an IPv4 one (mapped, compatible,
6to4, Teredo, NAT64, ISATAP) leads to that one, so none of them is public, whatever it carries: their blocks are in the
table, or outside the global block. Only a NAT64 prefix of an operator's own can't be told from any other address.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address

# IANA's registries of special purpose addresses: https://www.iana.org/assignments/iana-ipv4-special-registry
_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # between a provider and its customers, and where Alibaba's cloud serves credentials
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host of a virtual machine: a public number that is never routed
            "169.254.0.0/16",  # link-local, and where clouds serve credentials
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments, and where Oracle's cloud serves credentials
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # automatic multicast tunnelling
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")  # all that IANA has assigned; loopback, ULA, link-local and 64:ff9b:: lie outside
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)

# The middle of the interface's half of an ISATAP address, with or without the bit "universal" (RFC 5214 6.1).
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def is_public(address: str) -> bool:
    """Whether a numeric address, as a resolver gives it, belongs to the public Internet."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if parsed.version == 4:
        return not any(parsed in block for block in _SPECIAL_V4)
    if parsed.scope_id is not None or parsed not in _GLOBAL_V6 or (int(parsed) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return not any(parsed in block for block in _SPECIAL_V6)
