"""`chat2api tokens`: the accounts of the pool, in the terminal, whether or not a server is running.

Rules: tokens are read from a file or from standard input, never from arguments, where other users could see them, and
are never printed. Nothing heavy is imported at the top.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from shim.accounts.pool import AccountPool
    from shim.accounts.views import AccountView

T = TypeVar("T")

# Spelled out, because importing the enumeration would make `--help` slow.
_STATES = ("ready", "cooling", "parked", "expired", "refreshing")
_UNKNOWN = "there is no account {}"


@click.group()
def tokens() -> None:
    """List and change the accounts the gateway uses.

    They are in the same store as the server's (DATA_DIR or REDIS_URL): a running server follows at once.
    """


@tokens.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only accounts in this state.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_accounts(*, state: str | None, as_json: bool) -> None:
    """Show the accounts: their state, the reason, and until when."""
    import msgspec  # noqa: PLC0415

    from shim.accounts.states import State  # noqa: PLC0415

    async def work(roster: "AccountPool") -> "list[AccountView]":
        return roster.page(state=State(state) if state else None)

    views = _run(work)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(views), indent=2))
    else:
        _print_table(views)


@tokens.command()
# Editors on Windows put a byte order mark before the text, which would become a part of the first token.
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
def add(file: TextIO) -> None:
    """Add the tokens in FILE (`-`: standard input), one a line; `#` begins a comment.

    The exit code is 1 if a line was refused.
    """
    try:
        text = file.read()
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file.name} is not text in UTF-8") from error

    async def work(roster: "AccountPool") -> bool:
        report = await roster.add(text)
        for number, why in report.invalid:
            click.echo(f"line {number}: {why}", err=True)
        for number in report.duplicates:
            click.echo(f"line {number}: already here, nothing new", err=True)
        click.echo(f"{len(report.added)} added, {len(report.updated)} updated, {len(roster)} in all")
        return bool(report.invalid)

    sys.exit(_run(work))


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def remove(ids: tuple[str, ...]) -> None:
    """Remove accounts and their tokens."""

    async def one(roster: "AccountPool", id: str) -> str:
        return "removed" if await roster.remove(id) else ""

    _each(ids, one)


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def reset(ids: tuple[str, ...]) -> None:
    """Make accounts usable again: their limits, refusals and expiries are forgotten."""

    async def one(roster: "AccountPool", id: str) -> str:
        return _state(roster, id) if await roster.reset(id) else ""

    _each(ids, one)


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def probe(ids: tuple[str, ...]) -> None:
    """Renew the tokens of accounts now, which shows whether upstream still accepts them.

    An account with only an access token can't be renewed; the accounts page can ask upstream about such accounts.
    """
    from shim.errors import GatewayError  # noqa: PLC0415

    async def one(roster: "AccountPool", id: str) -> str:
        try:
            account = await roster.renew(id)
        except GatewayError as error:
            return f"failed: {error.message}"
        if account is None:
            return ""
        return _state(roster, id) if account.renewable else f"{_state(roster, id)} (nothing to renew it with)"

    _each(ids, one)


@tokens.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(*, yes: bool) -> None:
    """Remove all accounts and their tokens."""

    async def count(roster: "AccountPool") -> int:
        return len(roster)

    async def work(roster: "AccountPool") -> int:
        return await roster.clear()

    if not yes:
        click.confirm(f"Remove all {_run(count)} accounts?", abort=True)
    click.echo(f"{_run(work)} removed")


def _each(ids: tuple[str, ...], one: "Callable[[AccountPool, str], Awaitable[str]]") -> None:
    """Do it to each account and print the outcome; the exit code is 1 if one is unknown or failed."""

    async def work(roster: "AccountPool") -> bool:
        bad = False
        for id in ids:
            outcome = await one(roster, id)
            bad |= not outcome or outcome.startswith("failed")
            click.echo(f"{id}: {outcome}" if outcome else _UNKNOWN.format(id), err=not outcome)
        return bad

    sys.exit(_run(work))


def _run(work: "Callable[[AccountPool], Awaitable[T]]") -> T:
    """`work` on the accounts of these settings. Expected failures end as one sentence, without a traceback."""
    import asyncio  # noqa: PLC0415

    from shim.accounts.opening import open_pool  # noqa: PLC0415
    from shim.accounts.stores import StoreError  # noqa: PLC0415
    from shim.errors import GatewayError  # noqa: PLC0415
    from shim.settings import SettingError, load_settings  # noqa: PLC0415

    async def run() -> T:
        # What is due in the background (renewals, model lists) is the server's to do; this lasts a moment.
        async with open_pool(load_settings(), background=False) as roster:
            return await work(roster)

    try:
        return asyncio.run(run())
    except (SettingError, StoreError, GatewayError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _state(roster: "AccountPool", id: str) -> str:
    view = roster.view(id)
    if view is None:
        return ""
    return f"{view.state.value} ({view.why})" if view.why else view.state.value


def _print_table(views: "list[AccountView]") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, markup=False)
    if not views:
        console.print("no accounts")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    # The id is what the other commands take, so it stays in one piece to be copied.
    table.add_column("account", no_wrap=True)
    for name in ("plan", "state", "why", "until", "last used"):
        table.add_column(name, overflow="fold")
    table.add_column("turns", justify="right")
    for view in views:
        why = [view.why] if view.why else []
        why += [f"{model.slug} until {_moment(model.until)}" for model in view.cooling]
        table.add_row(
            Text(view.id),
            Text(view.plan or ""),
            Text(view.state.value, style=_STYLES[view.state.value]),
            Text("; ".join(why)),
            Text(_moment(view.until) if view.until else ""),
            Text(_moment(view.last_used) if view.last_used else "never"),
            Text(str(view.turns)),
        )
    console.print(table)
    console.print(f"{len(views)} in all")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


_STYLES = {"ready": "green", "cooling": "yellow", "parked": "red", "expired": "magenta", "refreshing": "blue"}
