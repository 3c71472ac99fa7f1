"""Commands that take settings on the command line."""

import click


class SettingsCommand(click.Command):
    """A command with a flag for every setting. The settings are read when its flags are asked for, not before."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The flags, then those every command has."""
        from shim.settings import flags  # noqa: PLC0415

        made: list[click.Parameter] = []
        for flag in flags():
            word = flag.name.replace("_", "-")
            form = f"--{word}/--no-{word}" if flag.is_switch else f"--{word}"
            metavar = None if flag.is_switch else "FILE" if word.endswith("-file") else "VALUE"
            # None tells a flag that was not given from one that was given the default, and only the latter beats .env.
            made.append(click.Option([form], default=None, help=flag.help, metavar=metavar))
        return [*made, *super().get_params(ctx)]
