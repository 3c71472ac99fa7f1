"""The report as a picture: one panel a row, bars for what was measured, paler ones for what is known from elsewhere,
scaled by the pass-throughs of both machines where these are known."""

import math
from pathlib import Path

import matplotlib

# Before pyplot is imported, which otherwise looks for a screen.
matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from scripts.benchmark.report import Report, Row

_COLUMNS = 3
# Largest to smallest bar: from here on the small ones could not be told apart.
_LOG_FROM = 20.0
_MEASURED, _OTHER, _BASELINE, _ELSEWHERE = "#1f5fa8", "#8fb3d9", "#7f8c99", "#d9dee4"
# What is measured where that is not the gateway as a whole: a bar takes the place of another with the same name.
_WHAT = {"pow": "solving", "hard": "solving", "addon": "mitmdump"}

Bar = tuple[str, float, str]


def plot(report: Report, path: Path) -> None:
    """Write a PNG."""
    lines = math.ceil(len(report.rows) / _COLUMNS)
    figure, axes = plt.subplots(lines, _COLUMNS, figsize=(16, 2.6 * lines + 0.6), squeeze=False)
    panels = list(axes.flat)
    for axis, row in zip(panels, report.rows, strict=False):
        names, values, colors = zip(*_bars(row), strict=True)
        drawn = axis.barh(names, values, color=colors)
        axis.bar_label(drawn, [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values], padding=3)
        axis.invert_yaxis()  # the first bar at the top
        axis.set_title(f"{row.name} [{row.unit}]" if row.unit else row.name, fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
        # A difference of two figures may be nothing or less, which has no logarithm.
        positive = [value for value in values if value > 0]
        if positive and max(positive) > _LOG_FROM * min(positive):
            axis.set_xscale("log")
            axis.set_xlim(min(positive) / 2, max(positive) * 4)
        else:
            axis.margins(x=0.2)
            axis.xaxis.set_major_locator(MaxNLocator(5))
    for axis in panels[len(report.rows) :]:
        axis.set_axis_off()
    figure.suptitle(
        f"chat2api, scripts/bench (Python {report.python}, {report.machine}); shorter is better, save for 1/s"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(row: Row) -> list[Bar]:
    bars: list[tuple[str, float | None, str]] = [
        ("raw sockets", row.raw, _BASELINE),
        (row.baseline_name, row.baseline, _BASELINE),
        (
            "search" if row.unit == "1/s" else _WHAT.get(row.part, "chat2api"),
            row.measured,
            _MEASURED,
        ),
        *((name, value, _OTHER) for name, value in row.others.items()),
        ("original", _here(row, row.original), _ELSEWHERE),
        ("aim", _here(row, row.aim), _ELSEWHERE),
    ]
    return [(name, value, color) for name, value, color in bars if value is not None]


def _here(row: Row, value: float | None) -> float | None:
    """A figure from elsewhere as it would be on this machine, if pass-throughs are a measure of machines."""
    times = row.beside_reference(value)
    return value if times is None else times * row.baseline
