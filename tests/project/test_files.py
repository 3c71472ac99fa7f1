"""The files around the code keep their promises."""

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
VERSION: str = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
DOCKERFILE = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")

# What only the machine of one of us knows, or what would tie an installation to one package index.
LOCAL = re.compile(
    r"(?<![\w.])/(?:root|work)/"
    r"|\b(?:pypi|pythonhosted|npmjs|crates)\.(?:org|com|io)\b"
    r"|--(?:extra-)?index-url"
)


def project_files() -> list[Path]:
    """What git would commit; without git or its folder, everything but hidden and generated folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        hidden = re.compile(r"(^|/)(\.(?!ci/)[^/]+|__pycache__)/")
        paths = [path for path in PROJECT.rglob("*") if not hidden.search(path.relative_to(PROJECT).as_posix())]
    else:
        paths = [PROJECT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def local_mentions(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if LOCAL.search(line):
            yield f"{number}: {line.strip()}"


def test_no_file_mentions_a_machine_or_a_package_index() -> None:
    files = project_files()
    assert PROJECT / "pyproject.toml" in files
    found = {
        str(path.relative_to(PROJECT)): mentions
        for path in files
        if (mentions := list(local_mentions(path.read_text(errors="ignore"))))
    }
    assert found == {}


@pytest.mark.parametrize("line", ["see /" + "work/main", "https://pypi." + "org/simple", "pip --index" + "-url x"])
def test_such_mentions_would_be_seen(line: str) -> None:
    assert list(local_mentions(f"first\n{line}")) == [f"2: {line}"]


def test_agents_file_is_short() -> None:
    assert 0 < len((PROJECT / "AGENTS.md").read_text().splitlines()) <= 15


def test_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] in {"Unreleased", VERSION}
    assert [heading for heading in headings if heading != "Unreleased"][:1] in ([], [VERSION])


def test_license_is_filled_in() -> None:
    text = (PROJECT / "LICENSE").read_text()
    assert text.startswith("MIT License\n")
    assert "2026 the chat2api authors" in text


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile, by name."""
    _, *pieces = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def test_dockerfile_targets_are_unprivileged_and_gateway_is_the_default() -> None:
    parents = dict(reversed(pair) for pair in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert list(stages())[-1] == "gateway"
    for target in ("gateway", "mitmproxy"):
        lineage = stages()[parents[target]] + stages()[target]
        assert re.findall(r"^USER (\S+)$", lineage, re.MULTILINE) == ["chat2api"]
        assert "HEALTHCHECK" in lineage
        assert "EXPOSE 5005" in lineage
        assert "RUN /opt" not in lineage, "nothing is installed outside the build stages"


@pytest.mark.parametrize("prefix", ["", "/hidden"])
def test_the_health_check_of_the_image_goes_past_proxies(prefix: str) -> None:
    """Docker sets proxies in every container where its daemon has some."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == f"{prefix}/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    (found,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    _python, *arguments = json.loads(found)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        port = server.server_address[1]
        proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
        environment = {"PORT": str(port), "API_PREFIX": prefix, **proxies}
        checked = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
        server.shutdown()
        thread.join(10)
    assert checked.returncode == 0, checked.stderr.decode()


def test_dockerfile_installs_from_locks_with_hashes_and_without_test_tools() -> None:
    assert set(re.findall(r"-r (\S+)", DOCKERFILE)) == {"requirements.lock", "requirements-mitmproxy.lock"}
    for line in re.findall(r"^RUN .*pip install.*$", DOCKERFILE, re.MULTILINE):
        assert "--require-hashes" in line or "--no-deps" in line


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    allowed = re.findall(r"^!(\S+)$", (PROJECT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [name for line in re.findall(r"^COPY ([^-\n].*)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]]
    assert sorted(copied) == sorted(allowed)
    assert all((PROJECT / name).exists() for name in copied)


def test_every_package_of_the_wheel_is_copied_into_the_image() -> None:
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(re.findall(r"^COPY (\w+) \./\w+$", DOCKERFILE, re.MULTILINE)) == set(packages)


def test_hadolint_has_nothing_to_say_against_the_dockerfile() -> None:
    """DL3066 asks for a number after USER. The name stays: the image itself makes that user, so it always resolves."""
    command = [Path(sys.executable).with_name("hadolint"), "--no-color", "--ignore", "DL3066", PROJECT / "Dockerfile"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
