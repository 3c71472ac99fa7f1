"""`chat2api doctor`: is this installation ready, and if not, what to do first.

Rule: every check is one function that returns a finding, and what the start checks is checked by the same functions. No
check needs an account or a key, no secret is shown, and nothing is written: upstream is asked what a turn would have to
bring, and no turn follows.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
from rich.console import Console

from arkose import ArkoseClient
from pow import LANES, Solver
from shim import __version__
from shim.accounts.credentials import identity_of
from shim.accounts.installation import installation_id
from shim.accounts.opening import open_pool
from shim.accounts.states import State
from shim.accounts.stores import StoreError
from shim.cli.progress import followed
from shim.errors import GatewayError
from shim.exchange.calls import Calls
from shim.exchange.clock import Clock
from shim.protocol.commands import HttpRequest
from shim.protocol.models import AUTO
from shim.protocol.turn.handshake import ConversationCall, open_call
from shim.protocol.upstream import Identity
from shim.server.checks import CHECKS, count_keys
from shim.settings import SettingError, Settings, concerns, load_settings
from shim.transport import ConnectionKey, Deadlines
from shim.transport.base import read_reply
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver


class Finding(msgspec.Struct, frozen=True):
    """One line of the report. `advice` is empty if nothing has to be done."""

    subject: str
    state: str
    advice: str = ""


def examine(*, as_json: bool = False, ask: bool = False) -> int:
    """Print the report and return the exit code: 0 if nothing stands in the way, else 1. With `ask` upstream is asked
    as each account that has a valid access token, too."""
    if as_json:
        findings = list(_findings(ask=ask))
        bad = any(finding.advice for finding in findings)
        told = {"version": __version__, "ready": not bad, "findings": msgspec.to_builtins(findings)}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return int(bad)
    console = Console(highlight=False)
    console.print(f"chat2api {__version__}, Python {sys.version.split()[0]}")
    bad = False
    for finding in _findings(ask=ask):  # each is told at once, because some of them wait for the network
        bad |= bool(finding.advice)
        mark = "[yellow]![/]" if finding.advice else "[green]ok[/]"
        console.print(f"{mark:>12} ", end="")
        console.print(f"{finding.subject}: {finding.state}", soft_wrap=True, markup=False)
        if finding.advice:
            console.print(f"     {finding.advice}", soft_wrap=True, markup=False)
    return int(bad)


def _findings(*, ask: bool) -> Iterator[Finding]:
    try:
        settings = load_settings()
        told = concerns(settings)
    except SettingError as error:
        yield Finding("settings", str(error), "The server does not start with this.")
        return
    for concern in told:
        yield Finding("settings", concern, "The server starts, but this is probably not meant.")
    keys = len(settings.authorization)
    with suppress(SettingError):  # told below, with all that the start looks at
        keys += count_keys(settings)
    access = f"clients need a key, of which there {'is 1' if keys == 1 else f'are {keys}'}"
    if not keys:
        access = "no key needed, and only this machine can connect"
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
    reached = _upstream(settings)
    yield reached
    # A gateway behind this one does the requirements, and where nobody answers there is nothing to ask.
    asks = not (reached.advice or failed or settings.conversation_only or settings.replay)
    if asks:
        yield _requirements(settings)
    without = "no token service (only needed where upstream asks for one)"
    yield Finding("arkose", "a token service is set" if settings.arkose_token_url else without)
    yield _proofs(settings)
    if not failed:
        yield from _accounts(settings, ask=ask and asks)


def _accounts(settings: Settings, *, ask: bool) -> Iterator[Finding]:
    """Each account, by the id that `tokens list` and the log show."""

    async def look() -> list[Finding]:
        async with open_pool(settings, background=False) as pool, _calls(settings) as calls:
            found = []
            for view in followed("asking upstream", pool.page()) if ask else pool.page():
                subject, account = f"account {view.id}", pool.account(view.id)
                state = f"{view.state.value} ({view.why})" if view.why else view.state.value
                # What can be renewed needs nobody: its next turn does that.
                advice = "" if view.state is State.EXPIRED and view.renewable else _ADVICE.get(view.state, "")
                finding = Finding(subject, state, advice)
                if ask and account is not None and account.access_token and account.is_fresh(time.time()):
                    identity = identity_of(account, installation_id(Path(settings.data_dir)))
                    finding = await _ask(calls, identity, subject, f"{state}; ")
                found.append(finding)
            return found or [Finding("accounts", "none: callers bring tokens of their own, or chat without an account")]

    try:
        yield from asyncio.run(look())
    except (StoreError, OSError) as error:
        yield Finding("accounts", str(error), _NO_START)


def _upstream(settings: Settings) -> Finding:
    origin = settings.chatgpt_base_url[0].rstrip("/")
    proxy = settings.proxy_url[0] if settings.proxy_url else None

    async def look() -> int:
        # Somebody waits at a terminal: 15 seconds without a byte are as good as no answer.
        deadlines = Deadlines(connect=settings.connect_timeout, first_byte=15, idle=15, total=30)
        transport = CurlTransport(deadlines, ca_file=settings.ca_file or None)
        try:
            request = HttpRequest("GET", f"{origin}/", {"user-agent": settings.user_agent})
            return (await read_reply(await transport.send(request, ConnectionKey("doctor", proxy)))).status
        finally:
            await transport.close()

    try:
        status = asyncio.run(look())
    except GatewayError as error:
        return Finding("upstream", f"{origin}: {error.message}", "Check the network, CHATGPT_BASE_URL and PROXY_URL.")
    if status == 403:
        return Finding("upstream", f"{origin} answers 403 to this machine", "Use an access token, or another network.")
    if status >= 400:
        return Finding("upstream", f"{origin} answers {status}", "This is no ChatGPT: check CHATGPT_BASE_URL.")
    return Finding("upstream", f"{origin} answers {status}")


def _requirements(settings: Settings) -> Finding:
    """What upstream wants of a turn without an account: it answers this machine, and the proof can be made."""

    async def look() -> Finding:
        async with _calls(settings) as calls:
            identity = Identity(str(installation_id(Path(settings.data_dir))))
            return await _ask(calls, identity, "requirements", "")

    return asyncio.run(look())


async def _ask(calls: Calls, identity: Identity, subject: str, state: str) -> Finding:
    """Everything of a turn up to the conversation, which is not sent."""
    try:
        opening = await calls.run(
            identity,
            lambda upstream: open_call(upstream, ConversationCall(b"", AUTO), calls.options, calls.moment(identity)),
        )
    except GatewayError as error:
        advice = _REFUSED.get(error.http_status, "Try again; if it stays so, look into the log of a request.")
        return Finding(subject, f"{state}upstream refuses a turn: {error.message}", advice)
    if opening.challenged:
        # No advice: upstream asks for it and often goes on without.
        return Finding(subject, f"{state}upstream takes a turn, and asks for a check that is not done here (TURNSTILE)")
    return Finding(subject, f"{state}upstream takes a turn")


@asynccontextmanager
async def _calls(settings: Settings) -> AsyncIterator[Calls]:
    # Somebody waits at a terminal, here too.
    deadlines = Deadlines(connect=settings.connect_timeout, first_byte=15, idle=15, total=60)
    transport = CurlTransport(deadlines, ca_file=settings.ca_file or None)
    solver = Solver(workers=settings.pow_workers)
    arkose = ArkoseClient(settings.arkose_token_url or None, timeout=settings.arkose_timeout)
    try:
        yield Calls(settings, Driver(transport, solver, arkose), Clock())
    finally:
        await solver.close()
        await arkose.close()
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
# By the status a client would get.
_REFUSED = {
    401: "Upstream wants a log-in: use the token of an account, or add a new one of this account.",
    403: "Use an access token or another network; set ARKOSE_TOKEN_URL where an Arkose token is asked for.",
    429: "Wait until the limit is over.",
    503: "Raise POW_WORKERS or POW_DIFFICULTY if it is the proof of work; else try again.",
}
