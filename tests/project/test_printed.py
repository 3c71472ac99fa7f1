"""Every command that README and docs print works as it is printed, in an empty HOME, in a folder as it is checked out.

The commands are read from the pages. Each is in one of two tables: how it is run, or why it is not and what is looked
at instead. A network of their own keeps the ports free that pages name; it also has no way to chatgpt.com, so that what
upstream would have answered is an error that says so.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md")))
RUNNER = Path(__file__).with_name("printed.py")
NETWORK = ["unshare", "--user", "--map-root-user", "--net"]

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
REVERSE = {"url": "http://127.0.0.1:5005/v1/chat/completions", "body": CHAT}
PASSED = {"url": "http://127.0.0.1:5006/backend-api/me", "silent": True}
SERVED = {"url": "http://127.0.0.1:5005/healthz"}
FRONT = {
    "url": "http://127.0.0.1:5006/v1/chat/completions",
    "body": CHAT,
    "headers": {"authorization": "Bearer key-of-its-clients"},
}
PROXIED = {"url": "http://api.openai.com/v1/models", "proxy": "http://127.0.0.1:5005"}


def printed():
    """The commands of all blocks of shell, and of the table of commands, comments left out."""
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.M | re.S):
            for line in block.splitlines():
                if command := re.sub(r"(^|\s+)#.*", "", line).strip():
                    yield command
        yield from re.findall(r"^\| \w+ \| `(\.venv[^`]+)` \|$", text, re.M)


def step(start, **how):
    """The one printed command that begins so, and how it is run."""
    (command,) = {one for one in printed() if one.startswith(start)}
    return {"command": command, **how}


def python_block():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    return {"command": f"{sys.executable} -c '{code}'"}


# Each session is what one reader types, in order. `told` is what the last words of a step have to be like, `codes` what
# it may end with, `answers` what the server said.
SESSIONS = {
    "the demo": [
        (step("scripts/demo", ask=[SERVED], keep=True), {"answers": [200], "told": "demo"}),
        (python_block(), {"codes": {0}, "told": "demo"}),
        (step("curl -sS http://127.0.0.1:5005/v1/chat/completions"), {"codes": {0}, "told": "chat.completion"}),
    ],
    "running it": [
        (step("scripts/setup"), {"codes": {0}, "told": "^$"}),
        # There is no way to upstream here, and it says so.
        (step(".venv/bin/chat2api doctor"), {"codes": {1}, "told": "CHATGPT_BASE_URL"}),
        (step(".venv/bin/chat2api completion"), {"codes": {0}, "told": "every new bash"}),
        (step(".venv/bin/chat2api serve", ask=[SERVED, REVERSE]), {"answers": [200, 502]}),
        (step("tar -czf"), {"codes": {0}, "told": "^$"}),
    ],
    "accounts": [
        (step(".venv/bin/chat2api tokens add"), {"codes": {0}, "told": "1 added"}),
        (step(".venv/bin/chat2api tokens list"), {"codes": {0}, "told": "1 in all"}),
        # ID stands for one of the ids that the list has.
        (step(".venv/bin/chat2api tokens pause"), {"codes": {1}, "told": "there is no account ID"}),
        (step(".venv/bin/chat2api tokens export", typed="y\n"), {"codes": {0}, "told": "saved.json"}),
    ],
    "keys": [
        (step(".venv/bin/chat2api keys add"), {"codes": {0}}),
        (step(".venv/bin/chat2api keys list"), {"codes": {0}, "told": "NAME"}),
    ],
    "a key for the store": [
        (step(".venv/bin/chat2api new-key"), {"codes": {0}, "told": r"^[\w=-]{44}\s*$"}),
    ],
    "recordings": [
        (
            # Once it listens: mitmproxy tells its addons nothing of a Ctrl-C before that. It connects first, and closes
            # where it can't.
            step(".venv/bin/chat2api record", ask=[PASSED], says="listening at"),
            {"answers": [-1], "told": "recorded nothing: no call of ChatGPT's API ended here"},
        ),
        ({"command": "mkdir cassettes && cp tests/cassettes/citations-v1.json cassettes/"}, {"codes": {0}}),
        (step(".venv/bin/chat2api replay cassettes/", ask=[], says="http://127.0.0.1:"), {"told": "0 missed"}),
        (step(".venv/bin/chat2api cassette show"), {"codes": {0}, "told": "conversation"}),
        (
            step(
                ".venv/bin/chat2api replay cassettes --port 5006", ask=[{"url": "http://127.0.0.1:5006/replay/status"}]
            ),
            {"answers": [200], "told": "127.0.0.1:5006"},
        ),
    ],
    "as an addon": [
        (
            step(
                ".venv-mitmproxy/bin/mitmdump -s addons/bridge.py --listen-host 127.0.0.1 -p 5005 --mode", ask=[REVERSE]
            ),
            {"answers": [502]},
        ),
        (
            {
                "command": ".venv-mitmproxy/bin/mitmdump -s addons/bridge.py --listen-host 127.0.0.1 -p 5005",
                "ask": [PROXIED],
            },
            {"answers": [200]},
        ),
        (
            step(".venv-mitmproxy/bin/mitmweb -s addons/view.py -s", ask=[{"url": "http://127.0.0.1:8080/healthz"}]),
            {"answers": [200]},
        ),
        (step(".venv-mitmproxy/bin/mitmweb -s addons/view.py --listen", ask=[PASSED]), {"answers": [-1]}),
    ],
    "two in a row": [
        (step("AUTHORIZATION=fk-", ask=[SERVED], keep=True), {"answers": [200]}),
        (step("echo fk-"), {"codes": {0}, "told": "1 added"}),
        # The one behind has no account, and no way to upstream: its error is passed on.
        (step("DATA_DIR=front", ask=[FRONT]), {"answers": [502]}),
    ],
}

# What is not run here, why, and where the same is looked at.
ELSEWHERE = {
    "scripts/test": "it runs this test; whoever reads this has run it, and its shell is checked in test_scripts.py",
    "ANTHROPIC_BASE_URL=http://127.0.0.1:5005 ANTHROPIC_API_KEY=none claude": "Claude Code wants a terminal "
    "and an environment of its own: tests/clients runs it with both variables",
    'curl http://127.0.0.1:5005/v1/files -H "Authorization: Bearer $KEY" -F purpose=user_data -F file=@report.pdf': (
        "it needs an account, and there is none here: tests/gateway/test_files_api.py sends such a form"
    ),
}


def test_every_printed_command_is_run_or_said_to_be_looked_at_elsewhere():
    run = {one["command"] for steps in SESSIONS.values() for one, _ in steps}
    commands = set(printed())
    assert len(commands) > 15
    assert commands - run == set(ELSEWHERE)


def checkout(folder):
    """This folder as it is checked out, by links. The environments know their place, so they get one."""
    ours = {".venv", ".venv-dev", ".venv-mitmproxy"}
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in {*ours, ".git", ".env", "data", "cassettes", "front"}:
            (folder / entry.name).symlink_to(entry)
    for name in ours:
        if (ROOT / name).exists():
            (folder / name).mkdir()
            for entry in (ROOT / name).iterdir():
                (folder / name / entry.name).symlink_to(entry)
            made = folder / name / "made-from"
            if made.exists():
                text = made.read_text()
                made.unlink()
                made.write_text(text.replace(f" {ROOT} ", f" {folder} "))
    (folder / "accounts.txt").write_text("r" * 45 + "\n")
    return folder


@pytest.fixture(scope="module")
def networked():
    """How a command gets a network of its own."""
    able = (
        shutil.which("unshare") and subprocess.run([*NETWORK, "true"], check=False, capture_output=True).returncode == 0
    )
    if not able:
        pytest.skip("this machine lets nobody make a network of their own (unshare --user --net)")
    return NETWORK


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", SESSIONS)
def test_what_is_printed_works_as_it_is_printed(name, networked, tmp_path):
    needed = [".venv"] + [".venv-mitmproxy"] * any(
        "mitm" in one["command"] or "record" in one["command"] for one, _ in SESSIONS[name]
    )
    if missing := [one for one in needed if not (ROOT / one / "made-from").exists()]:
        pytest.skip(f"there is no {missing[0]}: scripts/setup makes it (needs the package index once)")
    (tmp_path / "home").mkdir()
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    environment["PYTHONUNBUFFERED"] = "1"  # as in a terminal, where each line is seen at once
    ran = subprocess.run(
        [*networked, sys.executable, str(RUNNER), json.dumps([how for how, _ in SESSIONS[name]])],
        check=False,
        cwd=checkout(tmp_path / "chat2api"),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    for result, (_, wanted) in zip(json.loads(ran.stdout), SESSIONS[name], strict=True):
        about = json.dumps(result, indent=1)[-4000:]
        assert [status for status, _ in result["answers"]] == wanted.get("answers", []), about
        assert result["code"] in wanted.get("codes", {result["code"]}), about
        assert re.search(wanted.get("told", ""), result["said"]), about
        assert result["heard"], about
        assert "Traceback" not in result["said"], about
        assert "not found" not in result["said"], about
