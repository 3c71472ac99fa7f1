"""`chat2api demo`: the real gateway in front of the stand-in, in one process, with one call made as a client would.

Rule: nothing is faked on the gateway's side. Only upstream is the stand-in, and it says so itself.
"""

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpcore
import msgspec
import uvloop

from shim.accounts.imports import read_text
from shim.accounts.opening import open_pool
from shim.app import create_app
from shim.settings import Settings
from shim.standin import StandinOptions, serve_standin
from shim.standin.accounts import make_access_token
from shim.standin.server import claimed_port, serve_app

_HOST = "127.0.0.1"
# From the first one asked for: somebody may have a gateway or another demo running.
_TRIED_PORTS = 50
# Slow enough to be seen.
_CHUNK_SECONDS = 0.02
# The stand-in answers at once; a minute is for machines under load.
_SILENCE_SECONDS = 60.0
# An account of the stand-in's, in the demo's pool as long as the demo lasts.
_ACCOUNT, _ACCOUNT_SECONDS = "demo", 10 * 86400
_DOCS = Path(__file__).parents[2] / "docs" / "README.md"
_QUESTION = "What happens to a request on its way through chat2api?"
_MODEL = "auto"


def run(*, port: int, once: bool) -> int:
    """Run the demo; returns the exit code (0: the call went well). Ends after the call with `once`."""
    with TemporaryDirectory(prefix="chat2api-demo-") as data_dir:
        return uvloop.run(_demo(port, Path(data_dir), once=once))


async def _demo(port: int, data_dir: Path, *, once: bool) -> int:
    # Before anything is started, so that a signal never leaves the data folder behind.
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve_standin(StandinOptions(delay=_CHUNK_SECONDS, understands=True)) as upstream:
        asked, port = port, _free_port(port)
        if port != asked:
            _say(f"Port {asked} is taken, so the demo is on port {port}.\n\n")
        settings = Settings(
            port=port,
            chatgpt_base_url=(upstream.base_url,),
            oauth_url=f"{upstream.base_url}/oauth/token",
            data_dir=str(data_dir),
        )
        # With an account pictures, files and sound can be tried, too.
        async with open_pool(settings, background=False) as pool:
            await pool.add_lines(read_text(make_access_token(_ACCOUNT, expires_at=time.time() + _ACCOUNT_SECONDS)))
        async with serve_app(create_app(settings), port, _HOST):
            address = f"http://{_HOST}:{port}"
            docs = _DOCS if _DOCS.exists() else f"{address}/docs"
            _say(_BANNER.format(upstream=upstream.base_url, gateway=address, docs=docs))
            answered = await _call(port)
            if once or not answered:
                return 0 if answered else 1
            _say(_PASTE.format(port=port, model=_MODEL, address=address))
            await stop.wait()
    return 0


def _free_port(first: int) -> int:
    """`first`, or the next one nobody listens on."""
    for port in range(first, min(first + _TRIED_PORTS, 65536)):
        with suppress(OSError), claimed_port(_HOST, port):
            return port
    raise OSError(f"no free port from {first} to {first + _TRIED_PORTS - 1}")


async def _call(port: int) -> bool:
    """One streamed call over HTTP; whether it was answered to its end."""
    body = {"model": _MODEL, "stream": True, "messages": [{"role": "user", "content": _QUESTION}]}
    _say(f"> {_QUESTION}\n\n")
    async with (
        httpcore.AsyncConnectionPool() as pool,
        pool.stream(
            "POST",
            f"http://{_HOST}:{port}/v1/chat/completions",
            headers={"content-type": "application/json"},
            content=msgspec.json.encode(body),
            extensions={"timeout": {"read": _SILENCE_SECONDS}},
        ) as response,
    ):
        if response.status != 200:
            _say(f"the gateway answered {response.status}: {(await response.aread()).decode()}\n")
            return False
        rest = b""
        async for piece in response.aiter_stream():
            # Chunks of the network end anywhere; what comes after the last line break waits for the next one.
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line == b"data: [DONE]":
                    _say("\n\n")
                    return True
                if not line.startswith(b"data: "):
                    continue
                # What a client would show: an error in the middle of the stream, too.
                chunk = msgspec.json.decode(line.removeprefix(b"data: "))
                if "error" in chunk:
                    _say(f"\n{chunk['error']['message']}\n")
                else:
                    _say("".join(choice["delta"].get("content", "") for choice in chunk["choices"]))
    return False


def _say(text: str) -> None:
    sys.stdout.write(text)
    # Pieces of a line would stay in the buffer until it ends.
    sys.stdout.flush()


_BANNER = """\
chat2api demo
  chat      {gateway}/
  accounts  {gateway}/tokens
  API       {gateway}/v1  (described on {gateway}/docs)
  docs      {docs}
  upstream  {upstream}  (a stand-in with an account of its own: nothing leaves this machine)

"""

_PASTE = """\
It keeps serving. Open {address}/ in a browser and ask for code, a table, a picture, a file or a limit.
In another terminal:

  curl http://127.0.0.1:{port}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}' --no-buffer

or in Python, with the OpenAI SDK:

  from openai import OpenAI
  client = OpenAI(base_url="http://127.0.0.1:{port}/v1", api_key="none")
  for chunk in client.chat.completions.create(model="{model}", stream=True,
                                              messages=[{{"role": "user", "content": "Hello"}}]):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

Ctrl-C ends it.
"""
