"""What a request has to be before anything is done for it, and what its body may cost."""

import gzip
import http.client
import json
import socket
import threading
import time
import zlib

import brotlicffi
import httpx
import pytest
from backports import zstd

CHAT = "/v1/chat/completions"
ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def keyed(start_gateway, shared_standin):
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="sk-one", MAX_REQUEST_BYTES="4000000")


@pytest.fixture(scope="module")
def keyless(start_gateway, shared_standin):
    return start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url,
        PUBLIC_BASE_URL="https://mine.example/x",
        CORS_ORIGINS="http://page.example:3000",
    )


def port_of(gateway):
    return int(gateway.base_url.rpartition(":")[2])


def raw(gateway, text):
    with socket.create_connection(("127.0.0.1", port_of(gateway)), timeout=20) as wire:
        wire.sendall(text.encode())
        answer = b""
        while piece := wire.recv(65536):
            answer += piece
    return answer.decode()


# --- heads ------------------------------------------------------------------------------------------------------------

HOSTS = ["x:abc", "x:99999", "http://x", "[::1]:x", "a b", "a/b", "x@y", "", "x:80:90", "[::1"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_none_is_a_400_without_a_traceback(keyed, host):
    answer = raw(keyed, f"GET /v1/nothing HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    assert answer.startswith("HTTP/1.1 400")
    assert json.loads(answer.partition("\r\n\r\n")[2])["error"]["code"] == "invalid_host"
    assert "Traceback" not in keyed.log


def test_one_host_is_needed_and_no_more(keyed):
    assert raw(keyed, "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").startswith("HTTP/1.1 400")
    two = "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"
    assert raw(keyed, two).startswith("HTTP/1.1 400")
    assert " 200 " in raw(keyed, "GET /healthz HTTP/1.0\r\n\r\n").splitlines()[0]


@pytest.mark.parametrize("path", ["/healthz", "/", "/v1/models", "/v1/models/auto", "/openapi.json", "/v1/nothing"])
def test_head_is_as_get_without_a_body(keyed, path):
    headers = {"authorization": "Bearer sk-one", "accept-encoding": "identity"}
    with httpx.Client(base_url=keyed.base_url, headers=headers, trust_env=False, timeout=30) as client:
        head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers.get("content-length") == get.headers.get("content-length")
    assert head.headers.get("content-type") == get.headers.get("content-type")


# --- without a key ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:1"}, 200),
        ({"host": "mine.example"}, 200),
        ({"host": "page.example:3000"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://page.example:3000"}, 200),
        ({"origin": "http://page.example:3000", "sec-fetch-site": "cross-site"}, 200),
        ({"origin": "http://page.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
    ],
)
def test_without_a_key_only_this_machine_and_what_settings_name_is_served(keyless, headers, status):
    assert httpx.get(f"{keyless.base_url}/v1/models", headers=headers, trust_env=False).status_code == status
    chat = httpx.post(keyless.base_url + CHAT, json=ASK, headers=headers, trust_env=False, timeout=30)
    assert chat.status_code == (403 if status == 403 or headers.get("sec-fetch-site") == "none" else 200)
    assert httpx.get(f"{keyless.base_url}/backend-api/me", headers=headers, trust_env=False).status_code in (
        {403} if status == 403 else {200, 401, 404}
    )
    assert httpx.get(f"{keyless.base_url}/healthz", headers=headers, trust_env=False).status_code == 200


def test_a_file_by_its_id_is_no_link_however_its_path_is_written(keyless):
    """Links are their own key, so that any page may open them; `/files/file-…` is `/v1/files/file-…`."""
    for path, status in (("/v1/files/file-AbC", 403), ("/files/file-AbC", 403), ("/files/a-link", 404)):
        answer = httpx.get(keyless.base_url + path, headers={"host": "evil.example"}, trust_env=False)
        assert answer.status_code == status, path


def test_with_keys_names_and_pages_do_not_matter(keyed):
    headers = {"authorization": "Bearer sk-one", "host": "any.example", "origin": "https://page.example"}
    assert httpx.post(keyed.base_url + CHAT, json=ASK, headers=headers, trust_env=False).status_code == 200


# --- bodies -----------------------------------------------------------------------------------------------------------

PACKED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotlicffi.compress,
    "zstd": zstd.compress,
    "GZIP": gzip.compress,
}


def packed(gateway, body, coding, path=CHAT):
    headers = {"content-encoding": coding, "content-type": "application/json", "authorization": "Bearer sk-one"}
    return httpx.post(gateway.base_url + path, content=body, headers=headers, trust_env=False, timeout=60)


@pytest.mark.parametrize("coding", PACKED)
def test_packed_bodies_are_read(keyed, coding):
    assert packed(keyed, PACKED[coding](json.dumps(ASK).encode()), coding).status_code == 200
    bomb = PACKED[coding](json.dumps(ASK | {"x": "y" * 8_000_000}).encode())
    assert len(bomb) < 100_000
    answer = packed(keyed, bomb, coding)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert packed(keyed, b"rubbish", coding).status_code == 400


def test_a_coding_that_is_not_known_is_named(keyed):
    answer = packed(keyed, b"x", "lzw")
    assert answer.status_code == 415
    assert "lzw" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "key", "size", "status"),
    [
        (CHAT, "sk-one", 8_000_000, 413),
        (CHAT, "wrong", 8_000_000, 401),
        (CHAT, "wrong", 3_000_000, 401),
        ("/v1/nothing", "sk-one", 8_000_000, 404),
    ],
)
def test_a_refusal_reaches_a_client_that_is_still_sending(keyed, path, key, size, status):
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", port_of(keyed), timeout=30)
        connection.request("POST", path, b"x" * size, {"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (status, True)
        connection.close()


def test_a_body_that_stops_half_way_is_given_up(keyed, monkeypatch):
    monkeypatch.setattr("shim.http.intake.BODY_SECONDS", 0.5)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-one\r\nContent-Length: 100\r\n\r\nhalf"
    answer = raw(keyed, head + "")
    assert answer.startswith("HTTP/1.1 408")
    assert "body_timeout" in answer


def test_bytes_under_way_are_bounded_and_come_back(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, MAX_BYTES_UNDER_WAY="500000")
    slow = ASK | {"messages": [{"role": "user", "content": "[[words=60 delay=0.05]] " + "x " * 100_000}]}
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(gateway.post(CHAT, slow))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    refused = [answer for answer in seen if answer.status_code == 503]
    assert refused
    assert {answer.status_code for answer in seen} == {200, 503}
    assert refused[0].json()["error"]["code"] == "too_many_bytes"
    assert refused[0].headers["retry-after"] == "1"
    until = time.monotonic() + 30
    while gateway.post(CHAT, slow).status_code != 200:
        assert time.monotonic() < until


def test_every_request_leaves_one_line(keyed):
    before = len(keyed.log.splitlines())
    httpx.get(f"{keyed.base_url}/v1/models", trust_env=False)
    httpx.get(f"{keyed.base_url}/nothing\r\n".strip(), trust_env=False)
    httpx.get(f"{keyed.base_url}/files/secret-link", trust_env=False)
    httpx.post(keyed.base_url + CHAT, json=ASK, headers={"authorization": "Bearer wrong"}, trust_env=False)
    httpx.get(f"{keyed.base_url}/backend-api/me", trust_env=False)
    lines = keyed.log.splitlines()[before:]
    assert len(lines) == 5, lines
    assert [
        word for word in ("/v1/models", "/nothing", "/files/", "invalid_api_key", "/me") if word not in str(lines)
    ] == []
    assert "secret-link" not in keyed.log


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_body_that_breaks_off_is_the_clients_failure_also_in_the_log(keyed, path):
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-one\r\nContent-Length: 100\r\n"
    with socket.create_connection(("127.0.0.1", port_of(keyed)), timeout=30) as wire:
        wire.sendall(f'{head}Content-Type: application/json\r\n\r\n{{"model": '.encode())
        wire.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        error = json.loads(answer.read())["error"]
    assert (answer.status, error["message"]) == (400, "The request body is not whole")
    name, until, line = answer.headers["x-request-id"], time.monotonic() + 30, ""
    while not line:
        assert time.monotonic() < until
        line = next((one for one in keyed.log.splitlines() if name in one), "")
    assert "status=incomplete_body code=400" in line
