"""Operator commands: ``flask --app wsgi user|pool|project ...``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError

from gateway import clock, log
from gateway.auth import service
from gateway.config import INT32_MAX
from gateway.errors import ApiError
from gateway.project import gate, operations

PAGE_SIZE = 50


class Group(AppGroup):
    """Commands whose failures are one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        :raises click.ClickException: for what the command refuses, or the database fails to do.
        """
        try:
            return super().invoke(ctx)
        except ApiError as error:
            raise click.ClickException(error.text) from None
        except DBAPIError as error:
            raise click.ClickException(log.first_line(error)) from None


user = Group("user", help="Manage accounts by user name or e-mail address.")
pool = Group("pool", help="Manage pools: groups of servers that nginx knows by name.")
project = Group("project", help="Manage projects by id or project key.")


def init_app(app: Flask) -> None:
    """Add the commands to the application."""
    for group in (user, pool, project):
        app.cli.add_command(group)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print columns, the last of which may be of any width."""
    lines = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        click.echo("  ".join([*cells, line[-1]]))


def _set(who: str, **flags: bool) -> None:
    account = service.set_flags(who, **flags)
    changes = " ".join(f"{name}={value}" for name, value in flags.items())
    log.logger.info("operator user=%d %s", account.id, changes)
    click.echo(f"{account.user_name}: {changes}")


@user.command()
@click.argument("who")
def ban(who: str) -> None:
    """Shut an account out at once, its tokens and projects included."""
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


@pool.command("add")
@click.argument("name")
def add_pool(name: str) -> None:
    """Make a pool; nginx must know the name too."""
    added = operations.add_pool(name)
    log.logger.info("operator pool=%d added", added.id)
    click.echo(f"{added.pool_name}: added")


@pool.command("list")
def list_pools() -> None:
    """Show the pools and how many live projects each has."""
    rows = [(pool.id, projects, pool.pool_name) for pool, projects in operations.list_pools()]
    _table(("ID", "PROJECTS", "NAME"), rows)


@pool.command("remove")
@click.argument("name")
def remove_pool(name: str) -> None:
    """Remove a pool that no project is assigned to."""
    removed = operations.remove_pool(name)
    log.logger.info("operator pool=%d removed", removed)
    click.echo(f"{name}: removed")


@project.command("list")
@click.option("--user", "owner", metavar="WHO", help="Only those of this name or address.")
@click.option("--pool", "pool_name", metavar="NAME", help='Only those of this pool, "" for none.')
@click.option("--page", default=0, type=click.IntRange(0, INT32_MAX), help="Page, from 0.")
def list_projects(owner: str | None, pool_name: str | None, page: int) -> None:
    """Show live projects, 50 to a page, without their secrets."""
    found, total = operations.search(owner, pool_name, page, PAGE_SIZE)
    days = gate.days(clock.now())
    rows = [
        (
            each.id,
            each.project_key,
            each.pool_name or "-",
            each.requests_on(*days),
            each.request_max or "no limit",
            each.request_total,
            f"{owner_name}: {each.project_name}",
        )
        for each, owner_name in found
    ]
    _table(("ID", "KEY", "POOL", "TODAY", "MAX", "TOTAL", "OWNER: NAME"), rows)
    if total > len(rows):
        pages = -(-total // PAGE_SIZE)
        click.echo(f"page {page} of 0 to {pages - 1}; {total} projects")


@project.command()
@click.argument("id_or_key")
@click.argument("pool_name", required=False, metavar="POOL")
@click.option("--none", "no_pool", is_flag=True, help="Take it out of its pool.")
def assign(id_or_key: str, pool_name: str | None, no_pool: bool) -> None:
    """Send a project's traffic to a pool, from the next request on."""
    if bool(pool_name) == no_pool:
        raise click.UsageError("Name a pool, or say --none.")
    changed = operations.assign(id_or_key, pool_name or "")
    log.logger.info("operator project=%d pool=%d", changed.id, changed.pool_id or 0)
    click.echo(f"project {changed.id}: pool {changed.pool_name or 'none'}")


@project.command()
@click.argument("id_or_key")
@click.argument("requests", type=click.IntRange(0, INT32_MAX))
def allow(id_or_key: str, requests: int) -> None:
    """Set how many REQUESTS a project may make in a day, from the next on; 0 is no limit."""
    changed = operations.allow(id_or_key, requests)
    log.logger.info("operator project=%d request_max=%d", changed.id, changed.request_max)
    click.echo(f"project {changed.id}: {changed.request_max or 'no limit of requests'} a day")
