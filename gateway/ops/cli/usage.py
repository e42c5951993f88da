"""The command ``usage``."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import click

from gateway import clock
from gateway.ops.cli.base import Command, as_json
from gateway.ops.cli.output import print_list, print_table, visible
from gateway.project import limits
from gateway.project import usage as usages
from gateway.settings import INT32_MAX


@click.command("usage", cls=Command)
@click.option(
    "--month",
    metavar="YYYY-MM",
    type=click.DateTime(["%Y-%m"]),
    help="By default the present month.",
)
@click.option("--today", is_flag=True, help="Only what was counted today.")
@click.option("--user", "owner", metavar="WHO", help="Only projects of this name or address.")
@click.option("--users", "of_users", is_flag=True, help="Sum up the projects of each user.")
@click.option(
    "--top", metavar="N", type=click.IntRange(1, INT32_MAX), help="Only the N with most requests."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for spreadsheets.")
@as_json
def usage(
    *,
    month: datetime | None,
    today: bool,
    owner: str | None,
    of_users: bool,
    top: int | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show who made how many requests in a month or today.

    Those with most requests come first.
    """
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json, not both.")
    if month and today:
        raise click.UsageError("Give --month or --today, not both.")
    days = limits.days(clock.now())
    period = days if today else limits.month_of(month.date() if month else days[0])
    found = usages.BY_OWNER if of_users else usages.BY_PROJECT
    rows = usages.rows(found, period, owner, top)
    if as_json:
        print_list(rows)
    elif as_csv:
        _print_csv(found.selected_columns.keys(), rows)
    else:
        print_table(rows)


def _print_csv(names: Collection[str], rows: Iterator[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, names)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _plain(value) for name, value in row.items()})


def _plain(value: Any) -> Any:
    """Return a cell; a text that a spreadsheet would take for a formula gets an apostrophe.

    Customers choose the names of their projects.
    """
    if not isinstance(value, str):
        return value
    return re.sub(r"^(?=[=+\-@\t\r])", "'", visible(value))
