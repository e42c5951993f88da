"""Commands for the data: purge, backup, copy."""

from __future__ import annotations

from pathlib import Path

import click

from gateway import log
from gateway.ops import backup as backups
from gateway.ops import copy
from gateway.ops import purge as purging
from gateway.ops.cli.output import as_json, command, print_one, print_table


@command("purge")
@as_json
def purge(as_json: bool) -> None:
    """Delete expired codes, counters, revocations, known clients, and projects that were deleted
    30 days ago. The service also does this by itself."""
    print_one(purging.purge_expired(), as_json=as_json)


@command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Copy the SQLite database into a new FILE. The service may run meanwhile."""
    size = backups.backup(file)
    click.echo(f"{file}: {size} bytes, checked; keep the secret key with it")


@command("copy-from")
@click.argument("source", metavar="URL", envvar="COPY_FROM")
def copy_from(source: str) -> None:
    """Copy the database at URL into this empty one.

    Stop the service first. When the URL has a password, set COPY_FROM in the environment instead.
    """
    counts = copy.copy_from(source)
    log.logger.info("operator copied rows=%d", sum(counts.values()))
    print_table([{"table": table, "rows": rows} for table, rows in counts.items()])
