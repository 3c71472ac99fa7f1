"""What people have at hand, read into credentials (protocol.md 8.2): lines, cookies, and the files of other programs.

Rules:
* nothing is guessed: what has none of the known forms is refused, with the reason and never with its content;
* nothing is passed over in silence: each line, and each entry of a file, has a result;
* an account is taken once: of two access tokens the one that lasts longer counts.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from shim.accounts.account import (
    BOM,
    WORKSPACE_ID,
    Account,
    Credential,
    Handling,
    account_of,
    id_of,
    parse_credential,
    read_secret,
)
from shim.chatgpt.oauth import CODEX, SESSION_COOKIE, WEB
from shim.chatgpt.token import Claims, Guarded, is_client_id, masked_mail, read_claims
from shim.settings import SettingError, check_proxy

EXPORT = "chat2api"
"""The `type` of a file that `write_accounts` makes."""
SHARED = (
    "A refresh token is good once: if the program this file is from renews it too, it ends there or here. Sign in once "
    "more for one of the two."
)
"""What whoever takes in the file of another program has to know."""

replace = msgspec.structs.replace


class ImportedLine(Guarded, frozen=True):
    """A line of a text, or an entry of a file, and what it was read as: a credential, or why there is none.

    `line` is where it begins. `passed` tells that it belongs to a service that is none of ours; `shared`, that another
    program renews it, too.
    """

    line: int
    where: str
    credential: Credential | None = None
    why: str = ""
    passed: bool = False
    shared: bool = False


def text_of(raw: bytes) -> str:
    """A file's text. Windows writes UTF-16 with a mark before it; where it is not UTF-8, single signs (mostly those of
    a comment) become U+FFFD, which no token has. Raises ValueError for what is no text."""
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8-sig")
    text = raw.decode(encoding, "replace")
    if "\0" in text:
        raise ValueError("it is no text")
    return text


def read_text(text: str, source: str = "") -> list[ImportedLine]:
    """What is in a text: lines with one credential each, tables whose first line names the columns, JSON of any of the
    known shapes, or all of these. Empty lines and heads of tables are left out, and so is what follows a `#`. Lines are
    numbered from 1; `source` is the name of the file, if it is one."""
    before = f"{source}, " if source else ""
    found: list[ImportedLine] = []
    pieces: dict[int, tuple[int, str]] = {}  # of a session cookie: by their number, on which line they are
    table: _Table | None = None
    for number, part in _parts(text.removeprefix(BOM).replace("\r\n", "\n").replace("\r", "\n")):
        where = f"{before}line {number}"
        if isinstance(part, _Document):
            found += _of_document(part.value, number, where)
        elif (head := _table_of(part)) is not None:
            table = head
        elif table is not None and (row := table.read(part, number, where)) is not None:
            found.append(row)
        elif part.startswith(("{", "[")):
            found.append(ImportedLine(number, where, why="it begins like JSON, but can't be read as such"))
        elif cookies := list(_COOKIE.finditer(part)):  # whatever else is in such a line are cookies of other kinds
            found += _of_cookies(cookies, pieces, number, before)
        else:
            found.append(_of_line(part, number, where))
    if pieces:
        found.append(_joined(pieces, before))
    return sorted(found, key=lambda one: one.line)


def once(lines: Iterable[ImportedLine]) -> list[ImportedLine]:
    """The same with each account once: whatever else is of an account that is there already has no credential any more.

    A token that only the one left out has is kept beside those of the other.
    """
    kept: list[ImportedLine] = []
    places: dict[str, int] = {}
    for line in lines:
        kept.append(line)
        if line.credential is None:
            continue
        place = places.setdefault(id_of(line.credential), len(kept) - 1)
        earlier = kept[place]
        if earlier is line or earlier.credential is None:
            continue
        better, worse = (earlier, line) if _end_of(line) <= _end_of(earlier) else (line, earlier)
        assert better.credential is not None  # noqa: S101  both have one, as was looked at above
        assert worse.credential is not None  # noqa: S101  both have one, likewise
        credential = better.credential
        ours, theirs = account_of(credential, 0.0), account_of(worse.credential, 0.0)
        if ours.refresh_token is None and theirs.refresh_token is not None:
            credential = replace(credential, refresh_token=theirs.refresh_token, client_id=theirs.client_id)
        if ours.session_token is None and theirs.session_token is not None:
            credential = replace(credential, session_token=theirs.session_token)
        merged = replace(better, credential=credential)
        left_out = replace(worse, credential=None, why=f"it is the same account as on {better.where}")
        kept[place], kept[-1] = (merged, left_out) if better is earlier else (left_out, merged)
        places[id_of(line.credential)] = place if better is earlier else len(kept) - 1
    return kept


def write_accounts(accounts: Iterable[Account]) -> str:
    """A file that `read_text` takes again, with all that makes an account what it is: nothing in it is sealed."""
    entries = [
        {
            "access_token": one.access_token,
            "refresh_token": one.refresh_token,
            "session_token": one.session_token,
            "workspace_id": one.workspace_id,
            "client_id": one.client_id if one.refresh_token is not None else None,
            "chatgpt_user_id": one.user,
            "plan_type": one.plan,
            "expires_at": one.expires,
            "email": one.mail,
            "label": one.label,
            "paused_at": one.paused,
            "proxy_url": one.proxy_url,
            "turns_at_once": one.limit,
        }
        for one in accounts
    ]
    stated = [{name: value for name, value in entry.items() if value is not None} for entry in entries]
    return json.dumps({"type": EXPORT, "version": 1, "accounts": stated}, indent=1) + "\n"


# --- lines ------------------------------------------------------------------------------------------------------------


class _Document(msgspec.Struct):
    value: Any


def _parts(text: str) -> Iterator[tuple[int, "str | _Document"]]:
    """(line number, what begins there): a JSON document over as many lines as it takes, or a line."""
    begin, number, over_lines = 0, 1, True
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        line = _COMMENT.sub("", text[begin:end]).strip()
        if line.startswith(("{", "[")):
            try:
                value, after = _decode(text if over_lines else text[:end], text.index(line[0], begin))
            except (ValueError, RecursionError):
                # No further line is looked for its end: a long file of opening brackets would be read over and over.
                over_lines = False
            else:
                yield number, _Document(value)
                number += text.count("\n", begin, after)
                end = text.find("\n", after)
                end = len(text) if end < 0 else end
                line = _COMMENT.sub("", text[after:end]).strip(" \t,")
        if line:
            yield number, line
        begin, number = end + 1, number + 1


def _of_line(line: str, number: int, where: str, *, shared: bool = False) -> ImportedLine:
    """A token, also after the name of a variable or between the marks of a list."""
    line = line.rstrip(",").strip()
    try:
        return ImportedLine(number, where, parse_credential(line), shared=shared)
    except ValueError as error:
        named, why = _NAMED.fullmatch(line), str(error)
    fields = _MAIL_FIRST.match(line)
    if fields is not None:
        return _of_fields(fields[1], line[fields.end() :].split(fields[2], _MOST_FIELDS), fields[2], number, where)
    if named is None:
        return ImportedLine(number, where, why=why)
    try:
        credential = parse_credential(named[2])
    except ValueError as error:
        return ImportedLine(number, where, why=str(error))
    if credential.kind != "session" and _PIECE.search(named[1]):
        return ImportedLine(number, where, why="it is a piece of some cookie, and not of the session's")
    return ImportedLine(number, where, credential, shared=shared)


def _of_fields(mail: str, fields: list[str], between: str, number: int, where: str) -> ImportedLine:
    """The first token behind a mail address, with the refresh token after it. Mostly a password stands before, which
    nobody has a use for here, and whatever else is known of the account behind."""
    fields = [field.strip(_AROUND) for field in fields]
    for place in (*range(1, len(fields)), 0):  # a password may look like anything
        behind = fields[place + 1 : place + 2]
        # A workspace is what stands behind a comma; among fields it has to look like one.
        workspace = [f",{word}" for word in behind if between == "," and _UUID.fullmatch(word)]
        pair = [f"----{word}" for word in behind if fields[place].startswith("eyJ")]
        for more in (*pair, *workspace, ""):
            try:
                credential = parse_credential(fields[place] + more)
            except ValueError:
                continue
            if more in pair and credential.refresh_token is None:
                continue  # it has the form of an access token, with what is no more of it
            claims = replace(credential.claims, mail=credential.claims.mail or masked_mail(mail))
            return ImportedLine(number, where, replace(credential, claims=claims))
    return ImportedLine(number, where, why="there is no token behind the mail address")


def _of_cookies(
    cookies: Iterable["re.Match[str]"], pieces: dict[int, tuple[int, str]], number: int, before: str
) -> Iterator[ImportedLine]:
    """The sessions in a line of cookies. A piece of one is put to `pieces`, which begin anew with the next account."""
    for cookie in cookies:
        if cookie[1] is None:
            yield _of_line(cookie[2], number, f"{before}line {number}")
            continue
        if int(cookie[1]) in pieces:
            yield _joined(pieces, before)
            pieces.clear()
        pieces[int(cookie[1])] = (number, cookie[2])


def _joined(pieces: dict[int, tuple[int, str]], before: str) -> ImportedLine:
    """The session of which a browser shows several cookies, `.0`, `.1` and so on."""
    numbers = sorted(line for line, _ in pieces.values())
    lines = f"line {numbers[0]}" if numbers[0] == numbers[-1] else f"lines {numbers[0]} to {numbers[-1]}"
    if sorted(pieces) != list(range(len(pieces))):
        why = "a piece of the session cookie is missing: all are needed, from .0 on"
        return ImportedLine(numbers[0], before + lines, why=why)
    joined = "".join(pieces[index][1] for index in sorted(pieces))
    line = _of_line(joined, numbers[0], before + lines)
    if line.credential is None or line.credential.kind == "session":
        return line
    return replace(line, credential=None, why="the pieces of the session cookie do not make up a session")


# --- tables -----------------------------------------------------------------------------------------------------------


class _Table(msgspec.Struct, frozen=True):
    """The columns of a table (CSV), by the names that entries of files have; "" for those that nobody has a use for."""

    columns: tuple[str, ...]
    between: str

    def read(self, line: str, number: int, where: str) -> ImportedLine | None:
        """A line by the columns with a name; None where it has other columns, or nothing in those."""
        cells = _cells(line, self.between)
        # Empty cells at its end may have been taken for blanks, so there may be fewer.
        if not 1 < len(cells) <= len(self.columns):
            return None
        entry = {name: cell for name, cell in zip(self.columns, cells, strict=False) if name and cell}
        if not entry:
            return None
        try:
            if "token" in entry and "access_token" not in entry:  # a column that does not say of which kind it is
                token = entry.pop("token")
                entry[f"{read_secret(token)[0]}_token"] = token
            return _of_tokens(entry, number, where, None)
        except ValueError as error:
            return ImportedLine(number, where, why=str(error))


def _table_of(line: str) -> _Table | None:
    """The table that begins with this line; None where it is no head of one with tokens in it."""
    for between in ",;\t|":
        columns = tuple(_COLUMNS.get(_NO_LETTERS.sub("", cell).lower(), "") for cell in _cells(line, between))
        if len(columns) > 1 and any(name.endswith("token") for name in columns):
            return _Table(columns, between)
    return None


def _cells(line: str, between: str) -> list[str]:
    try:
        return [cell.strip() for row in csv.reader([line], delimiter=between) for cell in row]
    except csv.Error:
        return []


# --- files ------------------------------------------------------------------------------------------------------------


def _of_document(value: Any, line: int, where: str) -> Iterator[ImportedLine]:
    match value:
        case {"accounts": [*entries]} | {"items": [*entries]} | [*entries]:
            places = [f"{where}, entry {number}{_name_of(entry)}" for number, entry in enumerate(entries, 1)]
        case _:
            entries, places = [value], [where]
    if not entries:
        yield ImportedLine(line, where, why="there are no accounts in it")
    for entry, place in zip(entries, places, strict=True):
        try:
            yield _of_entry(entry, line, place)
        except ValueError as error:
            yield ImportedLine(line, place, why=str(error))


def _of_entry(entry: Any, line: int, where: str) -> ImportedLine:
    """Raises ValueError for what is wrong with it."""
    match entry:
        case str():
            return _of_line(entry, line, where)
        case {"accessToken": str(token), "account": {"id": str(id), "structure": "workspace"}} if (
            token and WORKSPACE_ID.fullmatch(id)
        ):
            # Of a personal account the id is no workspace's: named as one, upstream would refuse every call.
            return ImportedLine(line, where, replace(parse_credential(token), workspace_id=id))
        case {"accessToken": str(token)} if token:
            return ImportedLine(line, where, parse_credential(token))
        case {"accessToken": _} | {"user": _, "expires": _}:
            raise ValueError("it is an answer of /api/auth/session, but without an accessToken")
        case dict() if _is_of_another(entry):
            return ImportedLine(line, where, why="it is an account of another platform", passed=True)
        case {"credentials": dict(tokens)} | {"tokens": dict(tokens)}:  # of Sub2API; of Codex
            return _of_tokens(tokens, line, where, CODEX)
        case {"access_token": _} | {"refresh_token": _} | {"session_token": _} | {"id_token": _}:
            return _of_tokens(entry, line, where, CODEX if entry.get("type") == _CODEX_TYPE else None)
        case _:
            raise ValueError("it is JSON, but of no kind of account file that is known here")


def _is_of_another(entry: dict[str, Any]) -> bool:
    """Whether an entry says that it belongs to another platform, or is of a kind that has no log-in."""
    if isinstance(entry.get("credentials"), dict):
        return (entry.get("platform"), entry.get("type")) != ("openai", "oauth")
    return "tokens" not in entry and entry.get("type", EXPORT) not in (_CODEX_TYPE, EXPORT)


def _of_tokens(tokens: dict[str, Any], line: int, where: str, default_client: str | None) -> ImportedLine:
    """An entry with each of its tokens under a name of its own. Raises ValueError."""
    given = {kind: _text(tokens, f"{kind}_token") for kind in ("access", "refresh", "session")}
    secrets = {kind: secret for kind, secret in given.items() if secret is not None}
    if not secrets:
        raise ValueError("it has no token")
    claims = Claims()
    handling = _handling_of(tokens) if tokens.get("type", EXPORT) == EXPORT else None
    for kind, secret in secrets.items():
        read, said = read_secret(secret)
        if read != kind:
            raise ValueError(f"its {kind}_token is none")
        claims = said if kind == "access" else claims
    of_id = _id_claims(_text(tokens, "id_token"))
    user = claims.user or of_id.user or _text(tokens, "chatgpt_user_id")
    plan = claims.plan or of_id.plan or _text(tokens, "plan_type")
    workspace_id = _text(tokens, "workspace_id")
    if workspace_id is None and plan in _WORKSPACE_PLANS:
        workspace_id = _text(tokens, "account_id") or _text(tokens, "chatgpt_account_id")
    if workspace_id is not None and not WORKSPACE_ID.fullmatch(workspace_id):
        raise ValueError("its workspace id is none")
    client_id = _text(tokens, "client_id")
    if client_id is not None and not is_client_id(client_id):
        raise ValueError("its client id is none")
    issued_to = next((one for one in (claims.client, of_id.client) if one not in {None, WEB}), None)
    kind, secret = next(iter(secrets.items()))  # an access token says most
    ends = tokens.get("expires_at") if tokens.get("expires_at") is not None else tokens.get("expired")
    credential = Credential(
        read_secret(secret)[0],
        secret,
        workspace_id,
        replace(claims, user=user, plan=plan, mail=claims.mail or of_id.mail or masked_mail(tokens.get("email"))),
        (client_id or issued_to or default_client) if "refresh" in secrets else None,
        secrets.get("refresh") if kind != "refresh" else None,
        secrets.get("session") if kind != "session" else None,
        _moment(ends) if kind == "access" else None,
        handling,
    )
    return ImportedLine(line, where, credential, shared="refresh" in secrets and default_client is not None)


def _handling_of(entry: dict[str, Any]) -> Handling | None:
    """How one of our own exports says that the account is to be used; None where it says nothing. Raises ValueError for
    a proxy that is none: without it the account would go another way."""
    proxy = _text(entry, "proxy_url")
    try:
        if proxy is not None:
            check_proxy("proxy_url", proxy)
    except SettingError:
        raise ValueError("its proxy_url is none") from None
    limit = entry.get("turns_at_once")
    handling = Handling(
        (_text(entry, "label") or "")[:_MAX_LABEL] or None,
        _moment(entry.get("paused_at")),
        proxy,
        limit if isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= _MAX_LIMIT else None,
    )
    return handling if handling != Handling() else None


def _id_claims(id_token: str | None) -> Claims:
    """What an id_token says, where it is OpenAI's. It is no credential, so a bad one does not spoil the others."""
    try:
        claims = read_claims(id_token or "")
    except ValueError:
        return Claims()
    return claims if claims.is_openai else Claims()


def _name_of(entry: Any) -> str:
    """The name an entry of a file has there, for people to find it by; nothing that may be a token."""
    for key in ("name", "email"):
        name = _text(entry, key) if isinstance(entry, dict) else None
        if name is not None and len(name) <= _MAX_NAME and not name.startswith(_SECRETS):
            return f' ("{name}")'
    return ""


def _text(entry: dict[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value.strip() or None if isinstance(value, str) and value.isprintable() else None


def _moment(value: Any) -> float | None:
    """Seconds since 1970: RFC 3339, a number, or a number as text."""
    try:
        seconds = float(value) if not isinstance(value, bool) else None
    except OverflowError:
        return None
    except (TypeError, ValueError):
        try:
            return datetime.fromisoformat(value).timestamp() if isinstance(value, str) and "T" in value else None
        except (ValueError, OverflowError):
            return None
    return seconds if seconds is not None and 0 < seconds < _END_OF_TIME else None


# --- the same account -------------------------------------------------------------------------------------------------


def _end_of(line: ImportedLine) -> float:
    """When its access token ends. One that does not say lasts; none is worth less than any."""
    assert line.credential is not None  # noqa: S101  only those are compared
    account = account_of(line.credential, 0.0)
    if account.access_token is None:
        return 0.0
    return float("inf") if account.expires is None else account.expires


_MAX_LABEL, _MAX_LIMIT = 64, 64
_MAX_NAME = 40  # shorter than most tokens; the others begin in a way of their own
_SECRETS = ("fk-", "rt_", "v1.", "sk-", "eyJ")
# Seconds; beyond it (the year 5138) a number is mostly one of milliseconds, and no time can be trusted to be meant.
_END_OF_TIME = 1e11
# Other programs note an account id for every account, and it names a workspace only where several people share one.
_WORKSPACE_PLANS = frozenset({"team", "business", "enterprise"})
_CODEX_TYPE = "codex"
_COMMENT = re.compile(r"(?:^|\s)#.*")
_NAMED = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]{0,63})\s*=\s*(\S.*)", re.ASCII)
# A line of a list that has a mail address, a password and tokens of each account.
_MAIL_FIRST = re.compile(r"[\"']?([^\s@|:;,\"']{1,64}@[\w.-]{1,255}?)[\"']?\s*(----|[|:;,\t])", re.ASCII)
# Each field is tried as a token: a line of a megabyte of separators must not cost as many tries.
_MOST_FIELDS = 8
# What columns of tables are called, of their letters.
_COLUMNS = {
    "accesstoken": "access_token",
    "refreshtoken": "refresh_token",
    "sessiontoken": "session_token",
    "token": "token",
    "idtoken": "id_token",
    "clientid": "client_id",
    "workspaceid": "workspace_id",
    "accountid": "account_id",
    "email": "email",
    "mail": "email",
    "label": "label",
    "name": "label",
}
_NO_LETTERS = re.compile(r"[^A-Za-z]")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_AROUND = " \t\"'"
# Python's name without LE or BE takes the mark away, and goes by it.
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_PIECE = re.compile(r"\.\d+$")
_COOKIE = re.compile(rf"(?:^|[\s;\"']){re.escape(SESSION_COOKIE)}(?:\.(\d{{1,2}}))?=[\"']?([^;\s\"']+)")
_decode = json.JSONDecoder().raw_decode
