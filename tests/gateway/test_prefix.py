"""API_PREFIX: outside of it nothing answers, and nothing tells one path from another."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PREFIX = "/hidden-here"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW")
MADE_UP = (
    "/nothing",
    "/v1",
    "/v1/nothing/at/all",
    "//",
    "/.env",
    "/hidden",
    "/hidden-her",
    "/hidden-here2",
    "/a%20b?c=d",
    "/backend-api/models",
    "/backend-anon/conversation",
)
ROOT = Path(__file__).parents[2]
_ASK_FOR_ROUTES = """
import json, sys
from shim.app import create_app
from shim.settings import Settings
print(json.dumps([route.path for route in create_app(Settings(api_prefix=sys.argv[1])).routes]))
"""


@pytest.fixture(scope="module")
def hidden(start_gateway, shared_standin):
    return start_gateway(
        health=f"{PREFIX}/healthz",
        CHATGPT_BASE_URL=shared_standin.base_url,
        API_PREFIX=PREFIX.strip("/"),
        ADMIN_KEY="admin-key",
        CORS_ORIGINS="*",
    )


@pytest.fixture(scope="module")
def paths():
    """Every path the application knows, without the prefix, and with something in the place of parameters."""
    asked = [sys.executable, "-c", _ASK_FOR_ROUTES, PREFIX]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(asked, capture_output=True, check=True, timeout=30, cwd=ROOT, env=environment)
    known = json.loads(told.stdout)
    filled = {"/".join("x" if "{" in part else part for part in path.split("/")) for path in known}
    outside = {path.removeprefix(PREFIX) or "/" for path in filled}
    assert {"/", "/healthz", "/tokens", "/v1/chat/completions", "/v1/models", "/backend-api"} <= outside
    return sorted(outside | {f"{path}/" for path in outside} | set(MADE_UP))


def raw(running, method, path, **headers):
    """(the first line, the headers without the date, the body) as they are on the wire."""
    host, port = running.base_url.removeprefix("http://").split(":")
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close", "content-length: 0"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection((host, int(port)), 10) as wire:
        wire.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while piece := wire.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.split(b"\r\n")
    return first, sorted(line for line in rest if not line.lower().startswith(b"date:")), body


@pytest.mark.parametrize("method", METHODS)
def test_outside_every_answer_is_the_same_bytes(hidden, paths, method):
    expected = raw(hidden, method, "/no-such-path")
    assert expected[0] == b"HTTP/1.1 404 Not Found"
    assert expected[2] == (b"" if method == "HEAD" else b"Not Found")
    for path in paths:
        assert raw(hidden, method, path) == expected, path


def test_headers_make_no_difference_outside(hidden):
    expected = raw(hidden, "GET", "/no-such-path")
    for headers in (
        {"authorization": "Bearer admin-key"},
        {"origin": "https://elsewhere.test"},
        {"cookie": "chat2api_accounts=x"},
        {"accept": "text/html"},
    ):
        for path in ("/", "/tokens", "/v1/models", "/healthz"):
            assert raw(hidden, "GET", path, **headers) == expected, (path, headers)
    preflight = {"origin": "https://elsewhere.test", "access_control_request_method": "POST"}
    assert raw(hidden, "OPTIONS", "/v1/chat/completions", **preflight) == raw(hidden, "OPTIONS", "/no-such-path")


def test_all_methods_are_refused_with_the_same_bytes(hidden):
    answers = {method: raw(hidden, method, "/healthz") for method in METHODS if method != "HEAD"}
    assert len({str(answer) for answer in answers.values()}) == 1


def test_inside_everything_answers(hidden):
    assert raw(hidden, "GET", f"{PREFIX}/healthz")[0] == b"HTTP/1.1 200 OK"
    assert raw(hidden, "GET", f"{PREFIX}/v1/models")[0] == b"HTTP/1.1 200 OK"
    assert raw(hidden, "GET", f"{PREFIX}/backend-api/models")[0] == b"HTTP/1.1 200 OK"
    assert raw(hidden, "GET", f"{PREFIX}/tokens")[0] == b"HTTP/1.1 200 OK"
    assert b"Invalid URL" in raw(hidden, "GET", f"{PREFIX}/nothing")[2]
    preflight = {"origin": "https://elsewhere.test", "access_control_request_method": "POST"}
    assert b"204" in raw(hidden, "OPTIONS", f"{PREFIX}/v1/chat/completions", **preflight)[0]
