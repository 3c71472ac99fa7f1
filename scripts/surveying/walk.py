"""The way of a streamed chat: which of our functions run between the ASGI call and the first words to the client.

Run as a program, with the checkout that is looked at as its working folder: `walk.py [CHATS]` prints JSON. It traces
real chats against the stand-in, all in this process, after one that warms up what is loaded and cached once. What the
stand-in calls is left out, also where that is ours (the proof of work), and so is what only some of the chats met: the
work of timers.
"""

import asyncio
import inspect
import json
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any, get_type_hints

ROOT = Path.cwd()
OURS = tuple(f"{ROOT / folder}/" for folder in ("shim", "pow", "arkose", "addons"))
STANDIN = f"{ROOT / 'shim' / 'standin'}/"
# The first piece of the answer itself; what announces its role or keeps the line open comes earlier.
WORDS = re.compile(rb'"content": ?"[^"]')
SECONDS = 60.0
# Between two events of upstream, so that the words after the first don't come with it by chance.
DELAY = 0.005
# Chats that are traced, and the seconds between them: uneven, so that no timer keeps step with them.
PAUSES = (0.05, 0.31, 0.17, 0.43, 0.07, 0.23, 0.11, 0.37)
# Functions that hand control over in mid-body: what a reader of the way has to keep in mind at once.
WAITS = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Trace:
    """Collects the functions of ours that run while it is `on`, in the order of their first call, with how many of ours
    they are nested in at the deepest."""

    def __init__(self) -> None:
        self.on = False
        self.seen: dict[CodeType, int] = {}

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if not self.on or event != "call" or not is_ours(frame.f_code):
            return
        stack = callers(frame)
        if not any(code.co_filename.startswith(STANDIN) for code in stack):
            depth = sum(map(is_ours, stack))
            self.seen[frame.f_code] = max(depth, self.seen.get(frame.f_code, 0))

    def clear(self) -> None:
        """Begin anew with the next chat."""
        self.seen = {}


def is_ours(code: CodeType) -> bool:
    """A function with a name in one of our files, outside the stand-in."""
    path = code.co_filename
    return path.startswith(OURS) and not path.startswith(STANDIN) and not code.co_name.startswith("<")


def callers(frame: FrameType | None) -> list[CodeType]:
    """The code of a frame and of those that wait for it."""
    found = []
    while frame is not None:
        found.append(frame.f_code)
        frame = frame.f_back
    return found


def named(code: CodeType) -> str:
    """`shim/app.py:create_app`."""
    return f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_qualname.replace('.<locals>', '')}"


@asynccontextmanager
async def started(app: Any) -> AsyncIterator[None]:
    """The application between ASGI's startup and shutdown."""
    asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, asked.get, told.put))
    for phase in ("startup", "shutdown"):
        asked.put_nowait({"type": f"lifespan.{phase}"})
        answer = await asyncio.wait_for(told.get(), SECONDS)
        if answer["type"] != f"lifespan.{phase}.complete":
            raise RuntimeError(f"the application refuses its {phase}: {answer.get('message', '')}")
        if phase == "startup":
            yield
    await running


async def chat(app: Any, trace: Trace | None = None) -> bytes:
    """One streamed chat over ASGI; its body. With a trace, that is on from the call to the first words."""
    body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    content = json.dumps(body).encode()
    sent: list[bytes] = []
    status = 0
    asked = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def receive() -> dict[str, object]:
        for message in asked:
            return message
        await asyncio.Event().wait()  # the client stays connected
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        sent.append(message.get("body", b""))
        if trace and WORDS.search(sent[-1]):
            trace.on = False

    path = "/v1/chat/completions"
    headers = {"host": "localhost", "content-type": "application/json", "content-length": str(len(content))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 5005),
        "state": {},
    }
    if trace:
        trace.on = True
    await asyncio.wait_for(app(scope, receive, send), SECONDS)
    answer = b"".join(sent)
    if status != 200 or b"[DONE]" not in answer:
        raise RuntimeError(f"the chat was not answered: {status} {answer[:300]!r}")
    return answer


async def traced(trace: Trace, chats: int) -> dict[str, object]:
    """The functions that every chat met, in the order of the first; how many of them wait, and how deep they nest."""
    from shim.app import create_app  # noqa: PLC0415 -- of the checkout in the working folder, after the trace is set
    from shim.standin import StandinOptions, serve_standin  # noqa: PLC0415

    settings = get_type_hints(create_app)["settings"]  # wherever the class lives
    with TemporaryDirectory(prefix="chat2api-survey-") as folder:
        async with serve_standin(StandinOptions(delay=DELAY)) as upstream:
            app = create_app(settings(chatgpt_base_url=(upstream.base_url,), data_dir=folder))
            async with started(app):
                await chat(app)
                walks = []
                for pause in PAUSES[:chats]:
                    await asyncio.sleep(pause)
                    trace.clear()
                    await chat(app, trace)
                    if trace.on:
                        raise RuntimeError("no words of the answer were seen")
                    walks.append(trace.seen)
    way = [code for code in walks[0] if all(code in walk for walk in walks)]
    return {
        "walk": [*map(named, way)],
        "waiting": sum(bool(code.co_flags & WAITS) for code in way),
        "deepest": max(walks[0][code] for code in way),
    }


def main() -> None:
    """Print the way as JSON."""
    trace = Trace()
    # Threads too: part of a request may be worked on in one. They all start later than this.
    threading.setprofile(trace)
    sys.setprofile(trace)
    told = asyncio.run(traced(trace, int(sys.argv[1]) if len(sys.argv) > 1 else len(PAUSES)))
    sys.setprofile(None)
    print(json.dumps(told))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
