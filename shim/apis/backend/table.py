"""What is relayed for a client of the web backend's own API, and with which headers (protocol.md 1, 4, 6, 7).

    method, path ──TABLE──> Row ──read──> Relayed (bare ids, owner) ──> upstream
    404 in upstream's envelope: what is not in the table

Rule: two allow-lists, of paths and of headers, and nothing of account settings, payments or log-ins on either. What a
row does not name is unknown here, whatever upstream may know.
"""

import enum
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from shim.errors import GatewayError, RequestError
from shim.protocol.models import AUTO
from shim.protocol.owners import bare, taken_apart


class Kind(enum.Enum):
    """How a call is served."""

    TURN = enum.auto()
    """A conversation turn: the requirements, the proof and Arkose are done here."""
    LOCAL = enum.auto()
    """Answered here: what it asks for is done at the turn."""
    CALL = enum.auto()
    """By the account that its names name, else by any."""
    PINNED = enum.auto()
    """About an account itself: for one device always the same account."""
    LISTING = enum.auto()
    """As PINNED, and what it lists are conversations."""
    CHANGE = enum.auto()
    """Changes one conversation: CALL, with only the fields of `_CHANGES`."""
    BYTES = enum.auto()
    """As CALL, and the answer is content, in which nothing is a name."""


class Row(msgspec.Struct, frozen=True):
    """One line of the table. `path` is below the prefix; `{...}` stand for what `_WORDS` allows."""

    method: str
    path: str
    kind: Kind


TABLE = (
    Row("POST", "conversation", Kind.TURN),
    Row("POST", "f/conversation", Kind.TURN),
    Row("POST", "f/conversation/prepare", Kind.CALL),
    Row("POST", "f/conversation/resume", Kind.CALL),
    Row("POST", "conversation/init", Kind.CALL),
    Row("POST", "stop_conversation", Kind.CALL),
    Row("POST", "sentinel/chat-requirements", Kind.LOCAL),
    Row("POST", "sentinel/chat-requirements/prepare", Kind.LOCAL),
    Row("POST", "sentinel/chat-requirements/finalize", Kind.LOCAL),
    Row("POST", "sentinel/req", Kind.LOCAL),
    Row("POST", "sentinel/ping", Kind.LOCAL),
    Row("GET", "models", Kind.CALL),
    Row("GET", "me", Kind.PINNED),
    Row("GET", "accounts/check/{version}", Kind.PINNED),
    Row("GET", "conversations", Kind.LISTING),
    Row("GET", "conversation/{conversation}", Kind.CALL),
    Row("PATCH", "conversation/{conversation}", Kind.CHANGE),
    Row("GET", "conversation/{conversation}/stream_status", Kind.CALL),
    Row("GET", "conversation/{conversation}/textdocs", Kind.CALL),
    Row("GET", "conversation/{conversation}/attachment/{file}/download", Kind.CALL),
    Row("GET", "conversation/{conversation}/interpreter/download", Kind.CALL),
    Row("POST", "conversation/gen_title/{conversation}", Kind.CALL),
    Row("POST", "files", Kind.CALL),
    Row("POST", "files/process_upload_stream", Kind.CALL),
    Row("POST", "files/{file}/uploaded", Kind.CALL),
    Row("GET", "files/{file}", Kind.CALL),
    Row("GET", "files/{file}/download", Kind.CALL),
    Row("GET", "files/download/{file}", Kind.CALL),
    Row("GET", "estuary/content", Kind.BYTES),
    Row("GET", "synthesize", Kind.BYTES),
    Row("POST", "transcribe", Kind.CALL),
    Row("GET", "gizmos/bootstrap", Kind.PINNED),
    Row("GET", "gizmos/pinned", Kind.PINNED),
    Row("GET", "gizmos/snorlax/sidebar", Kind.PINNED),
    Row("GET", "gizmos/{gizmo}", Kind.CALL),
    Row("GET", "gizmos/{gizmo}/conversations", Kind.LISTING),
)

# Towards upstream, besides what `Upstream` says of ourselves. Sentinel headers are made here.
UP = frozenset({"accept", "content-type", "range", "x-conduit-token", "x-oai-turn-trace-id"})
# Towards the client: about the content, and nothing about who was asked.
DOWN = frozenset(
    {
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-range",
        "content-type",
        "etag",
        "last-modified",
        "retry-after",
    }
)
# Content of others must not run as a page of this origin.
HARMLESS = {"content-security-policy": "sandbox; default-src 'none'", "x-content-type-options": "nosniff"}
NOT_FOUND = b'{"detail":"Not Found"}'

# What a client may do to a conversation: name it, hide it (which deletes it) and archive it.
_CHANGES = frozenset({"title", "is_visible", "is_archived"})
_NAMES = ("conversation", "file", "gizmo")  # words that are names
# What may be a conversation's or a file's name there, and so may carry the name of its account.
_IN_QUERY = frozenset({"conversation_id", "file_id", "id"})
_CONDUIT = "x-conduit-token"
_JSON = "application/json"
_REWRITTEN = ("application/json", "application/x-ndjson", "text/event-stream")
_LIFE = 540  # seconds that a requirement token is said to be good for (protocol.md 2.1)


class BackendRequest(msgspec.Struct, frozen=True):
    """A call as it came in. `path` is below the prefix; header names are lower case."""

    row: Row
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Relayed(msgspec.Struct, frozen=True):
    """A call as it is sent upstream: `owner` is the account it has to go to, `model` what a turn asks for."""

    row: Row
    path: str
    headers: dict[str, str]
    body: bytes
    owner: str | None = None
    model: str = AUTO

    def body_for(self, slug: str) -> bytes:
        """The body of a turn on `slug`: the same bytes where that is what was asked for."""
        if slug == self.model:
            return self.body
        return _encode({**_decode(self.body), "model": slug})


def row_for(method: str, path: str) -> Row | None:
    """The row for a call, or None where there is none. `path` is below the prefix, without slashes around it."""
    return next((row for row, pattern in _PATTERNS if row.method == method and pattern.fullmatch(path)), None)


def read(asked: BackendRequest, *, shared: bool) -> Relayed:
    """The call as it is sent upstream. `shared` says that the pool serves it: then names in it are replaced by ids.

    Raises RequestError (400, 422) where it can't be sent.
    """
    owners: set[str] = set()
    path, query, body, headers = asked.path, asked.query, asked.body, _passed(asked.headers, UP)
    content = _content(asked)
    if shared:
        path = _bare_path(asked, owners)
        pairs = parse_qsl(query, keep_blank_values=True)
        query = urlencode([(key, _bare_name(value, owners) if key in _IN_QUERY else value) for key, value in pairs])
        # It is one account's, and says whose as ids do.
        if _CONDUIT in headers:
            headers[_CONDUIT] = _bare_name(headers[_CONDUIT], owners)
        content = bare(content, owners.add)
        # Without an owner no name was replaced: then upstream gets the client's own bytes.
        body = _encode(content) if owners and content is not None else body
    if len(owners) > 1:
        raise RequestError("What this request names belongs to different accounts", code="different_accounts")
    model = (content or {}).get("model") or AUTO
    if not isinstance(model, str):
        raise _invalid()
    return Relayed(
        asked.row,
        f"{path}?{query}" if query else path,
        headers,
        body,
        owner=next(iter(owners), None),
        model=model,
    )


def down(headers: Mapping[str, str]) -> dict[str, str]:
    """Of upstream's headers those that a client gets, and ours."""
    return {"cache-control": "no-store"} | _passed(headers, DOWN) | HARMLESS


def has_names(row: Row, headers: Mapping[str, str]) -> bool:
    """Whether an answer may have names in it."""
    return row.kind is not Kind.BYTES and headers.get("content-type", "").lower().startswith(_REWRITTEN)


def sentinel_answer(path: str, token: str, now: float) -> bytes:
    """What sentinel is asked here and answers: nothing is required. Neither token is looked at again.

    So a client that asks finds no work to do, and one that sends bare conversations has nothing to ask.
    """
    if path == "sentinel/ping":
        return _encode({"status": "ok"})
    named = "prepare_token" if path.endswith("/prepare") else "token"
    return _encode(
        {
            "persona": None,
            named: token,
            "expire_after": _LIFE,
            "expire_at": int(now) + _LIFE,
            "arkose": {"required": False, "dx": None},
            "turnstile": {"required": False, "dx": None},
            "proofofwork": {"required": False},
            "force_login": False,
        }
    )


def detail_of(error: GatewayError) -> bytes:
    """An error in upstream's envelope (protocol.md 9.1)."""
    return _encode({"detail": _told(error)})


def broken_off(error: GatewayError) -> bytes:
    """An error in a stream that has begun, as upstream would say it (protocol.md 9.4). It first ends
    an event that was cut off."""
    line = {"message": None, "conversation_id": None, "error": _told(error), "error_code": error.code}
    return b"\n\ndata: " + _encode(line) + b"\n\n"


def _told(error: GatewayError) -> dict[str, Any]:
    told: dict[str, Any] = {"message": error.message, "code": error.code}
    if error.retry_after is not None:
        told["clears_in"] = max(1, round(error.retry_after))
    return told


def _passed(headers: Mapping[str, str], allowed: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in allowed}


def _content(asked: BackendRequest) -> dict[str, Any] | None:
    """The JSON of a body, or None where it is something else that may be sent. Raises RequestError (422)."""
    is_json = asked.headers.get("content-type", "").lower().startswith(_JSON)
    # These two are acted on here (a turn's model, a change's fields), so what can't be read must not go on.
    must = asked.row.kind in {Kind.TURN, Kind.CHANGE}
    if not (must or (is_json and asked.body)):
        return None
    try:
        content = _decode(asked.body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or (must and not is_json):
        raise _invalid()
    if asked.row.kind is Kind.CHANGE and not content.keys() <= _CHANGES:
        raise _invalid()
    return content


def _invalid() -> RequestError:
    return RequestError("Invalid conversation body", status=422, code="invalid_body")


def _bare_name(name: str, owners: set[str]) -> str:
    id, owner = taken_apart(name)
    owners.update({owner} - {None})  # type: ignore[arg-type]  # None has just been taken out
    return id


def _bare_path(asked: BackendRequest, owners: set[str]) -> str:
    match = _pattern(asked.row.path).fullmatch(asked.path)
    assert match is not None  # noqa: S101  it is how the row was found
    path = asked.path
    # From the end, because a name that got shorter moves everything behind it. In every row files follow conversations.
    for word in reversed(_NAMES):
        if word in match.groupdict():
            path = path[: match.start(word)] + _bare_name(match[word], owners) + path[match.end(word) :]
    return path


def _pattern(path: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", path)
    words = [f"(?P<{piece}>{_WORDS[piece]})" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)]
    return re.compile("".join(words), re.ASCII)


# Full stops only as our own names have them (`shim.protocol.owners`), so no word can be "..". `conversation/init` is a
# row of its own. Eight gateways in a chain are more than anyone runs; the bound keeps the match short.
_WORDS = {
    "conversation": r"(?!init$)[\w-]{1,100}(?:\.[0-9a-f]{16}){0,8}",
    "file": r"file[-_][\w-]{1,200}(?:\.[0-9a-f]{16}){0,8}",
    "gizmo": r"g-[\w-]{1,140}(?:\.[0-9a-f]{16}){0,8}",
    "version": r"[\w-]{1,50}",
}
_PATTERNS = tuple((row, _pattern(row.path)) for row in TABLE)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
