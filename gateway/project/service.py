"""The rules of projects. Each function ends with the one commit that makes its result true."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, cast

from flask import current_app
from sqlalchemy import (
    ColumnElement,
    Integer,
    Table,
    bindparam,
    case,
    func,
    insert,
    select,
    true,
    update,
)

from gateway import clock, crypto, log, throttle
from gateway.auth.models import User
from gateway.auth.tokens import Caller
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.project import quota_mails
from gateway.project.models import KEY_LENGTH, SECRET_LENGTH, Project
from gateway.throttle import DAY, Counter

OWNERS_COLUMNS = {"project_name", "project_type", "active_until"}
ADMINS_COLUMNS = {"request_max", "month_max", "per_minute", "blocked"}

# Both statements of create are built once, because building one takes 0.2 ms, and name the table,
# because the ORM's own take 0.15 ms more each.
#
# The first adds one to the account's live projects if it may have more. It locks the account's row,
# so racing requests queue here.
_users = cast(Table, User.__table__)
_max_projects = func.coalesce(_users.c.projects_max, bindparam("max_projects", type_=Integer))
_COUNT_LIVE_PROJECT = (
    update(_users)
    .where(_users.c.id == bindparam("owner"), _users.c.live_projects < _max_projects)
    .values(live_projects=_users.c.live_projects + 1)
    .returning(_max_projects)
)
_projects = cast(Table, Project.__table__)
_ADD_PROJECT = insert(_projects).returning(_projects.c.id)


def create(owner: Caller, project_type: int, project_name: str) -> tuple[int, str, str]:
    """Create a project; return its id, its key and its secret.

    :raises ApiError: 1009 when the account has as many live projects as it may, or has created as
        many within a day; 1001 when it has been erased meanwhile.
    """
    config = current_app.config
    most = config["PROJECTS_PER_USER"]
    own = db.session.scalar(_COUNT_LIVE_PROJECT, {"owner": owner.id, "max_projects": most})
    if own is None:
        if db.session.scalar(select(User.id).where(User.id == owner.id)) is None:
            raise ApiError(Code.UNAUTHENTICATED)  # the account has been erased meanwhile
        text = "This account holds as many projects as it may; delete one first"
        raise ApiError(Code.LIMIT_REACHED, text)
    most = max(most, own)
    try:
        throttle.hit(Counter("project-create", f"user {owner.id}", most, DAY, owner.id))
    except ApiError:
        text = f"This account has created {most} projects within a day; wait"
        raise ApiError(Code.LIMIT_REACHED, text) from None
    secret = crypto.random_text(SECRET_LENGTH)
    new = {
        "user_id": owner.id,
        "project_name": project_name,
        "project_type": project_type,
        "project_key": crypto.random_text(KEY_LENGTH),
        "secret_hash": crypto.secret_hash(secret),
        "sealed_secret": crypto.seal(secret),
        "created_at": clock.now(),
        "request_max": config["REQUEST_MAX"],
        "month_max": config["REQUESTS_PER_MONTH"],
        "per_minute": config["REQUESTS_PER_MINUTE"],
    }
    project_id = db.session.scalars(_ADD_PROJECT, new).one()
    db.session.commit()
    return project_id, new["project_key"], secret


def rotate(caller: Caller, project_id: int, grace_hours: int) -> tuple[str, str]:
    """Give a project a new secret; return its key and that secret.

    At most two secrets work: the new one, and with ``grace_hours`` one from before, for that many
    hours from now. The latest rotation alone decides when the old one ends.

    The old one is the secret that this rotation replaces; but while the grace of an earlier
    rotation lasts, it is still the one that had the grace, and the secret in between stops at
    once. A client that did not get the reply, and rotates again, thus keeps what it has deployed.
    Without grace only the new secret works.

    :raises ApiError: 1006 when the caller has no such project.
    """
    secret, now = crypto.random_text(SECRET_LENGTH), clock.now()
    has_grace = Project.old_secret_until > now
    oldest = case((has_grace, Project.old_secret_hash), else_=Project.secret_hash)
    changed = db.session.execute(
        update(_projects)
        .where(*may_change(caller, project_id))
        .values(
            secret_hash=crypto.secret_hash(secret),
            sealed_secret=crypto.seal(secret),
            old_secret_hash=oldest if grace_hours else None,
            old_secret_until=now + timedelta(hours=grace_hours) if grace_hours else None,
        )
        .returning(_projects.c.project_key, _projects.c.user_id)
    ).first()
    project_key: str = found(caller, changed).project_key
    db.session.commit()
    return project_key, secret


def edit(caller: Caller, project_id: int, **fields: Any) -> None:
    """Change a project's name, its type, or the time at which it pauses; an admin also its limits.

    :param fields: of OWNERS_COLUMNS and ADMINS_COLUMNS; ``active_until`` in unix seconds, 0 for
        ever.
    :raises ApiError: 1006 when the caller has no such project; 1000 when he is no admin and sends
        what only admins may, or ``active_until`` while the project is blocked.
    """
    may_lift: ColumnElement[bool] = true()
    if not caller.is_admin:
        if ADMINS_COLUMNS & fields.keys():
            text = f"Only an admin may change {', '.join(sorted(ADMINS_COLUMNS))}"
            raise ApiError(Code.ACCESS_DENIED, text)
        if "active_until" in fields:
            may_lift = Project.blocked.is_(False)
    if "active_until" in fields:
        until = fields["active_until"]
        fields["active_until"] = datetime.fromtimestamp(until, timezone.utc) if until else None
    values = {name: fields[name] for name in (OWNERS_COLUMNS | ADMINS_COLUMNS) & fields.keys()}
    filters = may_change(caller, project_id)
    # With nothing to change, the statement still tells whether the project is there.
    project = change(*filters, may_lift, **(values or {"project_type": Project.project_type}))
    found(caller, project or db.session.scalar(select(Project).where(*filters)))
    if project is None:
        raise ApiError(Code.ACCESS_DENIED, "This project is blocked; ask who runs this service")


def change(*filters: ColumnElement[bool], **values: Any) -> Project | None:
    """Change columns of the one live project that matches; return it, None without one."""
    project: Project | None = db.session.scalar(
        update(Project).where(*filters).values(**values).returning(Project)
    )
    if project is not None:
        db.session.refresh(project)  # while its row is locked, because it may be erased then
    db.session.commit()
    if project is not None and not values.keys().isdisjoint(("request_max", "month_max")):
        quota_mails.owe_after_change(project)
    return project


def may_change(caller: Caller, project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Return the filters for a live project that is the caller's, or anybody's for an admin."""
    log.note(project=project_id)
    is_allowed = true() if caller.is_admin else Project.user_id == caller.id
    return (Project.id == project_id, Project.deleted.is_(False), is_allowed)


def found(caller: Caller, project: Any) -> Any:
    """Return what was found by ``may_change``; let the line in the log say whose it is.

    :param project: an object with ``user_id``, or None.
    :raises ApiError: 1006 when there is none.
    """
    if project is None:
        raise ApiError(Code.NOT_FOUND, "You have no project with this id; project/list shows yours")
    if project.user_id != caller.id:
        log.note(owner=project.user_id)
    return project
