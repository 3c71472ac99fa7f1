"""The seam to the network: one method, `Transport.send`. The curl driver behind it is the only code that opens a socket
to upstream; the replay driver plays cassettes instead.
"""

from shim.transport.base import ConnectionKey, Deadlines, Response, Transport

__all__ = ["ConnectionKey", "Deadlines", "Response", "Transport"]
