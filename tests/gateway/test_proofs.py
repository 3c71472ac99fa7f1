"""Where proofs of work can't be made: what clients are told, and that no account pays for it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from pow import Challenge, PowError, Solver, SolverBrokenError, SolverBusyError, SolverClosedError
from shim.app import create_app
from shim.cli import doctor
from shim.server.granian import serve_app
from shim.settings import Settings
from shim.standin import RunningStandin, make_access_token, serve_standin

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": True}
NAMES = ("alice", "bob")


class MoodySolver(Solver):
    """Fails with `failure` while it has one."""

    failure: PowError | None = None
    asked = 0

    async def solve(self, challenge: Challenge, config: list[object]) -> str:
        type(self).asked += 1
        if self.failure is not None:
            raise self.failure
        return await super().solve(challenge, config)


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> type[MoodySolver]:
    class OfThisTest(MoodySolver):
        pass

    monkeypatch.setattr("shim.exchange.driving.Solver", OfThisTest)
    return OfThisTest


@pytest.fixture
async def standin() -> AsyncIterator[RunningStandin]:
    async with serve_standin() as running:
        yield running


@pytest.fixture
async def client(standin, solver, tmp_path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway whose pool has two accounts."""
    settings = Settings(
        chatgpt_base_url=(standin.base_url,), authorization=("key",), admin_key="admin", data_dir=str(tmp_path)
    )
    async with serve_app(create_app(settings)) as port:
        base_url, headers = f"http://127.0.0.1:{port}", {"Authorization": "Bearer key"}
        async with httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False, timeout=30) as client:
            lines = "\n".join(make_access_token(name) for name in NAMES)
            added = await client.post(
                "/tokens/api/accounts", json={"text": lines}, headers={"Authorization": "Bearer admin"}
            )
            assert added.status_code == 200, added.text
            yield client


async def test_too_many_proofs_are_a_503_that_says_when_to_come_back(client, solver, standin):
    solver.failure = SolverBusyError("too many proofs of work are waiting", retry_after=6.6)
    answer = await client.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["x-should-retry"]) == (503, "7", "true")
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", "proof_of_work_busy", None)


@pytest.mark.parametrize("failure", [SolverBrokenError("it died twice"), SolverClosedError("it is closed")], ids=repr)
async def test_a_solver_that_fails_is_a_503_too(client, solver, failure):
    solver.failure = failure
    answer = await client.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "proof_of_work_failed")
    assert answer.headers["retry-after"] == "1"


async def test_no_other_account_is_tried_and_none_is_put_aside(client, solver, standin):
    solver.failure = SolverBusyError("too many proofs of work are waiting", retry_after=6.6)
    assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 503
    assert solver.asked == 1
    accounts = (await client.get("/tokens/api/accounts", headers={"Authorization": "Bearer admin"})).json()["accounts"]
    assert [account["state"] for account in accounts] == ["ready"] * len(NAMES)

    solver.failure = None
    for _ in NAMES:
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
    assert sum(standin.upstream.stats.turns.values()) == len(NAMES)


@pytest.mark.parametrize(("lanes", "told"), [(0, "solved in Python"), (4, "compiled solver, 4 attempts at a time")])
def test_the_doctor_says_which_solver_is_here_and_finds_both_good_enough(monkeypatch, lanes, told):
    monkeypatch.setattr(doctor, "LANES", lanes)
    finding = doctor._proofs(Settings())
    assert (finding.subject, finding.advice) == ("proofs of work", "")
    assert told in finding.state
