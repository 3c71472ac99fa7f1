"""Fetching a file: what is never connected to, what is followed, and what it may cost."""

import asyncio
import gc
import gzip
import ssl
import time
import zlib
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shim.errors import RequestError
from shim.files.fetch import Fetcher, resolve_name
from shim.files.targets import AllowList

PUBLIC = "93.184.216.34"


def fetcher(*allowed, limit=1000, timeout=2.0, resolve=None):
    return Fetcher(AllowList(allowed), limit=limit, timeout=timeout, user_agent="Test/1.0", resolve=resolve)


async def refused(made, url):
    with pytest.raises(RequestError) as raised:
        await made.fetch(url)
    assert raised.value.http_status == 400
    return raised.value


async def test_files_that_never_come_hold_up_nobody_else(listen, answering):
    """Eight requests of one caller used to take all the slots of a worker."""

    async def script(head, writer):
        if b"/never" in head:
            await asyncio.sleep(3600)
        await answering(b"there")(head, writer)

    async with listen(script) as listener:
        made = fetcher(f"127.0.0.1:{listener.port}", timeout=30.0)
        stalled = [asyncio.create_task(made.fetch(f"{listener.url}/never", scope="mallory")) for _ in range(32)]
        await listener.asked.wait()
        for scope in ("anna", "bert", "anna"):
            async with asyncio.timeout(10):
                assert (await made.fetch(f"{listener.url}/there", scope=scope)).content == b"there"
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        assert listener.connections == 8 + 3
    del stalled, task
    gc.collect()  # what was raised in them holds their frames
    assert not made._gates, "nothing is kept of callers who want nothing"


# --- what is never connected to ---------------------------------------------------------------------------------------

# `{port}` is a port where somebody listens on every address of this machine.
HOSTILE = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/",
    "http://127.255.255.254:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
    "http://0.1:{port}/",
    "http://2130706433:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7F.0x0.0x0.0x1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://localhost.localdomain:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://１２７.0.0.1:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http://%31%32%37.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "https://127.0.0.1:{port}/",
]


@pytest.mark.parametrize("url", HOSTILE)
async def test_nothing_of_ours_is_connected_to(url, listen, answering):
    async with listen(answering(b"secret"), host="") as listener:
        error = await refused(fetcher(timeout=5), url.format(port=listener.port))
        assert error.code in {"file_url_not_allowed", "file_unreachable"}
        await asyncio.sleep(0)
        assert listener.connections == 0


async def test_the_listener_of_these_tests_can_be_connected_to(listen, answering):
    async with listen(answering(b"open"), host="") as listener:
        made = fetcher(f"localhost:{listener.port}", f"127.0.0.2:{listener.port}")
        assert (await made.fetch(f"http://localhost:{listener.port}/")).content == b"open"
        assert (await made.fetch(f"http://127.0.0.2:{listener.port}/")).content == b"open"
        assert listener.connections == 2


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["10.0.0.1", PUBLIC], ["::ffff:127.0.0.1"], ["fe80::1%lo"]]
)
async def test_a_name_with_any_private_address_is_refused(answer, names, monkeypatch):
    connected = connections(monkeypatch)
    error = await refused(fetcher(resolve=names(rebind_test=[answer])), "http://rebind.test/")
    assert error.code == "file_url_not_allowed"
    assert connected == []


def connections(monkeypatch):
    """Every (address, port) that is connected to from here on; none of them answers."""
    seen = []

    async def connect_tcp(remote_host, remote_port, **_options):
        seen.append((remote_host, remote_port))
        raise ConnectionRefusedError

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    return seen


async def test_the_checked_address_is_the_one_connected_to(names, monkeypatch):
    """Rebinding: the second answer would be private, but there is no second question."""
    connected = connections(monkeypatch)
    resolve = names(rebind_test=[[PUBLIC], ["127.0.0.1"]])
    assert (await refused(fetcher(resolve=resolve), "http://rebind.test:8080/")).code == "file_unreachable"
    assert connected == [(PUBLIC, 8080)]
    assert resolve.asked == ["rebind.test"]


async def test_a_few_addresses_are_tried(names, monkeypatch):
    connected = connections(monkeypatch)
    await refused(fetcher(resolve=names(many_test=[[f"8.8.8.{n}" for n in range(9)]])), "http://many.test/")
    assert connected == [("8.8.8.0", 80), ("8.8.8.1", 80), ("8.8.8.2", 80)]


async def test_the_next_address_is_tried_where_one_is_dead(listen, answering, names):
    async with listen(answering(b"here")) as listener:
        resolve = names(two_test=[["127.0.0.9", "127.0.0.1"]])  # the listener is on the second only
        made = fetcher(f"two.test:{listener.port}", resolve=resolve)
        assert (await made.fetch(f"http://two.test:{listener.port}/")).content == b"here"


async def test_a_name_nobody_knows(names):
    error = await refused(fetcher(resolve=names(empty_test=[[]])), "http://nobody.test/?key=hidden")
    assert (error.code, error.message) == (
        "file_unreachable",
        "The file can't be fetched: its host name can't be resolved.",
    )
    assert (await refused(fetcher(resolve=names(empty_test=[[]])), "http://empty.test/")).code == "file_unreachable"


async def test_the_systems_resolver():
    assert "127.0.0.1" in await resolve_name("localhost", 80)


async def test_proxies_of_the_environment_are_not_used(listen, answering, names, monkeypatch):
    async with listen(answering(b"proxied")) as proxy, listen(answering(b"direct")) as listener:
        for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        made = fetcher(f"127.0.0.1:{listener.port}")
        assert (await made.fetch(listener.url)).content == b"direct"
        assert proxy.connections == 0


async def test_the_library_logs_no_header(listen, answering, caplog):
    """At LOG_LEVEL=debug it would log those of the answer, a signed redirect or a cookie among them."""
    caplog.set_level("DEBUG")
    async with listen(answering(b"", "Location: /?signature=hidden", status="302 Found")) as listener:
        await refused(fetcher(f"127.0.0.1:{listener.port}"), f"{listener.url}/?key=hidden")
    assert listener.connections > 1
    assert "hidden" not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("httpcore")]


# --- what is asked and what is followed -------------------------------------------------------------------------------


async def test_what_is_asked(listen, answering):
    async with listen(answering(b"hello", "Content-Type: Text/Plain; charset=utf-8")) as listener:
        made = fetcher(f"127.0.0.1:{listener.port}")
        fetched = await made.fetch(f"{listener.url}/a%20b.txt?x=1#y")
        assert (fetched.content, fetched.mime_type, fetched.name) == (b"hello", "text/plain", "a b.txt")
        head = listener.heads[0].decode().lower()
        assert head.startswith("get /a%20b.txt?x=1 http/1.1\r\n")
        assert f"host: 127.0.0.1:{listener.port}\r\n" in head
        assert "user-agent: test/1.0\r\n" in head
        assert "accept-encoding: identity\r\n" in head
        assert not any(word in head for word in ("authorization", "cookie", "referer"))


def redirecting(*locations, last=b"there", status="302 Found"):
    """A script that sends each path `/n` on to the nth location, and answers beyond."""

    async def script(head, writer):
        place = int(head.split(b" ")[1].lstrip(b"/") or b"0")
        if place < len(locations):
            writer.write(f"HTTP/1.1 {status}\r\nlocation: {locations[place]}\r\ncontent-length: 0\r\n\r\n".encode())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(last), last))
        await writer.drain()

    return script


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_five_redirects_are_followed(status, listen):
    async with listen(redirecting("/1", "2", "./3", "/4#x", "/5", status=status)) as listener:
        fetched = await fetcher(f"127.0.0.1:{listener.port}").fetch(f"{listener.url}/0")
        assert (fetched.content, fetched.name) == (b"there", "5")
        assert listener.paths == ["/0", "/1", "/2", "/3", "/4", "/5"]


async def test_a_redirect_loop_ends(listen):
    async with listen(redirecting("/0")) as listener:
        error = await refused(fetcher(f"127.0.0.1:{listener.port}"), f"{listener.url}/0")
        assert error.code == "file_unreachable"
        assert "5 redirects" in error.message
        assert listener.connections == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "//localhost:{port}/",
        "http://localhost:{port}/",
        "http://x@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "http://[",
        "https://rebind.test:{port}/",
    ],
)
async def test_a_redirect_is_checked_as_the_first_url_was(location, listen, answering, names):
    resolve = names(open_test=[["127.0.0.1"]], rebind_test=[["127.0.0.1"]], localhost=[["127.0.0.1"]])
    async with listen(answering(b"secret")) as inner, listen(redirecting(location.format(port=inner.port))) as outer:
        made = fetcher(f"open.test:{outer.port}", resolve=resolve)
        error = await refused(made, f"http://open.test:{outer.port}/0")
        assert error.code == "file_url_not_allowed"
        assert (outer.connections, inner.connections) == (1, 0)


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 None", "304 Same", "206 Partial"])
async def test_only_200_is_a_file(status, listen, answering):
    async with listen(answering(b"", status=status)) as listener:
        error = await refused(fetcher(f"127.0.0.1:{listener.port}"), f"{listener.url}/?key=hidden")
        assert error.code == "file_unreachable"
        assert status[:3] in error.message
        assert "hidden" not in error.message


# --- what it may cost -------------------------------------------------------------------------------------------------


async def test_a_declared_length_over_the_limit_is_not_read(listen):
    async def script(_head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n")
        await asyncio.sleep(30)

    async with listen(script) as listener:
        began = time.monotonic()
        assert (await refused(fetcher(f"127.0.0.1:{listener.port}"), listener.url)).code == "file_too_large"
        assert time.monotonic() - began < 15


async def test_the_limit_itself_is_allowed(listen, answering):
    async with listen(answering(b"x" * 1000)) as listener:
        assert len((await fetcher(f"127.0.0.1:{listener.port}").fetch(listener.url)).content) == 1000


async def test_an_endless_body_ends_at_the_limit(listen):
    sent = 0

    async def script(_head, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 200_000_000:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with listen(script) as listener:
        error = await refused(fetcher(f"127.0.0.1:{listener.port}", limit=100_000), listener.url)
        assert error.code == "file_too_large"
        assert sent < 20_000_000


async def test_a_slow_drip_ends_in_time(listen):
    async def script(_head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n")
        for _ in range(900):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with listen(script) as listener:
        began = time.monotonic()
        error = await refused(fetcher(f"127.0.0.1:{listener.port}", timeout=0.4), listener.url)
        assert (error.code, "0.4 s" in error.message) == ("file_unreachable", True)
        assert time.monotonic() - began < 20


async def test_slow_redirects_share_one_deadline(listen):
    async def script(_head, writer):
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with listen(script) as listener:
        began = time.monotonic()
        await refused(fetcher(f"127.0.0.1:{listener.port}", timeout=0.5), listener.url)
        assert time.monotonic() - began < 1.0


async def test_a_head_without_end_is_given_up(listen):
    async def script(_head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(2000):
            writer.write(b"x-more: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async with listen(script) as listener:
        assert (await refused(fetcher(f"127.0.0.1:{listener.port}"), listener.url)).code == "file_unreachable"


async def test_compressed_bodies_are_read(listen, answering):
    for encoding, body in (("gzip", gzip.compress(b"hello")), ("deflate", zlib.compress(b"hello"))):
        async with listen(answering(body, f"content-encoding: {encoding}")) as listener:
            assert (await fetcher(f"127.0.0.1:{listener.port}").fetch(listener.url)).content == b"hello"


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("gzip", gzip.compress(bytes(50_000_000), mtime=0), "file_too_large"),
        ("gzip", gzip.compress(b"x" * 1001, mtime=0), "file_too_large"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-6], "file_unreachable"),
        ("gzip", b"not gzip", "file_unreachable"),
        ("gzip", gzip.compress(b"one", mtime=0) + gzip.compress(b"two", mtime=0), "file_unreachable"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "file_unreachable"),
        ("br", b"x", "file_unreachable"),
    ],
)
async def test_compressed_bodies_that_are_not(encoding, body, code, listen, answering):
    async with listen(answering(body, f"content-encoding: {encoding}")) as listener:
        made = fetcher(f"127.0.0.1:{listener.port}", limit=1000 if len(body) < 1000 else 100_000)
        assert (await refused(made, listener.url)).code == code


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_what_is_not_http_or_is_cut(wire, listen):
    async def script(_head, writer):
        writer.write(wire)
        await writer.drain()
        writer.write_eof()
        await asyncio.sleep(0.05)

    async with listen(script) as listener:
        assert (await refused(fetcher(f"127.0.0.1:{listener.port}"), listener.url)).code == "file_unreachable"


async def test_a_server_that_speaks_no_tls(listen, answering):
    async with listen(answering(b"x")) as listener:
        made = fetcher(f"127.0.0.1:{listener.port}", timeout=0.5)
        assert (await refused(made, f"https://127.0.0.1:{listener.port}/")).code == "file_unreachable"


def certificate(folder, name):
    """A context for a server that is `name`, and the file that makes a client trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(plain)
    (folder / "ca.pem").write_bytes(made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context, str(folder / "ca.pem")


async def test_tls_is_with_the_name_though_the_connection_is_with_the_address(listen, answering, names, tmp_path):
    tls, trusted = certificate(tmp_path, "secure.test")
    resolve = names(secure_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    async with listen(answering(b"sealed"), tls=tls) as listener:
        allowed = AllowList([f"secure.test:{listener.port}", f"other.test:{listener.port}"])
        options = {"limit": 100, "timeout": 2.0, "user_agent": "Test/1.0", "resolve": resolve}
        made = Fetcher(allowed, ca_file=trusted, **options)
        assert (await made.fetch(f"https://secure.test:{listener.port}/")).content == b"sealed"
        assert (await refused(made, f"https://other.test:{listener.port}/")).code == "file_unreachable"
        doubtful = Fetcher(allowed, **options)
        assert (await refused(doubtful, f"https://secure.test:{listener.port}/")).code == "file_unreachable"
        assert len(listener.heads) == 1


async def test_cancelling_closes_the_connection(listen):
    async def script(_head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        while not writer.transport.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async with listen(script) as listener:
        task = asyncio.create_task(fetcher(f"127.0.0.1:{listener.port}", timeout=30).fetch(listener.url))
        await listener.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(listener.left.wait(), 2)
