"""Operator commands: ``flask --app wsgi ...``; each group has a module.

A command reads its arguments, calls one function of a service, and prints what came of it. What
is changed writes a line to the log, with ids only. Exit codes: 0 done, 1 refused or failed (one
line says why), 2 not understood.
"""

from __future__ import annotations

from flask import Flask

from gateway.cli import database, health, mail, pool, project, user

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


def init_app(app: Flask) -> None:
    """Add the commands to the application."""
    for command in COMMANDS:
        app.cli.add_command(command)
