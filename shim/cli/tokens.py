"""`chat2api tokens`: the accounts of the pool, in the terminal, whether or not a server is running.

Rules: tokens are read from files or from standard input, never from arguments, where other users could see them, and
are printed by `export` alone, to whoever says so. Nothing heavy is imported at the top.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from shim.cli.plural import counted
from shim.cli.progress import followed

if TYPE_CHECKING:
    from shim.accounts.pool import AccountPool, AddReport
    from shim.accounts.views import AccountView
    from shim.errors import Evidence

T = TypeVar("T")

# What a folder of accounts has besides (pictures, scripts, hidden files of editors) is no mistake.
_READ = frozenset({".csv", ".json", ".txt"})
# Spelled out, because importing the enumeration would make `--help` slow.
_STATES = ("new", "ready", "cooling", "parked", "expired", "refreshing", "paused")
GIVEN_UP_THERE = "; the original had given it up, so see whether it works"
_WIDE_COLUMNS = 120
"""of a terminal: a narrower one would cut the words of a reason into pieces beside three columns of times"""
_PIPE_COLUMNS = 250
_UNKNOWN = "there is no account {}"


@click.group()
def tokens() -> None:
    """List and change the accounts the gateway uses.

    They are in the same store as the server's (DATA_DIR or REDIS_URL): a running server follows at once.
    """


@tokens.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only accounts in this state.")
@click.option("--search", default="", help="Only accounts with these words in what is shown of them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_accounts(*, state: str | None, search: str, as_json: bool) -> None:
    """Show the accounts: their state, the reason, upstream's own words, since when, until when, and what ends it."""
    import msgspec  # noqa: PLC0415

    from shim.accounts.states import State  # noqa: PLC0415

    async def work(pool: "AccountPool") -> "list[AccountView]":
        return await pool.found(search, State(state) if state else None)

    views = run_on_pool(work)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(views), indent=2))
    else:
        _print_table(views)


@tokens.command()
@click.argument("path", type=click.Path(exists=True, allow_dash=True, path_type=Path))
def add(path: Path) -> None:
    """Add the accounts in PATH: a file, a folder of files, or standard input (`-`).

    \b
    What is taken, also mixed:
      access, refresh and session tokens, one a line, a workspace or client id after a comma
      <access token>----<refresh token>; NAME=token
      the session cookie, whole or in its pieces .0, .1, ...
      the JSON of /api/auth/session; Codex's auth.json; exports of CPA, Sub2API and `tokens export`
    Of a folder the .csv, .json and .txt files in it are read. What follows a # is left out.

    There is a result for every line or entry; the exit code is 1 if one was refused.
    """
    from shim.accounts.imports import read_text  # noqa: PLC0415

    lines = [line for name, text in _texts(path) for line in read_text(text, name)]

    async def work(pool: "AccountPool") -> bool:
        return print_report(await pool.add_lines(lines), len(pool))

    sys.exit(run_on_pool(work))


@tokens.command()
@click.argument("path", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
def export(path: Path, *, yes: bool) -> None:
    """Write all accounts with their tokens, unsealed, to the new file PATH (`-`: standard output).

    `tokens add` takes the file again. While two gateways renew the same refresh token, one of them loses it.
    """

    async def work(pool: "AccountPool") -> tuple[int, str]:
        return len(pool), pool.export()

    number, text = run_on_pool(work)
    if not yes:
        where = "to the screen" if str(path) == "-" else f"to {path}"
        click.confirm(f"Write the tokens of {counted(number, 'account')}, readable, {where}?", abort=True, err=True)
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        # Made with its mode, not changed to it afterwards: nobody else can ever have it open.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already, and is not overwritten") from None
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"{counted(number, 'account')} written to {path}")


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def remove(ids: tuple[str, ...]) -> None:
    """Remove accounts and their tokens."""

    async def one(pool: "AccountPool", id: str) -> str:
        return "removed" if await pool.remove(id) else ""

    _each(ids, one)


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def reset(ids: tuple[str, ...]) -> None:
    """Make accounts usable again: their limits, refusals and expiries are forgotten."""
    _change_each(ids, lambda pool, id: pool.reset(id))


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def pause(ids: tuple[str, ...]) -> None:
    """Give accounts no new turns, on any gateway of this store, until they are resumed. Turns under way go on."""
    _change_each(ids, lambda pool, id: pool.pause(id))


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def resume(ids: tuple[str, ...]) -> None:
    """Take the pause of accounts back."""
    _change_each(ids, lambda pool, id: pool.resume(id))


@tokens.command()
@click.argument("id", metavar="ID")
@click.argument("text")
def label(id: str, text: str) -> None:
    """Call the account ID by TEXT, one line of up to 64 characters; "" takes the label away."""
    text = text.strip()
    # As the accounts page has it.
    if len(text) > 64 or not text.isprintable():
        raise click.BadParameter("a label is one line of up to 64 characters", param_hint="TEXT")
    _adjust(id, f"label {text}" if text else "no label", label=text or None)


@tokens.command()
@click.argument("id", metavar="ID")
@click.argument("number", type=click.IntRange(0, 64))
def limit(id: str, number: int) -> None:
    """Let the account ID have NUMBER turns at once, instead of ACCOUNT_LIMIT; 0 takes that back."""
    _adjust(id, f"{number} at once" if number else "as many at once as ACCOUNT_LIMIT says", limit=number or None)


@tokens.command()
@click.argument("id", metavar="ID")
@click.argument("url", metavar="URL")
def proxy(id: str, url: str) -> None:
    """Have the account ID go by the proxy URL alone; "" takes that back. `-` reads the URL from standard input, as it
    has to be where it has a password: arguments can be seen by others."""
    from shim.accounts.views import shown_proxy  # noqa: PLC0415
    from shim.settings import SettingError, check_proxy  # noqa: PLC0415

    given = sys.stdin.readline().strip() if url == "-" else url.strip()
    try:
        if given:
            check_proxy("PROXY_URL", given)
    except SettingError as error:
        # The sentence begins with a setting that nobody has touched here.
        raise click.BadParameter(str(error).removeprefix("PROXY_URL is (not shown): "), param_hint="URL") from None
    if url != "-" and "@" in given:
        raise click.BadParameter("a URL with a password is read from standard input: use -", param_hint="URL")
    url = given.rstrip("/")
    _adjust(id, f"by {shown_proxy(url)}" if url else "by PROXY_URL's", proxy_url=url or None)


@tokens.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def probe(ids: tuple[str, ...]) -> None:
    """Renew the tokens of accounts now, which shows whether upstream still accepts them.

    An account with only an access token can't be renewed; the accounts page can ask upstream about such accounts.
    """
    from shim.errors import GatewayError  # noqa: PLC0415

    async def one(pool: "AccountPool", id: str) -> str:
        try:
            account = await pool.renew(id)
        except GatewayError as error:
            return f"failed: {error.message}"
        if account is None:
            return ""
        return _state(pool, id) if account.renewable else f"{_state(pool, id)} (nothing to renew it with)"

    _each(ids, one)


@tokens.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(*, yes: bool) -> None:
    """Remove all accounts and their tokens."""

    async def count(pool: "AccountPool") -> int:
        return len(pool)

    async def work(pool: "AccountPool") -> int:
        return await pool.clear()

    if not yes:
        click.confirm(f"Remove all of them ({counted(run_on_pool(count), 'account')})?", abort=True)
    click.echo(f"{run_on_pool(work)} removed")


def print_report(report: "AddReport", total: int, *, given_up: frozenset[str] = frozenset()) -> bool:
    """A line for each result, then the sums, of `total` accounts now; whether a line was refused. `given_up` are the
    places of what another program had given up."""
    for one in report.results:
        done = "already here, nothing new" if one.outcome == "known" else f"{one.outcome} {one.account}"
        aside = GIVEN_UP_THERE if one.where in given_up else ""
        click.echo(f"{one.where}: {one.why or done}{aside}", err=one.outcome not in {"added", "updated"})
    for note in report.notes:
        click.echo(note, err=True)
    passed = sum(one.outcome == "passed over" for one in report.results)
    more = f", {passed} passed over" if passed else ""
    click.echo(f"{len(report.added)} added, {len(report.updated)} updated, {total} in all{more}")
    return bool(report.invalid)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of each file that PATH stands for; "" for the one that was named."""
    from shim.accounts.imports import text_of  # noqa: PLC0415

    files = sorted(one for one in path.iterdir() if one.suffix in _READ and one.is_file()) if path.is_dir() else [path]
    if not files:
        raise click.ClickException(f"{path} has no .csv, .json or .txt files in it")
    for file in files:
        try:
            raw = sys.stdin.buffer.read() if str(path) == "-" else file.read_bytes()
            yield (file.name if path.is_dir() else ""), text_of(raw)
        except ValueError as error:
            raise click.ClickException(f"{file} can't be read: {error}") from error
        except OSError as error:
            raise click.ClickException(f"{file} can't be read: {error.strerror}") from error


def _each(ids: tuple[str, ...], one: "Callable[[AccountPool, str], Awaitable[str]]") -> None:
    """Do it to each account and print the outcome; the exit code is 1 if one is unknown or failed."""

    async def work(pool: "AccountPool") -> bool:
        bad = False
        for id in followed("accounts", ids):
            outcome = await one(pool, id)
            bad |= not outcome or outcome.startswith("failed")
            click.echo(f"{id}: {outcome}" if outcome else _UNKNOWN.format(id), err=not outcome)
        return bad

    sys.exit(run_on_pool(work))


def _change_each(ids: tuple[str, ...], change: "Callable[[AccountPool, str], Awaitable[bool]]") -> None:
    """The same for what changes the state of an account, which is its outcome."""

    async def one(pool: "AccountPool", id: str) -> str:
        return _state(pool, id) if await change(pool, id) else ""

    _each(ids, one)


def _adjust(id: str, told: str, **changes: object) -> None:
    async def one(pool: "AccountPool", id: str) -> str:
        return told if await pool.adjust(id, **changes) else ""

    _each((id,), one)


def run_on_pool(work: "Callable[[AccountPool], Awaitable[T]]") -> T:
    """`work` on the accounts of these settings. Expected failures end as one sentence, without a traceback."""
    import asyncio  # noqa: PLC0415

    from shim.accounts.opening import open_pool  # noqa: PLC0415
    from shim.accounts.stores import StoreError  # noqa: PLC0415
    from shim.errors import GatewayError  # noqa: PLC0415
    from shim.server.checks import check_data_dir  # noqa: PLC0415
    from shim.settings import SettingError, load_settings  # noqa: PLC0415

    async def run() -> T:
        settings = load_settings()
        check_data_dir(settings)
        # What is due in the background (renewals, model lists) is the server's to do; this lasts a moment.
        async with open_pool(settings, background=False) as pool:
            return await work(pool)

    try:
        return asyncio.run(run())
    except (SettingError, StoreError, GatewayError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _state(pool: "AccountPool", id: str) -> str:
    view = pool.view(id)
    if view is None:
        return ""
    return f"{view.state.value} ({view.why})" if view.why else view.state.value


def _print_table(views: "list[AccountView]") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPE_COLUMNS  # nobody sees an edge there
    narrow = console.width < _WIDE_COLUMNS
    if not views:
        console.print("no accounts")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    # The id is what the other commands take, so it stays in one piece to be copied.
    table.add_column("account", no_wrap=True)
    table.add_column("label", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("why", overflow="fold")
    for name in () if narrow else ("until", "token ends", "last used"):
        table.add_column(name, overflow="fold")
    table.add_column("turns", justify="right")
    for view in views:
        moments = [_moment(seconds) if seconds else "" for seconds in (view.until, view.expires)]
        times = *moments, _moment(view.last_used) if view.last_used else "never"
        table.add_row(
            Text(view.id),
            Text("\n".join(filter(None, (view.label, view.mail, view.plan)))),
            Text(view.state.value, style=_STYLES[view.state.value]),
            Text("\n".join(_reasons(view, with_until=narrow))),
            *(() if narrow else map(Text, times)),
            Text(str(view.turns)),
        )
    console.print(table)
    console.print(f"{len(views)} in all")


def _reasons(view: "AccountView", *, with_until: bool) -> Iterator[str]:
    """Why it rests, a line for each: what was said, since when, and what ends it; then how it is used."""
    if with_until and view.until:
        yield f"until {_moment(view.until)}"
    if view.why:
        since = f" (since {_moment(view.since)})" if view.since else ""
        yield f"{view.why}{since}"
    yield from _said(view.evidence)
    if view.why and view.clears:
        yield f"ends by: {view.clears}"
    for model in view.cooling:
        yield f"{model.slug} until {_moment(model.until)}{f': {model.why}' if model.why else ''}"
        yield from _said(model.evidence)
    yield from [f"by {view.proxy}"] if view.proxy else []
    yield from [f"{view.limit} at once"] if view.limit else []


def _said(evidence: "Evidence | None") -> Iterator[str]:
    if evidence is not None:
        status = f"upstream ({evidence.status})" if evidence.status else "upstream"
        yield f"{status}: {' · '.join(filter(None, (evidence.words, evidence.header))) or 'nothing more'}"


def _moment(seconds: float) -> str:
    # A token may say that it ends in a year that no calendar has.
    return datetime.fromtimestamp(max(0.0, min(seconds, _LAST_DAY)), UTC).astimezone().strftime("%Y-%m-%d %H:%M")


_LAST_DAY = 253_402_214_400.0  # seconds; the last of the year 9999, which has begun in every time zone
_STYLES = {
    "new": "cyan",
    "ready": "green",
    "cooling": "yellow",
    "parked": "red",
    "expired": "magenta",
    "refreshing": "blue",
    "paused": "bright_black",
}
