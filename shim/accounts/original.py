"""The data folder of the original chat2api (lanqian528/chat2api), read into credentials.

    token.txt          the accounts: a token a line, `#` before what is left out, a workspace after a comma
    refresh_map.json   {refresh token: {"token": access token, "timestamp": ...}}: what refresh tokens gave last
    error_token.txt    tokens that it gave up, because a renewal failed

Rules: nothing is passed over in silence, and no token is repeated. A refresh token and the access token that it gave
are one account. What was given up is taken, if it is in token.txt: its renewals fail for reasons that are not the
token's (a log-in server that has moved, a deadline of seconds), and one that is dead is parked here with the reason.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shim.accounts.account import Credential, parse_credential
from shim.accounts.imports import ImportedLine, once, read_text

TOKENS, REFRESHED, GIVEN_UP = "token.txt", "refresh_map.json", "error_token.txt"
FILES = (TOKENS, REFRESHED, GIVEN_UP)

NOT_TAKEN = {
    "fp_map.json": "made-up browsers, one for each token: this gateway shows itself as what it is",
    "wss_map.json": "addresses of sockets, which upstream has forgotten",
    "seed_map.json": "seeds of its web mirror, which there is none of here",
    "conversation_map.json": "which account had a conversation of its web mirror",
    "routing_config.json": "proxies of groups of accounts: see `chat2api tokens proxy`",
    "sessions.db": "conversations of LibreChat: see CONTINUE_CHATS",
}
"""Other files of that folder, and why they are left where they are."""

replace = msgspec.structs.replace


class OriginalAccounts(msgspec.Struct, frozen=True):
    """The lines of all files, each account once, and the places (`where`) of those that the original had given up."""

    lines: list[ImportedLine]
    given_up: frozenset[str]


def read_original(texts: Mapping[str, str]) -> OriginalAccounts:
    """What is in its files, by their names; each of them may be missing."""
    refreshed, told = _refreshed(texts.get(REFRESHED, ""))
    dead_lines = read_text(texts.get(GIVEN_UP, ""), GIVEN_UP)
    dead = {one.credential.secret_token: one for one in dead_lines if one.credential is not None}
    lines: list[ImportedLine] = []
    given_up: set[str] = set()
    seen: set[str] = set()
    for line in read_text(texts.get(TOKENS, ""), TOKENS):
        if line.credential is None:
            lines.append(line)
            continue
        secret = line.credential.secret_token
        seen.add(secret)
        if secret in dead:
            given_up.add(line.where)
        lines.append(replace(line, credential=_with_access(line.credential, refreshed.get(secret))))
    for number, (secret, access) in enumerate(refreshed.items(), 1):
        if secret not in seen:
            where = f"{REFRESHED}, entry {number}"
            credential = _with_access(parse_credential(secret), access)
            lines.append(ImportedLine(number, where, credential))
            given_up |= {where} if secret in dead else set()
    lines += told
    known = seen | refreshed.keys()
    left = "the original has given it up, and it is not in token.txt"
    lines += [replace(one, credential=None, why=left, passed=True) for key, one in dead.items() if key not in known]
    lines += [one for one in dead_lines if one.credential is None]
    return OriginalAccounts(once(lines), frozenset(given_up))


def _refreshed(text: str) -> tuple[dict[str, str], list[ImportedLine]]:
    """(refresh token -> the access token it gave; what can't be read of the file)."""
    if not text.strip():
        return {}, []
    try:
        entries = msgspec.json.decode(text.encode("utf-8", "surrogatepass"), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}, [ImportedLine(1, REFRESHED, why="it is not the JSON that the original writes")]
    found: dict[str, str] = {}
    told: list[ImportedLine] = []
    for number, (key, entry) in enumerate(entries.items(), 1):
        where = f"{REFRESHED}, entry {number}"
        try:
            credential = parse_credential(key)
        except ValueError as error:
            told.append(ImportedLine(number, where, why=str(error)))
            continue
        if credential.kind != "refresh":
            told.append(ImportedLine(number, where, why="it is no refresh token"))
            continue
        access = entry.get("token") if isinstance(entry, dict) else None
        found[credential.secret_token] = access if isinstance(access, str) else ""
    return found, told


def _with_access(credential: Credential, access: str | None) -> Credential:
    """A refresh token with the access token it gave, by which its account is known; as it is where that is none."""
    if credential.kind != "refresh" or not access:
        return credential
    try:
        paired = parse_credential(f"{access}----{credential.secret_token}")
    except ValueError:
        return credential
    workspace, client = credential.workspace_id or paired.workspace_id, credential.client_id or paired.client_id
    return replace(paired, workspace_id=workspace, client_id=client) if paired.refresh_token else credential
