"""aider: one message, one edit, one commit."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from parts import gateway, serve

WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A Person"), ("EMAIL", "person@example.test"))
}
# aider asks the network about models that it finds in no file of its user's.
SIZES = {"max_input_tokens": 128_000, "max_output_tokens": 16_384, "litellm_provider": "openai", "mode": "chat"}
METADATA = dict.fromkeys([f"openai/{gateway.model}", gateway.model, f"{gateway.model}-mini"], SIZES)


def git(folder, *arguments):
    """What a git command prints."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | WHO, check=True, capture_output=True, text=True).stdout


def edit(prompt, file, text, stream):
    """Ask for a change of a file in a new repository; returns the file, and the commits' subjects, newest first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / file).write_text(text)
        git(folder, "init", "-q")
        git(folder, "add", file)
        git(folder, "commit", "-q", "-m", "Begin")
        said = _aider(folder, file, prompt, stream)
        return {
            "file": (folder / file).read_text(),
            "log": git(folder, "log", "--format=%s").splitlines(),
            "said": said,
        }


def _aider(folder, file, prompt, stream):
    (folder / ".git" / "metadata.json").write_text(json.dumps(METADATA))
    options = ["--yes-always", "--no-analytics", "--no-check-update", "--no-show-release-notes", "--no-gitignore"]
    options += ["--no-pretty", "--no-fancy-input", "--no-suggest-shell-commands", "--no-detect-urls"]
    options += ["--disable-playwright", "--model-metadata-file", str(folder / ".git" / "metadata.json")]
    place = ["--model", f"openai/{gateway.model}", "--openai-api-base", gateway.url, "--openai-api-key", gateway.key]
    told = ["--stream" if stream else "--no-stream", "--message", prompt, file]
    done = subprocess.run(
        [sys.executable, "-m", "aider", *options, *place, *told],
        cwd=folder,
        env=os.environ | WHO,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    if done.returncode:
        raise ChildProcessError(done.stderr)
    return done.stdout


serve(edit)
