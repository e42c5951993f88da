"""Commands for projects."""

from __future__ import annotations

from typing import Any

import click

from gateway import clock, log
from gateway.ops.cli.output import (
    PAGE_SIZE,
    Group,
    as_json,
    page_option,
    print_one,
    print_page,
    visible,
    yes_option,
)
from gateway.project import admin, quota
from gateway.project.models import Project
from gateway.settings import INT32_MAX

group = Group("project", help="Manage projects by id or project key.")


def _row(project: Project, owner: str) -> dict[str, Any]:
    return {
        "id": project.id,
        "project_key": project.project_key,
        "pool_name": project.pool_name,
        "today": quota.requests_on(project, *quota.days(clock.now())),
        "max": project.request_max or "no limit",
        "total": project.request_total,
        "owner": owner,
        "project_name": project.project_name,
    }


@group.command("list")
@click.option("--user", "owner", metavar="WHO", help="Only those of this name or address.")
@click.option("--pool", "pool_name", metavar="NAME", help='Only those of this pool, "" for none.')
@page_option
@as_json
def list_projects(owner: str | None, pool_name: str | None, page: int, as_json: bool) -> None:
    """Show live projects, 50 to a page, without their secrets."""
    found, total = admin.search(owner, pool_name, page, PAGE_SIZE)
    print_page([_row(*each) for each in found], total, page, as_json=as_json)


@group.command("show")
@click.argument("id_or_key")
@as_json
def show(id_or_key: str, as_json: bool) -> None:
    """Show one project, without its secret; times are UTC."""
    project, owner = admin.find(id_or_key)
    more = {
        "project_type": project.project_type,
        "created": f"{project.created_at:%Y-%m-%d %H:%M:%S}",
    }
    print_one({**_row(project, owner), **more}, as_json=as_json)


@group.command("delete")
@click.argument("id_or_key")
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
@click.argument("id_or_key")
@click.argument("pool_name", required=False, metavar="[POOL]")
@click.option("--none", "no_pool", is_flag=True, help="Take it out of its pool.")
def assign(id_or_key: str, pool_name: str | None, no_pool: bool) -> None:
    """Move a project to a pool; its next request goes there."""
    if bool(pool_name) == no_pool:
        raise click.UsageError("Name a pool, or give --none.")
    changed = admin.assign(id_or_key, pool_name or "")
    log.logger.info("operator project=%d pool=%d", changed.id, changed.pool_id or 0)
    click.echo(f"project {changed.id}: pool {changed.pool_name or 'none'}")


@group.command("allow")
@click.argument("id_or_key")
@click.argument("requests", type=click.IntRange(0, INT32_MAX))
def allow(id_or_key: str, requests: int) -> None:
    """Set how many REQUESTS a project may make in a day; 0 is no limit."""
    changed = admin.set_quota(id_or_key, requests)
    log.logger.info("operator project=%d request_max=%d", changed.id, changed.request_max)
    click.echo(f"project {changed.id}: {changed.request_max or 'no limit of requests'} a day")
