"""Who asks: the caller behind a request, and the types every handler's arguments have.

Rule: the prefix decides which credential counts (protocol.md 1).
"""

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from shim.standin.accounts import Caller
from shim.standin.upstream import Upstream

API = "/backend-api"
ANON = "/backend-anon"
DEVICE_COOKIES = ("oai-did", "oai-device-id")

AnyRequest = Request[Any, Any, State]
TheUpstream = NamedDependency[SkipValidation[Upstream]]
TheCaller = NamedDependency[SkipValidation[Caller]]


def identify(request: AnyRequest, upstream: TheUpstream) -> Caller:
    """The account of the bearer token, or under /backend-anon the device."""
    authorization = request.headers.get("authorization")
    if request.url.path.startswith(ANON + "/"):
        return upstream.accounts.anonymous(authorization, _device_id(request))
    return upstream.accounts.logged_in(authorization, request.headers.get("chatgpt-account-id"))


def _device_id(request: AnyRequest) -> str | None:
    cookies = (request.cookies.get(name) for name in DEVICE_COOKIES)
    return request.headers.get("oai-device-id") or next(filter(None, cookies), None)


def at_sentinel(caller: TheCaller) -> Caller:
    """The caller of a sentinel step, unless a failure is planned for it there."""
    if failure := caller.account.take_failure("sentinel"):
        raise failure
    return caller


def origin_of(request: AnyRequest) -> str:
    """The origin as the caller addressed it, for links back to this server."""
    return str(request.base_url).rstrip("/")
