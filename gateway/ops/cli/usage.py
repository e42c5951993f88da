"""The command ``usage``."""

from __future__ import annotations

import csv
import re
import sys
from datetime import date, datetime, timedelta
from typing import Any

import click

from gateway import clock
from gateway.ops.cli.output import as_json, command, print_json, print_table, visible
from gateway.project import quota
from gateway.project import usage as usages
from gateway.settings import INT32_MAX

LAST_YEAR = 9998  # Python's dates end with the next one


def _month(_ctx: click.Context, _param: click.Parameter, value: str | None) -> date | None:
    """Return the first day of a month."""
    if value is None:
        return None
    try:
        month = datetime.strptime(value, "%Y-%m").date()  # noqa: DTZ007 - a month has no zone
    except ValueError:
        month = None
    if month is None or month.year > LAST_YEAR:
        raise click.BadParameter("a month looks like 2024-03")
    return month


@command("usage")
@click.option("--month", metavar="YYYY-MM", callback=_month, help="By default the present month.")
@click.option("--user", "owner", metavar="WHO", help="Only projects of this name or address.")
@click.option("--users", "of_users", is_flag=True, help="Sum up the projects of each user.")
@click.option(
    "--top", metavar="N", type=click.IntRange(1, INT32_MAX), help="Only the N with most requests."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for spreadsheets.")
@as_json
def usage(
    *,
    month: date | None,
    owner: str | None,
    of_users: bool,
    top: int | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show who made how many requests in a month, most requests first."""
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json, not both.")
    month = month or quota.days(clock.now())[0].replace(day=1)
    next_month = (month + timedelta(days=31)).replace(day=1)
    count = usages.by_owner if of_users else usages.by_project
    rows = count((month, next_month - timedelta(days=1)), owner, top)
    if as_json:
        print_json(rows)
    elif as_csv:
        _print_csv(rows)
    else:
        print_table(rows)


def _print_csv(rows: list[dict[str, Any]]) -> None:
    names = list(rows[0]) if rows else []
    writer = csv.DictWriter(sys.stdout, names)
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)


def _plain(value: Any) -> Any:
    """Return a cell; a text that a spreadsheet would take for a formula gets an apostrophe.

    Customers choose the names of their projects.
    """
    if not isinstance(value, str):
        return value
    return re.sub(r"^(?=[=+\-@\t\r])", "'", visible(value))
