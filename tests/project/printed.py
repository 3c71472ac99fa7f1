"""Runs commands as a reader of the documentation would type them: one after the other, in one folder, each until it is
done or, of a server, until it answers. It is a program of its own, because it runs in a network of its own, where every
port that a page names is free and no host but this one can be reached.

    printed.py STEPS     a JSON list of steps; prints what came of each as JSON
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

SECONDS = 90


def raise_loopback():
    """The loopback device of a new network is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        up = struct.pack("16sh", b"lo", 1)  # SIOCSIFFLAGS with IFF_UP
        fcntl.ioctl(sock, 0x8914, up)


def ask(call):
    """(status, body) of a server; (0, what is wrong) where there is none yet, (-1, ...) where it says nothing."""
    headers = {"content-type": "application/json", **call.get("headers", {})}
    body = json.dumps(call["body"]).encode() if "body" in call else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": call["proxy"]} if "proxy" in call else {})
    )
    try:
        with opener.open(urllib.request.Request(call["url"], body, headers), timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError) as error:
        refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
        return (0 if refused else -1), repr(error)


def end(process):
    """As Ctrl-C does: everything of the terminal hears it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        return process.wait(40)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def said(out):
    """All of it so far. Read at a place of its own, because the file's own place is where the next words go."""
    return os.pread(out.fileno(), 1 << 20, 0).decode(errors="replace")


def main():
    raise_loopback()
    told, kept = [], []
    for step in json.loads(sys.argv[1]):
        out = tempfile.TemporaryFile("w+")  # noqa: SIM115  # a server that is kept goes on writing to it
        typed = tempfile.TemporaryFile("w+")  # noqa: SIM115
        typed.write(step.get("typed", ""))
        typed.seek(0)
        process = subprocess.Popen(
            ["sh", "-c", step["command"]], stdin=typed, stdout=out, stderr=out, start_new_session=True
        )
        result = {"command": step["command"], "answers": []}
        if "ask" not in step:
            try:
                result["code"] = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                end(process)
                result["code"] = "it did not end"
        until = time.monotonic() + SECONDS
        while step.get("says", "") not in said(out) and time.monotonic() < until and process.poll() is None:
            time.sleep(0.1)
        result["heard"] = step.get("says", "") in said(out)
        for call in step.get("ask", []):
            until = time.monotonic() + SECONDS
            # Where nothing is expected to be said, it is enough that somebody is there.
            nobody = {0} if call.get("silent") else {0, -1}
            while (answer := ask(call))[0] in nobody and time.monotonic() < until and process.poll() is None:
                time.sleep(0.1)
            result["answers"].append(answer)
        if step.get("keep"):
            kept.append((process, out, result))
        elif "ask" in step:
            result["code"] = end(process)
        result["said"] = said(out)
        told.append(result)
    for process, out, result in reversed(kept):
        result["code"] = end(process)
        result["said"] = said(out)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
