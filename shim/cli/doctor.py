"""`chat2api doctor`: is this installation ready, and if not, what to do first.

Rule: every check is one function that returns a finding. No check needs an account or a key, and no secret is shown.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from rich.console import Console

from pow import LANES
from shim import __version__
from shim.errors import GatewayError
from shim.protocol.commands import HttpRequest
from shim.server.run import check_port
from shim.settings import SettingError, Settings, load_settings
from shim.transport import ConnectionKey, Deadlines
from shim.transport.base import read_reply
from shim.transport.curl import CurlTransport


class Finding(msgspec.Struct, frozen=True):
    """One line of the report. `advice` is empty if nothing has to be done."""

    subject: str
    state: str
    advice: str = ""


def examine() -> int:
    """Print the report and return the exit code: 0 if nothing stands in the way, else 1."""
    console = Console(highlight=False)
    console.print(f"chat2api {__version__}, Python {sys.version.split()[0]}")
    try:
        settings = load_settings()
    except SettingError as error:
        console.print(f"[red]settings[/]  {error}", soft_wrap=True)
        return 1
    bad = 0
    for finding in _findings(settings):
        bad += bool(finding.advice)
        mark = "[yellow]![/]" if finding.advice else "[green]ok[/]"
        console.print(f"{mark:>12} {finding.subject}: {finding.state}", soft_wrap=True)
        if finding.advice:
            console.print(f"     {finding.advice}", soft_wrap=True, markup=False)
    return 1 if bad else 0


def _findings(settings: Settings) -> Iterator[Finding]:
    for check in _CHECKS:
        yield check(settings)


def _access(settings: Settings) -> Finding:
    if settings.authorization:
        return Finding("access", f"clients need one of {len(settings.authorization)} keys")
    return Finding("access", "no key needed, and only this machine can connect")


def _data_dir(settings: Settings) -> Finding:
    try:
        Path(settings.data_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=settings.data_dir):
            return Finding("data folder", settings.data_dir)
    except OSError as error:
        return Finding("data folder", f"{settings.data_dir}: {error.strerror}", "Set DATA_DIR to a folder of your own.")


def _port(settings: Settings) -> Finding:
    try:
        check_port(settings)
    except OSError as error:
        return Finding("port", str(error), "Stop what uses it (it may be chat2api itself), or set PORT.")
    return Finding("port", f"{settings.host}:{settings.port} is free")


def _upstream(settings: Settings) -> Finding:
    origin = settings.chatgpt_base_url[0].rstrip("/")
    proxy = settings.proxy_url[0] if settings.proxy_url else None
    try:
        status = asyncio.run(_fetch(origin, proxy, settings))
    except GatewayError as error:
        return Finding("upstream", f"{origin}: {error.message}", "Check the network, CHATGPT_BASE_URL and PROXY_URL.")
    if status == 403:
        return Finding("upstream", f"{origin} answers 403 to this machine", "Use an access token, or another network.")
    return Finding("upstream", f"{origin} answers {status}")


async def _fetch(origin: str, proxy: str | None, settings: Settings) -> int:
    transport = CurlTransport(
        Deadlines(connect=settings.connect_timeout, first_byte=15, idle=15, total=30), ca_file=settings.ca_file or None
    )
    try:
        request = HttpRequest("GET", f"{origin}/", {"user-agent": settings.user_agent})
        return (await read_reply(await transport.send(request, ConnectionKey("doctor", proxy)))).status
    finally:
        await transport.close()


def _arkose(settings: Settings) -> Finding:
    if settings.arkose_token_url:
        return Finding("arkose", "a token service is set")
    return Finding("arkose", "no token service (only needed where upstream asks for one)")


def _proofs(settings: Settings) -> Finding:
    if LANES:
        return Finding("proofs of work", f"solved by the compiled solver, {LANES} attempts at a time")
    # No advice: it works as it is, and many never meet a hard one.
    return Finding(
        "proofs of work",
        "solved in Python, hard ones several times slower than they could be: the compiled solver is made when "
        "chat2api is installed where there are a C compiler and Python's headers",
    )


_CHECKS: tuple[Callable[[Settings], Finding], ...] = (_access, _data_dir, _port, _upstream, _arkose, _proofs)
