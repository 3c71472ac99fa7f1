"""`GET /metrics`: what is counted, in which few labels, over all workers, and who may read it."""

import asyncio
import errno
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from shim.metrics import sharing
from shim.metrics.metrics import _SHORT, Metrics
from shim.usage import CallRecord
from tests.servers import PYTHON, clean_environment

CHAT = "/v1/chat/completions"
SECRET = "a text that nobody but the model may have"
BODY = {"model": "auto", "messages": [{"role": "user", "content": SECRET}]}


ADMIN = {"authorization": "Bearer the-admin-key"}


def read(gateway, **headers):
    answer = httpx.get(f"{gateway.base_url}/metrics", headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def value(text, name, **labels):
    """The sum of all samples with this name and these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.fixture(scope="module")
def served(start_gateway, shared_standin):
    gateway = start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url,
        ADMIN_KEY="the-admin-key",
        AUTHORIZATION="first-key-of-many,second-key-of-many",
    )
    key = {"authorization": "Bearer second-key-of-many"}
    assert gateway.post(CHAT, BODY, **key).status_code == 200
    assert gateway.post(CHAT, BODY | {"stream": True}, **key).status_code == 200
    for number in range(3):
        refused = gateway.post(CHAT, BODY | {"model": f"made-up-{number}"}, authorization="Bearer first-key-of-many")
        assert refused.status_code == 404
    return gateway, read(gateway, **ADMIN)


def test_calls_tokens_errors_and_times_are_counted(served):
    _, text = served
    assert value(text, "chat2api_requests_total", api="chat", model="auto", code="200") == 2
    assert value(text, "chat2api_errors_total", status="model_not_found", code="404") == 3
    assert value(text, "chat2api_key_requests_total", key="env-2") == 2
    assert value(text, "chat2api_key_errors_total", key="env-1") == 3
    assert value(text, "chat2api_tokens_total", api="chat", kind="completion") > 0
    assert value(text, "chat2api_key_tokens_total", key="env-2", kind="prompt") > 0
    assert value(text, "chat2api_account_requests_total", account="anonymous") == 2
    assert value(text, "chat2api_first_text_seconds_count", api="chat") == 1
    assert value(text, "chat2api_request_seconds_count", api="chat") == 5
    assert value(text, "chat2api_turns_total", api="chat") == 2
    assert value(text, "chat2api_upstream_calls_total", outcome="2xx") > 2
    assert value(text, "chat2api_proof_seconds_count", outcome="solved") >= 2
    assert value(text, "chat2api_open_requests") == 0
    assert value(text, "chat2api_store_up") == 1
    assert value(text, "chat2api_accounts", state="ready") == 0
    assert value(text, "chat2api_resident_memory_bytes") > 1e7


def test_no_label_is_made_by_clients_and_nothing_secret_is_told(served):
    _, text = served
    assert "made-up" not in text
    assert value(text, "chat2api_requests_total", model="other") == 3
    for secret in (SECRET, "first-key-of-many", "second-key-of-many", "the-admin-key"):
        assert secret not in text


def test_a_label_has_so_many_values_and_then_other():
    metrics = Metrics()
    for number in range(500):
        record = CallRecord(
            "req", 0.0, "chat", f"status-{number}", 1.0, model=f"m{number}", account=f"a{number}", key=f"k{number}"
        )
        metrics.note(record, is_listed=True, is_pooled=True)
    text = asyncio.run(metrics.text()).decode()
    assert value(text, "chat2api_requests_total") == 500
    assert value(text, "chat2api_key_requests_total", key="other") > 0
    assert len(re.findall(r"^chat2api_requests_total", text, re.M)) <= 202


def test_a_thousand_accounts_leave_the_names_of_keys_and_of_failures_alone():
    metrics = Metrics()
    record = CallRecord("req", 0.0, "chat", "stop", 1.0, model="auto", key="ci")
    for number in range(1000):
        metrics.note(msgspec.structs.replace(record, account=f"a{number}"), is_listed=True, is_pooled=True)
    late = msgspec.structs.replace(record, status="rate_limit_exceeded", failed=True, key="new", account="a0")
    metrics.note(late, is_listed=True, is_pooled=True)
    text = asyncio.run(metrics.text()).decode()
    assert value(text, "chat2api_errors_total", status="rate_limit_exceeded") == 1
    assert value(text, "chat2api_key_requests_total", key="new") == 1
    assert value(text, "chat2api_account_requests_total", account="other") == 800


def test_the_loop_s_delay_is_seen(served):
    gateway, text = served
    until = time.monotonic() + 30
    while value(text, "chat2api_event_loop_delay_seconds_count") < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
        text = read(gateway, **ADMIN)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),  # a proxy on this machine may forward anybody, and say nothing of it
        ({"authorization": "Bearer the-admin-key"}, 200),
        ({"authorization": "Bearer the-admin-key", "x-forwarded-for": "192.0.2.1"}, 200),
        ({"authorization": "Bearer another"}, 401),
        ({"authorization": "Bearer first-key-of-many"}, 401),
        ({"x-forwarded-for": "192.0.2.1"}, 403),
        ({"host": "metrics.example"}, 403),
        ({"origin": "https://page.example"}, 403),
    ],
)
def test_who_may_read_it(served, headers, status):
    gateway, _ = served
    answer = httpx.get(f"{gateway.base_url}/metrics", headers=headers, trust_env=False)
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]["code"] in {"admin_key_needed", "invalid_admin_key", "other_origin"}


@pytest.mark.parametrize("setting", ["PUBLIC_BASE_URL", "AUTHORIZATION", "ADMIN_KEY"])
def test_where_others_are_served_too_it_takes_the_key(start_gateway, shared_standin, setting):
    given = {setting: "https://public.example" if setting == "PUBLIC_BASE_URL" else "a-key-of-many-characters"}
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, **given)
    for path in ("/metrics", "/admin/usage"):
        assert gateway.get(path).json()["error"]["code"] == "admin_key_needed"


def test_workers_add_up_and_the_dead_are_counted(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, WORKERS="2", process=True)
    ask = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    for _ in range(10):  # each on a connection of its own, so that both workers get some
        assert gateway.post(CHAT, ask).status_code == 200
    assert value(read(gateway), "chat2api_requests_total", code="200") == 10
    workers = {
        sample.labels["worker"]
        for family in text_string_to_metric_families(read(gateway))
        for sample in family.samples
        if sample.name == "chat2api_resident_memory_bytes"
    }
    assert workers == {"1", "2"}
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    done, until = 0, time.monotonic() + 60
    while done < 10 or "Spawning worker" not in gateway.log.rpartition("unexpected")[2]:
        try:
            done += gateway.post(CHAT, ask).status_code == 200
        except httpx.TransportError:  # the dead one's connections
            time.sleep(0.05)
        assert time.monotonic() < until, gateway.log
    assert value(read(gateway), "chat2api_requests_total", code="200") == 10 + done


def test_the_files_that_workers_share_have_their_room_from_the_start(start_gateway, shared_standin, tmp_path):
    """A page that a full disk has no room for would end every worker by a signal, again and again."""
    (tmp_path / "shared").mkdir()
    gateway = start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url, WORKERS="2", process=True, TMPDIR=str(tmp_path / "shared")
    )
    assert gateway.post(CHAT, BODY).status_code == 200
    read(gateway)
    files = list(tmp_path.glob("shared/*/*.db"))
    assert len(files) == 2 * 5
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size for file in files)


FILL = """
from shim.metrics import sharing
sharing.as_worker()
from shim.metrics.metrics import _RENEWALS, Metrics, OpenCounts
from shim.usage import CallRecord
from shim.accounts.states import State

metrics = Metrics()
long = "n" * 300
for number in range(4000):
    of = f"{number % 250}-{long}"
    for failed in (True, False):
        metrics.note(
            CallRecord(
                "req", 0.0, f"api-{number % 20}", f"status {number // 16}-{long}", 1.0, model=of, account=of, key=of,
                tries=1, tokens=(1, 1), first_ms=1.0, code=400 + number % 20, failed=failed,
            ),
            is_listed=True, is_pooled=True,
        )
    metrics.called(of, 1.0)
for outcome in ("solved", "not_solved", "failed"):
    metrics.proved(outcome, 1.0)
for outcome in _RENEWALS.values():
    metrics._child(metrics._renewals, outcome).inc()
metrics._counts = lambda: OpenCounts(1, 1, 1, {state.value: 1 for state in State}, 1, True)
metrics._look()
"""


def test_the_files_that_workers_share_never_outgrow_their_room(tmp_path):
    """What they grow by has no room on the disk kept for it."""
    command = [PYTHON, "-c", FILL]
    subprocess.run(command, check=True, env=clean_environment(PROMETHEUS_MULTIPROC_DIR=str(tmp_path)), timeout=120)
    room = {f"{kind}_1.db": room for kind, room in sharing._FILE_BYTES.items()}
    assert {file.name: file.stat().st_size for file in tmp_path.glob("*.db")} == room


def test_calls_of_more_kinds_than_are_told_apart_are_counted_all_the_same():
    metrics = Metrics()
    for number in range(40_000):
        model, status = f"m{number % 190}", f"s{number // 190 % 190}"
        record = CallRecord("req", 0.0, "chat", status, 1.0, model=model, code=503, failed=True)
        metrics.note(record, is_listed=True, is_pooled=True)
    text = asyncio.run(metrics.text()).decode()
    assert value(text, "chat2api_requests_total", api="chat", code="503") == 40_000
    assert value(text, "chat2api_requests_total", model="other", status="other") > 0
    assert len(re.findall(r"^chat2api_requests_total", text, re.M)) <= 1001


async def test_times_that_are_added_up_are_told_as_the_library_would_have_counted_them():
    metrics, registry = Metrics(), CollectorRegistry()
    alone = Histogram("chat2api_upstream_head_seconds", "", buckets=_SHORT, registry=registry)
    for times in ([0.0, 0.001, 0.0011, 0.005, 2.5, 30.0], [31.0, 0.3, 0.3], []):
        for seconds in times:
            metrics.called("2xx", seconds)
            alone.observe(seconds)
        told = (await metrics.text()).decode()
        samples = next(iter(alone.collect())).samples
        assert [value(told, one.name, **one.labels) for one in samples] == [one.value for one in samples]


def test_turns_that_wait_for_an_account_are_told(start_gateway, upstream, make_account):
    gateway = start_gateway(
        CHATGPT_BASE_URL=upstream.base_url, ADMIN_KEY="the-admin-key", AUTHORIZATION="a-key", ACCOUNT_LIMIT="1"
    )
    gateway.post("/tokens/api/accounts", {"text": make_account("busy")}, **ADMIN)
    slow = {"role": "user", "content": "[[script=long words=4000 delay=0.05]] go"}
    client = httpx.Client(base_url=gateway.base_url, headers={"authorization": "Bearer a-key"}, trust_env=False)
    with (
        ThreadPoolExecutor(2) as pool,
        client.stream("POST", CHAT, json=BODY | {"messages": [slow], "stream": True}, timeout=60) as held,
    ):
        pieces = held.iter_bytes()  # kept, for the stream is closed with it
        next(pieces)
        waiting = [pool.submit(gateway.post, CHAT, BODY, authorization="Bearer a-key") for _ in range(2)]
        wait_for(lambda: value(read(gateway, **ADMIN), "chat2api_waiting_turns"), 2)
        assert value(read(gateway, **ADMIN), "chat2api_waiting_requests") == 0
        held.close()
        assert [one.result().status_code for one in waiting] == [200, 200]
    wait_for(lambda: value(read(gateway, **ADMIN), "chat2api_waiting_turns"), 0)


def wait_for(look, wanted):
    until = time.monotonic() + 60
    while (found := look()) != wanted:
        assert time.monotonic() < until, found
        time.sleep(0.05)


def test_a_worker_whose_disk_is_full_counts_for_itself(tmp_path, monkeypatch, caplog):
    def full(*_given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    sharing.as_worker()
    assert sharing.shared_folder() is None
    assert "No space left on device" in caplog.text
    assert value(asyncio.run(Metrics().text()).decode(), "chat2api_open_requests") == 0
