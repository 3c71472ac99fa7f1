"""The command: which checkout, what to compare with, where to write."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click

from scripts.surveying.source import survey

HERE = Path(__file__).parents[2]
WALK = Path(__file__).with_name("walk.py")
# Characters of a column: the longest value is a module's path.
_CELL = 26


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--repo", type=click.Path(exists=True, file_okay=False, path_type=Path), default=HERE, help="Another checkout."
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the figures to this file as well.")
@click.option(
    "--before", type=click.Path(exists=True, path_type=Path), help="Such a file, to show beside these figures."
)
@click.option("--walk", is_flag=True, help="Name every function on the way of a streamed chat.")
@click.option("--suite", is_flag=True, help="Run the whole suite as well, for its seconds.")
def main(*, repo: Path, out: Path | None, before: Path | None, walk: bool, suite: bool) -> None:
    """Measure the source of a checkout: sizes, helpers, names, imports, and the way of a streamed chat."""
    repo = repo.resolve()
    figures = {**survey(repo), **way(repo), **cases(repo)}
    if suite:
        figures["tests: seconds"] = seconds(repo)
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")
    print_table(figures, json.loads(before.read_text()) if before else None)
    if walk:
        click.echo("\n".join(["", "The way of a streamed chat, in the order of first calls:", *way_of(figures)]))


def way(repo: Path, chats: int = 8) -> dict[str, object]:
    """The way of a streamed chat, traced in the checkout; with fewer chats, more of what timers do is counted in."""
    ran = run(repo, ".venv", str(WALK), str(chats), timeout=180)
    if ran.returncode:
        raise click.ClickException(f"the way of a chat can't be traced: {ran.stderr.strip().splitlines()[-1:]}")
    told = json.loads(ran.stdout)
    stops: list[str] = told["walk"]
    return {
        "a chat's way: files": len({stop.partition(":")[0] for stop in stops}),
        "a chat's way: functions": len(stops),
        "a chat's way: distinct names": len({re.split(r"[:.]", stop)[-1] for stop in stops}),
        "a chat's way: coroutines and generators": told["waiting"],
        "a chat's way: deepest nesting": told["deepest"],
        "a chat's way": stops,
    }


def way_of(figures: dict[str, object]) -> list[str]:
    """The stops of the way; figures that were read from a file may lack them."""
    stops = figures["a chat's way"]
    return stops if isinstance(stops, list) else []


def cases(repo: Path) -> dict[str, object]:
    """How many test cases pytest collects."""
    ran = run(repo, ".venv-dev", "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", timeout=300)
    found = re.search(r"^(\d+) tests? collected", ran.stdout, re.MULTILINE)
    if not found:
        raise click.ClickException(f"the tests can't be collected: {ran.stdout.strip().splitlines()[-1:]}")
    return {"tests: cases": int(found[1])}


def seconds(repo: Path) -> float:
    """How long the suite takes, one test after the other."""
    begin = time.monotonic()
    ran = run(repo, ".venv-dev", "-m", "pytest", "-q", "-p", "no:cacheprovider", timeout=7200)
    if ran.returncode:
        click.echo(f"the suite did not pass: {ran.stdout.strip().splitlines()[-1:]}", err=True)
    return round(time.monotonic() - begin, 1)


def run(repo: Path, environment: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Python in the checkout, with its own packages where it has been set up, otherwise with those of this one."""
    python = next(
        (str(path) for base in (repo, HERE) if (path := base / environment / "bin/python").exists()), sys.executable
    )
    return subprocess.run(
        [python, *arguments],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": str(repo), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def print_table(figures: dict[str, object], before: dict[str, object] | None) -> None:
    """One row a figure; lists of names stand below, and only those of this checkout."""
    rows = {name: value for name, value in figures.items() if not isinstance(value, list)}
    width = max(map(len, rows))
    if before is not None:
        click.echo(f"{'':{width}}  {'before':>{_CELL}}  {'now':>{_CELL}}")
    for name, value in rows.items():
        earlier = f"  {before.get(name, '-')!s:>{_CELL}}" if before is not None else ""
        click.echo(f"{name:{width}}{earlier}  {value!s:>{_CELL}}")
    for name, value in figures.items():
        if isinstance(value, list) and name != "a chat's way":
            click.echo(f"\n{name}:\n  " + "\n  ".join(value))


if __name__ == "__main__":
    main()
