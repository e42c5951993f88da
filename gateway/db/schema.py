"""Tell whether this version can serve a database's schema.

During an upgrade one node migrates the database while others still run the version before. They
go on serving when the migration only adds what they do not need. The rule: the number of a
migration begins with the same digit as the one before when the version before can serve the new
schema, and with the next digit when it cannot. So 1005 after 0004 breaks, and 1006 would add.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, column, inspect, select, table

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
# Alembic keeps the revision in this table. Loading Alembic to ask costs each worker 9 MiB.
_REVISION: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))
# Seconds that a migration waits for its locks, pauses between two tries, and tries in all.
LOCK_TIMEOUT, PAUSE, GIVE_UP = 0.5, 5, 300
_FIRST = "0004"  # the schema of 0.1.0
# A table that each migration brings. pg_restore --clean leaves it when it restores an older dump.
_FIRST_WITH = {"1005": "project_days"}


class Schema(Enum):
    """How a database's schema compares with this version's: in words, and what to do about it."""

    CURRENT = ("current", "")
    NEWER = ("newer than this version, which can serve it", "")
    OLD = ("not this version's", "run: gateway db upgrade")
    TOO_OLD = ("older than that of 0.1.0", "upgrade with version 0.1.0 first")
    TOO_NEW = ("newer than this version, which cannot serve it", "upgrade this node")
    MIXED = (
        "an older version's beside tables of a newer one, as pg_restore --clean leaves it",
        'drop and create the database, then restore it: "Backup and restore" in the guide',
    )

    def __init__(self, words: str, cure: str) -> None:
        self.words = words
        self.cure = cure

    @property
    def can_serve(self) -> bool:
        """Whether this version can serve such a database."""
        return self in (Schema.CURRENT, Schema.NEWER)


def schema_of(connection: Connection) -> Schema:
    """Compare the schema of a database with this version's."""
    tables = inspect(connection)
    if not tables.has_table("alembic_version"):
        return Schema.OLD
    found, ours = connection.scalars(_REVISION).all(), latest_revision()
    if found == [ours]:
        return Schema.CURRENT
    if len(found) == 1 and found[0] > ours:
        return Schema.NEWER if found[0][0] == ours[0] else Schema.TOO_NEW
    later = [name for revision, name in _FIRST_WITH.items() if revision > max(found, default="")]
    if any(map(tables.has_table, later)):
        return Schema.MIXED
    return Schema.TOO_OLD if found and max(found) < _FIRST else Schema.OLD


def latest_revision() -> str:
    """Return the number of the last migration; the names of the files begin with it."""
    return max(file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*.py"))
