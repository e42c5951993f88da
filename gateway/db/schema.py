"""Tell whether a database's schema is the one of this version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, column, inspect, select, table

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
# Alembic keeps the revision in this table. Loading Alembic to ask costs each worker 9 MiB.
_REVISION: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))


def schema_is_current(connection: Connection) -> bool:
    """Tell whether the last migration has been applied to a database."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.scalars(_REVISION).all() == [latest_revision()]


def latest_revision() -> str:
    """Return the number of the last migration; the names of the files begin with it."""
    return max(file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*.py"))
