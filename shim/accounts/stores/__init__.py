"""Where the pool survives: one interface, an SQLite file (default) and Redis or Valkey (several machines)."""

from shim.accounts.stores.base import Change, Store, StoreEmptiedError, StoreError

__all__ = ["Change", "Store", "StoreEmptiedError", "StoreError"]
