"""`GET /docs`: the endpoints for people to read, with what each takes and gives as examples.

Rule: it is made of the table that `/openapi.json` is made of, and says nothing that is not in it. Nothing in it runs
and nothing is fetched: usual renderers of OpenAPI come from elsewhere, and no page of ours asks another origin.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from typing import Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from shim.http.openapi import JSON, OpenApiOperation
from shim.http.static import PAGE_HEADERS, REVALIDATE, WEB, StaticFile, file_answer

# The groups in their order: how their paths begin, and their page in `docs`.
_GROUPS = (
    ("Chat completions", "/v1/chat/", "parameters.md"),
    ("Responses", "/v1/responses", "responses.md"),
    ("Conversations", "/v1/conversations", "responses.md"),
    ("Messages (Anthropic)", "/v1/messages", "messages.md"),
    ("Completions", "/v1/completions", "completions.md"),
    ("Images", "/v1/images/", "images.md"),
    ("Audio", "/v1/audio/", "audio.md"),
    ("Files", "/v1/files", "files.md"),
    ("Models", "/v1/models", "parameters.md"),
    ("The gateway itself", "/", "deploy.md"),
)
_LONGEST_EXAMPLE = 4000  # characters; the whole of it is in /openapi.json
_KEYED = "Each call needs a key, but for those marked as open: <code>Authorization: Bearer …</code>."
_UNKEYED = "No key is needed; the access token of an account of yours can be sent as one."


def api_page_route(
    operations: Iterable[OpenApiOperation], root_path: str, *, keyed: bool, chat: bool
) -> HTTPRouteHandler:
    """The route of the page. `keyed` says that a call without a key is refused, `chat` that there is a chat page."""

    @cache
    def made() -> tuple[StaticFile, dict[str, str]]:
        page = api_page(operations, root_path, keyed=keyed, chat=chat)
        style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        return StaticFile(page.encode(), ".html"), PAGE_HEADERS | {
            # Its own style and nothing else.
            "content-security-policy": (
                f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            "cache-control": REVALIDATE,
            "x-content-type-options": "nosniff",
        }

    @get("/docs")
    async def get_docs(request: Request[Any, Any, Any]) -> ASGIResponse:
        """The page. It is made when it is first asked for."""
        return file_answer(request, *made())

    return get_docs


def api_page(operations: Iterable[OpenApiOperation], root_path: str, *, keyed: bool, chat: bool) -> str:
    """The whole of it, in HTML."""
    left = list(operations)
    groups = []
    for title, path, page in _GROUPS:
        members = [one for one in left if one.path.startswith(path)]
        left = [one for one in left if one not in members]
        head = f'<h2>{title}</h2>\n<p class="facts">In detail: <code>docs/{page}</code></p>'
        groups.append("\n".join([head, *(_shown(one, root_path, keyed=keyed) for one in members)]))
    links = [
        *(['<a href="./">Chat</a>'] if chat else []),
        '<a href="tokens">Accounts</a>',
        '<a href="openapi.json">OpenAPI</a>',
    ]
    parts = {
        "links": "\n".join(links),
        "base": escape(f"{root_path}/v1"),
        "here": escape(f"{root_path}/docs"),
        "keys": _KEYED if keyed else _UNKEYED,
        "groups": "\n".join(groups),
    }
    # In one go: what stands in a part is no place of its own.
    html = (WEB / "api.html").read_text("utf-8")
    return re.sub(r"\{(links|base|here|keys|groups)\}", lambda place: parts[place[1]], html)


def _shown(operation: OpenApiOperation, root_path: str, *, keyed: bool) -> str:
    media = [name for name in operation.gives if name != JSON]
    facts = [
        "open: no key is needed" if operation.open and keyed else "",
        f"as a form with {', '.join(operation.form)}" if operation.form else "",
        f"also answers with {', '.join(media)}" if media else "",
        f"may fail with {', '.join(map(str, operation.errors))}" if operation.errors else "",
    ]
    told = "; ".join(filter(None, facts))
    parts = [
        f'<p class="facts">{escape(told[:1].upper() + told[1:])}.</p>' if told else "",
        *(_example(f"Request ({name})", value) for name, value in operation.examples.items()),
        *(_example("Answer", value) for value in [operation.example.get(JSON)] if value is not None),
    ]
    line = f'<span class="method">{operation.method}</span> {escape(root_path + operation.path)}'
    what = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(operation.summary))
    summary = f'<summary><code>{line}</code> <span class="what">{what}</span></summary>'
    return f'<details id="{escape(operation.id)}">{summary}<div class="in">{"".join(parts)}</div></details>'


def _example(name: str, value: Any) -> str:
    text = json.dumps(msgspec.json.decode(msgspec.json.encode(value)), indent=2, ensure_ascii=False)
    shown = text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE]}\n…"
    return f'<p>{escape(name)}</p><pre tabindex="0">{escape(shown)}</pre>'
