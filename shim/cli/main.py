"""The command `chat2api`: serve, demo, doctor, config, tokens, import, keys, record, replay and others.

Rule: nothing heavy is imported at the top, because every child process imports this module again, and because `--help`
should answer at once.
"""

import sys
from typing import Any

import click

from shim import __version__
from shim.cli.cassettes import cassette, record, replay
from shim.cli.completion import completion
from shim.cli.config import config
from shim.cli.keys import keys
from shim.cli.original import import_original
from shim.cli.settings_flags import SettingsCommand
from shim.cli.tokens import tokens


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chat2api")
def main() -> None:
    """Answer OpenAI API requests from the ChatGPT web backend.

    Settings come from the environment and from a file .env in this folder; flags of `serve` override both.
    """


@main.command(cls=SettingsCommand)
def serve(**flags: Any) -> None:
    """Run the gateway.

    Every setting is a flag. Secrets are not, because other users of this machine can read a command line: set them in
    the environment or in .env, or name the file each of them is in.
    """
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
    """Start the gateway in front of a stand-in upstream, make one call, keep serving until Ctrl-C."""
    from shim.cli.demo import run  # noqa: PLC0415
    from shim.server.granian import end_process  # noqa: PLC0415

    end_process(run(port=port, once=once))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--ask", is_flag=True, help="Ask upstream as each account, too: one call each, and no turn.")
def doctor(*, as_json: bool, ask: bool) -> None:
    """Check what the start checks, the connection to upstream and each account, and say what to do next."""
    from shim.cli.doctor import examine  # noqa: PLC0415

    sys.exit(examine(as_json=as_json, ask=ask))


@main.command("new-key")
def new_key() -> None:
    """Print a new random key, for STORE_KEY, AUTHORIZATION or ADMIN_KEY."""
    from shim.databases.keys import new_key as make  # noqa: PLC0415

    click.echo(make())


for _command in (config, tokens, import_original, keys, record, replay, cassette, completion):
    main.add_command(_command)
