"""Run Alembic on the application's engine, in one transaction, one node at a time.

On Postgres every statement of the service waits behind a migration that waits for its locks. So a
migration takes all its locks in its first statement (see ``script.py.mako``), gives way after
LOCK_TIMEOUT, and tries again after PAUSE.
"""

import time

import click
from alembic import context
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.db import UtcDateTime, db
from gateway.db.schema import GIVE_UP, LOCK_TIMEOUT, PAUSE
from gateway.log import first_line

UPGRADE_LOCK = 7164289  # any number that no other lock in the database uses
# SQLSTATEs of a lock that was not to be had in time.
BUSY = ("55P03", "57014")
# Transactions shorter than LOCK_TIMEOUT are not in the way.
HOLDERS = text("""
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'unnamed') AS name,
  string_agg(DISTINCT coalesce(l.relation::regclass::text, 'another db upgrade'), ', ') AS what
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.granted AND a.pid <> pg_backend_pid() AND a.datname = current_database()
  AND (l.relation::regclass::text = ANY(:tables) OR l.objid = :lock AND l.locktype = 'advisory')
  AND coalesce(a.xact_start, '-infinity') < now() - make_interval(secs => :seconds)
GROUP BY 1, 2 ORDER BY 1 LIMIT 5
""")


def render_item(kind, item, _autogen):
    # A migration must stay the same when the class changes.
    return "sa.DateTime(timezone=True)" if kind == "type" and type(item) is UtcDateTime else False


def run() -> None:
    """Migrate; while others hold the locks, try again for GIVE_UP seconds."""
    deadline = time.monotonic() + GIVE_UP
    while True:
        try:
            with db.engine.connect() as connection:
                migrate(connection)
            return
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state not in BUSY and "is locked" not in str(error.orig):
                raise
        held = ", ".join(holders()) or "others hold the tables"
        if time.monotonic() + PAUSE > deadline:
            raise CommandError(f"nothing was changed: {held}; end that, and run this again")
        click.echo(f"gateway: waiting to migrate: {held}; trying again in {PAUSE} s", err=True)
        time.sleep(PAUSE)


def migrate(connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=True,
        compare_type=True,
        transactional_ddl=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        # When two nodes start together, the second waits and then finds nothing to do.
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PAUSE}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        context.run_migrations()


def holders() -> list[str]:
    """Say who holds what; only Postgres knows."""
    if db.engine.dialect.name != "postgresql":
        return []
    values = {"tables": list(db.metadata.tables), "lock": UPGRADE_LOCK, "seconds": LOCK_TIMEOUT}
    with db.engine.connect() as connection:
        found = connection.execute(HOLDERS, values)
        return [f"pid {row.pid} ({row.name}) holds {row.what}" for row in found]


try:
    run()
except DBAPIError as error:
    # No traceback: the operator's database is down, or its address is wrong.
    raise CommandError(f"the database cannot be reached: {first_line(error)}") from None
