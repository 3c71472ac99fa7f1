"""`chat2api keys`: keys for clients, beside those of AUTHORIZATION, whether or not a server is running.

Rule: a key is printed once, when it is made, on standard output and alone there, so that a script can take it.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import click

from shim.cli.plural import counted

if TYPE_CHECKING:
    from shim.keys import ApiKeys

T = TypeVar("T")

_SPAN = re.compile(r"(\d{1,5})([mhd])")
_SPAN_SECONDS = {"m": 60, "h": 3600, "d": 86400}


class MomentType(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers alone
    """A span from now (30d, 12h, 45m) or a date (2027-01-31, at its end in UTC), as seconds since 1970."""

    name = "when"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click.ParamType."""
        text = str(value)
        if span := _SPAN.fullmatch(text):
            return time.time() + int(span[1]) * _SPAN_SECONDS[span[2]]
        try:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() + 86400
        except ValueError:
            self.fail(f"{text!r} is neither a span like 30d, 12h or 45m nor a date like 2027-01-31", param, ctx)


@click.group()
def keys() -> None:
    """List and change the keys that clients send, each with limits of its own.

    They are in the same store as the server's (DATA_DIR or REDIS_URL): a running server follows within a second. Once
    there is one, callers need a key, also where AUTHORIZATION is empty.
    """


@keys.command()
@click.argument("name")
@click.option("--models", help="Models it may use, by comma; `name*` for all that begin so. [all]")
@click.option("--requests-per-minute", type=click.IntRange(1, 100_000), help="Requests within any 60 seconds.")
@click.option("--tokens-per-day", type=click.IntRange(1, 10**12), help="Tokens, estimated, until midnight UTC.")
@click.option("--concurrent", type=click.IntRange(1, 10_000), help="Requests at once.")
@click.option("--expires", type=MomentType(), help="When it ends: 30d, 12h, 45m or 2027-01-31. [never]")
def add(
    name: str,
    *,
    models: str | None,
    requests_per_minute: int | None,
    tokens_per_day: int | None,
    concurrent: int | None,
    expires: float | None,
) -> None:
    """Make the key NAME and print it, this once: what is kept is a hash."""
    from shim.keys import KeyLimits  # noqa: PLC0415

    named = tuple(word for part in (models or "").split(",") if (word := part.strip()))
    if models is not None and not named:  # a variable that is empty must not make a key for everything
        raise click.BadParameter("it names no model; without it, all may be used", param_hint="--models")
    limits = KeyLimits(named, requests_per_minute, tokens_per_day, concurrent)
    click.echo(_run(lambda held: held.add(name, limits, expires)))


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_keys(*, as_json: bool) -> None:
    """Show the keys: their limits, and what of them is used."""
    import msgspec  # noqa: PLC0415

    from shim.keys import LAST_SECOND  # noqa: PLC0415

    found = _run(lambda held: held.all())
    if as_json:
        rows = [{**msgspec.to_builtins(key), "used": msgspec.to_builtins(use)} for key, use in found]
        click.echo(json.dumps([{name: row[name] for name in row if name != "hash"} for row in rows], indent=2))
        return
    for key, use in found:
        limits, told = key.limits, []
        if limits.requests_per_minute is not None:
            told.append(f"{use.requests}/{limits.requests_per_minute} requests a minute")
        if limits.tokens_per_day is not None:
            told.append(f"{use.tokens}/{limits.tokens_per_day} tokens today")
        if limits.concurrent is not None:
            told.append(f"{use.active}/{limits.concurrent} at once")
        if limits.models:
            told.append(f"models {', '.join(limits.models)}")
        if key.expires is not None:
            # Older versions took an end that no calendar has.
            moment = datetime.fromtimestamp(min(key.expires, LAST_SECOND), UTC).strftime("%Y-%m-%d %H:%M UTC")
            told.append(f"{'expired' if key.expires <= time.time() else 'until'} {moment}")
        click.echo(f"{key.name}  …{key.hint}  {'; '.join(told) or 'no limits'}")
    click.echo(counted(len(found), "key") if found else "no keys: `chat2api keys add NAME` makes one")


@keys.command()
@click.argument("name")
def rotate(name: str) -> None:
    """Print another key for NAME, with its limits; the old one is refused from now on."""
    secret = _run(lambda held: held.rotate(name))
    if secret is None:
        raise click.ClickException(f"there is no key {name!r}")
    click.echo(secret)


@keys.command()
@click.argument("name")
def remove(name: str) -> None:
    """Refuse the key NAME from now on."""
    if not _run(lambda held: held.remove(name)):
        raise click.ClickException(f"there is no key {name!r}")
    click.echo(f"{name} removed")


def _run(work: "Callable[[ApiKeys], Awaitable[T]]") -> T:
    """`work` on the keys of these settings. Expected failures end as one sentence, without a traceback."""
    import asyncio  # noqa: PLC0415

    from shim.keys import KeyStoreError, open_keys  # noqa: PLC0415
    from shim.settings import SettingError, load_settings  # noqa: PLC0415

    async def run() -> T:
        settings = load_settings()
        async with open_keys(data_dir=settings.data_dir, redis_url=settings.redis_url, background=False) as held:
            return await work(held)

    try:
        return asyncio.run(run())
    except (SettingError, KeyStoreError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
