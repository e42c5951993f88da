"""Run Alembic on the application's engine, in one transaction, one node at a time."""

from alembic import context
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from gateway.db import UtcDateTime, db
from gateway.log import first_line

UPGRADE_LOCK = 7164289  # any number that no other lock in the database uses


def render_item(kind, item, _autogen):
    # A migration must stay the same when the class changes.
    return "sa.DateTime(timezone=True)" if kind == "type" and type(item) is UtcDateTime else False


def run() -> None:
    with db.engine.connect() as connection:
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
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})")
            else:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            context.run_migrations()


def write_sql() -> None:
    context.configure(url=str(db.engine.url), target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    write_sql()
else:
    try:
        run()
    except DBAPIError as error:
        # No traceback: the operator's database is down, or its address is wrong.
        raise CommandError(f"the database cannot be migrated: {first_line(error)}") from None
