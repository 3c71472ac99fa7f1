"""Renewals against the real stand-in over real sockets: one exchange however many ask, and nothing rotated is lost.

The store is a small one in memory with the real one's rules; a `Process` is one gateway on it, and several share it.
"""

import asyncio
import time
from contextlib import asynccontextmanager

import msgspec
import pytest

from pow import ClientProfile
from shim.accounts.account import Account, Condition
from shim.accounts.renewal import Renewals, RenewalTimes, exchange_by
from shim.accounts.states import RenewalBegan, RenewalDropped, RenewalFailed, RenewalRefused, Renewed, Supplied
from shim.accounts.stores.base import Change, StoreError
from shim.errors import DeadlineError, Evidence, GatewayError, LimitError, UpstreamError
from shim.protocol.turn.renewal import DeadCredentialError, TokenEndpoints, WrongAddressError
from shim.standin import Account as User
from shim.standin import (
    StandinOptions,
    make_access_token,
    make_refresh_token,
    make_session_token,
    serve_standin,
)
from shim.standin.accounts import CODEX_CLIENT, MOBILE_CLIENT, OLD_MOBILE_CLIENT, PLATFORM_CLIENT, WEB_CLIENT
from shim.transport import ConnectionKey, Deadlines
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver

ALICE = "alice"
TIMES = RenewalTimes(
    exchange=2, lease=0.6, patience=2, poll=0.01, lag=0.1, max_save_delay=0.05, delay=0.02, max_delay=0.05, closing=2
)


class Shelf:
    """What several stores share."""

    def __init__(self):
        self.accounts = {}
        self.locks = {}
        self.stores = []


class FakeStore:
    """One process's store. `away`: it can't be reached. `deaf`: answers that get lost once it has done its part."""

    def __init__(self, shelf, log):
        self.shelf, self.log = shelf, log
        self.away, self.deaf = False, 0
        self.unseen = []
        shelf.stores.append(self)

    def _reach(self):
        if self.away:
            raise StoreError("the store is away")

    async def save_account(self, account):
        await asyncio.sleep(0)
        self._reach()
        kept = self.shelf.accounts.get(account.id)
        saved = kept is not None and (kept.version == account.version - 1 or kept == account)
        if saved:
            self.shelf.accounts[account.id] = account
            for other in self.shelf.stores:
                if other is not self:
                    other.unseen.append(Change(account.id, account, Condition()))
        self.log.append(f"save {account.version}" if saved else f"late {account.version}")
        if self.deaf:
            self.deaf -= 1
            raise StoreError("the connection broke")
        return saved

    async def changes(self):
        self._reach()
        taken, self.unseen = self.unseen, []
        return taken

    async def lock(self, name, holder, seconds):
        await asyncio.sleep(0)
        self._reach()
        other, until = self.shelf.locks.get(name, (holder, 0.0))
        if other != holder and until > time.monotonic():
            return False
        self.shelf.locks[name] = (holder, time.monotonic() + seconds)
        return True

    async def unlock(self, name, holder):
        self._reach()
        if self.shelf.locks.get(name, ("", 0))[0] == holder:
            del self.shelf.locks[name]


class Process:
    """A gateway: its view of the store, and its renewals over real connections. `after` runs between an exchange and
    whatever is made of it."""

    def __init__(self, shelf, base_url, name, times=TIMES):
        self.log, self.events = [], []
        self.store = FakeStore(shelf, self.log)
        self.known = dict(shelf.accounts)
        self.transport = CurlTransport(Deadlines())
        self.after = None
        places = TokenEndpoints(f"{base_url}/oauth/token", base_url, ClientProfile())
        driver = Driver(self.transport, None, None)
        self._exchange = exchange_by(driver, lambda _: places, lambda account: ConnectionKey(account.id), time.time)
        self.renewals = Renewals(
            self.store,
            self.exchange,
            latest=self.known.get,
            report=self.report,
            catch_up=self.catch_up,
            holder=name,
            clock=time.time,
            jitter=lambda: 0.5,
            times=times,
        )
        self.following = asyncio.create_task(self.follow())

    async def exchange(self, account):
        self.log.append("exchange")
        fresh = await self._exchange(account)
        if self.after is not None:
            await self.after()
        return fresh

    def report(self, id, event):
        """As the pool does: new credentials count from here on."""
        self.events.append(event)
        if isinstance(event, Renewed | Supplied):
            self.log.append(f"tell {event.account.version}")
            self.known[id] = event.account

    async def catch_up(self):
        for change in await self.store.changes():
            self.known[change.id] = change.account

    async def follow(self):
        while True:
            if not self.store.away:
                await self.catch_up()
            await asyncio.sleep(0.01)

    async def crash(self):
        """Gone as by `kill -9`: nothing gets a chance to be tidied up, the store never hears of it again."""
        self.store.away = True
        tasks = [*self.renewals._flights.tasks().values(), self.following]
        if self.renewals._rotations._saving:
            tasks.append(self.renewals._rotations._saving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self):
        await self.renewals.close()
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)
        await self.transport.close()


class World:
    """The stand-in, the shelf, and the processes on it."""

    def __init__(self, standin):
        self.standin, self.shelf, self.processes = standin, Shelf(), []

    def put(self, account):
        self.shelf.accounts[account.id] = account
        return account

    def start(self, times=TIMES):
        process = Process(self.shelf, self.standin.base_url, f"process {len(self.processes)}", times)
        self.processes.append(process)
        return process

    def fail(self, where, failure="", times=1, **more):
        plan = {"where": where, "failure": failure, "times": times, **more}
        self.standin.upstream.accounts.patch({"name": ALICE, "failures": [plan]})

    @property
    def exchanges(self):
        return dict(self.standin.upstream.stats.exchanges)

    @property
    def asked(self):
        requests = self.standin.upstream.stats.requests
        return requests["POST /oauth/token"] + requests["GET /api/auth/session"]

    @property
    def stored(self):
        return self.shelf.accounts["a"]


@asynccontextmanager
async def a_world(**switches):
    async with serve_standin(StandinOptions(accounts=(User(ALICE, rotates=True, **switches),))) as standin:
        world = World(standin)
        try:
            yield world
        finally:
            for process in world.processes:
                await process.close()


@pytest.fixture
async def world():
    async with a_world() as made:
        yield made


def by_refresh(**more):
    return Account("a", refresh_token=make_refresh_token(ALICE), **more)


def ending_in(seconds, name=ALICE, lifetime=864_000):
    ends = int(time.time() + seconds)
    return {"access_token": make_access_token(name, "plus", ends, lifetime), "expires": float(ends)}


FIRST, SECOND = "refresh:alice:0", "refresh:alice:1"

# --- one process ------------------------------------------------------------------------------------------------------


async def test_a_good_token_is_left_alone(world):
    account = world.put(by_refresh(**ending_in(8000)))
    process = world.start()
    await process.renewals.keep_fresh([account])
    assert process.log == process.events == []


async def test_the_new_refresh_token_is_stored_before_anybody_is_told(world):
    account = world.put(by_refresh())
    process = world.start()
    fresh = await process.renewals.renew(account)
    assert process.log == ["exchange", "save 1", "tell 1"]
    assert process.events == [RenewalBegan(), Renewed(fresh)]
    assert fresh == world.stored == process.known["a"]
    assert fresh.refresh_token == make_refresh_token(ALICE, 1)
    assert (fresh.user, fresh.plan) == (User(ALICE).user_id, "plus")
    assert fresh.expires == pytest.approx(time.time() + 864_000, abs=5)
    assert not world.shelf.locks


async def test_fifty_at_once_are_one_exchange(world):
    account = world.put(by_refresh(**ending_in(-5)))
    process = world.start()
    renewed = await asyncio.gather(*(process.renewals.renew(account) for _ in range(50)))
    assert len({one.access_token for one in renewed}) == 1
    assert world.exchanges == {FIRST: 1}
    assert await process.renewals.renew(account) == renewed[0]  # who still holds the old one gets the new one
    assert world.asked == 1


async def test_a_caller_that_leaves_does_not_end_the_exchange(world):
    account = world.put(by_refresh())
    process = world.start()
    going, staying = asyncio.Event(), asyncio.Event()

    async def after():
        going.set()
        await staying.wait()

    process.after = after
    callers = [asyncio.create_task(process.renewals.renew(account)) for _ in range(3)]
    await going.wait()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    staying.set()
    fresh = await process.renewals.renew(account)
    assert fresh.refresh_token == make_refresh_token(ALICE, 1)
    assert world.exchanges == {FIRST: 1}


async def test_it_goes_on_from_the_rotated_token(world):
    process = world.start()
    account = world.put(by_refresh())
    process.known["a"] = account
    for generation in range(1, 4):
        account = await process.renewals.renew(account)
        assert account.refresh_token == make_refresh_token(ALICE, generation)
    assert world.exchanges == {f"refresh:alice:{generation}": 1 for generation in range(3)}


async def test_renew_asks_only_where_the_refused_token_is_the_newest(world):
    old = world.put(by_refresh(**ending_in(1000)))
    process = world.start()
    renewed = await asyncio.gather(*(process.renewals.renew(old) for _ in range(20)))
    assert {one.access_token for one in renewed} != {old.access_token}
    assert await process.renewals.renew(old) == renewed[0]
    assert world.exchanges == {FIRST: 1}


@pytest.mark.parametrize(("left", "asked"), [(40, 0), (9, 1)])
async def test_a_short_lived_token_is_renewed_in_its_last_tenth(world, left, asked):
    account = world.put(by_refresh(**ending_in(left, lifetime=100)))
    await world.start().renewals.keep_fresh([account])
    assert world.asked == asked


async def test_tokens_that_live_shorter_than_ahead_are_not_renewed_all_the_time():
    async with a_world(lifetime=100) as world:
        given = world.put(by_refresh())
        account = await world.start().renewals.renew(given)
        for _ in range(5):
            await world.processes[0].renewals.keep_fresh([account])
        assert world.asked == 1


async def test_an_access_token_alone(world):
    process = world.start()
    account = process.known["a"] = world.put(Account("a", **ending_in(100)))
    await process.renewals.keep_fresh([account])
    with pytest.raises(DeadCredentialError, match="not_renewable"):
        await process.renewals.renew(account)
    account = process.known["a"] = Account("a", **ending_in(-1))
    with pytest.raises(DeadCredentialError, match="token_expired"):
        await process.renewals.renew(account)


async def test_an_account_that_was_removed(world):
    with pytest.raises(DeadCredentialError, match="account_removed"):
        await world.start().renewals.renew(by_refresh())


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [400, 9000])
async def test_a_session_is_rotated_too(length):
    async with a_world(session_length=length) as world:
        account = world.put(Account("a", session_token=make_session_token(ALICE, length=length)))
        process = world.start()
        for generation in range(1, 4):
            account = await process.renewals.renew(account)
            assert account.session_token == make_session_token(ALICE, generation, length)
            assert account == world.stored
        assert account.user == User(ALICE).user_id
        assert world.exchanges == {f"session:alice:{generation}": 1 for generation in range(3)}


async def test_a_session_that_is_over(world):
    account = world.put(Account("a", session_token=make_session_token(ALICE)))
    process = world.start()
    for failure, reason in (("logged_out", "not_logged_in"), ("session_failed", "RefreshAccessTokenError")):
        world.fail("session", failure)
        with pytest.raises(DeadCredentialError) as caught:
            await process.renewals.renew(account)
        assert caught.value.reason == reason


async def test_a_dead_refresh_token_is_not_asked_again_where_there_is_a_session(world):
    account = world.put(by_refresh(session_token=make_session_token(ALICE)))
    process = world.start()
    world.fail("refresh", "refresh_token_expired")
    account = await process.renewals.renew(account)
    assert account.refresh_token is None
    await process.renewals.renew(account)
    assert world.exchanges == {"session:alice:0": 1, "session:alice:1": 1}


# --- several processes ------------------------------------------------------------------------------------------------


async def test_two_processes_are_one_exchange(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()
    asked = [process.renewals.renew(account) for process in (one, two) for _ in range(25)]
    assert len({fresh.access_token for fresh in await asyncio.gather(*asked)}) == 1
    assert world.exchanges == {FIRST: 1}
    assert world.asked == 1


async def test_who_has_not_heard_yet_asks_before_it_sends_the_old_token(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()
    two.following.cancel()  # by itself it would never hear
    await one.renewals.renew(account)
    assert await two.renewals.renew(account) == world.stored
    assert two.log == ["tell 1"]  # nothing was exchanged, nothing saved
    assert not world.shelf.locks
    assert world.exchanges == {FIRST: 1}


async def test_round_after_round_it_stays_one_exchange_a_round(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()
    for generation in range(4):
        asked = [process.renewals.renew(account) for process in (one, two) for _ in range(5)]
        assert set(await asyncio.gather(*asked)) == {world.stored}
        account = world.stored
        assert world.exchanges == {f"refresh:alice:{past}": 1 for past in range(generation + 1)}


async def test_the_next_one_tries_where_the_first_one_failed(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()
    world.fail("refresh", status=503, times=3)
    outcomes = await asyncio.gather(*(each.renewals.renew(account) for each in (one, two)), return_exceptions=True)
    assert [one for one in outcomes if isinstance(one, Account)]
    assert world.exchanges == {FIRST: 1}


async def test_a_process_that_died_before_the_exchange_holds_up_nobody_for_long(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()
    await one.renewals._lock(account)
    await one.crash()
    began = time.monotonic()
    assert (await two.renewals.renew(account)).refresh_token == make_refresh_token(ALICE, 1)
    assert 0.3 < time.monotonic() - began < 1.5
    assert world.exchanges == {FIRST: 1}


async def test_a_process_that_died_between_exchange_and_store(world):
    """The one moment that nothing can be done about: upstream has taken the old token, and the new one is gone. It is
    seen for what it is, and nobody ever saw the access token that went with it."""
    account = world.put(by_refresh())
    one, two = world.start(), world.start()
    exchanged = asyncio.Event()

    async def after():
        exchanged.set()
        await asyncio.sleep(60)

    one.after = after
    caller = asyncio.create_task(one.renewals.renew(account))
    await exchanged.wait()
    await one.crash()
    assert one.log == ["exchange"]
    assert isinstance((await asyncio.gather(caller, return_exceptions=True))[0], BaseException)
    with pytest.raises(DeadCredentialError, match="refresh_token_reused"):
        await two.renewals.renew(account)


async def test_long_waiting_ends(world):
    account = world.put(by_refresh())
    world.shelf.locks["renew:a"] = ("somebody", time.monotonic() + 60)
    process = world.start(msgspec.structs.replace(TIMES, patience=1.0))
    began = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        await process.renewals.renew(account)
    assert caught.value.code == "renewal_busy"
    assert time.monotonic() - began < 1.9  # once, not once for each try
    assert world.asked == 0


async def test_an_access_token_given_by_hand_meanwhile_does_not_cost_the_rotated_one(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()

    async def after():
        given = msgspec.structs.replace(world.stored, version=1, **ending_in(500))
        assert await two.store.save_account(given)

    one.after = after
    await one.renewals.renew(account)
    assert world.stored.refresh_token == make_refresh_token(ALICE, 1)
    assert world.stored.version == 2


async def test_another_refresh_token_stored_meanwhile_counts(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()

    async def after():
        given = msgspec.structs.replace(world.stored, version=1, refresh_token="rt_" + "x" * 50, **ending_in(500))
        assert await two.store.save_account(given)

    one.after = after
    fresh = await one.renewals.renew(account)
    assert fresh == world.stored
    assert fresh.refresh_token == "rt_" + "x" * 50


# --- the store is away ------------------------------------------------------------------------------------------------


async def test_nothing_is_exchanged_while_the_store_is_away(world):
    account = world.put(by_refresh())
    process = world.start()
    process.store.away = True
    with pytest.raises(UpstreamError) as caught:
        await process.renewals.renew(account)
    assert caught.value.code == "store_unavailable"
    assert world.asked == 0
    process.store.away = False
    await process.renewals.renew(account)


async def test_a_token_with_time_left_is_not_renewed_while_the_store_is_away(world):
    """And when it may be tried again is told, so that the pool leaves it alone until then."""
    account = world.put(by_refresh(**ending_in(100)))
    process = world.start()
    process.store.away = True
    await process.renewals.keep_fresh([account])
    assert (world.asked, process.log) == (0, [])
    began, failed = process.events
    assert (began, failed.reason) == (RenewalBegan(), "store_unavailable")
    assert failed.retry_at == pytest.approx(time.time() + TIMES.rest, abs=5)


async def test_what_can_not_be_stored_is_kept_used_and_stored_later(world):
    account = world.put(by_refresh())
    one, two = world.start(), world.start()

    async def after():
        one.store.away = two.store.away = True

    one.after = after
    fresh = await one.renewals.renew(account)
    assert one.renewals.unsaved == 1
    assert await one.renewals.renew(account) == fresh
    assert one.events == [RenewalBegan(), RenewalDropped()]  # nothing has been stored that could count
    assert world.stored.refresh_token == make_refresh_token(ALICE)
    assert "tell 1" not in one.log
    one.store.away = two.store.away = False
    assert (await two.renewals.renew(account)) == fresh == world.stored
    assert one.renewals.unsaved == 0
    assert one.known["a"] == fresh
    assert one.events[2:] == [Supplied(fresh)]
    assert world.exchanges == {FIRST: 1}


async def test_who_is_faster_than_the_one_that_could_not_store_waits_for_it(world):
    """Two asks with the used token, after the lease, before One gets through: its "reused" is not the account's end."""
    account = world.put(by_refresh())
    one, two = world.start(), world.start(msgspec.structs.replace(TIMES, lag=1))

    async def after():
        one.store.away = True

    one.after = after
    fresh = await one.renewals.renew(account)
    asked = asyncio.create_task(two.renewals.renew(account))
    while not world.standin.upstream.stats.refusals["401"]:  # noqa: ASYNC110  the stand-in has no event for it
        await asyncio.sleep(0.01)
    one.store.away = False
    assert (await asked).access_token == fresh.access_token
    assert world.stored.refresh_token == make_refresh_token(ALICE, 1)


async def test_a_store_that_did_it_but_could_not_say_so(world):
    account = world.put(by_refresh())
    process = world.start()
    process.store.deaf = 1
    fresh = await process.renewals.renew(account)
    assert world.shelf.locks  # nobody else sends the old token until the new one is known to be stored
    await asyncio.sleep(0.1)
    assert process.log == ["exchange", "save 1", "save 1", "tell 1"]
    assert fresh == world.stored
    assert process.renewals.unsaved == 0


async def test_what_is_not_stored_yet_is_not_exchanged_either(world):
    account = world.put(by_refresh())
    process = world.start(msgspec.structs.replace(TIMES, patience=0.2))

    async def after():
        process.store.away = True

    process.after = after
    fresh = await process.renewals.renew(account)
    with pytest.raises(UpstreamError) as caught:
        await process.renewals.renew(fresh)
    assert caught.value.code == "renewal_busy"
    assert world.exchanges == {FIRST: 1}
    process.store.away, process.after = False, None
    assert (await process.renewals.renew(fresh)).refresh_token == make_refresh_token(ALICE, 2)


# --- upstream says no -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason",
    [
        "invalid_grant",
        "access_denied",
        "refresh_request_expired",
        "refresh_token_reused",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "account_deactivated",
    ],
)
async def test_dead_is_dead_and_asked_once(world, reason):
    account = world.put(by_refresh(**ending_in(-5), client_id=OLD_MOBILE_CLIENT, client_sure=True))
    process = world.start()
    world.fail("refresh", reason, times=-1)
    outcomes = await asyncio.gather(*(process.renewals.renew(account) for _ in range(10)), return_exceptions=True)
    assert {outcome.reason for outcome in outcomes} == {reason.replace("refresh_request_expired", "token_expired")}
    assert world.asked == 1
    assert not world.shelf.locks


async def test_a_token_nobody_knows(world):
    for number, (token, asked) in enumerate((("x" * 45, 3), ("rt_" + "x" * 45, 2))):
        before, account = world.asked, world.put(Account(f"a{number}", refresh_token=token))
        with pytest.raises(DeadCredentialError):
            await world.start().renewals.renew(account)
        assert world.asked - before == asked  # each client id it may have, once


# --- client ids -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client_id", "given", "asked"),
    [
        (OLD_MOBILE_CLIENT, {}, 1),
        (MOBILE_CLIENT, {}, 1),
        (CODEX_CLIENT, {}, 2),  # by its form it may as well be the mobile one's
        (CODEX_CLIENT, {"client_id": CODEX_CLIENT}, 1),
        (PLATFORM_CLIENT, {"client_id": PLATFORM_CLIENT}, 1),
        (MOBILE_CLIENT, {"client_id": CODEX_CLIENT}, 2),  # what was told is wrong
        (OLD_MOBILE_CLIENT, {"client_id": PLATFORM_CLIENT}, 2),
        (MOBILE_CLIENT, {"client_id": WEB_CLIENT}, 1),  # the claim of an access token that a session brought
    ],
)
async def test_each_client_id_is_found_and_kept(world, client_id, given, asked):
    account = world.put(Account("a", refresh_token=make_refresh_token(ALICE, client_id=client_id), **given))
    process = world.start()
    fresh = await process.renewals.renew(account)
    assert (world.asked, world.exchanges) == (asked, {FIRST: 1})
    assert fresh.refresh_token == make_refresh_token(ALICE, 1, client_id)
    assert (fresh.client_id, fresh.client_sure) == (client_id, True)
    assert world.stored == fresh
    again = await process.renewals.renew(fresh)
    assert again.refresh_token == make_refresh_token(ALICE, 2, client_id)
    assert world.asked == asked + 1  # it is known now


async def test_two_processes_look_for_the_client_id_once(world):
    account = world.put(Account("a", refresh_token=make_refresh_token(ALICE, client_id=CODEX_CLIENT)))
    processes = [world.start() for _ in range(2)]
    fresh = await asyncio.gather(*(process.renewals.renew(account) for process in processes for _ in range(5)))
    assert {one.refresh_token for one in fresh} == {make_refresh_token(ALICE, 1, CODEX_CLIENT)}
    assert (world.asked, world.exchanges) == (2, {FIRST: 1})


async def test_a_token_that_another_program_renews_too(world):
    """Whoever comes second is told so; what the first one got is ended with it."""
    ours, theirs = (world.put(Account(id, refresh_token=make_refresh_token(ALICE))) for id in "ab")
    process = world.start()
    await process.renewals.renew(theirs)
    with pytest.raises(DeadCredentialError) as reused:
        await process.renewals.renew(ours)
    with pytest.raises(DeadCredentialError) as ended:
        await process.renewals.renew(world.shelf.accounts["b"])
    assert (reused.value.reason, ended.value.reason) == ("refresh_token_reused", "refresh_token_invalidated")
    assert [event.reason for event in process.events if isinstance(event, RenewalRefused)] == [
        "refresh_token_reused",
        "refresh_token_invalidated",
    ]


async def test_where_no_log_in_server_is_nobody_is_parked_and_nothing_tried_again():
    async with a_world() as world:
        world.fail("refresh", "not_found", times=-1)
        account = world.put(by_refresh(**ending_in(100)))
        process = world.start()
        with pytest.raises(WrongAddressError, match="OAUTH_URL"):
            await process.renewals.renew(account)
        assert isinstance(process.events[-1], RenewalFailed)
        for _ in range(3):
            await process.renewals.keep_fresh([account])
        assert world.asked == 1
        world.fail("refresh", times=0)
        await process.renewals.renew(account)  # somebody needs it
        assert world.exchanges == {FIRST: 1}


async def test_who_asks_waits_for_so_long_and_the_exchange_goes_on(world):
    account = world.put(by_refresh())
    process = world.start(msgspec.structs.replace(TIMES, wait=0.1))
    hold = asyncio.Event()
    process.after = hold.wait
    with pytest.raises(DeadlineError, match="log-in server"):
        await process.renewals.renew(account)
    hold.set()
    assert (await process.renewals.renew(account)).refresh_token == make_refresh_token(ALICE, 1)
    assert world.exchanges == {FIRST: 1}


async def test_a_log_in_server_that_hangs_is_asked_once(world):
    account = world.put(by_refresh())
    process = world.start(msgspec.structs.replace(TIMES, exchange=0.1))
    process.after = asyncio.Event().wait
    with pytest.raises(DeadlineError, match="log-in server"):
        await process.renewals.renew(account)
    assert process.log.count("exchange") == 1


@pytest.mark.parametrize("failure", ["internal", "edge_520", "unauthorized", "missing_client_id"])
async def test_what_passes_is_tried_again(world, failure):
    account = world.put(by_refresh())
    world.fail("refresh", failure, times=2)
    assert (await world.start().renewals.renew(account)).refresh_token == make_refresh_token(ALICE, 1)
    assert (world.asked, world.exchanges) == (3, {FIRST: 1})


async def test_but_only_a_few_times(world):
    account = world.put(by_refresh())
    world.fail("refresh", "unavailable", times=-1)
    with pytest.raises(UpstreamError):
        await world.start().renewals.renew(account)
    assert world.asked == TIMES.tries


@pytest.mark.parametrize("failure", ["too_many_requests", "cloudflare"])
async def test_a_limit_or_a_check_page_is_not_tried_again(world, failure):
    account = world.put(by_refresh())
    world.fail("refresh", failure, times=-1)
    with pytest.raises(GatewayError) as caught:
        await world.start().renewals.renew(account)
    assert not isinstance(caught.value, DeadCredentialError)
    assert isinstance(caught.value, LimitError) is (failure == "too_many_requests")
    assert world.asked == 1


async def test_a_token_with_time_left_does_not_hide_an_outage(world):
    account = world.put(by_refresh(**ending_in(100)))
    process = world.start()
    world.fail("refresh", "unavailable", times=-1)
    with pytest.raises(UpstreamError):
        await process.renewals.renew(account)  # upstream refused it: time left is no help
    assert world.asked == TIMES.tries
    assert process.known["a"].access_token == account.access_token


async def test_how_long_to_wait_after_a_limit_is_upstreams_word(world):
    account = world.put(by_refresh())
    process = world.start()
    world.fail("refresh", "too_many_requests", times=-1)
    with pytest.raises(LimitError) as caught:
        await process.renewals.renew(account)
    waits = caught.value.retry_in(time.time()) or TIMES.rest
    assert process.events[-1].retry_at == pytest.approx(time.time() + waits, abs=5)


async def test_an_exchange_that_hangs(world):
    account = world.put(by_refresh())
    process = world.start(msgspec.structs.replace(TIMES, exchange=0.1, tries=1))

    async def after():
        await asyncio.sleep(60)

    process.after = after
    with pytest.raises(DeadlineError):
        await process.renewals.renew(account)


async def test_nobody_there():
    world = World(None)
    account = world.put(by_refresh())
    process = Process(world.shelf, "http://127.0.0.1:9", "alone")
    with pytest.raises(UpstreamError) as caught:
        await process.renewals.renew(account)
    assert caught.value.code == "upstream_unreachable"
    assert "log-in server 127.0.0.1:9 " in caught.value.message
    await process.close()


# --- ahead of need ----------------------------------------------------------------------------------------------------


async def test_those_that_run_out_soon_are_renewed_ahead():
    names = [f"user{number}" for number in range(12)]
    async with serve_standin(StandinOptions(accounts=tuple(User(name, rotates=True) for name in names))) as standin:
        world = World(standin)
        accounts = [
            world.put(Account(name, refresh_token=make_refresh_token(name), **ending_in(left, name)))
            for name, left in zip(names, [*range(100, 1100, 100), 100_000, 100_000], strict=True)
        ]
        never = world.put(Account("never", refresh_token=make_refresh_token("never")))
        fixed = world.put(Account("fixed", **ending_in(50)))
        process = world.start()
        busy, most = 0, 0

        async def after():
            nonlocal busy, most
            busy, most = busy + 1, max(most, busy + 1)
            await asyncio.sleep(0.02)
            busy -= 1

        process.after = after
        await process.renewals.keep_fresh([*accounts, never, fixed], ahead=1000, at_once=3)
        assert {type(event) for event in process.events} == {RenewalBegan, Renewed}
        assert world.exchanges == {f"refresh:{name}:0": 1 for name in names[:10]}
        assert 1 < most <= 3
        await process.close()


async def test_each_comes_due_at_a_time_of_its_own(world):
    process = world.start()
    accounts = [Account(f"id{number}", refresh_token="r" * 45, **ending_in(1500)) for number in range(200)]
    due = [account for account in accounts if process.renewals._is_due(account, time.time(), 1000)]
    assert 60 < len(due) < 140


async def test_why_some_could_not_be_renewed(world):
    bad = world.put(by_refresh(**ending_in(100)))
    process = world.start()
    world.fail("refresh", "refresh_token_expired")
    await process.renewals.keep_fresh([bad])
    said = Evidence(401, "refresh_token_expired")
    assert process.events == [RenewalBegan(), RenewalRefused("refresh_token_expired", said)]


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_closing_waits_for_an_exchange(world):
    account = world.put(by_refresh())
    process = world.start()
    going = asyncio.Event()

    async def after():
        going.set()
        await asyncio.sleep(0.2)

    process.after = after
    caller = asyncio.create_task(process.renewals.renew(account))
    await going.wait()
    await process.renewals.close()
    assert world.stored.refresh_token == make_refresh_token(ALICE, 1)
    assert await caller == world.stored
    with pytest.raises(UpstreamError, match="shutting down"):
        await process.renewals.renew(world.stored)


async def test_closing_does_not_wait_for_somebody_elses(world):
    account = world.put(by_refresh())
    world.shelf.locks["renew:a"] = ("somebody", time.monotonic() + 60)
    process = world.start()
    caller = asyncio.create_task(process.renewals.renew(account))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await process.renewals.close()
    assert time.monotonic() - began < 0.5
    with pytest.raises(UpstreamError, match="shutting down"):
        await caller


async def test_closing_tries_to_store_what_is_left(world):
    account = world.put(by_refresh())
    process = world.start()

    async def after():
        process.store.away = True

    process.after = after
    await process.renewals.renew(account)
    asyncio.get_running_loop().call_later(0.1, setattr, process.store, "away", False)
    await process.renewals.close()
    assert process.renewals.unsaved == 0
    assert world.stored.refresh_token == make_refresh_token(ALICE, 1)


async def test_closing_ends_even_where_the_store_stays_away(world, caplog):
    account = world.put(by_refresh())
    process = world.start(msgspec.structs.replace(TIMES, closing=0.2))

    async def after():
        process.store.away = True

    process.after = after
    fresh = await process.renewals.renew(account)
    await process.renewals.close()
    assert process.renewals.unsaved == 1
    assert "1 accounts could not be saved" in caplog.text
    assert not [secret for secret in (fresh.access_token, fresh.refresh_token) if secret in caplog.text]
