"""What the driver is told to run: it is asked itself, as not everything is SQLAlchemy's event."""

from contextlib import contextmanager
from unittest import mock

import psycopg
from sqlalchemy import event

VERBS = ("SELECT", "UPDATE", "INSERT", "DELETE")


class Sent(str):
    """A statement, with the parameters that psycopg was given."""

    def __new__(cls, query, params):
        sent = super().__new__(cls, query)
        sent.params = params
        return sent


@contextmanager
def told(engine):
    """Return a function that returns the statements sent since it was last called.

    Transactions and PRAGMAs are left out.
    """
    queries = []

    def note(query, params=None):
        if query.startswith(VERBS):
            queries.append(Sent(query, params))

    def take():
        taken = queries.copy()
        queries.clear()
        return taken

    if engine.dialect.name == "postgresql":
        execute = psycopg.Cursor.execute

        def listen(cursor, query, params=None, **kwargs):
            note(query, params)
            return execute(cursor, query, params, **kwargs)

        with mock.patch.object(psycopg.Cursor, "execute", listen):
            yield take
        return

    def listen_in(driver, *_):
        driver.set_trace_callback(note)

    event.listen(engine, "checkout", listen_in)
    yield take
    event.remove(engine, "checkout", listen_in)
    lent = engine.raw_connection()
    lent.driver_connection.set_trace_callback(None)
    lent.close()
