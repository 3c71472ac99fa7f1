"""Codex CLI: one task without a person, in an empty folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import gateway, serve

COMMAND = Path(sys.prefix, "node_modules", "@openai", "codex", "bin", "codex.js")
CONFIG = """
model = "{model}"
model_provider = "gateway"
check_for_update_on_startup = false

[analytics]
enabled = false

[features]
plugins = false
apps = false

[model_providers.gateway]
name = "gateway"
base_url = "{url}"
env_key = "GATEWAY_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


def work(prompt):
    """Ask for something; returns what it says at the end, and the files that are there then."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        config = CONFIG.format(model=gateway.model, url=gateway.url)
        Path(home, "config.toml").write_text(config)
        said = Path(home, "said.txt")
        # Its own sandbox needs what containers do not give; the folder is empty, and the commands are the test's own.
        options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-o", str(said)]
        done = subprocess.run(
            [Path(sys.prefix, "bin", "node"), COMMAND, "exec", *options, prompt],
            cwd=folder,
            env=os.environ | {"CODEX_HOME": home, "GATEWAY_KEY": gateway.key},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=80,
            check=False,
        )
        if done.returncode or not said.exists():
            raise ChildProcessError(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        files = {path.name: path.read_text() for path in Path(folder).iterdir() if path.is_file()}
        return {"said": said.read_text(), "files": files}


serve(work)
