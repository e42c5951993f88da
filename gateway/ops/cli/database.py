"""Commands for the data: purge, backup, copy, time zone."""

from __future__ import annotations

from pathlib import Path

import click
from flask import current_app

from gateway import log
from gateway.db import purge as purging
from gateway.ops import backup as backups
from gateway.ops import copy
from gateway.ops.cli.base import Command, as_json, yes_option
from gateway.ops.cli.output import print_one, print_table, progress
from gateway.project import admin


@click.command("purge", cls=Command)
@as_json
def purge(as_json: bool) -> None:
    """Delete what has expired, as the service does by itself.

    That is codes, counters, revocations, projects that were deleted 30 days ago, and old usage.
    """
    with progress("looking at tables") as report:
        deleted = purging.purge_expired(report)
    print_one(deleted, as_json=as_json)
    purging.shrink_log()


@click.command("backup", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(1),
    metavar="N",
    help="FILE is a folder: name the backup by the time, and keep the newest N there.",
)
def backup(file: Path, keep: int | None) -> None:
    """Copy the SQLite database into a new FILE. The service may run meanwhile."""
    if file.is_dir() and keep is None:
        raise click.UsageError(f"{file} is a folder; name a file, or say how many to --keep N")
    with progress("copying pages") as report:
        if keep is None:
            size, deleted = backups.backup(file, report), 0
        else:
            file, size, deleted = backups.backup_into(file, keep, report)
    said = f"; {deleted} old ones deleted" if deleted else ""
    click.echo(f"{file}: {size} bytes, checked{said}; keep the secret key elsewhere")


@click.command("copy-from", cls=Command)
@click.argument("source", metavar="URL", envvar="COPY_FROM")
def copy_from(source: str) -> None:
    """Copy the database at URL into this empty one.

    Stop the service first. When the URL has a password, set COPY_FROM in the environment instead.
    """
    with progress("copying rows") as report:
        counts = copy.copy_from(source, report)
    log.logger.info("operator copied rows=%d", sum(counts.values()))
    print_table([{"table": table, "rows": rows} for table, rows in counts.items()])


@click.command("set-timezone", cls=Command)
@yes_option
def set_timezone(yes: bool) -> None:
    """Store the TIMEZONE of the settings in the database.

    Stop every node first. What a project has used up today stays used up.
    """
    zone = current_app.config["TIMEZONE"]
    if not yes:
        click.confirm(f"Are all nodes stopped, and shall days begin in {zone}?", abort=True)
    before = admin.change_timezone(zone)
    log.logger.info("operator timezone=%s before=%s", zone, before)
    click.echo(f"TIMEZONE of the database: {zone} (before: {before or 'none'})")
