"""Claude Code: one task without a person, in an empty folder."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import gateway, serve

COMMAND = Path(sys.prefix, "node_modules", "@anthropic-ai", "claude-code", "cli-wrapper.cjs")
# What it would do besides, in the background and elsewhere.
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "DISABLE_ERROR_REPORTING": "1"}


def work(prompt, tool):
    """Ask for something, with the use of one tool allowed; returns what it says, and the files that are there then."""
    with tempfile.TemporaryDirectory() as name:
        place = {"ANTHROPIC_BASE_URL": gateway.url.removesuffix("/v1"), "ANTHROPIC_API_KEY": gateway.key}
        options = ["--output-format", "json", "--allowedTools", tool, "--model", gateway.model]
        done = subprocess.run(
            [Path(sys.prefix, "bin", "node"), COMMAND, "--print", prompt, *options],
            cwd=name,
            env=os.environ | QUIET | place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=80,
            check=False,
        )
        if done.returncode:
            raise ChildProcessError(f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        files = {path.name: path.read_text() for path in Path(name).iterdir() if path.is_file()}
        return {"said": json.loads(done.stdout)["result"], "files": files}


serve(work)
