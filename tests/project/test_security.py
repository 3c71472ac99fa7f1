"""SECURITY.md names tests that exist; exceptions have reasons; the audit finds what is known; the bill is whole."""

import ast
import json
import os
import re
import subprocess
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.project.test_locks import names, pins

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
PROMISES = re.findall(r"^\| (?!promise|---)(.+?) \| (.+?) \|$", PAGE, re.M)


@cache
def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(
    ("promise", "test"), PROMISES, ids=[test.rpartition(":")[2].strip("`") for _, test in PROMISES]
)
def test_every_promise_is_held_by_a_test_that_is_there(promise: str, test: str) -> None:
    path, _, name = test.strip("`").partition("::")
    assert name.startswith("test_"), promise
    assert name in functions_in(path), promise


def test_the_page_says_what_is_not_promised_and_how_to_report() -> None:
    assert len(PROMISES) > 40
    assert re.findall(r"^## (.*)$", PAGE, re.M) == ["Reporting", "What is promised", "What is not promised"]


def test_every_exception_from_the_security_rules_has_a_reason() -> None:
    without = []
    paths = [path for room in ("shim", "pow", "arkose", "addons", "scripts") for path in (ROOT / room).rglob("*.py")]
    exceptions = 0
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for _, reason in re.findall(r"# noqa: ((?:S\d+(?:, )?|[A-Z]+\d+(?:, )?)*S\d+(?:, [A-Z]+\d+)*)(.*)", line):
                exceptions += 1
                if not reason.strip():
                    without.append(f"{path.relative_to(ROOT)}:{number}")
    assert exceptions > 10
    assert without == []


class _Advisories(BaseHTTPRequestHandler):
    """Answers as OSV does: one package has a hole, and all others none."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        hole = {
            "id": "GHSA-test-test-test",
            "modified": "2026-01-01T00:00:00Z",
            "summary": "a hole",
            "affected": [
                {
                    "package": {"name": asked["package"]["name"], "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
                }
            ],
        }
        holed = asked["package"]["name"] == getattr(self.server, "holed", None)
        body = json.dumps({"vulns": [hole]} if holed else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def advisories():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Advisories)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def audit(url: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        [ROOT / "scripts/audit"],
        env=environment | {"OSV_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize("holed", [None, "msgspec"])
def test_a_known_vulnerability_stops_the_check(advisories: ThreadingHTTPServer, holed: str | None) -> None:
    advisories.holed = holed  # type: ignore[attr-defined]
    ran = audit(f"http://127.0.0.1:{advisories.server_address[1]}/v1/query")
    assert ran.returncode == (1 if holed else 0), ran.stdout + ran.stderr
    assert ("GHSA-test-test-test" in ran.stdout) is bool(holed)
    assert "skipped" not in ran.stderr


def test_without_an_advisory_source_it_says_so() -> None:
    ran = audit("http://127.0.0.1:9/v1/query")
    assert ran.returncode == 0
    assert ran.stderr == (
        "audit: skipped, as the advisory source http://127.0.0.1:9/v1/query can't be reached (OSV_URL)\n"
    )


def test_the_bill_of_materials_is_valid_and_whole() -> None:
    made = [
        subprocess.run(
            [ROOT / "scripts/sbom"],
            env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made[0]) is None
    listed = {component["name"] for component in json.loads(made[0])["components"]}
    assert listed == names(pins("requirements.lock"))
