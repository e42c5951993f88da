"""The command ``usage``."""

from __future__ import annotations

import csv
import sys
from datetime import date, datetime, timedelta

import click

from gateway import clock
from gateway.ops.cli.output import as_json, command, print_json, print_table
from gateway.project import quota
from gateway.project import usage as usages


def _month(_ctx: click.Context, _param: click.Parameter, value: str | None) -> date | None:
    """Return the first day of a month."""
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m").date()  # noqa: DTZ007 - a month has no zone
    except ValueError:
        raise click.BadParameter("a month looks like 2024-03") from None


@command("usage")
@click.option("--month", metavar="YYYY-MM", callback=_month, help="By default the present month.")
@click.option("--user", "owner", metavar="WHO", help="Only projects of this name or address.")
@click.option("--top", metavar="N", type=click.IntRange(1), help="Only the N most used projects.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for spreadsheets.")
@as_json
def usage(
    month: date | None, owner: str | None, top: int | None, as_csv: bool, as_json: bool
) -> None:
    """Show who made how many requests in a month, most used first."""
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json, not both.")
    month = month or quota.days(clock.now())[0].replace(day=1)
    next_month = (month + timedelta(days=31)).replace(day=1)
    rows = usages.by_project(month, next_month - timedelta(days=1), owner, top)
    if as_json:
        print_json(rows)
    elif as_csv:
        names = ("id", "project_key", "requests", "owner", "project_name")
        writer = csv.DictWriter(sys.stdout, names)
        writer.writeheader()
        writer.writerows(rows)
    else:
        print_table(rows)
