"""What the tests of real clients share: an interpreter of each environment, and a proxy that nobody may use.

Rule: a client gets the base URL, a key and nothing else; what it reaches for outside loopback fails the test.
"""

import json
import os
import select
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 90
# No client may report home, look for a newer self, or fetch price lists and vocabularies.
QUIET = {
    "AI_SDK_LOG_WARNINGS": "false",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NEXT_TELEMETRY_DISABLED": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}


class Outside(socketserver.ThreadingTCPServer):
    """A proxy on loopback that turns everybody away and remembers what they wanted."""

    daemon_threads = True

    def __init__(self) -> None:
        self.wanted: list[str] = []
        super().__init__(("127.0.0.1", 0), _TurnAway)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _TurnAway(socketserver.StreamRequestHandler):
    server: Outside

    def handle(self) -> None:
        self.server.wanted.append(self.rfile.readline(300).decode(errors="replace").strip())
        self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


@pytest.fixture(scope="session")
def proxy() -> Iterator[Outside]:
    with Outside() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def outside(proxy: Outside) -> Iterator[Outside]:
    """The proxy; after the test nobody may have asked it for anything."""
    proxy.wanted.clear()
    yield proxy
    assert proxy.wanted == []


def interpreter(environment: str) -> Path:
    """The Python or node of an environment; skips the test where it has not been made."""
    folder = ROOT / ".clients" / environment
    if not (folder / "made-from").exists():
        pytest.skip(f"the environment {environment} is not made: scripts/clients {environment}")
    return folder / "bin" / ("node" if environment == "node" else "python")


class Program:
    """A running client program: asked in lines, answers in lines (programs/parts.py). It starts when first asked."""

    def __init__(self, command: list[str], place: Path, home: Path, environment: dict[str, str]) -> None:
        self._command, self._place, self._environment = command, place, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = home / "stderr.txt"

    def ask(self, part: str, key: str, inputs: dict[str, Any]) -> Any:
        """What a part returns. Fails with what the program raised, or with all it said where it ended or hung."""
        process = self._process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        line = json.dumps({"part": part, "key": key, "inputs": inputs})
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        said = process.stdout.readline() if ready else b""
        if not said:
            self.stop()
            raise AssertionError(f"{part}: {'the program ended' if ready else 'no answer'}:\n{self._tail()}")
        answered = json.loads(said)
        assert "answer" in answered, f"{part}:\n{answered['failed'][-3000:]}\n{self._tail()}"
        return answered["answer"]

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        with self._errors.open("wb") as errors:
            return subprocess.Popen(
                self._command, cwd=self._place, env=self._environment, stdin=pipe, stdout=pipe, stderr=errors
            )

    def _tail(self) -> str:
        return self._errors.read_text(errors="replace")[-2000:]


def command_for(interpreter: Path, program: Path) -> list[str]:
    """How a program is run. Node looks for packages from where a program is, and with one in the command from where
    node is started."""
    if program.suffix == ".mjs":
        return [str(interpreter), "--input-type=module", "--eval", program.read_text()]
    return [str(interpreter), str(program)]


def surroundings(interpreter: Path, home: Path, proxy: str) -> dict[str, str]:
    """The environment variables of a program: none of this machine's but PATH."""
    turned_away = dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"], proxy)
    loopback = dict.fromkeys(["NO_PROXY", "no_proxy"], "127.0.0.1,localhost")
    path = f"{interpreter.parent}:{os.environ['PATH']}"
    return (
        QUIET | turned_away | loopback | {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "NODE_USE_ENV_PROXY": "1"}
    )


@pytest.fixture(scope="session")
def programs(
    shared_gateway, proxy: Outside, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Program]]:
    """`programs("openai3", "with_langchain.py", "auto")`: that program, one process of it for the whole session, as
    most of what a client costs is its start."""
    running: dict[tuple[str, str, str], Program] = {}

    def get(environment: str, program: str, model: str) -> Program:
        python_or_node = interpreter(environment)
        if (environment, program, model) not in running:
            folder = tmp_path_factory.mktemp("client")
            told = {"BASE_URL": f"{shared_gateway.base_url}/v1", "MODEL": model}
            place = python_or_node.parents[1] if environment == "node" else folder
            made = Program(
                command_for(python_or_node, PROGRAMS / program),
                place,
                folder,
                surroundings(python_or_node, folder, proxy.url) | told,
            )
            running[environment, program, model] = made
        return running[environment, program, model]

    yield get
    for program in running.values():
        program.stop()


@pytest.fixture
def run_client(gateway, outside: Outside, programs: Callable[..., Program]) -> Callable[..., Any]:
    """`run_client("openai3", "with_langchain.py", "chat", key=..., prompt=...)`: what that part returns."""

    def run(environment: str, program: str, part: str, *, key: str = "none", model: str = "auto", **inputs: Any) -> Any:
        return programs(environment, program, model).ask(part, key, inputs)

    return run


@pytest.fixture
def answers(upstream) -> Callable[..., None]:
    """`answers("first", "second")`: what the model says in the turns to come, to the letter."""

    def plan(*texts: str) -> None:
        for text in texts:
            assert upstream.post("/standin/plan", {"directives": {"say": text}}).status_code == 200

    return plan


@pytest.fixture
def turns(upstream) -> Callable[[], list[dict[str, Any]]]:
    """`turns()`: the conversations that have gone upstream since the test began, oldest first."""
    return lambda: [turn["conversation"] for turn in upstream.get("/standin/stats").json()["recent_turns"]]
