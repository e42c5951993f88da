"""Operator commands: the console script ``gateway``. Each group of commands has a module.

A command reads its arguments, calls one function, and prints the result. A command that changes
something writes a line with ids to the log. Exit codes: 0 done; 1 refused or failed, and one line
says why; 2 not understood; 3 a setting is invalid.
"""

from __future__ import annotations

from typing import Any

import click
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from gateway import create_app, settings
from gateway.errors import ConfigError
from gateway.ops.cli import database, health, mail, pool, project, trail, usage, user
from gateway.version import __version__

COMMANDS = (
    user.group,
    project.group,
    pool.group,
    mail.group,
    usage.usage,
    health.doctor,
    database.purge,
    database.backup,
    database.copy_from,
    database.set_timezone,
)


class _Commands(FlaskGroup):
    """Our commands, and ``db``, which Flask-Migrate brings."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(
            create_app=_create_app,
            add_default_commands=False,
            add_version_option=False,
            load_dotenv=False,
            set_debug_flag=False,
            **attributes,
        )
        # Flask's options choose and debug another application; this script has one.
        flasks = ("app", "debug", "env_file")
        self.params = [option for option in self.params if option.name not in flasks]
        for command in COMMANDS:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, without loading the application for it."""
        return sorted([*self.commands, "db"])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command by its name."""
        return _load_db_command(ctx) if name == "db" else self.commands.get(name)


def _load_db_command(ctx: click.Context) -> click.Command:
    # Only this command loads Alembic, because it takes 9 MiB.
    from gateway.ops.cli import schema  # noqa: PLC0415 - see above

    return schema.load(ctx.ensure_object(ScriptInfo).load_app())


def _create_app() -> Flask:
    try:
        app = create_app()
    except ConfigError as error:
        settings.stop(error)
    trail.start()
    return app


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway", message="%(prog)s %(version)s")
def main() -> None:
    """Run and look after the service. Settings are those of the server: GATEWAY_ variables and
    config.py in the instance folder."""
