"""The group ``db``: Flask-Migrate's commands, with checks before them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from flask import current_app, g
from flask_migrate import Migrate, cli
from sqlalchemy.exc import DBAPIError

from gateway import log
from gateway.db import db, readiness, shared
from gateway.db.schema import Schema, schema_of
from gateway.errors import ConfigError
from gateway.ops.cli.base import Command
from gateway.project import admin
from gateway.project import delete as deletion
from gateway.settings import instance

NEW = click.Option(["--new"], is_flag=True, help="Make an empty database if it is gone (SQLite).")
# Options of Flask-Migrate that nobody needs, and what they are then.
UNUSED: dict[str | None, Any] = {"sql": False, "directory": None, "tag": None, "x_arg": ()}
NAMES = ("current", "downgrade", "history", "upgrade", "migrate")  # the last for who changes it


def group() -> click.Group:
    """Return the group; load it only for these commands, because Alembic takes 9 MiB."""
    commands = {name: _checked(cli.db.commands[name]) for name in NAMES}
    return click.Group("db", commands=commands, help="Bring the database's schema up to date.")


def _checked(given: click.Command) -> click.Command:
    """Return one of Flask-Migrate's commands that first looks at the database's file and schema."""
    original: Callable[..., Any] = given.callback  # type: ignore[assignment]
    upgrades = given.name == "upgrade"
    unused = {each.name: UNUSED[each.name] for each in given.params if each.name in UNUSED}

    def run(new: bool = False, **options: Any) -> None:
        Migrate(current_app, db, directory=Path(current_app.root_path) / "db" / "migrations")
        g.directory, g.x_arg = None, []  # options of Flask-Migrate's own group
        instance.check_database_folder(current_app)
        instance.make_database(current_app, again=new)  # --new: although one is gone
        if upgrades and options["revision"] == "head":
            _upgrade(lambda: original(**options, **unused))
        else:
            original(**options, **unused)

    params = [each for each in given.params if each.name not in UNUSED]
    if upgrades:
        params.append(NEW)
    command = Command(given.name, params=params, callback=run, help=given.help)
    command.hidden = given.name == "migrate"
    # Each start of the service upgrades: it may make a key, and speaks only of failures.
    command.is_upgrade = upgrades
    return command


def _upgrade(migrate: Callable[[], None]) -> None:
    """Migrate if need be; then store the settings that all nodes must share, and mend rows."""
    try:
        with db.engine.connect() as connection:
            schema = schema_of(connection)
            grant = readiness.missing_grant(connection)
    except DBAPIError as error:
        message = f"the database cannot be reached: {log.first_line(error)}"
        raise click.ClickException(message) from None
    if schema in (Schema.TOO_NEW, Schema.TOO_OLD, Schema.MIXED):
        raise click.ClickException(f"the schema is {schema.words}; {schema.cure}")
    if schema is Schema.NEWER:
        click.echo(f"The schema is {schema.words}; nothing was changed.")
    elif schema is Schema.OLD:
        if grant:
            raise click.ClickException(f"this role may not create tables; {grant}")
        migrate()
    _check_key()
    shared.claim(current_app)
    deletion.mend_rows_of_0004()


def _check_key() -> None:
    """Refuse to claim a database of before for a key that opens none of its secrets."""
    with db.engine.connect() as connection:
        if "SECRET_KEY" not in shared.stored(connection):
            tried, closed = admin.try_secrets(connection)
            if tried and tried == closed:
                raise ConfigError(shared.OTHER_KEY)
