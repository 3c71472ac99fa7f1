"""`chat2api record`, `replay` and `cassette`: saved traffic, in the terminal.

Rule: nothing heavy is imported at the top. What is written or printed has been scrubbed.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from shim.cli.plural import counted

if TYPE_CHECKING:
    from rich.console import Console

    from shim.cassettes.format import Cassette

# Where the addons are: in a checkout beside `shim`, installed too.
PROJECT = Path(__file__).parents[2]
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PLACE = click.Path(exists=True, path_type=Path)
_REDACT = click.option("--redact-text", is_flag=True, help="Replace message text by text of the same shape.")
_OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="The cassette to write.")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--out", type=click.Path(path_type=Path), default=Path("cassettes"), show_default=True, help="Folder.")
@click.option("--name", default="", help="Name of the cassette (the time, unless given).")
@_REDACT
@click.argument("arguments", metavar="-- [MITMDUMP ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
def record(*, out: Path, name: str, redact_text: bool, arguments: tuple[str, ...]) -> None:
    """Run mitmdump with the recorder: the traffic that goes through it becomes a scrubbed cassette.

    It listens on 127.0.0.1; `-- --listen-host 0.0.0.0` lets other machines in.

    For this gateway's own traffic: `chat2api record -- --mode reverse:https://chatgpt.com -p 5006`, and
    CHATGPT_BASE_URL=http://127.0.0.1:5006 for the gateway. For a browser's: `chat2api record`, and 127.0.0.1:8080 as
    the browser's proxy.
    """
    options = {
        "record_folder": str(out.absolute()),
        "record_name": name,
        "record_redact_text": str(redact_text).lower(),
    }
    from shim.cassettes.flows import HOW_TO_INSTALL  # noqa: PLC0415

    # The mitmdump of this environment, else that of `scripts/setup mitmproxy`.
    places = (Path(sys.executable).parent, PROJECT / ".venv-mitmproxy" / "bin")
    program = next((place / "mitmdump" for place in places if (place / "mitmdump").exists()), None)
    if program is None:
        raise click.ClickException(HOW_TO_INSTALL)
    settings = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    # mitmproxy's own default is every address, which lets the whole network use this machine as its proxy.
    here = ("--listen-host", "127.0.0.1")
    script = ("-s", str(PROJECT / "addons" / "recorder.py"))
    # In this process's place, so that signals and the exit code are mitmdump's own.
    os.execv(program, [str(program), *script, *settings, *here, *arguments])  # noqa: S606  our own Python


@click.command()
@click.argument("place", metavar="DIR", type=_PLACE)
@click.option("--port", type=int, default=0, help="Port to listen on; 0 (the default) finds a free one.")
@click.option("--fast", "pace", flag_value="fast", help="Without the recorded pauses.")
@click.option("--bytes", "pace", flag_value="bytes", help="One byte at a time.")
def replay(*, place: Path, port: int, pace: "Literal['fast', 'bytes'] | None") -> None:
    """Serve the cassettes in DIR as an upstream, paced as recorded, until Ctrl-C.

    Recordings that were not played are listed at the end, and at /replay/status at any time.
    """
    import asyncio  # noqa: PLC0415

    from shim.server.granian import end_process  # noqa: PLC0415
    from shim.server.replay import report, run  # noqa: PLC0415

    with _explained():
        cassettes = [cassette for _, cassette in _load(place)]
        player = asyncio.run(
            run(
                cassettes,
                port=port,
                pace=pace or "recorded",
                listening=lambda url: click.echo(f"replay listening on {url}"),
            )
        )
    outcome = report(player)
    click.echo(f"{outcome['played']} played, {len(outcome['left'])} left, {len(outcome['misses'])} missed")
    for title in outcome["left"]:
        click.echo(f"left: {title}")
    for miss in outcome["misses"]:
        click.echo(f"missed: {miss}")
    end_process(0)


@click.group()
def cassette() -> None:
    """Show, compare and make cassettes."""


@cassette.command()
@click.argument("file", type=_FILE)
@click.option("--full", is_flag=True, help="Whole bodies.")
def show(*, file: Path, full: bool) -> None:
    """Show the calls in FILE."""
    from shim.cassettes.showing import show as show_cassette  # noqa: PLC0415

    with _explained():
        show_cassette(_load(file)[0][1], _console(), full=full)


@cassette.command()
@click.argument("file", type=_FILE)
@click.option("--out", type=click.Path(path_type=Path), help="Write here, not over FILE.")
@_REDACT
def scrub(*, file: Path, out: Path | None, redact_text: bool) -> None:
    """Scrub FILE again, by the rules of this version."""
    from shim.cassettes.recording import scrubbed_again  # noqa: PLC0415

    with _explained():
        _write(scrubbed_again(_load(file)[0][1], redact=redact_text), out or file)


@cassette.command()
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
def diff(*, old: Path, new: Path) -> None:
    """Compare two cassettes field by field, without times and ids. The exit code is 1 if they differ."""
    from shim.cassettes.comparing import compare  # noqa: PLC0415
    from shim.cassettes.showing import show_differences  # noqa: PLC0415

    with _explained():
        found = list(compare(_load(old)[0][1], _load(new)[0][1]))
    show_differences(found, _console())
    sys.exit(1 if found else 0)


@cassette.command("from-har")
@click.argument("file", type=_FILE)
@_OUT
@_REDACT
def from_har(*, file: Path, out: Path, redact_text: bool) -> None:
    """Make a cassette from the API calls in a HAR file, as browsers save them."""
    from shim.cassettes.har import read_har  # noqa: PLC0415
    from shim.cassettes.recording import cassette_of  # noqa: PLC0415

    with _explained():
        _write(cassette_of(read_har(file), redact=redact_text), out)


@cassette.command("from-flows")
@click.argument("file", type=_FILE)
@_OUT
@_REDACT
def from_flows(*, file: Path, out: Path, redact_text: bool) -> None:
    """Make a cassette from a flow file of mitmproxy, which has to be installed."""
    from shim.cassettes.flows import read_flows  # noqa: PLC0415
    from shim.cassettes.recording import cassette_of  # noqa: PLC0415

    with _explained():
        _write(cassette_of(read_flows(file), redact=redact_text), out)


def _load(place: Path) -> "list[tuple[str, Cassette]]":
    from shim.cassettes.format import load_cassettes  # noqa: PLC0415

    return load_cassettes(place)


def _write(made: "Cassette", path: Path) -> None:
    from shim.cassettes.format import dump_cassette  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dump_cassette(made))
    click.echo(f"{path}: {counted(len(made.interactions), 'call')}")


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    # What is shown was said by others: brackets in it are no markup. In a pipe lines stay whole, for `grep`.
    return Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def _explained() -> Iterator[None]:
    """Expected failures end as one sentence, without a traceback."""
    from shim.cassettes.flows import MissingError  # noqa: PLC0415
    from shim.cassettes.format import CassetteError  # noqa: PLC0415

    try:
        yield
    except (CassetteError, MissingError, OSError) as error:
        raise click.ClickException(str(error)) from error
