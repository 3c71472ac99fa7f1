"""The store on a server: Redis (5 or newer) or Valkey, shared by the gateways of several machines.

Rules:
* every step that reads and then writes is one Lua script, so it is atomic over all machines;
* times are the server's own, so that machines whose clocks differ agree on when a claim ends;
* nothing is tried twice here and nothing waits for long: a call that fails raises StoreError, and the next one
  connects again by itself;
* all keys have one prefix. One server (or a failover pair), not a cluster.

What it means that `add` has returned: the server has it, so `kill -9` of a gateway loses nothing. Whether the server
itself keeps it is the server's setting: `appendonly yes` with `appendfsync always` has it on disk before it answers;
with `everysec`, the default there, a crash of that machine loses about a second; without `appendonly` everything since
its last snapshot is lost, and `open` logs a warning. WAITAOF is not used: Redis 7.0 does not have it, and with
`everysec` every call would wait for up to a second. WAIT is not used: it counts the replicas that have a write, and
does not undo one that too few have.

Keys: `accounts`, `versions`, `conditions`, `used` and `turns` are hashes by account id; `order` is a sorted set of the
ids; `sequence` numbers the changes, and `changes` is a capped stream of them, whose entry `<number>-0` has the id and
the writer; `claims:<id>` are sorted sets of leases by when they end; `lock:<name>` are strings that expire; `format` is
the version of all this.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio import Redis

from shim.accounts.account import Account, Condition
from shim.accounts.stores.base import Change, StoreEmptiedError, StoreError
from shim.accounts.stores.records import (
    Known,
    decode_account,
    encode_account,
    encode_condition,
)
from shim.accounts.stores.sealing import Sealing
from shim.databases import DatabaseError
from shim.databases.redis import FAILURES, client_of, complaint, server_name

# Raised by whoever changes what a row holds: older gateways then refuse the store, and do not write over it.
FORMAT = 1
PREFIX = "chat2api:accounts:"
KEPT_CHANGES = 10_000
"""A process that has missed more than these compares everything instead."""
CHUNK = 500
"""So many accounts go into one script at most: other clients wait while it runs."""

log = logging.getLogger("chat2api")

Row = tuple[Account, Condition]
Packed = tuple[str, str, str, str, str]
"""id, account ("" where it is gone), condition, last used, turns."""


class RedisStore:
    """Accounts on the server at `url` (redis://, rediss:// for TLS, or unix://), in keys that begin with `prefix`.

    Raises StoreError for an address of another kind.
    """

    _server: bytes  # which run of the server, and up to which change, we know; b"" where everything is to be compared
    _seen: bytes

    def __init__(self, url: str, sealing: Sealing | None = None, *, prefix: str = PREFIX) -> None:
        self._url = url
        try:
            self._name = server_name(url)
        except DatabaseError as error:
            raise StoreError(str(error)) from None
        self._sealing = sealing or Sealing()
        self._prefix = prefix
        self._keys = [prefix + key for key in _KEYS]
        self._client: Redis | None = None
        self._start_over()

    async def open(self) -> None:
        await self.close()
        self._start_over()
        try:
            self._client = client_of(self._url)
        except DatabaseError as error:
            raise StoreError(str(error)) from None
        self._scripts = {name: self._client.register_script(text) for name, text in _SCRIPTS.items()}
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.close)
            version, appends, policy = await self._run_on("format", "open", FORMAT)
            # Never written with an older format's rules: that could lose what the newer one keeps.
            if int(version) > FORMAT:
                newer = f"was written by a newer chat2api (format {int(version)})"
                raise StoreError(f"{self._name} {newer}: update this one")
            if appends == b"0":
                log.warning("%s loses what is new when it restarts: set appendonly to yes there", self._name)
            if policy.startswith(b"allkeys"):
                log.warning("%s drops accounts when it is full: set maxmemory-policy to noeviction there", self._name)
            undo.pop_all()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def load(self) -> list[Row]:
        async with self._in_order():
            rows = await self._read_all()
            self._known.reset(rows)
            return rows

    async def add(self, accounts: Sequence[Account]) -> list[bool]:
        added: list[bool] = []
        for at in range(0, len(accounts), CHUNK):
            chunk = accounts[at : at + CHUNK]
            # Sealed before the lock is taken: encryption is the slow part, and nothing else has to wait for it.
            sealed = [(one.id, one.version, encode_account(self._sealing.seal(one))) for one in chunk]
            async with self._in_order():
                new = await self._run("add", _NEW, *(value for one in sealed for value in one))
                for account, is_new in zip(chunk, new, strict=True):
                    if is_new:
                        self._known.put_account(account)
            added += map(bool, new)
        return added

    async def save_account(self, account: Account) -> bool:
        text = encode_account(self._sealing.seal(account))
        async with self._in_order():
            kept = await self._run("save_account", account.id, account.version - 1, account.version, text)
            # Compared unsealed: sealing the same token twice gives two texts.
            saved = kept is None or (kept != b"" and self._sealing.unseal(decode_account(kept)) == account)
            if saved:
                self._known.put_account(account)
            return saved

    async def save_condition(self, id: str, condition: Condition) -> None:
        async with self._in_order():
            await self._run("save_condition", id, encode_condition(condition))
            self._known.put_condition(id, condition)

    async def add_uses(self, uses: Mapping[str, tuple[float, int]]) -> None:
        flat = [(id, repr(float(last)), turns) for id, (last, turns) in uses.items()]
        for at in range(0, len(flat), CHUNK):
            await self._run("add_uses", *(value for one in flat[at : at + CHUNK] for value in one))

    async def remove(self, ids: Sequence[str] | None) -> int:
        # By a script of its own, which leaves the sequence: a store without one has lost its data (`changes`).
        if ids is None:
            return await self._remove("remove_all")
        return sum([await self._remove("remove", *ids[at : at + CHUNK]) for at in range(0, len(ids), CHUNK)])

    async def changes(self) -> list[Change]:
        async with self._in_order():
            news = await self._run("changes", self._server, self._seen)
            if not news:
                everything = await self._read_all()
                # Where somebody removed all accounts the sequence is still there; without one the data is lost.
                if self._seen == _NOTHING_YET and len(self._known):
                    raise StoreEmptiedError(f"{self._name} came back empty: it does not keep its data on disk")
                return self._known.news_of_all(everything)
            self._seen, packed = news
            if not packed:
                return []
            rows = _unpack(packed)[::-1]  # the script says the newest first
            return self._known.news([id for id, *_ in rows], self._decode(rows))

    async def claim(self, id: str, lease: str, limit: int, seconds: float) -> bool:
        return bool(await self._run_on(f"claims:{id}", "claim", lease, limit, _milliseconds(seconds)))

    async def release(self, id: str, lease: str) -> None:
        await self._run_on(f"claims:{id}", "release", lease)

    async def prolong(self, claims: Sequence[tuple[str, str]], seconds: float) -> None:
        # Other clients of the server wait while a script runs, so that none may go over ten thousand claims.
        for at in range(0, len(claims), CHUNK):
            chunk = claims[at : at + CHUNK]
            keys = [f"{self._prefix}claims:{id}" for id, _ in chunk]
            await self._call("prolong", keys, [_milliseconds(seconds), *(lease for _, lease in chunk)])

    async def release_held_by(self, holds: Callable[[str], bool]) -> int:
        if self._client is None:
            raise StoreError(f"{self._name} is not open")
        released = 0
        try:
            # Step by step and not by a script, as it goes over all keys; what is claimed meanwhile is nobody's who is
            # gone.
            async for key in self._client.scan_iter(match=f"{self._prefix}claims:*", count=CHUNK):
                leases: Any = await self._client.zrange(key, 0, -1)
                gone = [lease for lease in leases if holds(lease.decode().partition("/")[0])]
                released += await self._client.zrem(key, *gone) if gone else 0
        except FAILURES as error:
            raise StoreError(f"{self._name} {complaint(error)}") from None
        return released

    async def lock(self, name: str, holder: str, seconds: float) -> bool:
        return bool(await self._run_on(f"lock:{name}", "lock", holder, _milliseconds(seconds)))

    async def unlock(self, name: str, holder: str) -> None:
        await self._run_on(f"lock:{name}", "unlock", holder)

    # --- the pieces ---------------------------------------------------------------------------------------------------

    def _start_over(self) -> None:
        """Forget all cached state, as in a fresh process."""
        self._writer = uuid.uuid4().hex
        self._known = Known()
        self._server, self._seen = b"", _NOTHING_YET
        self._order = asyncio.Lock()

    async def _remove(self, script: str, *ids: str) -> int:
        async with self._in_order():
            gone = await self._run(script, *ids)
            self._known.drop(id.decode() for id in gone)
            return len(gone)

    async def _read_all(self) -> list[Row]:
        """All rows, decoded in a thread (10,000 take a while); from their change on `changes` continues."""
        server, seen, packed = await self._run("load")
        rows = await asyncio.to_thread(lambda: self._decode(_unpack(packed)))
        self._server, self._seen = server, seen
        return rows

    def _decode(self, rows: Sequence[Packed]) -> list[Row]:
        there = (
            (id, account, condition, float(used), int(turns)) for id, account, condition, used, turns in rows if account
        )
        return self._known.read(there, self._sealing.unseal)

    @asynccontextmanager
    async def _in_order(self) -> AsyncIterator[None]:
        """One after the other, so that what is known never goes back to an older answer.

        Where a call fails it is open what the server has done: then everything is compared next time.
        """
        async with self._order:
            try:
                yield
            except BaseException:  # cancelled, too: then nobody has read what the server has done
                self._server = b""
                raise

    async def _run(self, script: str, *values: str | float | bytes) -> Any:
        """A script on the accounts. Its first two values are who we are and how many changes are kept."""
        return await self._call(script, self._keys, [self._writer, KEPT_CHANGES, *values])

    async def _run_on(self, key: str, script: str, *values: str | float) -> Any:
        """A script on one key."""
        return await self._call(script, [self._prefix + key], values)

    async def _call(self, script: str, keys: Sequence[str], values: Sequence[str | float | bytes]) -> Any:
        if self._client is None:
            raise StoreError(f"{self._name} is not open")
        try:
            return await self._scripts[script](keys, values)
        except FAILURES as error:
            raise StoreError(f"{self._name} {complaint(error)}") from None  # its text may quote a value


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # `SET ... PX 0` is an error


def _unpack(packed: bytes) -> list[Packed]:
    """The rows. One that is no text comes as one that can't be read: it is left out by its id, as any other."""
    rows: list[Packed] = []
    for raw in _decode_rows(packed) if packed else ():
        try:
            rows.append(_decode_row(raw))
        except (msgspec.DecodeError, UnicodeDecodeError):
            try:
                rows.append((_decode_id(raw)[0], "no text", _NEW, "0", "0"))
            except (msgspec.DecodeError, UnicodeDecodeError):
                log.warning("a row of the store is left out: its id can't be read")
    return rows


_NEW = encode_condition(Condition())
_decode_rows = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_row = msgspec.msgpack.Decoder(Packed).decode
_decode_id = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw]).decode

_NOTHING_YET = b"0"  # the number of changes where there has never been one
_KEYS = ("accounts", "versions", "conditions", "used", "turns", "order", "sequence", "changes")

# What the scripts on the accounts begin with. Numbers of changes stay below 2^53, which is what Lua counts exactly to.
_BEGIN = """
local accounts, versions, conditions, used, turns, order, sequence, changes = unpack(KEYS)
local writer, kept = ARGV[1], ARGV[2]

-- Where the server has lost its data, numbers begin at its clock: nobody takes new changes for a continuation.
local function note(id)
  if redis.call('EXISTS', sequence) == 0 then
    local time = redis.call('TIME')
    redis.call('SET', sequence, string.format('%.0f', time[1] * 1000000 + time[2]))
  end
  local number = redis.call('INCR', sequence)
  redis.call('XADD', changes, 'MAXLEN', '~', kept, string.format('%.0f-0', number), 'id', id, 'by', writer)
  return number
end

-- Another run of the server may have lost the last changes. Where INFO is forbidden that can't be told.
local function server()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or 'unknown'
end

local function rows(ids)
  local found = {}
  for place, id in ipairs(ids) do
    found[place] = {
      id,
      redis.call('HGET', accounts, id) or '',
      redis.call('HGET', conditions, id) or '',
      redis.call('HGET', used, id) or '0',
      redis.call('HGET', turns, id) or '0',
    }
  end
  return #found > 0 and cmsgpack.pack(found) or ''
end

local function remove(id)
  if redis.call('HDEL', accounts, id) == 0 then return false end
  for _, hash in ipairs({versions, conditions, used, turns}) do redis.call('HDEL', hash, id) end
  redis.call('ZREM', order, id)
  note(id)
  return true
end
"""

_SCRIPTS = {
    "load": _BEGIN
    + """
return {server(), redis.call('GET', sequence) or '0', rows(redis.call('ZRANGE', order, 0, -1))}
""",
    # Nothing where everything has to be compared; else the last number, and the rows that others changed, newest first.
    "changes": _BEGIN
    + """
local before, now = ARGV[4], redis.call('GET', sequence) or '0'
if server() ~= ARGV[3] then return {} end
if now == before then return {now, ''} end
local read = redis.call('XREAD', 'STREAMS', changes, before .. '-0')
local entries = read and read[1][2] or {}
if #entries ~= tonumber(now) - tonumber(before) then return {} end
local ids, seen = {}, {}
for place = #entries, 1, -1 do
  local _, id, _, by = unpack(entries[place][2])
  if by ~= writer and not seen[id] then
    seen[id] = true
    ids[#ids + 1] = id
  end
end
return {now, rows(ids)}
""",
    "add": _BEGIN
    + """
local added = {}
for place = 4, #ARGV, 3 do
  local id, version, account = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local new = redis.call('HSETNX', accounts, id, account)
  if new == 1 then
    redis.call('HSET', versions, id, version)
    redis.call('HSET', conditions, id, ARGV[3])
    redis.call('ZADD', order, note(id), id)
  end
  added[#added + 1] = new
end
return added
""",
    # Nothing where it is saved; else the account that is kept instead, "" for none.
    "save_account": _BEGIN
    + """
local id, expected, version, account = unpack(ARGV, 3)
if redis.call('HGET', versions, id) ~= expected then return redis.call('HGET', accounts, id) or '' end
redis.call('HSET', accounts, id, account)
redis.call('HSET', versions, id, version)
note(id)
return false
""",
    "save_condition": _BEGIN
    + """
local id, condition = unpack(ARGV, 3)
if redis.call('HEXISTS', accounts, id) == 1 then
  redis.call('HSET', conditions, id, condition)
  note(id)
end
""",
    "add_uses": _BEGIN
    + """
for place = 3, #ARGV, 3 do
  local id, last, more = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  if redis.call('HEXISTS', accounts, id) == 1 then
    if tonumber(last) > tonumber(redis.call('HGET', used, id) or '0') then redis.call('HSET', used, id, last) end
    redis.call('HINCRBY', turns, id, more)
  end
end
""",
    "remove": _BEGIN
    + """
local gone = {}
for place = 3, #ARGV do
  if remove(ARGV[place]) then gone[#gone + 1] = ARGV[place] end
end
return gone
""",
    "remove_all": _BEGIN
    + """
local gone = redis.call('ZRANGE', order, 0, -1)
for _, id in ipairs(gone) do remove(id) end
return gone
""",
    "claim": """
local lease, limit, milliseconds = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], lease) and redis.call('ZCARD', KEYS[1]) >= tonumber(limit) then return 0 end
redis.call('ZADD', KEYS[1], now + milliseconds, lease)
redis.call('PEXPIREAT', KEYS[1], redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
return 1
""",
    "prolong": """
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
for place, key in ipairs(KEYS) do
  redis.call('ZADD', key, ends, ARGV[place + 1])
  redis.call('PEXPIREAT', key, redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2])
end
""",
    "release": "return redis.call('ZREM', KEYS[1], ARGV[1])",
    "lock": """
local holder, milliseconds = unpack(ARGV)
if redis.call('GET', KEYS[1]) == holder then return redis.call('PEXPIRE', KEYS[1], milliseconds) end
return redis.call('SET', KEYS[1], holder, 'NX', 'PX', milliseconds) and 1 or 0
""",
    "unlock": "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end",
    "open": """
local function setting(section, pattern)
  local info = redis.pcall('INFO', section)
  return type(info) == 'string' and string.match(info, pattern) or 'unknown'
end
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return {
  redis.call('GET', KEYS[1]),
  setting('persistence', 'aof_enabled:(%d)'),
  setting('memory', 'maxmemory_policy:([%a-]+)'),
}
""",
}
