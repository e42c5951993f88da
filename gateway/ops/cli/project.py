"""Commands for projects."""

from __future__ import annotations

from typing import Any

import click

from gateway import clock, log
from gateway.ops.cli.base import Group, as_json, id_or_key, page_option, pool_names, yes_option
from gateway.ops.cli.output import PAGE_SIZE, print_one, print_page, visible
from gateway.project import admin, limits
from gateway.project.models import Project
from gateway.settings import INT32_MAX

LIMIT = click.IntRange(0, INT32_MAX)
group = Group("project", help="Manage projects by id or project key.")


def _row(project: Project, owner: str) -> dict[str, Any]:
    return {
        "id": project.id,
        "project_key": project.project_key,
        "pool_name": project.pool_name,
        "today": limits.requests_on(project, *limits.days(clock.now())),
        "max": project.request_max or "no limit",
        "total": project.request_total,
        "owner": owner,
        "project_name": project.project_name,
    }


@group.command("list")
@click.option("--user", "owner", metavar="WHO", help="Only those of this name or address.")
@click.option("--pool", "pool_name", metavar="NAME", help='Only those of this pool, "" for none.')
@click.option(
    "--sort", type=click.Choice(["today", "month", "total"]), help="Most used first, by this count."
)
@page_option
@as_json
def list_projects(
    owner: str | None, pool_name: str | None, sort: str | None, page: int, as_json: bool
) -> None:
    """Show live projects, 50 to a page, without their secrets."""
    found, total = admin.search(owner, pool_name, sort, page, PAGE_SIZE)
    print_page([_row(*each) for each in found], total, page, as_json=as_json)


@group.command("show")
@id_or_key
@as_json
def show(id_or_key: str, as_json: bool) -> None:
    """Show one project, without its secret; times are UTC."""
    project, owner = admin.find(id_or_key)
    more = {
        "month": limits.requests_in_month(project, clock.now()),
        "month_max": project.month_max or "no limit",
        "per_minute": project.per_minute or "no limit",
        "active_until": f"{until:%Y-%m-%d %H:%M:%S}" if (until := project.active_until) else "",
        "blocked": project.blocked,
        "project_type": project.project_type,
        "created": f"{project.created_at:%Y-%m-%d %H:%M:%S}",
    }
    print_one({**_row(project, owner), **more}, as_json=as_json)


@group.command("delete")
@id_or_key
@yes_option
def delete(id_or_key: str, yes: bool) -> None:
    """Delete a project; its key stops working at once. This cannot be undone."""
    project, owner = admin.find(id_or_key)
    if not yes:
        name = visible(project.project_name)
        question = f'Delete project {project.id} "{name}" of {visible(owner)}?'
        click.confirm(question, abort=True)
    admin.delete(id_or_key)
    log.logger.info("operator project=%d deleted", project.id)
    click.echo(f"project {project.id}: deleted")


@group.command("assign")
@id_or_key
@click.argument("pool_name", required=False, metavar="[POOL]", shell_complete=pool_names)
@click.option("--none", "no_pool", is_flag=True, help="Take it out of its pool.")
def assign(id_or_key: str, pool_name: str | None, no_pool: bool) -> None:
    """Move a project to a pool; its next request goes there."""
    if bool(pool_name) == no_pool:
        raise click.UsageError("Name a pool, or give --none.")
    changed = admin.assign(id_or_key, pool_name or "")
    log.logger.info("operator project=%d pool=%d", changed.id, changed.pool_id or 0)
    click.echo(f"project {changed.id}: pool {changed.pool_name or 'none'}")


@group.command("allow")
@id_or_key
@click.argument("requests", required=False, type=LIMIT)
@click.option("--day", "request_max", metavar="N", type=LIMIT, help="Quota of a day.")
@click.option("--month", "month_max", metavar="N", type=LIMIT, help="Quota of a calendar month.")
@click.option(
    "--per-minute",
    metavar="N",
    type=click.IntRange(0, limits.MAX_PER_MINUTE),
    help="Rate of a minute.",
)
def allow(id_or_key: str, requests: int | None, **given: int | None) -> None:
    """Set how many requests a project may make; 0 is no limit.

    REQUESTS is those of a day. At once it may make what it may in 10 seconds, at least 5.
    """
    given["request_max"] = given["request_max"] if requests is None else requests
    new = {name: value for name, value in given.items() if value is not None}
    if not new:
        raise click.UsageError("Give --day, --month or --per-minute.")
    before = admin.find(id_or_key)[0]
    was = {name: getattr(before, name) or "no limit" for name in new}
    changed = admin.change(id_or_key, **new)
    for name, value in new.items():
        log.logger.info("operator project=%d %s=%d", changed.id, name, value)
        period = {"request_max": "day", "month_max": "month"}.get(name, "minute")
        click.echo(f"project {changed.id}: {value or 'no limit'} a {period}, was {was[name]}")


@group.command("pause")
@id_or_key
def pause(id_or_key: str) -> None:
    """Pause a project; its owner cannot lift that."""
    _block(id_or_key, True)


@group.command("resume")
@id_or_key
def resume(id_or_key: str) -> None:
    """Lift a pause that an operator has set."""
    _block(id_or_key, False)


def _block(id_or_key: str, blocked: bool) -> None:
    changed = admin.change(id_or_key, blocked=blocked)
    log.logger.info("operator project=%d blocked=%s", changed.id, blocked)
    over = changed.active_until is not None and changed.active_until <= clock.now()
    state = "paused" if blocked else "still paused by its owner" if over else "resumed"
    click.echo(f"project {changed.id}: {state}")
