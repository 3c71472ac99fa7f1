"""`chat2api config`: the settings as a server started here would have them, each with where it is from."""

import json

import click

from shim.cli.settings_flags import SettingsCommand


@click.command(cls=SettingsCommand)
@click.option("--changed", is_flag=True, help="Only what is not left at its default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def config(*, changed: bool, as_json: bool, **flags: object) -> None:
    """Print the settings in effect and where each is from: default, .env, environment or flag.

    Flags are those of `serve`. Secrets are not shown. What is probably not meant is told on standard error.
    """
    import msgspec  # noqa: PLC0415

    from shim.settings import HIDDEN, SettingError, concerns, effective, load_settings  # noqa: PLC0415

    try:
        rows = [row for row in effective(flags=flags) if not (changed and row.origin == "default")]
        told = concerns(load_settings(flags=flags))
    except (SettingError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(rows), indent=2))
    else:
        widest = max((len(row.name) for row in rows), default=0)
        for row in rows:
            value = HIDDEN if row.value is None else row.value
            origin = f"{row.origin}, from {row.file}" if row.file else row.origin
            click.echo(f"{row.name:{widest}}  {value}".rstrip() + f"  ({origin})")
    for concern in told:
        click.echo(concern, err=True)
