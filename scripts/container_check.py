"""Performs the Dockerfile's steps where no container engine runs, and checks what comes out.

The steps are read from the Dockerfile, so the two cannot drift apart: an instruction this reader does not know is an
error. A temporary directory stands for the image's root, and the Dockerfile's absolute paths move under it. The image's
own user is stood in for by an unprivileged one, where we are root and that user can run the interpreter.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PROJECT = Path(__file__).resolve().parent.parent
MOVED = re.compile(r"(?<!\w)/(?=(?:opt|src|data)\b)")
NOBODY = 65534
# A build gets these from outside, as an engine's build does: how to reach the package index, and nothing else.
BUILD_ENVIRONMENT = re.compile(r"(PIP_\w+|SSL_CERT_\w+|(HTTPS?|NO)_PROXY)", re.IGNORECASE)
START_SECONDS = 20
STOP_SECONDS = 10

Process = subprocess.Popen[str]


@dataclass
class Stage:
    """One FROM and the instructions that follow it, each a word and the rest of its line."""

    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Image:
    """What the instructions performed so far have made."""

    root: Path
    stages: dict[str, Stage]
    environment: dict[str, str]
    directory: Path
    user: str = "root"
    command: list[str] = field(default_factory=list)
    health: str = ""

    # One method per instruction of the Dockerfile.

    def run(self, rest: str) -> None:
        if rest.startswith("useradd "):  # an unprivileged user of this machine stands in; only its home is needed
            (self.root / "data").mkdir()
            (self.root / "data").chmod(0o777)
            return
        print("RUN", rest.replace(str(self.root), ""), flush=True)
        outside = {name: value for name, value in os.environ.items() if BUILD_ENVIRONMENT.fullmatch(name)}
        subprocess.run(["sh", "-c", rest], check=True, cwd=self.directory, env=outside | self.environment)

    def copy(self, rest: str) -> None:
        *sources, target = rest.split()
        if not rest.startswith("--from="):
            for source in sources:
                copy_in(PROJECT / source, self.directory / target)
            return
        origin, source = sources
        if source != target:
            raise SystemExit(f"COPY {rest}: an environment does not work under another path")
        build(origin.removeprefix("--from="), self.stages, self.root)

    def env(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.environment[name] = re.sub(r"\$(\w+)", lambda match: self.environment[match[1]], value)

    def workdir(self, rest: str) -> None:
        self.directory = Path(rest)
        self.directory.mkdir(exist_ok=True)

    def set_user(self, rest: str) -> None:
        self.user = rest

    def cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def healthcheck(self, rest: str) -> None:
        self.health = rest.partition(" CMD ")[2]

    def nothing(self, rest: str) -> None:
        """What only an engine can do."""


INSTRUCTIONS = {
    "RUN": Image.run,
    "COPY": Image.copy,
    "ENV": Image.env,
    "WORKDIR": Image.workdir,
    "USER": Image.set_user,
    "CMD": Image.cmd,
    "HEALTHCHECK": Image.healthcheck,
    "VOLUME": Image.nothing,
    "EXPOSE": Image.nothing,
}


def copy_in(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.sqlite3*"))
    else:
        shutil.copy(source, target)


def read_stages(text: str) -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    name = ""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            parent, _, name = rest.split()
            stages[name] = Stage(parent)
        elif word in INSTRUCTIONS:
            stages[name].instructions.append((word, rest.strip()))
        else:
            raise SystemExit(f"Dockerfile: container-check does not know {word}")
    return stages


def build(target: str, stages: dict[str, Stage], root: Path) -> Image:
    if target not in stages:  # a base image: this machine's own interpreter stands for it
        path = f"{root}/bin:/usr/bin:/bin"
        return Image(root, stages, {"PATH": path, "HOME": f"{root}/home", "LANG": "C.UTF-8"}, root)
    image = build(stages[target].parent, stages, root)
    for word, rest in stages[target].instructions:
        INSTRUCTIONS[word](image, MOVED.sub(f"{root}/", rest))
    return image


@dataclass
class Container:
    """A finished image, and the user its processes run as: arguments for subprocess, empty for ourselves."""

    image: Image
    identity: dict[str, Any] = field(default_factory=dict)

    def start(self, command: list[str], output: IO[str]) -> Process:
        program = shutil.which(command[0], path=self.image.environment["PATH"])
        if program is None:
            raise SystemExit(f"the image has no {command[0]}")
        return subprocess.Popen(
            [program, *command[1:]],
            cwd=self.image.directory,
            env=self.image.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            **self.identity,
        )

    def run(self, command: list[str]) -> tuple[int, str]:
        """The status and the output of a command that ends by itself."""
        with tempfile.TemporaryFile("w+") as output, self.start(command, output) as process:
            try:
                status = process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            output.seek(0)
            return status, output.read()

    def drop_root(self) -> None:
        if self.image.user in {"root", "0"}:
            raise SystemExit("Dockerfile: the image would run as root")
        if os.geteuid() == 0:
            self.identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            try:
                status, _ = self.run(["python", "-c", "pass"])
            except PermissionError:
                status = 1
            if status != 0:
                self.identity = {}
                print(f"NOT checked as an unprivileged user: only root can run {sys.executable}")
        print(f"running as uid {self.identity.get('user', os.geteuid())}")


def check_refuses_without_key(container: Container) -> None:
    status, output = container.run(container.image.command)
    if status <= 0 or "AUTHORIZATION" not in output:
        raise SystemExit(f"without AUTHORIZATION it should refuse to start; status {status}:\n{output}")
    print("without AUTHORIZATION it refuses to start")


def check_serves(container: Container) -> None:
    container.image.environment["AUTHORIZATION"] = secrets.token_urlsafe()
    with tempfile.TemporaryFile("w+") as log, container.start(container.image.command, log) as server:
        try:
            seconds = wait_for_health(container, server)
            server.terminate()
            server.wait(STOP_SECONDS)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            log.seek(0)
            raise SystemExit(f"{error}\n{log.read()}") from error
        finally:
            server.kill()
    print(f"healthy after {seconds:.1f} s, stopped on SIGTERM with status {server.returncode}")


def wait_for_health(container: Container, server: Process) -> float:
    """Seconds until the image's own health check passed."""
    begin, output = time.monotonic(), ""
    while time.monotonic() - begin < START_SECONDS:
        if server.poll() is not None:
            raise TimeoutError(f"the server ended with status {server.returncode}")
        status, output = container.run(["sh", "-c", container.image.health])
        if status == 0:
            return time.monotonic() - begin
        time.sleep(0.1)
    raise TimeoutError(f"not healthy within {START_SECONDS} s: {output}")


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else "gateway"
    stages = read_stages((PROJECT / "Dockerfile").read_text())
    if target not in stages:
        raise SystemExit(f"container-check: the Dockerfile has no target {target}; it has {', '.join(stages)}")
    with tempfile.TemporaryDirectory(prefix="chat2api-image-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "bin").mkdir()
        (root / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (root / "bin/python").chmod(0o755)
        print(f"target {target} with Python {sys.version.split()[0]} in place of the image's")
        container = Container(build(target, stages, root))
        container.image.environment["PORT"] = free_port()
        container.drop_root()
        check_refuses_without_key(container)
        check_serves(container)
    print(f"container-check: {target} is good")


if __name__ == "__main__":
    main()
