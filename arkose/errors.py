"""What can go wrong when a token is fetched.

Rule: neither the message (which the client sees) nor the reason (which may be logged) holds a token, a blob or the
service's URL, which can carry a key.
"""

FETCH_FAILED = "Failed to get Arkose token"
SERVICE_REQUIRED = "Arkose service required"


class ArkoseError(Exception):
    """No token could be had; a 403 with exactly this message (protocol.md 3).

    `reason` says why in a few words for the operator's log, for example `the service answered 502`.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
