"""What has to be so before a worker exists: each check raises one sentence instead of a worker's traceback.

Rule: the start makes all of them and `chat2api doctor` makes the same, so that neither knows better.
"""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from shim.accounts.installation import installation_id
from shim.accounts.stores import StoreError
from shim.accounts.stores.choose import open_store
from shim.cassettes.format import CassetteError, load_cassettes
from shim.errors import ConfigurationError
from shim.files.targets import AllowList
from shim.keys import KeyStoreError, open_keys
from shim.settings import SettingError, Settings


def listening_address(settings: Settings) -> str:
    """The numeric address of HOST, for servers that know no names. Raises SettingError."""
    if settings.numeric_host is not None:
        return str(settings.numeric_host)
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingError(f"HOST is {settings.host!r}, which is no address of this machine ({error})") from error
    return str(found[0][4][0])


def check_port(settings: Settings) -> None:
    """Whether this process may listen. Raises OSError."""
    address = listening_address(settings)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, settings.port))
        except OSError as error:
            raise OSError(f"can't listen on {settings.host}:{settings.port}: {error.strerror} (HOST, PORT)") from error


def check_replay(settings: Settings) -> None:
    """Whether the cassettes can be read. Raises SettingError."""
    try:
        if settings.replay:
            load_cassettes(Path(settings.replay))
    except (CassetteError, OSError) as error:
        raise SettingError(f"REPLAY is {settings.replay!r}: {error}") from error


def check_ca_file(settings: Settings) -> None:
    """Whether CA_FILE holds certificates. Raises SettingError."""
    if not settings.ca_file:
        return
    try:
        ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        why = "it holds no certificates" if isinstance(error, ssl.SSLError) else getattr(error, "strerror", str(error))
        raise SettingError(f"CA_FILE is {settings.ca_file!r}, which can't be used: {why}") from error


def check_private_urls(settings: Settings) -> None:
    """Whether the entries of ALLOW_PRIVATE_URLS can be read. Raises SettingError."""
    try:
        AllowList(settings.allow_private_urls)
    except ConfigurationError as error:
        raise SettingError(error.message) from error


def check_data_dir(settings: Settings) -> None:
    """Whether DATA_DIR can be written. Raises SettingError."""
    try:
        Path(settings.data_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=settings.data_dir) as probe:
            probe.write(b"0" * 65536)
            probe.flush()
        installation_id(Path(settings.data_dir))
    except OSError as error:
        raise SettingError(
            f"DATA_DIR is {settings.data_dir!r}, which can't be written: {error.strerror}. Set it to a folder of yours"
        ) from error
    except ValueError as error:
        raise SettingError(f"DATA_DIR is {settings.data_dir!r}: {error}") from error


def check_store(settings: Settings) -> None:
    """Whether the store of accounts can be opened. Raises SettingError."""

    async def look() -> None:
        store = open_store(redis_url=settings.redis_url, data_dir=settings.data_dir, keys=settings.store_key)
        try:
            await store.open()
            await store.load()
        finally:
            await store.close()

    try:
        asyncio.run(look())
    except StoreError as error:
        names = "REDIS_URL, STORE_KEY" if settings.redis_url else "DATA_DIR, STORE_KEY"
        raise SettingError(f"the store of accounts: {error} ({names})") from error


def check_keys(settings: Settings) -> None:
    """Whether the store of keys can be opened. Raises SettingError."""
    count_keys(settings)


def count_keys(settings: Settings) -> int:
    """How many keys there are beside those of AUTHORIZATION. Raises SettingError."""

    async def look() -> int:
        async with open_keys(data_dir=settings.data_dir, redis_url=settings.redis_url, background=False) as keys:
            return len(keys)

    try:
        return asyncio.run(look())
    except KeyStoreError as error:
        raise SettingError(
            f"the store of keys: {error} ({'REDIS_URL' if settings.redis_url else 'DATA_DIR'})"
        ) from error


CHECKS: tuple[Callable[[Settings], None], ...] = (
    check_port,
    check_ca_file,
    check_private_urls,
    check_data_dir,
    check_store,
    check_keys,
    check_replay,
)
