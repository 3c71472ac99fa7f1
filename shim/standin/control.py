"""The control endpoints under /standin: accounts, plans, statistics, reset. They exist only with options.control.

Rule: for tests and the demo on loopback; a wrong body is answered 400 with the reason.
"""

from typing import Any

import msgspec
from litestar import Router, get, post

from shim.standin.accounts import Account, make_access_token, make_refresh_token, make_session_token
from shim.standin.asking import AnyRequest, TheUpstream
from shim.standin.failures import Failure, RefusedError
from shim.standin.steps import Json
from shim.standin.upstream import Plan


@post("/accounts", status_code=200)
async def accounts(request: AnyRequest, upstream: TheUpstream) -> Json:
    """Add or change one account; answers with it and its credentials."""
    try:
        changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
        return describe(upstream.accounts.patch(changes))
    except msgspec.MsgspecError as error:
        raise RefusedError(Failure(400, f"stand-in account: {error}")) from error


@post("/plan", status_code=200)
async def plan(request: AnyRequest, upstream: TheUpstream) -> Json:
    """Directives for the next turns, for prompts that cannot carry any."""
    try:
        upstream.plans.append(msgspec.json.decode(await request.body(), type=Plan))
    except msgspec.MsgspecError as error:
        raise RefusedError(Failure(400, f"stand-in plan: {error}")) from error
    return {"waiting": len(upstream.plans)}


@get("/stats")
async def stats(upstream: TheUpstream) -> Json:
    """What has been seen so far."""
    return upstream.stats.report()


@post("/reset", status_code=200)
async def reset(upstream: TheUpstream) -> Json:
    """Back to the options: accounts, tokens, plans, conversations and statistics."""
    upstream.reset()
    return {"status": "ok"}


def describe(account: Account) -> Json:
    """An account as the control endpoint shows it."""
    return {
        "account": msgspec.to_builtins(account),
        "account_id": account.account_id,
        "access_token": make_access_token(account.name, account.plan),
        "refresh_token": make_refresh_token(account.name),
        "session_token": make_session_token(account.name),
    }


def control_routes() -> list[Router]:
    """All of /standin."""
    return [Router("/standin", route_handlers=[accounts, plan, stats, reset])]
