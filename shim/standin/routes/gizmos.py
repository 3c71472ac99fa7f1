"""GPTs over HTTP (protocol.md 7.7): those an account's `gizmos` names exist; projects (7.11) are among them."""

from litestar import get
from litestar.params import FromPath, FromQuery

from shim.standin import history
from shim.standin.accounts import Account
from shim.standin.asking import TheCaller, TheUpstream
from shim.standin.failures import refused
from shim.standin.steps import Json


@get("/gizmos/bootstrap")
async def bootstrap(caller: TheCaller, limit: FromQuery[int] = 2) -> Json:
    """The first few."""
    return {"gizmos": [{"resource": _gizmo(caller.account, gizmo_id)} for gizmo_id in caller.account.gizmos[:limit]]}


@get("/gizmos/pinned")
async def pinned(caller: TheCaller) -> Json:
    """None is ever pinned."""
    return {"items": [], "cursor": None}


@get("/gizmos/snorlax/sidebar")
async def projects(caller: TheCaller, limit: FromQuery[int] = 5, cursor: FromQuery[str] = "0") -> Json:
    """The account's projects, a page of them."""
    every = [gizmo_id for gizmo_id in caller.account.gizmos if gizmo_id.startswith("g-p-")]
    start = int(cursor) if cursor.isdecimal() else 0
    end = start + max(1, limit)
    items = [{"gizmo": {"gizmo": _gizmo(caller.account, gizmo_id)["gizmo"]}} for gizmo_id in every[start:end]]
    return {"items": items, "cursor": str(end) if end < len(every) else None}


@get("/gizmos/{gizmo_id:str}")
async def gizmo(caller: TheCaller, gizmo_id: FromPath[str]) -> Json:
    """One of them."""
    return _gizmo(caller.account, gizmo_id)


@get("/gizmos/{gizmo_id:str}/conversations")
async def conversations(upstream: TheUpstream, caller: TheCaller, gizmo_id: FromPath[str]) -> Json:
    """What was said with it."""
    _gizmo(caller.account, gizmo_id)
    found = [one for one in upstream.conversations.saved_by(caller.identity) if one.gizmo_id == gizmo_id]
    return {"items": history.listed(found, 0, history.MAX_LIMIT, is_archived=False)["items"], "cursor": None}


@get("/public-api/gizmos/discovery/recent")
async def recent() -> Json:
    """Nobody has used any."""
    return {"info": {"id": "recent", "title": "Recently Used"}, "list": {"items": [], "cursor": None}}


def _gizmo(account: Account, gizmo_id: str) -> Json:
    """GET gizmos/{id}; 404 for one that does not exist."""
    if gizmo_id not in account.gizmos:
        raise refused("gizmo_not_found")
    display: Json = {
        "name": gizmo_id.removeprefix("g-").removeprefix("p-").title(),
        "description": "A GPT of the stand-in; it plays prepared texts.",
        "prompt_starters": [],
        "profile_picture_url": None,
    }
    described: Json = {
        "id": gizmo_id,
        "short_url": f"{gizmo_id}-standin",
        "author": {"user_id": account.user_id, "display_name": account.name},
        "display": display,
        "share_recipient": "private",
        "tags": [],
    }
    return {"gizmo": described, "tools": [], "files": []}


LOGGED_IN = (bootstrap, pinned, projects, gizmo, conversations)
WITHOUT_PREFIX = (recent,)
