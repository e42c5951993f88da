"""What is kept: purge, back up, move to another database."""

from __future__ import annotations

from pathlib import Path

import click

from gateway import log, transfer
from gateway.auth import service
from gateway.cli.terms import as_json, command, print_one, print_table


@command("purge")
@as_json
def purge(as_json: bool) -> None:
    """Delete what has expired: codes, counters, revocations. The service does so by itself, too."""
    print_one(service.purge_expired(), as_json=as_json)


@command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Copy the SQLite database into a new FILE while the service goes on."""
    size = transfer.backup(file)
    click.echo(f"{file}: {size} bytes, checked; keep the secret key with it")


@command("copy-from")
@click.argument("source", metavar="URL", envvar="COPY_FROM")
def copy_from(source: str) -> None:
    """Copy everything from the database at URL into this one, which must be empty.

    Stop the service first. A URL with a password is better given as COPY_FROM in the environment.
    """
    counts = transfer.copy_from(source)
    log.logger.info("operator copied rows=%d", sum(counts.values()))
    print_table([{"table": table, "rows": rows} for table, rows in counts.items()])
