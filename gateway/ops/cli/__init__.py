"""Operator commands: the console script ``gateway``. Each group of commands has a module.

A command reads its arguments, calls one function, and prints the result. A command that changes
something writes a line with ids to the log. Exit codes: 0 done; 1 refused or failed, and one line
says why; 2 not understood; 3 a setting is invalid.
"""

from __future__ import annotations

import sys
from typing import Any

import click
from flask import Flask
from flask.cli import ScriptInfo

from gateway import create_app
from gateway.ops.cli import database, health, mail, pool, project, secret_key, trail, usage, user
from gateway.ops.cli.base import failure
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
    secret_key.group,
)


class _Commands(click.Group):
    """Our commands, and ``db``, which Flask-Migrate brings."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command; print one line when even its help cannot be printed."""
        extra.setdefault("obj", ScriptInfo(create_app=_create_app, set_debug_flag=False))
        try:
            return super().main(*args, **extra)
        except OSError as error:
            failure(error).show()
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, "db"])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name != "db":
            return self.commands.get(name)
        # Only this command loads Alembic, because it takes 9 MiB.
        from gateway.ops.cli import schema  # noqa: PLC0415 - see above

        return schema.group()


def _create_app() -> Flask:
    # A key that is lost must be put back. Only a new installation needs a new one.
    context = click.get_current_context(silent=True)  # there is none while Tab completes
    is_upgrade = context is not None and getattr(context.command, "is_upgrade", False)
    app = create_app(make_key=is_upgrade)
    trail.start()
    return app


_HELP = {"help_option_names": ["-h", "--help"]}


@click.group(cls=_Commands, commands=COMMANDS, context_settings=_HELP)
@click.version_option(__version__, prog_name="gateway", message="%(prog)s %(version)s")
def main() -> None:
    """Run and look after the service. Settings are those of the server: GATEWAY_ variables and
    config.py in the instance folder."""
