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
        driver.set_trace_callback(note)

    event.listen(engine, "checkout", trace)
    yield read_log
    event.remove(engine, "checkout", trace)
    borrowed = engine.raw_connection()
    borrowed.driver_connection.set_trace_callback(None)
    borrowed.close()
