"""Commands for pools."""

from __future__ import annotations

import click

from gateway import log
from gateway.ops.cli.base import Group, as_json, pool_names
from gateway.ops.cli.output import print_page
from gateway.project import pools

group = Group("pool", help="Manage pools: groups of servers that nginx knows by name.")


@group.command("add")
@click.argument("name")
def add(name: str) -> None:
    """Create a pool; nginx must know the name, too."""
    added = pools.add(name)
    log.logger.info("operator pool=%d added", added.id)
    click.echo(f"{added.pool_name}: added")


@group.command("list")
@as_json
def list_pools(as_json: bool) -> None:
    """Show the pools and the number of their live projects."""
    rows = [
        {"id": pool.id, "projects": projects, "pool_name": pool.pool_name}
        for pool, projects in pools.list_all()
    ]
    print_page(rows, len(rows), 0, as_json=as_json)


@group.command("remove")
@click.argument("name", shell_complete=pool_names)
def remove(name: str) -> None:
    """Remove a pool that has no project."""
    removed = pools.remove(name)
    log.logger.info("operator pool=%d removed", removed)
    click.echo(f"{name}: removed")
