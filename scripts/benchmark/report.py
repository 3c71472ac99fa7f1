"""What the bench found: rows, a table of them on the terminal, and the same as JSON.

Rule: a row always has a baseline from the same run beside what was measured; targets are from another machine.
"""

import os
import platform
from pathlib import Path
from typing import Protocol

import msgspec
from rich.console import Console
from rich.table import Table

from scripts.benchmark.sizes import Sizes

PASS_THROUGH = "pass-through"  # noqa: S105  no password, a name


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, in `unit`. `raw` is a relay of bare sockets, `baseline` what `baseline_name` says, `others` are other
    gateways; `rounds` has all that the medians are of.

    `original` and `aim` were measured and set elsewhere, where a pass-through needed `reference`. `spread` is
    (largest - smallest) / median of the repeats of `measured`.
    """

    part: str
    name: str
    unit: str
    measured: float
    baseline: float
    baseline_name: str = PASS_THROUGH
    raw: float | None = None
    others: dict[str, float] = {}
    rounds: dict[str, list[float]] = {}
    reference: float | None = None
    original: float | None = None
    aim: float | None = None
    spread: float | None = None

    @property
    def ratio(self) -> float | None:
        """Measured to baseline, where both are there."""
        return self.measured / self.baseline if self.baseline > 0 and self.measured > 0 else None

    def beside_reference(self, value: float | None) -> float | None:
        """`original` or `aim` to the pass-through they were measured beside."""
        return value / self.reference if value and self.reference else None


class MakesRow(Protocol):
    """Makes a row of one part, against one baseline."""

    def __call__(self, name: str, *, baseline: float, measured: float, aim: float | None = None) -> Row:
        """The row."""
        ...


def rows_of(part: str, unit: str, baseline_name: str) -> MakesRow:
    """For a part whose rows have all the same unit and baseline."""

    def row(name: str, *, baseline: float, measured: float, aim: float | None = None) -> Row:
        return Row(
            part=part,
            name=name,
            unit=unit,
            baseline=baseline,
            baseline_name=baseline_name,
            measured=measured,
            aim=aim,
        )

    return row


class Report(msgspec.Struct, frozen=True):
    """All rows of one run and where it ran. `busy`: by part, how much of a core the load and upstream used at most."""

    rows: list[Row]
    sizes: Sizes
    busy: dict[str, tuple[float, float]] = {}
    cores: int = os.cpu_count() or 1
    python: str = platform.python_version()
    machine: str = platform.machine()


def write_json(report: Report, path: Path) -> None:
    """The report, with each row's ratio."""
    told = msgspec.to_builtins(report)
    for row, fields in zip(report.rows, told["rows"], strict=True):
        fields["ratio"] = row.ratio
    path.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


def write_markdown(report: Report, path: Path) -> None:
    """The table against the pass-through and that of what has another baseline, for docs/performance.md."""
    rows = [row for row in report.rows if row.baseline_name == PASS_THROUGH]
    others = list(dict.fromkeys(name for row in rows for name in row.others))
    lines = _heads("", "raw sockets", PASS_THROUGH, "chat2api", "spread", "ratio", *others, "aim") if rows else []
    for row in rows:
        aim = row.beside_reference(row.aim)
        lines.append(
            [
                _label(row),
                *(_figure(value) for value in (row.raw, row.baseline, row.measured)),
                "-" if row.spread is None else f"{row.spread:.0%}",
                f"**{_times(row.ratio)}**",
                *(_beside(row, row.others.get(name)) for name in others),
                _figure(row.aim) if aim is None else _times(aim),
            ]
        )
    own = [row for row in report.rows if row.baseline_name != PASS_THROUGH]
    beside = _heads("", "baseline", "measured", "ratio", "aim") if own else []
    for row in own:
        baseline = f"{row.baseline_name} {_figure(row.baseline)}"
        beside.append([_label(row), baseline, _figure(row.measured), f"**{_times(row.ratio)}**", _figure(row.aim)])
    tables = ["".join(f"| {' | '.join(line)} |\n" for line in table) for table in (lines, beside) if table]
    path.write_text("\n".join(tables))


def _heads(*heads: str) -> list[list[str]]:
    return [list(heads), ["---"] * len(heads)]


def print_tables(report: Report, console: Console) -> None:
    """One table against the pass-through, one for what has another baseline."""
    against = [row for row in report.rows if row.baseline_name == PASS_THROUGH]
    own = [row for row in report.rows if row.baseline_name != PASS_THROUGH]
    if against:
        others = list(dict.fromkeys(name for row in against for name in row.others))
        table = _table(
            "chat2api against a pass-through of the same bytes",
            *("raw sockets", PASS_THROUGH, "chat2api", "ratio", "spread", *others, "original", "aim"),
        )
        for row in against:
            table.add_row(
                _label(row),
                _figure(row.raw),
                _figure(row.baseline),
                f"[bold]{_figure(row.measured)}[/bold]",
                _times(row.ratio),
                "-" if row.spread is None else f"{row.spread:.0%}",
                *(_beside(row, row.others.get(name)) for name in others),
                _target(row, row.original),
                _target(row, row.aim),
            )
        console.print(table)
        console.print(
            "[dim]original, aim: on another machine, in brackets to its pass-through. spread: of repeats[/dim]"
        )
    for part, (load, upstream) in report.busy.items():
        console.print(f"[dim]{part}: the load used {load:.0%} of a core at most, upstream {upstream:.0%}[/dim]")
    if own:
        table = _table("What has a baseline of its own", "baseline", "measured", "ratio", "aim")
        for row in own:
            baseline = f"{row.baseline_name} {_figure(row.baseline)}"
            table.add_row(
                _label(row), baseline, f"[bold]{_figure(row.measured)}[/bold]", _times(row.ratio), _figure(row.aim)
            )
        console.print(table)


def _table(title: str, *figures: str) -> Table:
    table = Table(title=title)
    table.add_column()
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _label(row: Row) -> str:
    return f"{row.name} ({row.unit})" if row.unit else row.name


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _beside(row: Row, value: float | None) -> str:
    """Another gateway's figure and its ratio to the pass-through."""
    if value is None or row.baseline <= 0 or value <= 0:
        return _figure(value)
    return f"{_figure(value)} ({_times(value / row.baseline)})"


def _target(row: Row, value: float | None) -> str:
    times = row.beside_reference(value)
    return _figure(value) if times is None else f"{_figure(value)} ({_times(times)})"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2g} x" if ratio < 10 else f"{ratio:.0f} x"
