"""Cassettes and their differences for the eyes, in the terminal.

Rule: what is printed comes from a cassette, so it has been scrubbed.
"""

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shim.cassettes.comparing import Difference
from shim.cassettes.format import Cassette

_SHORT = 400  # characters of a body that are shown unless all is asked for: some five lines of a terminal


def show(cassette: Cassette, console: Console, *, full: bool = False) -> None:
    """A table of the calls, then each with its bodies."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("#", "call", "status", "chunks", "bytes", "seconds", "remarks"):
        table.add_column(name, justify="right" if name in {"#", "chunks", "bytes", "seconds"} else "left")
    for place, one in enumerate(cassette.interactions, 1):
        response = one.response
        seconds = response.chunks[-1].at if response.chunks else 0.0
        remarks = [f"body kept: {response.kept}"] if response.kept != "all" else []
        remarks += ["cut off"] if response.cut else []
        cells = (place, one.title, response.status, len(response.chunks), len(response.body()), f"{seconds:.2f}")
        # As Text, because rich reads square brackets in plain strings as markup.
        table.add_row(*(Text(str(cell)) for cell in (*cells, ", ".join(remarks))))
    console.print(table)
    for place, one in enumerate(cassette.interactions, 1):
        console.print(Text(f"\n{place} {one.title}", style="bold"))
        asked = "(no body)" if one.request.body is None else one.request.body
        if not isinstance(asked, str):
            asked = msgspec.json.format(msgspec.json.encode(asked), indent=1).decode()
        for body in (asked, one.response.body().decode(errors="replace")):
            console.print(Text(body if full else _cut(body)))


def show_differences(differences: list[Difference], console: Console) -> None:
    """One block per call, one line per field and side."""
    where = None
    for one in differences:
        if one.where != where:
            where = one.where
            console.print(Text(where, style="bold"))
        console.print(Text(f"  {one.what}"))
        for sign, value, style in (("-", one.old, "red"), ("+", one.new, "green")):
            if value is not None:
                console.print(Text(f"    {sign} {_cut(value)}", style=style))


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}… ({len(text)} characters)"
