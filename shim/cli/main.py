"""The command `chat2api`: serve, demo, doctor, tokens, record, replay, cassette.

Rule: nothing heavy is imported at the top, because every child process imports this module again.
"""

import sys
from typing import Any

import click

from shim import __version__
from shim.cli.cassettes import cassette, record, replay
from shim.cli.tokens import tokens


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chat2api")
def main() -> None:
    """Answer OpenAI API requests from the ChatGPT web backend.

    Settings come from the environment and from a file .env in this folder; flags override both.
    """


@main.command()
@click.option("--host", help="Address to listen on (HOST).")
@click.option("--port", type=int, help="Port to listen on (PORT).")
@click.option("--workers", type=int, help="Worker processes (WORKERS).")
@click.option("--api-prefix", help="Hides every path below this one (API_PREFIX).")
@click.option("--authorization", help="Keys clients must send, by comma (AUTHORIZATION).")
@click.option("--chatgpt-base-url", help="Upstream's origin (CHATGPT_BASE_URL).")
@click.option("--proxy-url", help="Proxies towards upstream, by comma (PROXY_URL).")
@click.option("--default-model", help="Answers names of unknown models (DEFAULT_MODEL).")
@click.option("--replay", help="Folder of cassettes that take upstream's place (REPLAY).")
@click.option("--data-dir", help="Where state is kept (DATA_DIR).")
@click.option("--log-level", help="debug, info, warning or error (LOG_LEVEL).")
def serve(**flags: Any) -> None:
    """Run the gateway."""
    from shim.server.run import serve as run  # noqa: PLC0415
    from shim.settings import SettingError  # noqa: PLC0415

    try:
        run(flags)
    except (SettingError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--once", is_flag=True, help="End after the one call.")
@click.option("--port", type=int, default=5005, show_default=True, help="First port to try.")
def demo(*, once: bool, port: int) -> None:
    """Start the gateway on its embedded upstream, make one call, keep serving until Ctrl-C."""
    from shim.cli.demo import run  # noqa: PLC0415
    from shim.server.granian import end_process  # noqa: PLC0415

    end_process(run(port=port, once=once))


@main.command()
def doctor() -> None:
    """Check settings, folders, the port and the way to upstream, and say what to do next."""
    from shim.cli.doctor import examine  # noqa: PLC0415

    sys.exit(examine())


for _command in (tokens, record, replay, cassette):
    main.add_command(_command)
