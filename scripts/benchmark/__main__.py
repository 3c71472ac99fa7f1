"""The command: which parts, how much of each, where to."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from scripts.benchmark import parts
from scripts.benchmark.bench import Bench, bench
from scripts.benchmark.hard import hard
from scripts.benchmark.plot import plot
from scripts.benchmark.proofs import proofs
from scripts.benchmark.report import Report, Row, print_tables, write_json
from scripts.benchmark.selection import selection
from scripts.benchmark.sizes import FULL, QUICK, Sizes
from scripts.benchmark.tokens import tokens

# In this order: memory is only new once.
_SERVED: dict[str, Callable[[Bench], list[Row]]] = {
    "memory": parts.memory,
    "small": parts.small,
    "bursts": parts.bursts,
    "paced": parts.paced,
    "latency": parts.latency,
    "addon": parts.addon,
    "hard": hard,
}
_PROOFS = "pow"
_SELECTION = "selection"
_TOKENS = "tokens"
_FILE_WIDTH = 140  # columns, where the output is no terminal
_NAMES = [*_SERVED, _PROOFS, _SELECTION, _TOKENS]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Very small sizes: shows that it works, not how fast.")
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Just this part; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-out"), help="Folder for what is written.")
def main(*, quick: bool, only: tuple[str, ...], out: Path) -> None:
    """Measure the gateway against a bare pass-through of the same upstream bytes."""
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    sizes = QUICK if quick else FULL
    out.mkdir(parents=True, exist_ok=True)
    report = Report(_measure([name for name in _NAMES if name in (only or _NAMES)], sizes, console), sizes)
    print_tables(report, console)
    write_json(report, out / "bench.json")
    plot(report, out / "bench.png")
    console.print(f"{out / 'bench.json'}, {out / 'bench.png'}")


def _measure(names: list[str], sizes: Sizes, console: Console) -> list[Row]:
    rows: list[Row] = []
    columns = SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(names))

        def tell(text: str) -> None:
            progress.update(task, description=text)

        for found in _parts(names, sizes, tell):
            rows += found
            progress.advance(task)
    return rows


def _parts(names: list[str], sizes: Sizes, tell: Callable[[str], None]) -> Iterator[list[Row]]:
    """The rows of each part, servers running only as long as they are needed."""
    served = [name for name in names if name in _SERVED]
    if served:
        with tempfile.TemporaryDirectory(prefix="chat2api-bench-") as folder, bench(sizes, Path(folder), tell) as made:
            for name in served:
                yield _SERVED[name](made)
    if _PROOFS in names:
        yield proofs(sizes, tell)
    if _SELECTION in names:
        yield selection(sizes, tell)
    if _TOKENS in names:
        yield tokens(sizes, tell)


if __name__ == "__main__":
    main()
