"""The network guard: a test that leaves loopback fails, by name and address; one that stays does not notice it."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REACH = {
    "connect": "socket.socket().connect(('192.0.2.7', 443))",
    "connect_ex": "socket.socket().connect_ex(('192.0.2.7', 443))",
    "ipv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::7', 443))",
    "datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.7', 443))",
    "name": "socket.getaddrinfo('api.openai.com', 443)",
    "asyncio": "asyncio.run(asyncio.open_connection('192.0.2.7', 443))",
    "httpx": "httpx.get('http://192.0.2.7:443', trust_env=False)",
}
WANTED = {"ipv6": "2001:db8::7 port 443", "name": "the name 'api.openai.com'"}


def test_who_leaves_loopback_fails_even_where_nobody_minds(tmp_path):
    """In a pytest of its own, with this project's conftest, in tests that swallow every exception."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    lines = ["import asyncio, contextlib, httpx, socket\n"]
    for name, code in REACH.items():
        lines.append(f"def test_{name}():\n    with contextlib.suppress(Exception):\n        {code}\n")
    lines.append("def test_who_stays():\n    assert socket.getaddrinfo('localhost', 80)\n")
    (tmp_path / "test_reach.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_reach.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert f"{len(REACH)} failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
    for name in REACH:
        wanted = WANTED.get(name, "192.0.2.7 port 443")
        assert f"test_{name} - Failed: the network guard: this test left loopback, for {wanted}" in ran.stdout, name


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_open(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection((host, port), timeout=5).close()
        with socket.socket() as second:
            assert second.connect_ex(("127.0.0.1", port)) == 0


async def test_loopback_is_open_to_asyncio_and_unix_sockets(tmp_path):
    async def hang_up(_reader, writer):
        writer.close()

    for open_server, connect, place in (
        (asyncio.start_server, asyncio.open_connection, {"host": "127.0.0.1"}),
        (asyncio.start_unix_server, asyncio.open_unix_connection, {"path": str(tmp_path / "socket")}),
    ):
        async with await open_server(hang_up, **place) as server:
            if "host" in place:
                place |= {"port": server.sockets[0].getsockname()[1]}
            reader, writer = await connect(**place)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
