"""Upstreams whose TLS is not to be trusted, or is none."""

import ipaddress
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.faults.faulty import ANSWER

CHAT = "/v1/chat/completions"


def certificate(folder, *names):
    """(certificate, key) of a self-signed certificate for `names`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream")])
    built = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made, pem = built.sign(key, hashes.SHA256()), serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def listening():
    """`listening(handle)`: the port of a server that does this to each connection."""
    servers = []

    def make(handle):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return server.getsockname()[1]

    yield make
    for server in servers:
        server.close()


def speaking_tls(folder, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder, *names))

    def handle(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as wire:
                wire.recv(65536)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                wire.sendall(head + ANSWER)
        except OSError:
            connection.close()

    return handle


def plain(connection):
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")


def silent(connection):
    with connection:
        while connection.recv(65536):
            pass


def ask(start_gateway, port, **settings):
    gateway = start_gateway(
        CHATGPT_BASE_URL=f"https://127.0.0.1:{port}",
        CONVERSATION_ONLY="true",
        RETRY_TIMES="0",
        CONNECT_TIMEOUT="1",
        FIRST_BYTE_TIMEOUT="2",
        **settings,
    )
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(gateway.base_url + CHAT, json=body, trust_env=False, timeout=30)
    return answer.status_code, answer.json().get("error", {}).get("code")


HERE = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def test_a_certificate_that_nobody_vouches_for(start_gateway, listening, tmp_path):
    assert ask(start_gateway, listening(speaking_tls(tmp_path, HERE))) == (502, "upstream_tls")


def test_a_certificate_for_another_name(start_gateway, listening, tmp_path):
    port = listening(speaking_tls(tmp_path, x509.DNSName("else.example")))
    assert ask(start_gateway, port, CA_FILE=str(tmp_path / "certificate.pem")) == (502, "upstream_tls")


def test_a_certificate_of_ca_file(start_gateway, listening, tmp_path):
    port = listening(speaking_tls(tmp_path, HERE))
    assert ask(start_gateway, port, CA_FILE=str(tmp_path / "certificate.pem")) == (200, None)


def test_tls_with_a_port_that_speaks_none(start_gateway, listening):
    assert ask(start_gateway, listening(plain)) == (502, "upstream_tls")


def test_tls_that_is_broken_off(start_gateway, listening):
    assert ask(start_gateway, listening(socket.socket.close))[0] == 502


def test_tls_that_hangs(start_gateway, listening):
    assert ask(start_gateway, listening(silent))[0] == 504
