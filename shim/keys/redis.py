"""Keys on a server: Redis or Valkey, shared by the gateways of several machines.

Rule: a call's beginning is one Lua script, so limits are exact over all machines, and times are the server's own.

Keys, all beginning with `chat2api:keys:`: `records` (a hash, name to record) and `stamp`; for each key, by its id,
`requests:<id>` (a sorted set of tickets by when they began), `calls:<id>` (by when they end) and `tokens:<id>:<day>`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from shim.databases.redis import RedisScripts
from shim.keys.base import DAY, WINDOW, ApiKey, KeyStoreError, KeyUse, Standing, standing_of

PREFIX = "chat2api:keys:"
_NONE = -1  # a limit that there is not, for Lua


class RedisKeys:
    """Keys on the server at `url`. Raises DatabaseError for an address of another kind."""

    def __init__(self, url: str) -> None:
        self._server = RedisScripts(url, _BEGIN, _SCRIPTS, KeyStoreError)

    async def close(self) -> None:
        await self._server.close()

    async def stamp(self) -> int:
        return int(await self._run("stamp", []))

    async def load(self) -> list[ApiKey]:
        found = await self._run("load", [])
        return sorted((msgspec.json.decode(record, type=ApiKey) for record in found), key=lambda key: key.name)

    async def put(self, key: ApiKey, *, replaces: bool) -> bool:
        return bool(await self._run("put", [key.name, msgspec.json.encode(key), int(replaces)]))

    async def remove(self, name: str) -> bool:
        return bool(await self._run("remove", [name]))

    async def enter(self, key: ApiKey, ticket: str, seconds: float) -> Standing:
        limits = key.limits
        bounds = [
            _NONE if limit is None else limit
            for limit in (limits.requests_per_minute, limits.tokens_per_day, limits.concurrent)
        ]
        requests, tokens, active, oldest, now = await self._run("enter", [key.id, ticket, int(seconds * 1000), *bounds])
        use = KeyUse(requests, tokens, active)
        return standing_of(limits, use, oldest / 1000, now / 1000)

    async def leave(self, key: ApiKey, ticket: str, tokens: int) -> None:
        counted = tokens if key.limits.tokens_per_day is not None else 0
        await self._run("leave", [key.id, ticket, counted])

    async def prolong(self, tickets: Sequence[tuple[str, str]], seconds: float) -> None:
        await self._run("prolong", [int(seconds * 1000), *(part for ticket in tickets for part in ticket)])

    async def use(self, id: str) -> KeyUse:
        return KeyUse(*await self._run("use", [id]))

    async def _run(self, script: str, values: Sequence[str | float | bytes]) -> Any:
        return await self._server.run(script, [PREFIX], values)


_BEGIN = f"""
local base = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function names(id)
  return base .. 'requests:' .. id, base .. 'calls:' .. id, base .. 'tokens:' .. id .. ':'
    .. math.floor(now / {int(DAY * 1000)})
end

local function used(id)
  local requests, calls, tokens = names(id)
  return redis.call('ZCOUNT', requests, '(' .. string.format('%.0f', now - {int(WINDOW * 1000)}), '+inf'),
    tonumber(redis.call('GET', tokens) or '0'),
    redis.call('ZCOUNT', calls, '(' .. string.format('%.0f', now), '+inf')
end
"""

_SCRIPTS = {
    "stamp": "return tonumber(redis.call('GET', base .. 'stamp') or '0')",
    "load": "return redis.call('HVALS', base .. 'records')",
    "put": """
local name, record, replaces = unpack(ARGV)
if redis.call('HEXISTS', base .. 'records', name) ~= tonumber(replaces) then return 0 end
redis.call('HSET', base .. 'records', name, record)
redis.call('INCR', base .. 'stamp')
return 1
""",
    "remove": """
local record = redis.call('HGET', base .. 'records', ARGV[1])
if not record then return 0 end
redis.call('HDEL', base .. 'records', ARGV[1])
redis.call('DEL', names(cjson.decode(record).id))
redis.call('INCR', base .. 'stamp')
return 1
""",
    # The same decision as `standing_of`, which makes the words of it from the same numbers.
    "enter": f"""
local id, ticket, life = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most_requests, most_tokens, most_calls = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local requests, calls, tokens = names(id)
redis.call('ZREMRANGEBYSCORE', requests, '-inf', string.format('%.0f', now - {int(WINDOW * 1000)}))
redis.call('ZREMRANGEBYSCORE', calls, '-inf', string.format('%.0f', now))
local begun, spent, active = used(id)
local oldest = redis.call('ZRANGE', requests, 0, 0, 'WITHSCORES')[2]
local over = (most_requests >= 0 and begun >= most_requests) or (most_tokens >= 0 and spent >= most_tokens)
  or (most_calls >= 0 and active >= most_calls)
if not over then
  if most_requests >= 0 then
    redis.call('ZADD', requests, string.format('%.0f', now), ticket)
    redis.call('PEXPIRE', requests, {int(WINDOW * 1000)})
  end
  if most_calls >= 0 then
    redis.call('ZADD', calls, string.format('%.0f', now + life), ticket)
    redis.call('PEXPIRE', calls, life + 1000)
  end
end
return {{begun, spent, active, tonumber(oldest or now), now}}
""",
    "leave": f"""
local id, ticket, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local _, calls, tokens = names(id)
redis.call('ZREM', calls, ticket)
if count > 0 then
  redis.call('INCRBY', tokens, string.format('%.0f', count))
  redis.call('PEXPIRE', tokens, {int(DAY * 2000)})
end
return 1
""",
    "prolong": """
local life = tonumber(ARGV[1])
for place = 2, #ARGV, 2 do
  local _, calls = names(ARGV[place])
  redis.call('ZADD', calls, string.format('%.0f', now + life), ARGV[place + 1])
  redis.call('PEXPIRE', calls, life + 1000)
end
return 1
""",
    "use": "return {used(ARGV[1])}",
}
