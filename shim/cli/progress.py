"""A bar for work that takes a while, on standard error, where somebody looks at it."""

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def followed(what: str, things: Sequence[T]) -> Iterator[T]:
    """The things one by one, with a bar beside them. There is none where standard error is no terminal, and none for a
    single thing."""
    if len(things) < 2 or not sys.stderr.isatty():
        yield from things
        return
    # Where somebody looks on, and only then: rich takes a tenth of a second to import.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # What is printed meanwhile goes above the bar, or untouched to the file or program that standard output is.
    shared = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=shared) as bar:
        yield from bar.track(things, description=what)
