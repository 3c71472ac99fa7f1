"""What all tests share: no token in any output, no packet that leaves this machine, and gateways on stand-in upstreams.

Rule: what a fixture starts it ends, and nothing outlives a test run.
"""

import errno
import gc
import itertools
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import ip_address
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
from httpx._transports import default as httpx_default
from litestar.utils.signature import ParsedSignature

from tests.redis_server import shared_redis, start_redis, store_place  # noqa: F401  fixtures
from tests.servers import Running, Thread, gateways, in_this_process, standins

_numbers = itertools.count(1)

# How long an example takes says more of what else the machine does. What Hypothesis has for CI stays.
hypothesis.settings.register_profile("any machine", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("any machine")


# What a token looks like: JWT and JWE, and what the stand-in makes. Also what upstream's sentinel hands out.
SECRET = re.compile(r"eyJ[\w-]{16,}\.[\w.-]+|\bv1\.[0-9a-f]{42}\b|\brt_\w{20,}|gAAAA[\w+/=-]{16,}")
_leaks: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden`: see `tests/replay/test_golden.py`."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files of tests/replay anew")


# Half of the CPU of collecting nine thousand cases was the collector's, which looked at them again and again, and then
# a fifth of each test's. They are there to stay; what tests make is collected as ever, but a tenth as often.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on the collector runs, past what has been made so far."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadfile`: tests/spreading.py says what runs where."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.spreading import ByFile  # where there are no workers, there need be no xdist

    config.option.loadscopereorder = False  # by how many tests a file has
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long begins first, where there are workers. And tests of pages run in their browser's loop."""
    if hasattr(config, "workerinput"):
        from tests.spreading import turn

        items.sort(key=lambda item: turn(item.nodeid))
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


# Each client of httpx, so each of the SDKs, reads the certificates of all the world's authorities for itself: 20 ms,
# more than most tests do besides, for connections that have no TLS. They are read once; tests of TLS have their own.
httpx_default.create_ssl_context = cache(httpx_default.create_ssl_context)

# And each application has Litestar read the signatures of the same hundred functions. (Functions made in functions are
# read anew: they hold on to what they belong to.)
_read_signature = ParsedSignature.from_fn
_signatures: dict[Any, ParsedSignature] = {}


def _signature_of(function: Any, names: dict[str, Any]) -> ParsedSignature:
    if "<locals>" in getattr(function, "__qualname__", "<locals>"):
        return _read_signature(function, names)
    if function not in _signatures:
        _signatures[function] = _read_signature(function, names)
    return _signatures[function]


ParsedSignature.from_fn = staticmethod(_signature_of)


def secrets_in(text: str) -> list[str]:
    """Every token in a text, cut short."""
    return [f"{match[0][:12]}…" for match in SECRET.finditer(text)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a passing test has put out must not hold a token either. Its last report has all of it."""
    if report.when == "teardown" and report.passed and secrets_in(report.capstdout + report.capstderr + report.caplog):
        _leaks.append(f"{report.nodeid} ({report.when})")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for leak in _leaks:
        terminalreporter.write_line(f"a token stands in the output of {leak}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _leaks and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# --- the network guard ------------------------------------------------------------------------------------------------
#
# No test leaves this machine: one that tries fails, whatever the code under test makes of it. Watched is what Python's
# sockets are told to reach or to look up. libcurl has sockets of its own, and so have other processes: their tests give
# them addresses on loopback only.

_reached: list[str] = []
_connect, _connect_ex, _sendto, _getaddrinfo = (
    socket.socket.connect,
    socket.socket.connect_ex,
    socket.socket.sendto,
    socket.getaddrinfo,
)


def is_on_this_machine(host: object) -> bool:
    """Whether it is loopback, or what binds and connects here; a name is looked up only where it has to be local."""
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    if name in {"", "localhost", "localhost.localdomain"}:  # the hosts file has these
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _check_reach(sock: socket.socket, address: Any) -> None:
    if sock.family in {socket.AF_INET, socket.AF_INET6} and not is_on_this_machine(address[0]):
        _reached.append(f"{address[0]} port {address[1]}")
        raise PermissionError(errno.EACCES, f"a test must not reach {_reached[-1]}")


def _guarded_connect(sock: socket.socket, address: Any) -> None:
    _check_reach(sock, address)
    _connect(sock, address)


def _guarded_connect_ex(sock: socket.socket, address: Any) -> int:
    _check_reach(sock, address)
    return _connect_ex(sock, address)


def _guarded_sendto(sock: socket.socket, data: Any, *arguments: Any) -> int:
    _check_reach(sock, arguments[-1])
    return _sendto(sock, data, *arguments)


def _guarded_getaddrinfo(host: Any, *arguments: Any, **more: Any) -> Any:
    flags = more.get("flags", arguments[4] if len(arguments) > 4 else 0)
    numeric = flags & socket.AI_NUMERICHOST or _is_address(host)
    if not numeric and not is_on_this_machine(host):
        _reached.append(f"the name {host!r}")
        raise socket.gaierror(socket.EAI_NONAME, f"a test must not look up {_reached[-1]}")
    return _getaddrinfo(host, *arguments, **more)


def _is_address(host: Any) -> bool:
    try:
        ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return True


@pytest.fixture(scope="session", autouse=True)
def network_guard() -> Iterator[None]:
    """Watches all that this process connects to."""
    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", _guarded_connect)
    patch.setattr(socket.socket, "connect_ex", _guarded_connect_ex)
    patch.setattr(socket.socket, "sendto", _guarded_sendto)
    patch.setattr(socket, "getaddrinfo", _guarded_getaddrinfo)
    yield
    patch.undo()


def _fail_if_reached() -> None:
    reached = sorted({*_reached})
    _reached.clear()
    if reached:
        pytest.fail(f"the network guard: this test left loopback, for {', '.join(reached)}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    _made_in_a_call.append([])
    yield
    _fail_if_reached()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    yield
    while _made_in_a_call:
        for running in _made_in_a_call.pop():
            running.stop()
    _fail_if_reached()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Any]:
    """One browser for all tests of pages; each has a context, a profile of its own, in it."""
    from tests import browser  # playwright takes a while, and most tests have no page

    async with browser.chromium() as started:
        yield started


@pytest.fixture
def own_log() -> Iterator[None]:
    """For a test that sets the log of this process up, as Granian does where it is made: gateways of other tests in it
    write theirs by handlers that would be gone."""
    named = [one for one in logging.Logger.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in (logging.getLogger(), *named)]
    yield
    for one, one.handlers, level, one.propagate in before:
        one.setLevel(level)


# Gateways in threads of this process that tests made for themselves, not fixtures for several. Those of a file would be
# dozens at its end, each with its looks at stores and clocks, 3 ms a second; so they end with their test.
_made_in_a_call: list[list[Running]] = []


@contextmanager
def _gateways(folders: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """As `gateways`, and none of them may have logged a token."""
    started: list[Running] = []
    with gateways(folders) as make:

        def noted(*arguments: Any, **settings: Any) -> Running:
            started.append(make(*arguments, **settings))
            if _made_in_a_call and isinstance(started[-1], Thread):
                _made_in_a_call[-1].append(started[-1])
            return started[-1]

        yield noted
    for running in started:
        assert not secrets_in(running.log), "a token stands in the gateway's log"


@pytest.fixture(scope="session")
def this_process() -> Iterator[None]:
    """This process, ready to serve gateways."""
    with in_this_process():
        yield


@pytest.fixture(scope="module")
def start_standin(this_process: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`start_standin(seed=1, ...)`: a stand-in upstream with these options, as long as its module's tests run;
    `process=True` gives it a process of its own, and options are what its command line knows."""
    with standins(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="module")
def start_gateway(this_process: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`start_gateway(NAME="value", ...)`: a gateway with these settings, as long as the module's tests run. With
    `process=True` it is a real `chat2api serve`, for what is about processes: each takes seconds and 150 MB."""
    with _gateways(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def shared_standin(this_process: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with standins(tmp_path_factory) as make:
        yield make()


@pytest.fixture(scope="session")
def shared_gateway(
    this_process: None, tmp_path_factory: pytest.TempPathFactory, shared_standin: Running
) -> Iterator[Running]:
    """One gateway with default settings for every test that needs nothing special."""
    with _gateways(tmp_path_factory) as make:
        yield make(CHATGPT_BASE_URL=shared_standin.base_url)


@pytest.fixture
def upstream(shared_standin: Running) -> Running:
    """The stand-in, forgetting what earlier tests did to it."""
    shared_standin.post("/standin/reset")
    return shared_standin


@pytest.fixture
def gateway(shared_gateway: Running, upstream: Running) -> Running:
    """The shared gateway, upstream reset."""
    return shared_gateway


@pytest.fixture
def make_account(upstream: Running) -> Callable[..., str]:
    """`make_account("name", plan="plus", arkose=True, ...)`: its access token. No two tests share an account, as the
    gateway remembers what became of it."""

    def make(name: str, **switches: object) -> str:
        name = f"{name}-{next(_numbers)}"
        token: str = upstream.post("/standin/accounts", {"name": name, **switches}).json()["access_token"]
        return token

    return make
