"""What operators do to pools. Each function ends with the one commit."""

from __future__ import annotations

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.project.models import POOL_NAME, RESERVED_POOL_NAMES, Pool, Project


def add(pool_name: str) -> Pool:
    """Create a pool.

    :raises ApiError: 1003 when the name is invalid, reserved or taken.
    """
    if not POOL_NAME.fullmatch(pool_name):
        raise ApiError(
            Code.INVALID_PARAMETER,
            "A pool's name is 1 to 63 of a-z, 0-9 and -, as it becomes a part of URLs;"
            " it neither begins nor ends with -",
        )
    if pool_name in RESERVED_POOL_NAMES:
        raise ApiError(
            Code.INVALID_PARAMETER,
            f"{pool_name} is reserved, because nginx has other paths of this name; choose another",
        )
    pool = Pool(pool_name=pool_name)
    db.session.add(pool)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ApiError(Code.INVALID_PARAMETER, "There is a pool of this name already") from None
    return pool


def list_all() -> list[tuple[Pool, int]]:
    """Return every pool, ordered by name, with the number of its live projects."""
    live = and_(Project.pool_id == Pool.id, Project.deleted.is_(False))
    counted = select(Pool, func.count(Project.id)).outerjoin(Project, live).group_by(Pool.id)
    return list(db.session.execute(counted.order_by(Pool.pool_name)))


def remove(pool_name: str) -> int:
    """Remove a pool that has no live project; return its id.

    :raises ApiError: 1006 when there is none; 1003 when it has projects.
    """
    pool_id = id_of(pool_name)
    left = update(Project).where(Project.pool_id == pool_id, Project.deleted.is_(True))
    db.session.execute(left.values(pool_id=None))
    try:
        db.session.execute(delete(Pool).where(Pool.id == pool_id))
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ApiError(
            Code.INVALID_PARAMETER,
            f"The pool still has projects; see: project list --pool {pool_name}",
        ) from None
    return pool_id


def id_of(pool_name: str) -> int:
    """Return the id of a pool.

    :raises ApiError: 1006 when there is none.
    """
    pool_id = db.session.scalar(select(Pool.id).where(Pool.pool_name == pool_name))
    if pool_id is None:
        raise ApiError(Code.NOT_FOUND, "There is no such pool; see: pool list")
    return pool_id
