"""Where a server listens. It imports no server, so that who only has to know the place stays small."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from shim.settings import SettingError, Settings


def listening_address(settings: Settings) -> str:
    """The numeric address of HOST, for servers that know no names. Raises SettingError."""
    if settings.numeric_host is not None:
        return str(settings.numeric_host)
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingError(f"HOST is {settings.host!r}, which is no address of this machine ({error})") from error
    return str(found[0][4][0])


@contextmanager
def claimed_port(host: str, port: int) -> Iterator[int]:
    """A port nobody else gets while the block runs: 0 finds a free one, another raises OSError when it is in use.

    Granian binds with SO_REUSEPORT, so two servers on one port would silently share its connections; hence the
    plain bind first. The bound, never listening socket keeps the number reserved.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = probe.getsockname()[1]
    with socket.socket(family) as reservation:
        # What another program's closed connections still hold for a minute is no reason not to start.
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind((host, port))
        yield port
