"""A worker that hangs is replaced; one that is busy, or whose machine slept, is not."""

import asyncio
import errno
import os
import re
import signal
import tempfile
import time
from pathlib import Path

import httpx

from shim.metrics.sharing import shared_by_workers
from shim.server import heartbeats
from shim.server.heartbeats import Silences, beating, replaces_hung

CHAT = "/v1/chat/completions"
HI = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def workers_of(gateway) -> list[int]:
    pid = gateway.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_worker_that_hangs_is_replaced_and_the_others_go_on(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, process=True, WORKERS="2", WORKER_TIMEOUT="3")
    until = time.monotonic() + 90
    # When both are there, both have begun to beat: who is stopped before that is none that hangs, but one that starts.
    while len(re.findall(r'resident_memory_bytes\{worker="[12]"\}', gateway.get("/metrics").text)) < 2:
        assert time.monotonic() < until, gateway.log
        time.sleep(0.1)
    hung, well = workers_of(gateway)
    os.kill(hung, signal.SIGSTOP)
    while hung in workers_of(gateway) or len(workers_of(gateway)) < 2:
        assert time.monotonic() < until, gateway.log
        time.sleep(0.1)
    assert well in workers_of(gateway)
    assert f"worker {hung} has done nothing for 3 seconds (WORKER_TIMEOUT): it is replaced" in gateway.log
    served = 0
    while served < 10:
        try:
            served += gateway.post(CHAT, HI).status_code == 200
        except httpx.TransportError:  # connections that waited for the hung one
            assert time.monotonic() < until, gateway.log
    assert well in workers_of(gateway)


def test_a_number_has_to_stand_still_for_so_many_looks_in_a_row():
    silences = Silences(3.0)
    beats = [b"1", b"1", b"1", b"2", b"2", b"2", b"2", b"2"]
    assert [silences.look({7: beat}) for beat in beats] == [[], [], [], [], [], [], [7], []]


def test_who_has_not_begun_is_not_hung_and_who_is_gone_is_forgotten():
    silences = Silences(2.0)
    assert [silences.look(beats) for beats in ({}, {7: b"1"}, {7: b"1"}, {}, {7: b"1"}, {7: b"1"})] == [[]] * 6


def test_a_machine_that_slept_wakes_up_with_its_workers():
    """It is the main process's own looks that count, and it made none meanwhile, however late it is."""
    silences = Silences(60.0)
    silences.look({7: b"1"})
    assert silences.look({7: b"1"}) == []


async def test_a_disk_that_is_full_makes_no_worker_look_hung(tmp_path, monkeypatch):
    """What can't be written would stand still, and say so of a worker that is well."""
    real, full = os.pwrite, []

    def pwrite(*given):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given)

    async def becomes(wanted: bool) -> None:
        async with asyncio.timeout(10):
            while bool(file.exists() and file.read_bytes()) is not wanted:  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.01)

    monkeypatch.setenv("CHAT2API_HEARTBEATS", str(tmp_path))
    monkeypatch.setattr(heartbeats, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(os, "pwrite", pwrite)
    file = tmp_path / str(os.getpid())
    async with beating():
        await becomes(True)
        full.append(True)
        await becomes(False)
        full.clear()
        await becomes(True)


def test_without_a_temporary_folder_it_serves_all_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with shared_by_workers(2), replaces_hung(list, 60.0):
        assert not {"CHAT2API_HEARTBEATS", "PROMETHEUS_MULTIPROC_DIR"} & os.environ.keys()
    assert caplog.text.count("there is no temporary folder: No such file or directory") == 2
