"""Operator commands: ``flask --app wsgi ...``; each group has a module.

A command reads its arguments, calls one function of a service, and prints what came of it. What
is changed writes a line to the log, with ids only. Exit codes: 0 done, 1 refused or failed (one
line says why), 2 not understood.
"""

from __future__ import annotations

from pathlib import Path

from click import Command, Context
from flask import Flask
from flask.cli import AppGroup

from gateway.cli import database, health, mail, pool, project, user
from gateway.extensions import db

COMMANDS = (
    user.group,
    project.group,
    pool.group,
    mail.group,
    health.doctor,
    database.purge,
    database.backup,
    database.copy_from,
)


class _Commands(AppGroup):
    """The application's commands, with those of Flask-Migrate once somebody asks for one.

    A server does not, and so each worker does without Alembic's 9 MiB.
    """

    def __init__(self, app: Flask) -> None:
        super().__init__(app.cli.name)
        self._app = app

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the commands' names."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return a command by its name."""
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        if "migrate" not in self._app.extensions:
            from flask_migrate import Migrate  # noqa: PLC0415 - see above

            Migrate(self._app, db, directory=Path(self._app.root_path) / "migrations")


def init_app(app: Flask) -> None:
    """Add the commands to the application."""
    app.cli = _Commands(app)
    for command in COMMANDS:
        app.cli.add_command(command)
