"""`chat2api doctor`: is this installation ready, and if not, what to do first.

Rule: every check is one function that returns a finding, and what the start checks is checked by the same functions. No
check needs an account or a key, and no secret is shown.
"""

import asyncio
import json
import sys
from collections.abc import Iterator

import msgspec
from rich.console import Console

from pow import LANES
from shim import __version__
from shim.accounts.opening import open_pool
from shim.accounts.states import State
from shim.accounts.stores import StoreError
from shim.errors import GatewayError
from shim.protocol.commands import HttpRequest
from shim.server.checks import CHECKS
from shim.settings import SettingError, Settings, concerns, load_settings
from shim.transport import ConnectionKey, Deadlines
from shim.transport.base import read_reply
from shim.transport.curl import CurlTransport


class Finding(msgspec.Struct, frozen=True):
    """One line of the report. `advice` is empty if nothing has to be done."""

    subject: str
    state: str
    advice: str = ""


def examine(*, as_json: bool = False) -> int:
    """Print the report and return the exit code: 0 if nothing stands in the way, else 1."""
    findings = list(_findings())
    bad = any(finding.advice for finding in findings)
    if as_json:
        told = {"version": __version__, "ready": not bad, "findings": msgspec.to_builtins(findings)}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return int(bad)
    console = Console(highlight=False)
    console.print(f"chat2api {__version__}, Python {sys.version.split()[0]}")
    for finding in findings:
        mark = "[yellow]![/]" if finding.advice else "[green]ok[/]"
        console.print(f"{mark:>12} ", end="")
        console.print(f"{finding.subject}: {finding.state}", soft_wrap=True, markup=False)
        if finding.advice:
            console.print(f"     {finding.advice}", soft_wrap=True, markup=False)
    return int(bad)


def _findings() -> Iterator[Finding]:
    try:
        settings = load_settings()
        told = concerns(settings)
    except SettingError as error:
        yield Finding("settings", str(error), "The server does not start with this.")
        return
    for concern in told:
        yield Finding("settings", concern, "The server starts, but this is probably not meant.")
    keys = len(settings.authorization)
    access = f"clients need one of {keys} keys" if keys else "no key needed, and only this machine can connect"
    yield Finding("access", access)
    failed = False
    for check in CHECKS:
        subject = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            check(settings)
        except (SettingError, OSError) as error:
            failed |= subject in {"store", "data dir"}
            advice = "Stop what uses it (it may be chat2api itself), or set PORT." if subject == "port" else _NO_START
            yield Finding(subject, str(error), advice)
        else:
            yield Finding(subject, "in order")
    yield _upstream(settings)
    without = "no token service (only needed where upstream asks for one)"
    yield Finding("arkose", "a token service is set" if settings.arkose_token_url else without)
    yield _proofs(settings)
    if not failed:
        yield from _accounts(settings)


def _accounts(settings: Settings) -> Iterator[Finding]:
    """Each account, by the id that `tokens list` and the log show."""

    async def look() -> list[Finding]:
        async with open_pool(settings, background=False) as pool:
            found = []
            for view in pool.page():
                state = f"{view.state.value} ({view.why})" if view.why else view.state.value
                found.append(Finding(f"account {view.id}", state, _ADVICE.get(view.state, "")))
            return found or [Finding("accounts", "none: callers bring tokens of their own, or chat without an account")]

    try:
        yield from asyncio.run(look())
    except (StoreError, OSError) as error:
        yield Finding("accounts", str(error), _NO_START)


def _upstream(settings: Settings) -> Finding:
    origin = settings.chatgpt_base_url[0].rstrip("/")
    proxy = settings.proxy_url[0] if settings.proxy_url else None
    try:
        status = asyncio.run(_fetch(origin, proxy, settings))
    except GatewayError as error:
        return Finding("upstream", f"{origin}: {error.message}", "Check the network, CHATGPT_BASE_URL and PROXY_URL.")
    if status == 403:
        return Finding("upstream", f"{origin} answers 403 to this machine", "Use an access token, or another network.")
    if status >= 400:
        return Finding("upstream", f"{origin} answers {status}", "This is no ChatGPT: check CHATGPT_BASE_URL.")
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


def _proofs(settings: Settings) -> Finding:
    if LANES:
        return Finding("proofs of work", f"solved by the compiled solver, {LANES} attempts at a time")
    # No advice: it works as it is, and many never meet a hard one.
    return Finding(
        "proofs of work",
        "solved in Python, hard ones several times slower than they could be: the compiled solver is made when "
        "chat2api is installed where there are a C compiler and Python's headers",
    )


_NO_START = "The server does not start with this."
_ADVICE = {
    State.PARKED: "Upstream refuses it: see why with `chat2api tokens probe`, then reset or remove it.",
    State.EXPIRED: "Add a new token of it with `chat2api tokens add`.",
}
