"""What the tests run in processes of their own: `child.py WHAT ADDRESS ...`. Each line it prints is a promise."""

import asyncio
import json
import sys
import time

from msgspec.structs import replace

from shim.accounts.account import Account
from shim.accounts.stores import Store
from shim.accounts.stores.choose import open_store


async def write(store: Store, name: str) -> None:
    """Add accounts and rotate their refresh tokens, for ever, and say so after each."""
    mine: list[Account] = []
    while True:
        account = Account(f"{name}-{len(mine)}", refresh_token=token(f"{name}-{len(mine)}", 0))
        assert await store.add([account]) == [True]
        print("added", account.id, flush=True)
        mine.append(account)
        for place, old in enumerate(mine[-3:], max(0, len(mine) - 3)):
            version = old.version + 1
            mine[place] = replace(old, refresh_token=token(old.id, version), version=version)
            assert await store.save_account(mine[place])
            print("rotated", old.id, version, flush=True)


async def claim(store: Store, name: str) -> None:
    """Compete for claims of an account with a limit of 3, and say from when to when each was held."""
    for turn in range(80):
        lease = f"{name}-{turn}"
        if await store.claim("one", lease, 3, 60):
            began = time.monotonic()
            await asyncio.sleep(0.002)
            print(began, time.monotonic(), flush=True)
            await store.release("one", lease)


async def only_open(_store: Store, _name: str) -> None:
    print("opened", flush=True)


def token(id: str, version: int) -> str:
    return f"token-of-{id}-in-version-{version}"


async def main(what: str, address: str, name: str) -> None:
    store = open_store(**json.loads(address))
    print("ready", flush=True)
    sys.stdin.readline()
    await store.open()
    await {"write": write, "claim": claim, "open": only_open}[what](store, name)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
