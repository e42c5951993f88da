"""What operators do to projects and pools. Each function ends with the one commit."""

from __future__ import annotations

import re

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy import delete as delete_rows
from sqlalchemy.exc import IntegrityError

from gateway.auth import operations as accounts
from gateway.auth.models import User
from gateway.config import INT32_MAX
from gateway.errors import ApiError, Code
from gateway.extensions import db
from gateway.project import service
from gateway.project.models import KEY_LENGTH, POOL_NAME, Pool, Project


def add_pool(pool_name: str) -> Pool:
    """Make a pool.

    :raises ApiError: 1003 when the name is no pool name, or taken.
    """
    if not POOL_NAME.fullmatch(pool_name):
        raise ApiError(
            Code.INVALID_PARAMETER,
            "A pool's name is 1 to 63 of a-z, 0-9 and -, as it becomes a part of URLs;"
            " it neither begins nor ends with -",
        )
    pool = Pool(pool_name=pool_name)
    db.session.add(pool)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ApiError(Code.INVALID_PARAMETER, "There is a pool of this name already") from None
    return pool


def list_pools() -> list[tuple[Pool, int]]:
    """Return every pool, by name, with how many live projects it has."""
    live = and_(Project.pool_id == Pool.id, Project.deleted.is_(False))
    rows = db.session.execute(
        select(Pool, func.count(Project.id))
        .outerjoin(Project, live)
        .group_by(Pool.id)
        .order_by(Pool.pool_name)
    )
    return [(pool, projects) for pool, projects in rows]


def remove_pool(pool_name: str) -> int:
    """Remove a pool that no live project is assigned to; return the id that it had.

    :raises ApiError: 1006 when there is none; 1003 when it has projects.
    """
    pool_id = _pool_id(pool_name)
    db.session.execute(
        update(Project)
        .where(Project.pool_id == pool_id, Project.deleted.is_(True))
        .values(pool_id=None)
        .execution_options(synchronize_session=False)
    )
    try:
        db.session.execute(delete_rows(Pool).where(Pool.id == pool_id))
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ApiError(
            Code.INVALID_PARAMETER,
            f"The pool still has projects; see: project list --pool {pool_name}",
        ) from None
    return pool_id


def search(
    owner: str | None, pool_name: str | None, page_no: int, page_size: int
) -> tuple[list[tuple[Project, str]], int]:
    """Return one page of live projects, each with its owner's name, and how many there are.

    :param owner: name or address of an account; None for all.
    :param pool_name: "" for the projects without a pool; None for all.
    :raises ApiError: 1006 when there is no such account or pool.
    """
    which: list[ColumnElement[bool]] = []
    if owner is not None:
        which.append(Project.user_id == accounts.find(owner).id)
    if pool_name is not None:
        pool_id = _pool_id(pool_name) if pool_name else None
        which.append(Project.pool_id.is_not_distinct_from(pool_id))
    live = (Project.deleted.is_(False), *which)
    total = db.session.scalar(select(func.count()).select_from(Project).where(*live)) or 0
    page = select(Project).where(*live).order_by(Project.id)
    projects = db.session.scalars(page.limit(page_size).offset(page_no * page_size)).all()
    owners = select(User.id, User.user_name).where(User.id.in_(p.user_id for p in projects))
    names = {row.id: row.user_name for row in db.session.execute(owners)}
    return [(project, names[project.user_id]) for project in projects], total


def assign(id_or_key: str, pool_name: str) -> Project:
    """Send a project's traffic to a pool; "" takes it out of its pool.

    :raises ApiError: 1006 when there is no such project or pool.
    """
    return _change(id_or_key, pool_id=_pool_id(pool_name) if pool_name else None)


def allow(id_or_key: str, request_max: int) -> Project:
    """Set a project's daily allowance; 0 is no limit.

    :raises ApiError: 1006 when there is no such project.
    """
    return _change(id_or_key, request_max=request_max)


def find(id_or_key: str) -> tuple[Project, str]:
    """Return a live project, and its owner's name.

    :raises ApiError: 1006 when there is no such project.
    """
    found = db.session.execute(
        select(Project, User.user_name)
        .join(User, User.id == Project.user_id)
        .where(*_is_live(id_or_key))
    ).first()
    if found is None:
        raise _no_such_project()
    return found[0], found[1]


def delete(id_or_key: str) -> None:
    """Delete a project softly.

    :raises ApiError: 1006 when there is no such project.
    """
    if not service.delete_where(*_is_live(id_or_key)):
        raise _no_such_project()


def _is_live(id_or_key: str) -> tuple[ColumnElement[bool], ...]:
    is_key = len(id_or_key) == KEY_LENGTH
    which = Project.project_key == id_or_key if is_key else Project.id == _id(id_or_key)
    return (which, Project.deleted.is_(False))


def _no_such_project() -> ApiError:
    return ApiError(Code.NOT_FOUND, "There is no live project with this id or key")


def _change(id_or_key: str, **values: int | None) -> Project:
    try:
        project: Project | None = db.session.scalar(
            update(Project).where(*_is_live(id_or_key)).values(**values).returning(Project)
        )
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ApiError(Code.NOT_FOUND, "There is no such pool any more") from None
    if project is None:
        raise _no_such_project()
    return project


def _id(text: str) -> int:
    number = int(text) if re.fullmatch(r"\d{1,10}", text, re.ASCII) else 0
    return number if number <= INT32_MAX else 0


def _pool_id(pool_name: str) -> int:
    pool_id = db.session.scalar(select(Pool.id).where(Pool.pool_name == pool_name))
    if pool_id is None:
        raise ApiError(Code.NOT_FOUND, "There is no such pool; see: pool list")
    return pool_id
