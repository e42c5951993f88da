"""Tables of projects, and of the pools of servers that serve them."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, func, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, column_property, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from gateway.db import Base, UtcDateTime

KEY_LENGTH = 16
SECRET_LENGTH = 48
# A pool's name becomes a part of a path and of a host name, so it must be valid in both.
POOL_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Names that nginx needs for other paths, or that a project without a pool could mean.
RESERVED_POOL_NAMES = frozenset(
    {"api", "console", "docs", "failure", "healthz", "openapi", "readyz", "rpc", "static"}
    | {"verify", "ws"}
)


class Pool(Base):
    """A group of servers that nginx knows by name."""

    __tablename__ = "pools"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    pool_name: Mapped[str] = mapped_column(String(63), unique=True)


class Project(Base):
    """An API key with its secret, its daily quota and its exact counters."""

    __tablename__ = "projects"
    __table_args__ = (
        Index("ix_projects_live", "user_id", "deleted", "id"),  # of a page of live projects
        Index(
            "ix_projects_expires_at",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL"),
            sqlite_where=text("expires_at IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    project_name: Mapped[str] = mapped_column(String(128))
    project_type: Mapped[int]
    project_key: Mapped[str] = mapped_column(String(KEY_LENGTH), unique=True)
    secret_hash: Mapped[str] = mapped_column(String(64))
    sealed_secret: Mapped[str] = mapped_column(Text)
    # A secret from before the last rotation, valid while its grace lasts; see service.rotate.
    old_secret_hash: Mapped[str | None] = mapped_column(String(64))
    old_secret_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted: Mapped[bool] = mapped_column(default=False)
    # When the row of a deleted project is purged; a live project has none.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    request_total: Mapped[int] = mapped_column(BigInteger, default=0)
    request_day: Mapped[date | None]
    # The requests of that day, and what they cost beyond 1 each.
    request_count: Mapped[int] = mapped_column(default=0)
    extra_count: Mapped[int] = mapped_column(BigInteger, default=0)
    day_count: Mapped[int] = column_property(request_count + extra_count)
    # What was counted in the month of request_day, with that day.
    month_count: Mapped[int] = mapped_column(BigInteger, default=0)
    # The limits, 0 for none; see project.limits.
    request_max: Mapped[int]
    month_max: Mapped[int] = mapped_column(default=0)
    per_minute: Mapped[int] = mapped_column(default=0)
    rate_moment: Mapped[int] = mapped_column(BigInteger, default=0)  # unix nanoseconds
    # The project is paused from this moment on; None is for ever. An admin blocks it apart from it.
    active_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    blocked: Mapped[bool] = mapped_column(default=False)
    pool_id: Mapped[int | None] = mapped_column(ForeignKey("pools.id"), index=True)
    pool_name: Mapped[str] = column_property(
        func.coalesce(
            select(Pool.pool_name)
            .where(Pool.id == pool_id)
            .correlate_except(Pool)
            .scalar_subquery(),
            "",
        )
    )


class ProjectDay(Base):
    """How many requests of a project were counted on a day that is over.

    The present day is in ``Project``. A trigger in the database moves it here when verify begins a
    new day, so verify stays one statement (migration 1005). A row outlives its project, because
    operators ask what a customer used last month.
    """

    __tablename__ = "project_days"

    project_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # No foreign key, because to delete an account would then delete all its days at once.
    user_id: Mapped[int] = mapped_column(index=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class kept_requests(FunctionElement[int]):
    """SQL: what ``project_days`` holds of the statement's project, from one day to another.

    On Postgres it is a function of the database. It sees what is committed while the statement
    waits for the project's row; a subquery would see what was there when the statement began, and
    would have to be planned each time.
    """

    type = BigInteger()
    inherit_cache = True


@compiles(kept_requests, "postgresql")
def _call_function(element: kept_requests, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(func.kept_requests(Project.id, *element.clauses), **kw))


@compiles(kept_requests)
def _write_subquery(element: kept_requests, compiler: Any, **kw: Any) -> str:
    kept = select(func.coalesce(func.sum(ProjectDay.requests), 0)).where(
        ProjectDay.project_id == Project.id, ProjectDay.day.between(*element.clauses)
    )
    return str(compiler.process(kept.correlate(Project).scalar_subquery(), **kw))
