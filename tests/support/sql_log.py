"""Log the SQL statements that reach the driver.

The log listens at the driver, because hot paths send statements without SQLAlchemy's events.
"""

from contextlib import contextmanager
from unittest import mock

import psycopg
from sqlalchemy import event

VERBS = ("SELECT", "UPDATE", "INSERT", "DELETE")


class Sent(str):
    """A statement with the parameters that psycopg got."""

    def __new__(cls, query, params):
        sent = super().__new__(cls, query)
        sent.params = params
        return sent


def without_triggers(driver, note):
    """Return a trace callback for SQLite that notes each statement once.

    SQLite names a statement again when a trigger starts, before it counts the rows that the
    statement changed.
    """
    last = None

    def note_once(query):
        nonlocal last
        seen, last = last, (query, driver.total_changes)
        if last != seen:
            note(query)

    return note_once


@contextmanager
def sql_log(engine):
    """Yield a function that returns the statements sent since its last call.

    The log leaves out BEGIN, COMMIT, ROLLBACK and PRAGMA.
    """
    queries = []

    def note(query, params=None):
        if query.startswith(VERBS):
            queries.append(Sent(query, params))

    def read_log():
        log = queries.copy()
        queries.clear()
        return log

    if engine.dialect.name == "postgresql":
        execute = psycopg.Cursor.execute

        def listen(cursor, query, params=None, **kwargs):
            note(query, params)
            return execute(cursor, query, params, **kwargs)

        with mock.patch.object(psycopg.Cursor, "execute", listen):
            yield read_log
        return

    def trace(driver, *_):
        driver.set_trace_callback(without_triggers(driver, note))

    event.listen(engine, "checkout", trace)
    yield read_log
    event.remove(engine, "checkout", trace)
    borrowed = engine.raw_connection()
    borrowed.driver_connection.set_trace_callback(None)
    borrowed.close()
