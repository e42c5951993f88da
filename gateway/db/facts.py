"""What is true of the whole database and must be the same on every node: the TIMEZONE.

The first service that starts on a database stores its TIMEZONE there. A node with another one
would begin each day at another moment, and its requests would pass a quota that is used up.
"""

from __future__ import annotations

from typing import Any

from flask import Flask
from sqlalchemy import Connection, String, event, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from gateway.db import Base, db, deadline
from gateway.errors import ConfigError

TIMEZONE = "timezone"


class Fact(Base):
    """One fact about the database."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))


_ZONE = select(Fact.value).where(Fact.name == TIMEZONE)


def stored_zone(connection: Connection) -> str | None:
    """Return the time zone of the database; None while no service has started on it."""
    return connection.scalar(_ZONE)


def conflict(stored: str | None, zone: str) -> str:
    """Return why a node with this TIMEZONE must not serve, or ""."""
    if stored in (None, zone):
        return ""
    return (
        f"TIMEZONE is {zone} here, but {stored} in the database and on its other nodes; set"
        f" {stored}, or change the database: stop all nodes and run: gateway set-timezone"
    )


def claim_zone(app: Flask) -> None:
    """Compare this service's TIMEZONE with the database's; store it if there is none yet.

    Call this once when the service starts. A database that does not answer, or that has no tables
    yet, does not stop the start.

    :raises ConfigError: when they differ.
    """
    zone = app.config["TIMEZONE"]
    with app.app_context():
        deadline.start()
        try:
            with db.engine.connect() as connection:
                stored = stored_zone(connection)
                connection.rollback()
                if stored is None:
                    try:
                        connection.execute(insert(Fact).values(name=TIMEZONE, value=zone))
                        connection.commit()
                    except IntegrityError:  # another node was faster
                        connection.rollback()
                        stored = stored_zone(connection)
        except DBAPIError:
            return
        finally:
            db.engine.dispose()
    if reason := conflict(stored, zone):
        raise ConfigError(reason)


def keep_zone(app: Flask) -> None:
    """Make a worker refuse connections to a database of another TIMEZONE.

    The database may not have answered when the service started, or be another one by now.
    """
    with app.app_context():
        engine = db.engine
    sql = str(_ZONE.compile(engine, compile_kwargs={"literal_binds": True}))

    @event.listens_for(engine, "connect")
    def compare(connection: Any, _record: Any) -> None:
        driver_error = engine.dialect.loaded_dbapi.Error
        try:
            row = connection.execute(sql).fetchone()
        except driver_error:  # there is no table yet; readyz says so
            return
        if reason := conflict(row and row[0], app.config["TIMEZONE"]):
            connection.close()
            raise engine.dialect.loaded_dbapi.OperationalError(reason)
