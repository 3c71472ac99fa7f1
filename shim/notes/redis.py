"""Notes on a server: Redis or Valkey, shared by the gateways of several machines.

Rules:
* every step is one Lua script, so it is atomic over all machines, and times are the server's own;
* values end by themselves, whether anybody writes or not; the lists that bound and order them are swept at writes, and
  end with the last note.

Keys, all beginning with `chat2api:notes:<shelf>:`: `note:<key>` are strings that expire; `order` (by when it was
written), `ends` (by when it ends) and `keys` (by name) are sorted sets of the notes' keys; `sequence` numbers the
writes.
"""

from collections.abc import Sequence
from typing import Any

from shim.databases.redis import RedisScripts
from shim.notes.base import Note, NotesError

PREFIX = "chat2api:notes:"
SWEPT_AT_ONCE = 500
"""Ended notes that one write removes: other clients wait while it does."""


class RedisNotes:
    """Notes on the server at `url`, in keys that begin with `prefix`. Raises DatabaseError for an address of another
    kind."""

    def __init__(self, url: str, *, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._server = RedisScripts(url, _BEGIN, _SCRIPTS, NotesError)

    async def close(self) -> None:
        await self._server.close()

    async def put(self, shelf: str, key: str, value: bytes, seconds: float, most: int) -> None:
        await self._run("write", shelf, [key, value, _milliseconds(seconds), most, "put"])

    async def add(self, shelf: str, key: str, value: bytes, seconds: float, most: int) -> bool:
        return bool(await self._run("write", shelf, [key, value, _milliseconds(seconds), most, "add"]))

    async def get(self, shelf: str, key: str) -> bytes | None:
        found: bytes | None = await self._run("get", shelf, [key])
        return found

    async def delete(self, shelf: str, key: str) -> bool:
        return bool(await self._run("delete", shelf, [key]))

    async def page(self, shelf: str, prefix: str, after: str | None, limit: int, *, backwards: bool) -> list[Note]:
        # Keys are ordered by their bytes in UTF-8, which is by code point; 0xFF is in none of them.
        first, end = b"[" + prefix.encode(), b"(" + prefix.encode() + b"\xff"
        beyond = None if after is None else b"(" + after.encode()
        if backwards:
            bounds = [end if beyond is None or beyond > end else beyond, first]
        else:
            bounds = [first if beyond is None or beyond[1:] < first[1:] else beyond, end]
        found = await self._run("page", shelf, [*bounds, limit, "backwards" if backwards else "forwards"])
        return [Note(key.decode(), value) for key, value in zip(found[::2], found[1::2], strict=True)]

    async def _run(self, script: str, shelf: str, values: Sequence[str | float | bytes]) -> Any:
        base = f"{self._prefix}{shelf}:"
        return await self._server.run(script, [base + name for name in _KEYS], [f"{base}note:", *values])


def _milliseconds(seconds: float) -> int:
    # Redis refuses a life of 0.
    return max(1, round(seconds * 1000))


# What `unpack(KEYS)` below expects, in its order.
_KEYS = ("order", "ends", "keys", "sequence")

_BEGIN = """
local order, ends, keys, sequence = unpack(KEYS)
local base = ARGV[1]

local function forget(key)
  for _, list in ipairs({order, ends, keys}) do redis.call('ZREM', list, key) end
  return redis.call('DEL', base .. key)
end
"""

_SCRIPTS = {
    "write": f"""
local key, value, milliseconds, most, how = unpack(ARGV, 2)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, {SWEPT_AT_ONCE})) do forget(old) end
if how == 'add' and redis.call('EXISTS', base .. key) == 1 then return 0 end
redis.call('SET', base .. key, value, 'PX', milliseconds)
redis.call('ZADD', order, redis.call('INCR', sequence), key)
redis.call('ZADD', ends, string.format('%.0f', now + milliseconds), key)
redis.call('ZADD', keys, 0, key)
local over = redis.call('ZCARD', order) - most
if over > 0 then
  for _, old in ipairs(redis.call('ZRANGE', order, 0, over - 1)) do forget(old) end
end
local last = redis.call('ZREVRANGE', ends, 0, 0, 'WITHSCORES')[2]
if last then
  for _, list in ipairs(KEYS) do redis.call('PEXPIREAT', list, string.format('%.0f', last + 1000)) end
end
return 1
""",
    "get": "return redis.call('GET', base .. ARGV[2])",
    "delete": "return forget(ARGV[2])",
    # Keys whose notes have ended may still be in the list: it is gone through until the page is full.
    "page": """
local from, to, limit, direction = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local command = direction == 'backwards' and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX'
local found = {}
while #found < 2 * limit do
  local batch = redis.call(command, keys, from, to, 'LIMIT', 0, limit)
  for _, key in ipairs(batch) do
    local value = redis.call('GET', base .. key)
    if value and #found < 2 * limit then
      found[#found + 1] = key
      found[#found + 1] = value
    end
  end
  if #batch < limit then break end
  from = '(' .. batch[#batch]
end
return found
""",
}
