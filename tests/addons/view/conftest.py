"""What the tests of the debug view share: an upstream with a secret in every place, that can be held in mid-answer."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.upstream_says import DONE, ENDED, V1, added, append, frame

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyLUJvYkpvbmVzMTIzNCIsImVtYWlsIjoiYm9iQGV4YW1wbGUub3JnIn0.c2lnbmF0dXJl"
EMAIL, CONVERSATION, MESSAGE = (
    "bob.jones@mail.example.org",
    "91be2e50-7a5c-495a-9ca3-4eff32d746d0",
    "5cf1de10-8a5c-495a-9ca3-4eff32d746d1",
)
COOKIE, PROOF, RESUME = "crumbs-of-bob-1234", "gAAAABsecretproof0123456789", "rt_resume0123456789abcdefghij"
SECRETS = (TOKEN, EMAIL, CONVERSATION, MESSAGE, COOKIE, PROOF, RESUME)
QUESTION, WORDS = "What is the word?", ("The word is ", "marmalade", ".")
PIECES = [
    V1,
    frame({"type": "resume_conversation_token", "token": RESUME}),
    added(conversation=CONVERSATION, id=MESSAGE, metadata={"model_slug": "gpt-5-mini"}),
    append(WORDS[0]),
    frame({"type": "title_generation", "title": "Words"}),
    append(WORDS[1]),
    append(WORDS[2]),
    ENDED,
    DONE,
]


class Planted(ThreadingHTTPServer):
    """Answers by its path: `?held` waits in the middle for `go_on`, `?cut` breaks off there, `?refused` says no."""

    daemon_threads = True

    def __init__(self) -> None:
        self.go_on = threading.Event()
        super().__init__(("127.0.0.1", 0), _Answering)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if "refused" in self.path:
            return self._refuse()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("set-cookie", f"__Secure-next-auth.session-token={COOKIE}; Path=/")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for place, piece in enumerate(PIECES):
            if place == 6 and "held" in self.path:
                assert self.server.go_on.wait(30)
            if place == 6 and "cut" in self.path:
                self.close_connection = True
                return None
            self._chunk(piece)
        return self._chunk(b"")

    def _refuse(self) -> None:
        body = b'{"detail": {"code": "model_cap_exceeded", "message": "Too much of %s"}}' % EMAIL.encode()
        self.send_response(429)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def planted() -> Iterator[Planted]:
    server = Planted()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def pieces() -> list[bytes]:
    """The whole answer, chunk by chunk."""
    return PIECES


@pytest.fixture
def secrets() -> tuple[str, ...]:
    return SECRETS


@pytest.fixture
def asked() -> dict[str, object]:
    """`httpx` arguments of the call, a secret in each place."""
    said = {"content_type": "text", "parts": [f'{QUESTION} I\'m {EMAIL}, $HOME `id` "!"']}
    return {
        "headers": {
            "authorization": f"Bearer {TOKEN}",
            "cookie": f"oai-did={MESSAGE}; __Secure-next-auth.session-token={COOKIE}; other={COOKIE}",
            "openai-sentinel-proof-token": PROOF,
            "x-other": COOKIE,
            "accept": "text/event-stream",
        },
        "json": {
            "action": "next",
            "model": "auto",
            "messages": [{"id": MESSAGE, "author": {"role": "user"}, "content": said}],
            "conversation_id": CONVERSATION,
            "parent_message_id": MESSAGE,
        },
        "trust_env": False,
        "timeout": 60,
    }


@pytest.fixture
def ask(asked):
    """`ask(proxy_url, "?held")`: the call, answered."""
    return lambda url, query="": httpx.post(f"{url}/backend-api/conversation{query}", **asked)
