"""gptme: one task without a person, in an empty folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import gateway, serve


def work(prompt, tool):
    """Ask for something, with the use of one tool allowed; returns what it prints, and the files there are then."""
    with tempfile.TemporaryDirectory() as name:
        place = {
            "OPENAI_BASE_URL": gateway.url,
            "OPENAI_API_KEY": gateway.key,
            "GPTME_TIKTOKEN_TIMEOUT": "0",
        }  # no vocabulary is fetched
        options = ["--non-interactive", "--no-confirm", "--workspace", name, "--tools", f"{tool},complete"]
        done = subprocess.run(
            [Path(sys.prefix, "bin", "gptme"), *options, "--model", f"local/{gateway.model}", prompt],
            cwd=name,
            env=os.environ | place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=80,
            check=False,
        )
        if done.returncode:
            raise ChildProcessError(f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        files = {path.name: path.read_text() for path in Path(name).iterdir() if path.is_file()}
        return {"said": done.stdout, "files": files}


serve(work)
