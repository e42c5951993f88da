"""Statements of the paths that are called all day: SQLAlchemy writes them, the driver runs them.

A session costs seven times what SQLite itself needs for such a statement. So SQLAlchemy compiles
it once, and then the driver runs it on a connection of the engine's pool; what the pool, ``sqlite``
and ``postgres`` do to connections holds here, too, and errors come out as SQLAlchemy's. What is
asked now and then goes through ``db.session``.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Dialect, Engine, Executable
from sqlalchemy.exc import DBAPIError, DisconnectionError

from gateway import sqlite
from gateway.extensions import db

_PARAMSTYLES = {"sqlite": "named", "postgresql": "pyformat"}


class Statement:
    """A SELECT, or a change with RETURNING, whose ``bindparam``s are given when it runs.

    :param durable: whether a change waits for the disk before it is answered. If not, it outlives
        a killed process, but on SQLite the last ones may go with a power cut.
    """

    def __init__(self, statement: Executable, *, durable: bool = True) -> None:
        self._statement = statement
        self._durable = durable
        self._compiled: dict[str, _Compiled] = {}

    def first(self, values: Mapping[str, Any], transaction: Any = None) -> Any:
        """Run it, and return the first row, or None."""
        rows = self.all(values, transaction)
        return rows[0] if rows else None

    def all(self, values: Mapping[str, Any], transaction: Any = None) -> list[Any]:
        """Run it, and return its rows as named tuples.

        :param transaction: of ``transaction()``; without one, a change is committed when this
            returns. Postgres then hears of it in one message, so that a row is locked for as short
            as can be.
        :raises sqlalchemy.exc.DBAPIError: when the database does not do it.
        """
        engine = db.engine
        compiled = self._compiled.get(engine.dialect.name) or self._compile(engine)
        if transaction is not None:
            return compiled.run(transaction, values)
        entry = _take(engine)
        try:
            driver: Any = entry.dbapi_connection
            if compiled.dialect == "sqlite":
                run = partial(compiled.run, driver, values)
                if not self._statement.is_dml:
                    return sqlite.when_free(driver, entry.info, run)
                return sqlite.write(driver, entry.info, run, durable=self._durable)
            rows = compiled.run(driver, values)
            driver.commit()  # it is in autocommit; this is for an engine set up otherwise
            return rows
        except engine.dialect.loaded_dbapi.Error as error:
            raise _translated(error, engine, entry) from error
        finally:
            _give_back(entry)

    def _compile(self, engine: Engine) -> _Compiled:
        compiled = _compile(self._statement, engine.dialect)
        self._compiled[engine.dialect.name] = compiled
        return compiled


@contextmanager
def transaction() -> Iterator[Any]:
    """Have several statements committed together when the block ends, or none of them.

    :raises sqlalchemy.exc.DBAPIError: when the database does not do it.
    """
    engine = db.engine
    entry = _take(engine)
    try:
        driver: Any = entry.dbapi_connection
        if engine.dialect.name == "sqlite":
            with sqlite.turn:
                sqlite.begin(driver, entry.info)
                yield driver
                driver.commit()
        else:
            driver.execute("BEGIN")
            yield driver
            driver.commit()
    except engine.dialect.loaded_dbapi.Error as error:
        raise _translated(error, engine, entry) from error
    finally:
        _give_back(entry)  # which rolls back what was not committed


def _take(engine: Engine) -> Any:
    """Take a connection out of the pool, until ``_give_back``.

    This is ``engine.raw_connection()`` without the proxy that looks after a connection whose
    user forgets it, and which took 11 of verify's 190 µs.

    :return: the pool's entry, whose ``dbapi_connection`` is the driver's.
    """
    try:
        entry: Any = engine.pool._do_get()
        try:
            engine.pool.dispatch.checkout(entry.get_connection(), entry, None)
        except BaseException as error:
            entry.invalidate(error)
            entry.checkin(_fairy_was_created=False)
            raise
    except DisconnectionError:  # lost while it lay in the pool, which makes a new one for it
        return _take(engine)
    except engine.dialect.loaded_dbapi.Error as error:
        raise _translated(error, engine, None) from error
    return entry


def _give_back(entry: Any) -> None:
    driver = entry.dbapi_connection
    if driver is not None:  # or it was lost
        try:
            driver.rollback()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody else gets this one
            entry.invalidate(error)
    entry.checkin(_fairy_was_created=False)


def _translated(error: Exception, engine: Engine, entry: Any) -> BaseException:
    """Return SQLAlchemy's word for a driver's error; a lost connection is not lent again."""
    dialect = engine.dialect
    if entry is not None and dialect.is_disconnect(error, entry.dbapi_connection, None):  # type: ignore[arg-type]
        entry.invalidate(error)
    return DBAPIError.instance(
        "(the traceback tells)" if entry is not None else None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        dialect=dialect,
    )


@dataclass(frozen=True)
class _Compiled:
    """A statement in the words of one driver.

    ``constants`` are the values it has already, ``write`` and ``read`` turn Python's values into
    the driver's and, by the column's position, back, where they differ.
    """

    dialect: str
    sql: str
    constants: dict[str, Any]
    write: dict[str, Callable[[Any], Any]]
    read: tuple[tuple[int, Callable[[Any], Any]], ...]
    row: Callable[[Any], Any]

    def run(self, driver: Any, values: Mapping[str, Any]) -> list[Any]:
        given = {**self.constants, **values}
        for name, write in self.write.items():
            given[name] = write(given[name])
        rows = driver.execute(self.sql, given).fetchall()
        if not self.read:
            return [self.row(row) for row in rows]
        read_rows = []
        for row in map(list, rows):
            for position, read in self.read:
                row[position] = read(row[position])
            read_rows.append(self.row(row))
        return read_rows


def _compile(statement: Any, used: Dialect) -> _Compiled:
    # Names in place of positions, as most values stand in more than one place.
    dialect: Dialect = type(used)(dbapi=used.loaded_dbapi, paramstyle=_PARAMSTYLES[used.name])  # type: ignore[call-arg]
    compiled: Any = statement.compile(dialect=dialect)
    writers = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect)
        for name, bind in compiled.binds.items()
    }
    columns: Any = statement.exported_columns
    readers = [
        column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns
    ]
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    names: tuple[str, ...] = tuple(columns.keys())
    row: Any = namedtuple("Row", names)  # type: ignore[misc]
    return _Compiled(
        dialect=used.name,
        sql=str(compiled),
        constants=constants,
        write={name: write for name, write in writers.items() if write},
        read=tuple((position, read) for position, read in enumerate(readers) if read),
        row=row._make,
    )
