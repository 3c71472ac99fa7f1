"""Which store: Redis where there is an address for it, else the file in DATA_DIR."""

import os
from collections.abc import Sequence

from shim.accounts.stores.base import Store
from shim.accounts.stores.sealing import Sealing


def open_store(
    *, data_dir: str | os.PathLike[str], redis_url: str = "", keys: Sequence[str] = (), name: str = "accounts"
) -> Store:
    """The store called `name`, not connected yet: `await store.open()` comes next.

    `keys` seal the tokens: the first one seals, all of them open. Only the library that is needed is imported. Raises
    StoreError for an address or a key that can't be used.
    """
    if redis_url:
        from shim.accounts.stores.redis import RedisStore  # noqa: PLC0415  redis-py takes a while to import

        return RedisStore(redis_url, Sealing(keys), prefix=f"chat2api:{name}:")
    from shim.accounts.stores.sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore(data_dir, Sealing(keys), name=name)
