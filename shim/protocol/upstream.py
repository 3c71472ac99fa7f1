"""Where upstream is and how we introduce ourselves: prefixes and headers (protocol.md 1).

Rule: one honest client profile per installation. A bearer goes only where an access token is at hand, and an
anonymous caller is its device id.
"""

import msgspec

from pow import ClientProfile
from shim.protocol.commands import HttpRequest

_JSON = "application/json"
_EVENT_STREAM = "text/event-stream"


class Identity(msgspec.Struct, frozen=True):
    """Who asks. Without an access token the caller is anonymous. `workspace_id` is the team workspace, if any; `proxy`
    the only one this identity goes by, if it has one of its own."""

    device_id: str
    access_token: str | None = None
    workspace_id: str | None = None
    proxy: str | None = None


class Upstream(msgspec.Struct, frozen=True):
    """Builds calls to one base URL (no trailing slash) for one identity."""

    base_url: str
    identity: Identity
    profile: ClientProfile

    @property
    def prefix(self) -> str:
        """`/backend-api` with an access token, `/backend-anon` without."""
        return "/backend-api" if self.identity.access_token else "/backend-anon"

    def get(self, path: str) -> HttpRequest:
        """A GET below the prefix."""
        return HttpRequest("GET", f"{self.base_url}{self.prefix}/{path}", self._headers(_JSON))

    def get_url(self, url: str) -> HttpRequest:
        """A GET of one of upstream's own absolute addresses, as a bearer of this identity."""
        return HttpRequest("GET", url, self._headers("*/*"))

    def post(self, path: str, body: bytes, extra: dict[str, str] | None = None, *, stream: bool = False) -> HttpRequest:
        """A POST of JSON below the prefix; `stream` says that the answer is an event stream."""
        headers = self._headers(_EVENT_STREAM if stream else _JSON)
        headers["content-type"] = _JSON
        return HttpRequest("POST", f"{self.base_url}{self.prefix}/{path}", headers | (extra or {}), body)

    def patch(self, path: str, body: bytes) -> HttpRequest:
        """A PATCH of JSON below the prefix."""
        headers = self._headers(_JSON) | {"content-type": _JSON}
        return HttpRequest("PATCH", f"{self.base_url}{self.prefix}/{path}", headers, body)

    def _headers(self, accept: str) -> dict[str, str]:
        identity = self.identity
        headers = {
            "accept": accept,
            "accept-language": self.profile.languages,
            "oai-device-id": identity.device_id,
            "oai-language": self.profile.language,
            "origin": self.base_url,
            "referer": f"{self.base_url}/",
            "user-agent": self.profile.user_agent,
        }
        if identity.access_token:
            headers["authorization"] = f"Bearer {identity.access_token}"
        else:
            # Without an account the device is who asks, and upstream wants it in both places (1).
            headers["cookie"] = f"oai-did={identity.device_id}"
        # Left out for the personal account: upstream takes the header for a workspace's id alone (1).
        if identity.workspace_id:
            headers["chatgpt-account-id"] = identity.workspace_id
        return headers
