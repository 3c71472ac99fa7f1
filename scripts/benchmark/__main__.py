"""The command: which parts, how much of each, where to."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from scripts.benchmark import parts
from scripts.benchmark.bench import GATEWAY, LIBRARIES, PASS_THROUGH, RAW, UPSTREAM, Bench, LoadError, bench
from scripts.benchmark.hard import hard
from scripts.benchmark.plot import plot
from scripts.benchmark.proofs import proofs
from scripts.benchmark.report import Report, Row, print_tables, write_json, write_markdown
from scripts.benchmark.selection import selection
from scripts.benchmark.servers import ServerError
from scripts.benchmark.sizes import FULL, QUICK, Sizes
from scripts.benchmark.start import start
from scripts.benchmark.tokens import tokens

# In this order: memory is only new once.
_SERVED: dict[str, Callable[[Bench], list[Row]]] = {
    "memory": parts.memory,
    "small": parts.small,
    "bursts": parts.bursts,
    "paced": parts.paced,
    "crowd": parts.crowd,
    "rush": parts.rush,
    "addon": parts.addon,
    "hard": hard,
}
OpenBench = Callable[[Path, Callable[[str], None]], AbstractContextManager[Bench]]
Busy = dict[str, tuple[float, float]]
_START = "start"
_PROOFS = "pow"
_SELECTION = "selection"
_TOKENS = "tokens"
# Columns where the output is no terminal; rich would take 80, and break every row of the table.
_FILE_WIDTH = 200
_NAMES = [*_SERVED, _START, _PROOFS, _SELECTION, _TOKENS]


def _named(_context: click.Context, _option: click.Parameter, others: tuple[str, ...]) -> dict[str, str]:
    """The base URL of each gateway by its name."""
    named: dict[str, str] = {}
    for one in others:
        name, _, url = one.partition("=")
        try:
            parts = urlsplit(url)
            is_url = parts.scheme == "http" and parts.hostname is not None and parts.port != 0
        except ValueError:  # no port from 1 to 65535
            is_url = False
        if not name or not is_url:
            raise click.BadParameter(f"{one!r} is not NAME=http://HOST:PORT")
        if name in named or name in {UPSTREAM, RAW, PASS_THROUGH, GATEWAY, LIBRARIES}:
            raise click.BadParameter(f"there is a {name!r} already")
        named[name] = url
    return named


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Very small sizes: shows that it works, not how fast.")
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Just this part; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-out"), help="Folder for what is written.")
@click.option(
    "--other",
    multiple=True,
    callback=_named,
    metavar="NAME=URL",
    help="A gateway that runs already; may be repeated.",
)
@click.option("--upstream-port", type=int, help="Where the bench's upstream listens, for other gateways to be set to.")
def main(*, quick: bool, only: tuple[str, ...], out: Path, other: dict[str, str], upstream_port: int | None) -> None:
    """Measure the gateway against a bare pass-through of the same upstream bytes.

    To measure another gateway beside it, set that one's upstream to http://127.0.0.1:PORT/proof, start it, and name it:
    --upstream-port PORT --other NAME=http://127.0.0.1:5005.
    """
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    sizes = QUICK if quick else FULL
    out.mkdir(parents=True, exist_ok=True)
    busy: dict[str, tuple[float, float]] = {}
    open_bench = partial(bench, sizes, others=other, upstream_port=upstream_port)
    names = [name for name in _NAMES if name in (only or _NAMES)]
    rows: list[Row] = []
    columns = SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(names))
        try:
            for found in _parts(names, sizes, lambda text: progress.update(task, description=text), open_bench, busy):
                rows += found
                progress.advance(task)
        except (LoadError, ServerError) as error:
            raise click.ClickException(str(error)) from error
    report = Report(rows, sizes, busy)
    print_tables(report, console)
    write_json(report, out / "bench.json")
    write_markdown(report, out / "bench.md")
    plot(report, out / "bench.png")
    console.print(f"{out / 'bench.json'}, {out / 'bench.png'}")


def _parts(
    names: list[str], sizes: Sizes, tell: Callable[[str], None], open_bench: OpenBench, busy: Busy
) -> Iterator[list[Row]]:
    """The rows of each part, servers running only as long as they are needed."""
    served = [name for name in names if name in _SERVED]
    if served:
        with tempfile.TemporaryDirectory(prefix="chat2api-bench-") as folder, open_bench(Path(folder), tell) as made:
            for name in served:
                made.part = name
                yield _SERVED[name](made)
            busy.update(made.busy)
    if _START in names:
        yield start(sizes, tell)
    if _PROOFS in names:
        yield proofs(sizes, tell)
    if _SELECTION in names:
        yield selection(sizes, tell)
    if _TOKENS in names:
        yield tokens(sizes, tell)


if __name__ == "__main__":
    main()
