"""The plain JSON answers: models, me, accounts/check, session, token refresh (protocol.md 7 and 8).

Rule: the objects hold the keys the reference lists and nothing a client could mistake for a secret.
"""

from datetime import UTC, datetime

from shim.standin.accounts import PICKER, Account, make_access_token
from shim.standin.steps import Json

TITLES = {"auto": "Auto", "text-davinci-002-render-sha": "Default (GPT-3.5)", "research": "Research"}
HOME_PAGE = """<!DOCTYPE html>
<html lang="en-US" data-build="prod-standin0000000000000000000000000000000000">
<head><title>chat2api demo upstream</title>
<script src="/assets/standin-main.js" async></script></head>
<body><h1>chat2api demo upstream</h1>
<p>A stand-in for the ChatGPT web backend. It answers with prepared texts.</p></body></html>
"""


def models(account: Account) -> Json:
    """GET P/models (protocol.md 7.1)."""
    category = {
        "category": "gpt_5",
        "human_category_name": "GPT-5",
        "subscription_level": account.plan,
        "default_model": "auto",
    }
    if account.listing == "presets":
        return _picker(account)
    rows = [_model(slug) for slug in account.slugs]
    return {"models": rows, "categories": [category], "default_model_slug": "auto"}


def _model(slug: str) -> Json:
    files: Json = {
        "type": "retrieval",
        "accepted_mime_types": ["text/plain", "application/pdf"],
        "image_mime_types": ["image/png", "image/jpeg", "image/webp", "image/gif"],
        "can_accept_all_mime_types": True,
    }
    return {
        "slug": slug,
        "max_tokens": 8192 if slug.startswith(("gpt-4", "text")) else 34815,
        "title": TITLES.get(slug, slug.replace("gpt", "GPT").replace("-thinking", " Thinking")),
        "description": "A stand-in for this model; it plays prepared texts.",
        "tags": ["reasoning"] if is_thinking(slug) else [],
        "capabilities": {},
        "product_features": {"attachments": files},
        "enabled_tools": ["tools"],
    }


def _picker(account: Account) -> Json:
    """The same as it is since 2026: efforts for each model, and the page's presets, titled in somebody's language."""
    rows = []
    for slug in account.slugs:
        kind, context, efforts = PICKER.get(slug, ("none", 8192, ()))
        known = {
            "max_tokens": context,
            "reasoning_type": kind,
            "configurable_thinking_effort": bool(efforts),
            "thinking_efforts": [{"thinking_effort": effort, "full_label": effort} for effort in efforts],
            "is_work_mode_model": slug.endswith("-wm"),
            "enabled_tools": ["tools", "tools2", "search", "canvas", "image_gen_tool_enabled"],
            "service_tier_options": ["priority"] if slug.endswith("-thinking") else [],
        }
        rows.append(_model(slug) | known)
    presets = [
        {"id": place, "title": title, "model_slug": slug, "lane": lane, "preset_type": "available"}
        | ({"thinking_effort": effort} if effort else {})
        for place, (title, slug, lane, effort) in enumerate(PRESETS)
    ]
    version = {"id": "latest", "display_text": "Latest", "slugs": list(account.slugs), "intelligence_presets": presets}
    return {
        "models": rows,
        "categories": [],
        "versions": [version],
        "default_model_slug": account.slugs[0],
        "model_picker_version": 2,
    }


PRESETS = (
    ("Sofort", "gpt-5-6-instant", "instant", None),
    ("Mittel", "gpt-5-6-thinking", "thinking", "standard"),
    ("Hoch", "gpt-5-6-thinking", "thinking", "extended"),
    ("Sehr hoch", "gpt-5-6-thinking", "thinking", "max"),
    ("Pro", "gpt-6-pro", "pro", None),
)


def is_thinking(slug: str) -> bool:
    """Whether a slug names a model that thinks before it answers."""
    return slug.startswith(("o1", "o3", "o4")) or slug.endswith(("-thinking", "-pro"))


def me(account: Account) -> Json:
    """GET me (protocol.md 7.3)."""
    organization = {
        "object": "organization",
        "id": f"org-{account.user_id[5:]}",
        "title": "Personal",
        "name": account.user_id,
        "description": "Personal org",
        "personal": True,
        "settings": {},
        "is_default": True,
        "role": "owner",
    }
    return {
        "object": "user",
        "id": account.user_id,
        "email": f"{account.name}@example.test",
        "name": account.name,
        "picture": None,
        "created": 1715641300,
        "phone_number": None,
        "mfa_flag_enabled": False,
        "amr": [],
        "groups": [],
        "orgs": {"object": "list", "data": [organization]},
        "has_payg_project_spend_limit": True,
    }


def accounts_check(account: Account) -> Json:
    """GET accounts/check/v4-2023-04-27 (protocol.md 7.2): the personal account and each team."""
    ids = (account.account_id, *account.team_ids)
    rows = {id_: _membership(account, id_, personal=id_ == account.account_id) for id_ in ids}
    return {"accounts": rows, "account_ordering": list(ids)}


def _membership(account: Account, account_id: str, *, personal: bool) -> Json:
    paid = account.plan not in ("free", "anonymous")
    return {
        "account": {
            "account_user_role": "account-owner",
            "account_user_id": f"{account.user_id}__{account_id}",
            "processor": {},
            "account_id": account_id,
            "is_deactivated": False,
            "name": None if personal else "A team",
            "structure": "personal" if personal else "workspace",
            "plan_type": account.plan if personal else "team",
        },
        "features": ["shareable_links"],
        "entitlement": {
            "subscription_id": None,
            "has_active_subscription": paid,
            "subscription_plan": f"chatgpt{account.plan}plan",
            "expires_at": None,
        },
        "last_active_subscription": {},
    }


def session(account: Account, now: float) -> Json:
    """GET /api/auth/session of somebody who is logged in (protocol.md 8)."""
    user: Json = {
        "id": account.user_id,
        "name": account.name,
        "email": f"{account.name}@example.test",
        "image": None,
        "picture": None,
        "idp": "auth0",
        "iat": int(now),
        "mfa": False,
        "groups": [],
        "intercom_hash": "",
    }
    expires = datetime.fromtimestamp(now + account.lifetime, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    team = account.plan == "team"
    place = {"id": account.account_id, "planType": account.plan, "structure": "workspace" if team else "personal"}
    token = make_access_token(account.name, account.plan, now + account.lifetime, account.lifetime)
    return {"user": user, "expires": expires, "account": place, "accessToken": token, "authProvider": "auth0"}


def refreshed(account: Account, now: float, refresh_token: str, client_id: str) -> Json:
    """The 200 of POST /oauth/token (protocol.md 8)."""
    token = make_access_token(account.name, account.plan, now + account.lifetime, account.lifetime, client_id)
    return {
        "access_token": token,
        "refresh_token": refresh_token,
        "id_token": token,
        "token_type": "Bearer",
        "expires_in": account.lifetime,
        "scope": "openid email profile offline_access model.request model.read",
    }
