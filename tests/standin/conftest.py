"""Fixtures for the stand-in's tests: a served stand-in, a small honest client, and an independent reader of streams.

Rule: the client and the reader below are written from protocol.md alone and share no code with the stand-in.
"""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shim.standin import RunningStandin, StandinOptions, make_access_token, serve_standin

USER_AGENT = "Test/1.0"
SENTINEL = "openai-sentinel-chat-requirements-token"
PROOF = "openai-sentinel-proof-token"


@dataclass
class Reading:
    """What a reader knows at the end of a stream: final roots by message id, typed events, errors, [DONE]."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    typed: list[dict[str, Any]] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    deltas: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    encoding: str = "snapshot"

    @property
    def answers(self) -> list[str]:
        """The texts a user may see: assistant, text, for all, channel final or none, not hidden."""
        return [message["content"]["parts"][0] for message in self.messages.values() if is_answer(message)]

    @property
    def conversation_id(self) -> str:
        """The conversation all of it belongs to."""
        return str(self.typed[0]["conversation_id"])

    def by_content(self, kind: str) -> list[dict[str, Any]]:
        """The messages of one content type."""
        return [message for message in self.messages.values() if message["content"]["content_type"] == kind]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The typed events of one kind."""
        return [event for event in self.typed if event.get("type") == kind]


def is_answer(message: dict[str, Any]) -> bool:
    """Protocol.md 5.1: what of a message is the shown answer."""
    return (
        message["author"]["role"] == "assistant"
        and message["content"]["content_type"] == "text"
        and message["recipient"] == "all"
        and message["channel"] in (None, "final")
        and message["weight"] != 0
        and not message["metadata"].get("is_visually_hidden_from_conversation")
    )


def read(body: bytes) -> Reading:
    """Read a whole stream by protocol.md 5.0 to 5.2."""
    reading = Reading()
    roots: dict[int, Any] = {}
    last = {"c": 0, "p": "", "o": "add"}
    for event in body.decode().replace("\r\n", "\n").split("\n\n"):
        name, value = _fields(event)
        if value == "[DONE]":
            reading.done = True
        elif name == "delta_encoding":
            reading.encoding = json.loads(value)
        elif name == "delta":
            operation = json.loads(value)
            reading.deltas.append(operation)
            last = {key: operation.get(key, last[key]) for key in last}
            roots[last["c"]] = _apply(roots.get(last["c"]), last["p"], last["o"], operation.get("v"))
            _note(reading, roots[last["c"]])
        elif value:
            _note(reading, json.loads(value))
    return reading


def _fields(event: str) -> tuple[str, str]:
    name = value = ""
    for line in event.split("\n"):
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            value = line[5:].strip(" ")
    return name, value


def _note(reading: Reading, value: dict[str, Any]) -> None:
    if value.get("error") or "detail" in value:
        reading.errors.append(value.get("error") or value["detail"])
    elif isinstance(value.get("message"), dict):
        reading.messages[value["message"]["id"]] = json.loads(json.dumps(value["message"]))
    else:
        reading.typed.append(value)


def _apply(root: Any, path: str, kind: str, value: Any) -> Any:
    if kind == "patch":
        for operation in value:
            root = _apply(root, operation["p"], operation["o"], operation.get("v"))
        return root
    if path == "":
        return value
    head, _, tail = path[1:].partition("/")
    key: Any = int(head) if isinstance(root, list) else head
    if tail:
        root[key] = _apply(root[key], "/" + tail, kind, value)
    elif kind == "remove":
        del root[key]
    elif kind == "append" and isinstance(root[key], dict):
        root[key] = {**root[key], **value}
    elif kind == "append":
        root[key] = root[key] + value
    else:
        root[key] = value
    return root


def prove(seed: str, difficulty: str) -> str:
    """A proof token by protocol.md 2.3, found the slow way."""
    config: list[Any] = [
        3000,
        "now",
        None,
        0,
        USER_AGENT,
        None,
        "dpl=test",
        "en-US",
        "en-US,en",
        0,
        "a−b",
        "c",
        "d",
        1.5,
    ]
    for attempt in range(500_000):
        config[3], config[9] = attempt, attempt >> 1
        encoded = base64.b64encode(
            json.dumps([*config, "x"], separators=(",", ":"), ensure_ascii=False).encode()
        ).decode()
        if hashlib.sha3_512((seed + encoded).encode()).hexdigest()[: len(difficulty)] <= difficulty:
            return "gAAAAAB" + encoded
    raise AssertionError("no proof found")


def conversation(prompt: str = "Hello", **fields: Any) -> dict[str, Any]:
    """A correct body of protocol.md 4.1."""
    message = {
        "id": str(uuid4()),
        "author": {"role": "user"},
        "content": {"content_type": "text", "parts": [prompt]},
        "metadata": {},
    }
    return {
        "action": "next",
        "messages": [message],
        "parent_message_id": "client-created-root",
        "model": "auto",
        "timezone_offset_min": -480,
        "history_and_training_disabled": True,
        "conversation_mode": {"kind": "primary_assistant"},
        "supported_encodings": ["v1"],
    } | fields


class Client:
    """One caller: an account by name, or an anonymous device."""

    def __init__(self, http: httpx.AsyncClient, name: str | None, plan: Any = "plus") -> None:
        self.http = http
        self.prefix = "/backend-api" if name else "/backend-anon"
        self.headers = {"user-agent": USER_AGENT, "oai-device-id": str(uuid4()), "accept": "*/*"}
        if name:
            self.headers["authorization"] = f"Bearer {make_access_token(name, plan)}"

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST below this caller's prefix."""
        return await self.http.post(self.prefix + path, json=body, headers=self.headers | headers)

    async def get(self, path: str) -> httpx.Response:
        """GET below this caller's prefix."""
        return await self.http.get(self.prefix + path, headers=self.headers)

    async def patch(self, path: str, body: Any) -> httpx.Response:
        """PATCH below this caller's prefix."""
        return await self.http.patch(self.prefix + path, json=body, headers=self.headers)

    async def announce(self, size: int, name: str = "notes.txt", use_case: str = "my_files") -> dict[str, Any]:
        """POST files."""
        answer = await self.post("/files", {"file_name": name, "file_size": size, "use_case": use_case})
        assert answer.status_code == 200, answer.text
        announced: dict[str, Any] = answer.json()
        return announced

    async def upload(self, content: bytes, name: str = "notes.txt", use_case: str = "my_files") -> str:
        """All of protocol.md 6.1 to 6.3; the file's id."""
        announced = await self.announce(len(content), name, use_case)
        put = await self.http.put(announced["upload_url"], content=content, headers={"content-type": "text/plain"})
        assert put.status_code == 201, put.text
        file_id: str = announced["file_id"]
        confirmed = await self.post(f"/files/{file_id}/uploaded", {})
        assert confirmed.status_code == 200, confirmed.text
        return file_id

    async def admitted(self) -> dict[str, str]:
        """The sentinel headers of one turn, one-step flow."""
        answer = await self.post("/sentinel/chat-requirements", {"p": None})
        assert answer.status_code == 200, answer.text
        asked = answer.json()
        headers = {SENTINEL: asked["token"]}
        work = asked["proofofwork"]
        return headers | ({PROOF: prove(work["seed"], work["difficulty"])} if work["required"] else {})

    async def turn(
        self, body: dict[str, Any] | str = "Hello", path: str = "/conversation", **headers: str
    ) -> httpx.Response:
        """A whole turn: requirements, proof, conversation."""
        body = conversation(body) if isinstance(body, str) else body
        return await self.post(path, body, **(await self.admitted() | headers))

    async def saved(self, prompt: str = "Hello", **fields: Any) -> Reading:
        """The reading of a turn that is no temporary chat."""
        return await self.told(conversation(prompt, history_and_training_disabled=False, **fields))

    async def told(self, body: dict[str, Any] | str = "Hello") -> Reading:
        """The reading of a turn that is accepted."""
        answer = await self.turn(body)
        assert answer.status_code == 200, answer.text
        return read(answer.content)


@dataclass
class Served:
    """A stand-in being served and a connection to it."""

    running: RunningStandin
    http: httpx.AsyncClient

    def client(self, name: str | None = "alice", plan: Any = "plus") -> Client:
        """A caller of this stand-in."""
        return Client(self.http, name, plan)

    async def stats(self) -> dict[str, Any]:
        """GET /standin/stats."""
        report: dict[str, Any] = (await self.http.get("/standin/stats")).json()
        return report

    async def account(self, **changes: Any) -> dict[str, Any]:
        """POST /standin/accounts."""
        answer = await self.http.post("/standin/accounts", json=changes)
        assert answer.status_code == 200, answer.text
        described: dict[str, Any] = answer.json()
        return described


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Served]:
    """A stand-in with these options."""
    async with (
        serve_standin(StandinOptions(**options)) as running,
        httpx.AsyncClient(base_url=running.base_url, timeout=20) as http,
    ):
        yield Served(running, http)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A stand-in with default options and a fixed seed."""
    async with serving(seed=1) as ready:
        yield ready


@pytest.fixture(name="serving")
def serving_fixture() -> Callable[..., Any]:
    """`async with serving(**options) as served`."""
    return serving


@pytest.fixture(name="read")
def read_fixture() -> Callable[[bytes], Reading]:
    """The independent reader."""
    return read


@pytest.fixture(name="prove")
def prove_fixture() -> Callable[[str, str], str]:
    """Finds a proof token."""
    return prove


@pytest.fixture(name="conversation")
def conversation_fixture() -> Callable[..., dict[str, Any]]:
    """Makes a correct conversation body."""
    return conversation
