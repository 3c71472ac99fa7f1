"""The command: the embedded upstream behind mitmdump with the recorder, and the gateway asking as for a client.

Rule: a cassette that only times would change in is left as it is, so that a new recording is a readable diff.
"""

import os
import shutil
import tempfile
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.benchmark.servers import GATEWAY, PROJECT, free_port, running
from scripts.recording.turns import TURNS, WITH_ACCOUNT
from shim.cassettes.comparing import compare
from shim.cassettes.format import load_cassette
from shim.standin import make_access_token

# Of a cassette: tests read them all, and a change to one has to be readable as a diff.
_MAX_BYTES = 60 * 1024
_ACCOUNT = make_access_token("recorded", "plus")
# Of the stand-in, so that it says the same in every recording.
_SEED = "7"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, type=click.Choice(list(TURNS)), help="Just this cassette; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=PROJECT / "tests" / "cassettes", help="Folder.")
def main(*, only: tuple[str, ...], out: Path) -> None:
    """Record the cassettes of the tests from the embedded upstream, through mitmdump."""
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    changed = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(only or TURNS))
        for name in only or TURNS:
            progress.update(task, description=name)
            with tempfile.TemporaryDirectory(prefix="chat2api-record-") as folder:
                made = _record(name, Path(folder))
                size = made.stat().st_size
                if size > _MAX_BYTES:
                    raise click.ClickException(
                        f"{name} is {size} bytes, more than {_MAX_BYTES}: make its turns shorter"
                    )
                kept = out / made.name
                if not kept.exists() or any(compare(load_cassette(kept), load_cassette(made))):
                    shutil.copyfile(made, kept)
                    changed.append(name)
            progress.advance(task)
    console.print(f"{len(only or TURNS)} recorded, {len(changed)} new or changed: {', '.join(changed) or 'none'}")


def _record(name: str, folder: Path) -> Path:
    """A new cassette in `folder`. Every process starts anew for it, so it holds all that its turns need."""
    upstream, proxy, port = free_port(), free_port(), free_port()
    path = {"PYTHONPATH": str(PROJECT)}
    record = [GATEWAY, "record", "--out", folder, "--name", name, "--", "--listen-host", "127.0.0.1"]
    record += ["--listen-port", proxy, "--mode", f"reverse:http://127.0.0.1:{upstream}"]
    settings = path | {
        "CHATGPT_BASE_URL": f"http://127.0.0.1:{proxy}",
        "DATA_DIR": str(folder / "data"),
        "RETRY_TIMES": "0",  # a failure is one interaction, and not several that only seem to be more
    }
    python = str(GATEWAY.parent / "python")
    with (
        running(
            "upstream", [python, "-m", "shim.standin", "--port", str(upstream), "--seed", _SEED], folder, path, upstream
        ),
        running("mitmdump", [str(word) for word in record], folder, path, proxy),
        running("chat2api", [str(GATEWAY), "serve", "--port", str(port)], folder, settings, port),
    ):
        for prompt in TURNS[name]:
            headers = {"authorization": f"Bearer {_ACCOUNT}"} if name in WITH_ACCOUNT else {}
            body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": prompt}]}
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            # Whatever becomes of it: failures are recorded, too.
            httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False).read()
    return folder / f"{name}.json"


if __name__ == "__main__":
    # The recorder makes files for their owner only; these are made to be read by all.
    os.umask(0o022)
    main()
