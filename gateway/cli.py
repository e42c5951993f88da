"""Operator commands: ``flask --app wsgi user ...``."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError

from gateway import log
from gateway.auth import service
from gateway.envelope import first_line
from gateway.errors import ApiError

user = AppGroup("user", help="Manage accounts by user name or e-mail address.")


def init_app(app: Flask) -> None:
    """Add the commands to the application."""
    app.cli.add_command(user)


def _set(who: str, **flags: bool) -> None:
    try:
        account = service.set_flags(who, **flags)
    except ApiError as error:
        raise click.ClickException(error.text) from None
    except DBAPIError as error:
        raise click.ClickException(first_line(error)) from None
    changes = " ".join(f"{name}={value}" for name, value in flags.items())
    log.logger.info("operator user=%d %s", account.id, changes)
    click.echo(f"{account.user_name}: {changes}")


@user.command()
@click.argument("who")
def ban(who: str) -> None:
    """Shut an account out at once, its tokens included."""
    _set(who, is_banned=True)


@user.command()
@click.argument("who")
def unban(who: str) -> None:
    """Let a banned account in again."""
    _set(who, is_banned=False)


@user.command()
@click.argument("who")
def promote(who: str) -> None:
    """Make an account an admin."""
    _set(who, is_admin=True)


@user.command()
@click.argument("who")
def demote(who: str) -> None:
    """Make an admin an ordinary account again."""
    _set(who, is_admin=False)
