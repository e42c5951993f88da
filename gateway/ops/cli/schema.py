"""The group ``db``: Flask-Migrate's commands, with checks before them, and ``set-timezone``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from flask_migrate import Migrate, cli

from gateway import config, instance, log
from gateway.db import db, facts
from gateway.db.schema import Schema, schema_of
from gateway.errors import ConfigError
from gateway.ops.cli.output import Command, command, yes_option
from gateway.project import admin

NEW = click.Option(["--new"], is_flag=True, help="Make an empty database if it is gone (SQLite).")


def load(app: Flask) -> click.Group:
    """Return the group; load it only for these commands, because Alembic takes 9 MiB."""
    Migrate(app, db, directory=Path(app.root_path) / "db" / "migrations")
    commands = {name: _checked(given) for name, given in cli.db.commands.items()}
    return click.Group(
        "db",
        commands={**commands, "set-timezone": set_timezone},
        params=cli.db.params,
        callback=cli.db.callback,
        help=cli.db.help,
    )


def _checked(given: click.Command) -> click.Command:
    """Return one of Flask-Migrate's commands that first looks at the database's file and schema."""
    original: Callable[..., Any] = given.callback  # type: ignore[assignment]

    @with_appcontext
    def run(new: bool = False, **options: Any) -> None:
        _check_file(new)
        if given.name == "upgrade" and options["revision"] == "head" and not options["sql"]:
            schema = _schema()
            if schema is Schema.NEWER:
                click.echo(f"The schema is {schema.value}; nothing was changed.")
                return
            if schema is Schema.TOO_NEW:
                raise click.ClickException(f"the schema is {schema.value}; upgrade this node")
        original(**options)

    params = [*given.params, NEW] if given.name == "upgrade" else given.params
    return Command(given.name, params=params, callback=run, help=given.help)


def _check_file(new: bool) -> None:
    """Make SQLite's file if there is none; say so, or ask for --new, when there was one."""
    try:
        instance.check_database_folder(current_app)
        made = instance.make_database(current_app, again=new)
    except ConfigError as error:
        config.stop(error)
    if made:
        click.echo(f"{made}: made an empty database", err=True)


def _schema() -> Schema:
    """Return the state of the schema; stop when the database is one of another TIMEZONE."""
    with db.engine.connect() as connection:
        schema = schema_of(connection)
        if schema in (Schema.CURRENT, Schema.NEWER):
            stored = facts.stored_zone(connection)
            if reason := facts.conflict(stored, current_app.config["TIMEZONE"]):
                config.stop(ConfigError(reason))
    return schema


@command("set-timezone")
@yes_option
def set_timezone(yes: bool) -> None:
    """Store the TIMEZONE of the settings in the database; stop every node first.

    What a project has used up today stays used up.
    """
    zone = current_app.config["TIMEZONE"]
    if not yes:
        click.confirm(f"Are all nodes stopped, and shall days begin in {zone}?", abort=True)
    before = admin.change_timezone(zone)
    log.logger.info("operator timezone=%s before=%s", zone, before)
    click.echo(f"TIMEZONE of the database: {zone} (before: {before or 'none'})")
