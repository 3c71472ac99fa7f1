"""What is left of failed answers, of strangers and of large bodies: memory and descriptors of a real gateway.

    failures    every fault of the table, --times each, whole and streamed by turns
    strangers   --times calls, each with a token of its own that upstream does not take
    bodies      --clients at once, each with a prompt of --megabytes

Exits with 1 where memory does not come back to its level.
"""

import argparse
import base64
import collections
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from scripts.faulting.measuring import Folders, descriptors, megabytes
from shim.cli.progress import followed
from tests.faults.faulty import ANSWER, FAULTS, Fault, FaultyUpstream, Wire, good
from tests.servers import Process, gateways

CHAT = "/v1/chat/completions"
SETTINGS = {
    "CONVERSATION_ONLY": "true",
    "RETRY_TIMES": "1",
    "FIRST_BYTE_TIMEOUT": "1",
    "IDLE_TIMEOUT": "0.5",
    "TOTAL_TIMEOUT": "2",
    "MAX_ANSWER_BYTES": "2000000",
    "LOG_LEVEL": "warning",
}
# Megabytes that a part may leave behind: arenas of the allocator, caches that fill once.
ROOM = {"failures": 12, "strangers": 25, "bodies": 100}
# What is made of thousands of small objects at once leaves the interpreter's arenas thinly used: they are filled again,
# so that it does not grow, but do not go back.
ROOM_OF_ENDLESS = 150
# Memory of large answers and bodies is given back seconds after the last of them.
BACK_SECONDS = 10.0
# Faults that may take longer take seconds each whatever the machine: a tenth of the times will do.
SLOW = 3.0


def prompt(text: str, *, stream: bool = False) -> dict[str, Any]:
    return {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": text}]}


def repeat(
    times: int, call: Callable[[httpx.Client, int], Any], workers: int = 8, what: str = ""
) -> collections.Counter[Any]:
    """What `times` calls come to. Where it takes long, `what` stands beside a bar."""
    local = threading.local()

    def one(number: int) -> Any:
        if not hasattr(local, "client"):
            local.client = httpx.Client(trust_env=False, timeout=60)
        return call(local.client, number)

    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(one, range(times))
        return collections.Counter(next(results) for _ in (followed(what, range(times)) if what else range(times)))


class Run:
    """The parts, and whether they left more than they may."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.failed = False

    @contextmanager
    def gateway(self, upstream: FaultyUpstream, **more: str) -> Iterator[Process]:
        with gateways(Folders()) as make:  # type: ignore[arg-type]  # it only makes folders
            made = make(process=True, CHATGPT_BASE_URL=upstream.base_url, **{**SETTINGS, **more})
            assert isinstance(made, Process)
            # What counts tokens is made a moment after the start, and would be taken for what the part leaves behind.
            headers = {"x-api-key": more["AUTHORIZATION"]} if "AUTHORIZATION" in more else {}
            with httpx.Client(trust_env=False, timeout=60) as client:
                count = client.post(f"{made.base_url}/v1/messages/count_tokens", json=prompt("Hi"), headers=headers)
                count.raise_for_status()
            yield made

    def settled(self, gateway: Process, before: float, room: float) -> float:
        """Its memory when it is back, or when it should be."""
        until = time.monotonic() + BACK_SECONDS
        time.sleep(1)
        while (after := megabytes(gateway)) - before > min(room, 12) and time.monotonic() < until:
            time.sleep(0.5)
        return after

    def tell(self, part: str, what: str, before: float, after: float, seen: object, *, room: float = 0) -> None:
        room = room or ROOM[part]
        over = after - before > room
        self.failed = self.failed or over
        grown = f"{before:6.0f} -> {after:6.0f} MB ({after - before:+.1f}{f', more than {room}' if over else ''})"
        print(f"{part:10} {what:40} {grown}  {seen}", flush=True)

    def failures(self) -> None:
        with FaultyUpstream().running() as upstream, self.gateway(upstream) as gateway:

            def ask(client: httpx.Client, number: int) -> int:
                body = prompt(f"{number} " + "what was asked " * 500, stream=bool(number % 2))
                return client.post(gateway.base_url + CHAT, json=body).status_code

            def play(fault: Fault) -> object:
                upstream.act = fault.act
                slow = fault.whole[1] == "timeout" or fault.seconds > SLOW
                return repeat(max(8, self.options.times // 10) if slow else self.options.times, ask)

            play(FAULTS["good"])  # what is made once is made
            play(FAULTS["end in the middle"])
            for name, fault in followed("failures", [one for one in FAULTS.items() if self.options.only in one[0]]):
                before = megabytes(gateway)
                seen = play(fault)
                upstream.act = good
                repeat(4, ask)
                room = ROOM_OF_ENDLESS if fault.seconds > SLOW else ROOM["failures"]
                self.tell("failures", name, before, self.settled(gateway, before, room), seen, room=room)

    def strangers(self) -> None:
        def unknown(wire: Wire) -> None:
            wire.answer(b'{"detail": "invalid token"}', "401 X", "application/json")

        with FaultyUpstream().running() as upstream, self.gateway(upstream, AUTHORIZATION="sesame") as gateway:
            upstream.act = unknown

            def call(client: httpx.Client, number: int) -> int:
                claims = {"iss": "https://auth.openai.com", "sub": f"user-{number}", "exp": 4102444800}
                parts = [
                    base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "none"}, claims)
                ]
                token = b".".join([*parts, b"c2lnbmVk"]).decode()
                headers = {"authorization": f"Bearer {token}"}
                return client.post(gateway.base_url + CHAT, json=prompt("Hi"), headers=headers).status_code

            repeat(16, call)
            before, open_before = megabytes(gateway), descriptors(gateway)
            seen = repeat(self.options.times, lambda client, number: call(client, number + 100), what="strangers")
            after = self.settled(gateway, before, ROOM["strangers"])
            opened = descriptors(gateway) - open_before
            self.tell("strangers", "each with a token of its own", before, after, f"{seen}, {opened:+} fds")

    def bodies(self) -> None:
        with FaultyUpstream().running() as upstream, self.gateway(upstream) as gateway:
            upstream.act = lambda wire: wire.answer(ANSWER)
            text = "a large prompt " * (self.options.megabytes * 1_000_000 // 15)
            body = json.dumps(prompt(text)).encode()
            repeat(1, lambda client, _: client.post(gateway.base_url + CHAT, json=prompt("Hi")).status_code)
            before, peak, over = megabytes(gateway), [0.0], threading.Event()

            def watch() -> None:
                while not over.wait(0.05):
                    peak.append(megabytes(gateway))

            watching = threading.Thread(target=watch)
            watching.start()
            headers = {"content-type": "application/json"}

            def call(client: httpx.Client, _number: int) -> object:
                try:
                    return client.post(gateway.base_url + CHAT, content=body, headers=headers).status_code
                except httpx.TransportError as error:
                    return type(error).__name__

            seen = repeat(self.options.clients, call, workers=self.options.clients)
            over.set()
            watching.join()
            after = self.settled(gateway, before, ROOM["bodies"])
            what = f"{self.options.clients} at once, {self.options.megabytes} MB each"
            self.tell("bodies", what, before, after, f"{seen}, at most {max(peak):.0f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="failures, strangers, bodies (all, if none is named)")
    parser.add_argument("--times", type=int, default=1200, help="calls of each kind (1200)")
    parser.add_argument("--only", default="", metavar="WORDS", help="of the failures those with WORDS in their name")
    parser.add_argument("--clients", type=int, default=40, help="clients with large bodies (40)")
    parser.add_argument("--megabytes", type=int, default=30, help="of each of these (30)")
    options = parser.parse_args()
    run = Run(options)
    for part in options.parts or ("failures", "strangers", "bodies"):
        getattr(run, part)()
    return int(run.failed)


if __name__ == "__main__":
    sys.exit(main())
