"""A gateway that stops ends what is open in words and in time; who says nothing, or does not read, keeps nothing."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from shim.errors import UnavailableError
from shim.http.presence import interrupt_all
from shim.http.responses import ByteStream, EventStream, each_of
from shim.server.run import granian
from shim.settings import Settings
from tests.gateway.conftest import wait_until
from tests.http.test_answers import SCOPE, Stream, request
from tests.servers import PYTHON, clean_environment, free_port

CHAT = "/v1/chat/completions"


def ask(text, **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize("handler", ["signal_handler_interrupt", "signal_handler_reload"])
@pytest.mark.usefixtures("own_log")
def test_a_signal_stops_the_main_process_at_no_moment_for_ever(handler):
    """Also not as its main thread has the lock of what it waits for: then a second SIGTERM did, one time in three."""
    server = granian(Settings())

    def at_the_worst_moment():
        with server.main_loop_interrupt._cond:  # as where it begins to wait, or in the handler of another signal
            getattr(server, handler)(signal.SIGTERM, None)

    main = threading.Thread(target=at_the_worst_moment, daemon=True)
    main.start()
    main.join(30)
    assert not main.is_alive()
    assert server.main_loop_interrupt.wait(30)


def test_a_stop_ends_open_streams_in_band_and_waiting_ones_by_a_503(start_gateway, upstream):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, process=True, SHUTDOWN_TIMEOUT="8")
    seen = {}

    def stream(name):
        body = ask("[[words=3000 delay=0.05]]", stream=True)
        with httpx.stream("POST", gateway.base_url + CHAT, json=body, timeout=60, trust_env=False) as answer:
            seen[name] = [line for line in answer.iter_lines() if line]

    def whole(name):
        seen[name] = gateway.post(CHAT, ask("[[words=3000 delay=0.05]]"))

    waiting = [threading.Thread(target=stream, args=(n,)) for n in range(3)]
    waiting.append(threading.Thread(target=whole, args=("whole",)))
    for thread in waiting:
        thread.start()
    assert wait_until(lambda: len(upstream.get("/standin/stats").json()["recent_turns"]) == len(waiting))
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    code = gateway.process.wait(60)
    took = time.monotonic() - began
    for thread in waiting:
        thread.join(10)
    assert [json.loads(seen[n][-1].removeprefix("data: "))["error"]["code"] for n in range(3)] == ["shutting_down"] * 3
    assert (seen["whole"].status_code, seen["whole"].json()["error"]["code"]) == (503, "shutting_down")
    assert seen["whole"].headers["retry-after"]
    assert code == 0
    assert gateway.log.count("shutting_down") == 4
    assert "Traceback" not in gateway.log
    # As the main process says who kills after SHUTDOWN_TIMEOUT; before that also of a worker that is just ending.
    assert took < 8 or "refused to gracefully stop" not in gateway.log


@pytest.mark.parametrize("after", [0.1, 0.4, 0.8, 1.5])
def test_a_stop_right_after_the_start_ends_at_once(tmp_path, after):
    environment = clean_environment(PORT=str(free_port()), DATA_DIR=str(tmp_path), SHUTDOWN_TIMEOUT="30")
    command = [PYTHON, "-m", "shim", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(after)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert "leaked semaphore" not in out


def test_connections_that_say_nothing_are_closed_and_shut_nobody_out(start_gateway, upstream, monkeypatch):
    monkeypatch.setattr("shim.server.granian.HTTP1.header_read_timeout", 1000)
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url)
    port = int(gateway.base_url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    assert gateway.get("/healthz").status_code == 200
    silent[0].settimeout(20)
    assert silent[0].recv(1) == b""
    for one in silent:
        one.close()


def test_far_more_connections_are_taken_than_strangers_open():
    code = "from shim.server.granian import most_connections as m; import resource as r; n = r.RLIMIT_NOFILE\n"
    code += "r.setrlimit(n, (20000, 20000)); print(m()); r.setrlimit(n, (900, 900)); print(m())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["15000", "1024"]


# --- clients that do not read -----------------------------------------------------------------------------------------


async def stuck(message):
    if "body" in message:
        await asyncio.sleep(3600)


async def test_a_client_that_stops_reading_is_given_up_after_the_longest_an_answer_may_take(monkeypatch):
    monkeypatch.setattr("shim.http.responses._UNREAD_SECONDS", 0.1)
    stream = Stream(b"1", b"2")
    answer = EventStream(request(), stream.run, stream.finish, headers={}, longest=0.1, break_off=lambda _: b"")
    await asyncio.wait_for(answer(SCOPE, request().receive, stuck), 5)
    assert (stream.began, stream.closed, stream.finished) == (1, 1, 1)


async def test_the_same_of_bytes(monkeypatch):
    monkeypatch.setattr("shim.http.responses._UNREAD_SECONDS", 0.1)
    ended = []

    async def pieces():
        try:
            while True:
                yield b"1"
        finally:
            ended.append("pieces")

    answer = ByteStream(request(), each_of(pieces()), lambda: ended.append("finish"), headers={}, longest=0.1)
    await asyncio.wait_for(answer(SCOPE, request().receive, stuck), 5)
    assert ended == ["pieces", "finish"]


async def test_a_slow_reader_may_take_longer(monkeypatch):
    monkeypatch.setattr("shim.http.responses._UNREAD_SECONDS", 1.0)
    stream = Stream(*(b"%d" % n for n in range(6)))

    async def slow(message):
        await asyncio.sleep(0.05)
        await stream.send(message)

    answer = EventStream(request(), stream.run, stream.finish, headers={}, longest=0.1, break_off=lambda _: b"")
    await answer(SCOPE, request().receive, slow)
    assert stream.sent == [b"0", b"1", b"2", b"3", b"4", b"5", b"end"]


async def test_an_interrupted_stream_says_so():
    stream = Stream()

    async def run(send):
        await send(b"1")
        await asyncio.sleep(3600)

    answer = EventStream(
        request(), run, stream.finish, headers={}, longest=60, break_off=lambda error: error.message.encode()
    )
    playing = asyncio.ensure_future(answer(SCOPE, request().receive, stream.send))
    await asyncio.sleep(0.05)
    interrupt_all(lambda: UnavailableError("the end"))
    await asyncio.wait_for(playing, 5)
    assert stream.sent == [b"1", b"the end", b""]
    assert stream.finished == 1


async def test_a_stream_that_begins_while_the_gateway_ends_says_so_too():
    interrupt_all(lambda: UnavailableError("the end"))
    sent, stream = [], Stream(b"1")

    async def send(message):
        sent.append(message.get("body", message["type"]))

    answer = EventStream(
        request(), stream.run, stream.finish, headers={}, longest=60, break_off=lambda error: error.message.encode()
    )
    await asyncio.wait_for(answer(SCOPE, request().receive, send), 60)
    assert sent == ["http.response.start", b"the end", b""]
    assert (stream.began, stream.finished) == (0, 1)


async def test_bytes_that_fail_before_the_first_of_them_have_no_head():
    sent, ended = [], []

    async def pieces():
        raise UnavailableError("nothing came")
        yield b""

    async def send(message):
        sent.append(message["type"])

    answer = ByteStream(request(), each_of(pieces()), lambda: ended.append("finish"), headers={}, longest=60)
    with pytest.raises(UnavailableError):
        await answer(SCOPE, request().receive, send)
    assert (sent, ended) == ([], ["finish"])


# --- clients that would have to wait for a head -----------------------------------------------------------------------


def test_what_fails_after_an_early_head_is_told_in_the_stream(start_gateway):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        gateway = start_gateway(CHATGPT_BASE_URL=base, EARLY_HEAD="0.3", FIRST_BYTE_TIMEOUT="1.5", RETRY_TIMES="0")
        with httpx.stream("POST", gateway.base_url + CHAT, json=ask("x", stream=True), trust_env=False) as answer:
            assert answer.status_code == 200  # so its head was out before the failure, which is a 504 else
            pieces = answer.iter_lines()
            assert next(pieces) == ": keep-alive"
            rest = [line for line in pieces if line]
        assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "timeout"
        assert wait_until(lambda: "status=timeout" in gateway.log)
        # A whole answer waits, and has its status.
        assert gateway.post(CHAT, ask("x")).status_code == 504
        never = start_gateway(CHATGPT_BASE_URL=base, EARLY_HEAD="0", FIRST_BYTE_TIMEOUT="1", RETRY_TIMES="0")
        assert never.post(CHAT, ask("x", stream=True)).status_code == 504
