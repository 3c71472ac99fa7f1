"""`python -m shim.standin`: serve the stand-in until SIGTERM or SIGINT.

Rule: one line on standard output when it accepts connections, nothing else.
"""

import asyncio
import signal
import sys

import click
import uvloop

from shim.standin.options import StandinOptions
from shim.standin.scripts import SCRIPTS
from shim.standin.server import serve_standin


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0 = any free port.")
@click.option("--difficulty", default="0fffff", show_default=True, help="Proof of work, hex prefix.")
@click.option("--delay", default=0.0, show_default=True, help="Seconds after each event.")
@click.option("--script", default="auto", show_default=True, type=click.Choice(["auto", *SCRIPTS]))
@click.option("--chunks", default="event", show_default=True, type=click.Choice(["event", "whole", "split", "bytes"]))
@click.option("--words", default=3000, show_default=True, help="Length of script long.")
@click.option("--seed", default=None, type=int, help="Makes every run alike.")
@click.option("--sentinel/--no-sentinel", default=True, show_default=True, help="Require the sentinel headers.")
@click.option("--gzip/--no-gzip", default=False, show_default=True, help="Compress where accepted.")
@click.option("--control/--no-control", default=True, show_default=True, help="Directives and /standin/*.")
def main(host: str, port: int, sentinel: bool, **knobs: object) -> None:
    """A scripted ChatGPT web backend for the demo and the tests."""
    options = StandinOptions(require_sentinel=sentinel, **knobs)  # type: ignore[arg-type]  # click checked them
    try:
        uvloop.run(_serve(options, host, port))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error


async def _serve(options: StandinOptions, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with serve_standin(options, port, host) as running:
        sys.stdout.write(f"standin listening on {running.base_url}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    main()
