"""`chat2api completion`: the shell completes commands and flags. The scripts are click's.

Rule: a file of the user's own is only added to, by one line, and only where the line is not in it yet.
"""

import os
import shlex
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

NAME = "chat2api"
# How click's scripts call the program: as it was typed, or by name alone. With its path it is found from every folder,
# also where it is in no folder of PATH.
_CALLS = {"bash": "=bash_complete $1", "zsh": f"=zsh_complete {NAME}", "fish": f"=(commandline -t) {NAME}"}
_SHELLS = tuple(_CALLS)


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the script, and write nothing.")
def completion(*, shell: str | None, only_print: bool) -> None:
    """Install completion of commands and flags for SHELL: bash, zsh or fish (the one of $SHELL, unless given).

    The script becomes a file of its own; bash and zsh read it by a line that is added to .bashrc or .zshrc.
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in _SHELLS:
        raise click.UsageError(f"$SHELL names none of {', '.join(_SHELLS)}: say which one is meant")
    script = script_for(shell)
    if only_print:
        click.echo(script, nl=False)
        return
    if shell == "fish":  # which reads what belongs to programs in PATH alone, of its folder `completions`
        place = _folder("XDG_CONFIG_HOME", ".config") / "fish" / "conf.d" / f"{NAME}.fish"
    else:
        place = _folder("XDG_DATA_HOME", ".local/share") / NAME / f"completion.{shell}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(script, "utf-8")
        click.echo(f"written: {place}")
        if shell != "fish":  # which looks into that folder by itself
            _add_line(shell, f"source {shlex.quote(str(place))}")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"completion can't be installed: {error}") from error
    click.echo(f"It works in every new {shell}.")


def script_for(shell: str) -> str:
    """The script that makes `shell` complete this program's commands. Raises ValueError where click's has changed."""
    from shim.cli.main import main  # noqa: PLC0415  which imports this

    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click has no completion for {shell}")
    script = kind(main, {}, NAME, f"_{NAME.upper()}_COMPLETE").source()
    program = shlex.quote(str(Path(sys.executable).with_name(NAME)))
    call = _CALLS[shell]
    if call not in script:
        raise ValueError(f"click's script for {shell} calls the program in a way that is not known here")
    script = script.replace(call, f"{call.rpartition(' ')[0]} {program}")
    if shell == "zsh":
        script = script.replace(f"(( ! $+commands[{NAME}] ))", f"[[ ! -x {program} ]]")
        # Without this a .zshrc that does not start zsh's own completion would have an error at every start.
        first, rest = script.split("\n", 1)
        script = f"{first}\n(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -i }}\n{rest}"
    return script


def _folder(variable: str, usual: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / usual)


def _add_line(shell: str, line: str) -> None:
    folder = Path((os.environ.get("ZDOTDIR") if shell == "zsh" else "") or Path.home())
    read_at_start = folder / f".{shell}rc"
    before = read_at_start.read_text("utf-8") if read_at_start.exists() else ""
    if line in before.splitlines():
        return
    with read_at_start.open("a", encoding="utf-8") as file:
        # A last line that has no end would be joined to ours.
        file.write(f"{'' if before.endswith(chr(10)) or not before else chr(10)}{line}\n")
    click.echo(f"added to {read_at_start}: {line}")
