"""Settings that all nodes must share. The database keeps the first node's; every node compares.

With another TIMEZONE a node would begin each day at another moment, and its requests would pass a
quota that is used up. With another SECRET_KEY it would mail codes that are dead on other nodes,
and with another PASSWORD_MD5 refuse right passwords. To add a setting, add an entry to ``SHARED``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import Connection, String, Text, event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column

from gateway.crypto import derive_key
from gateway.db import Base, db, deadline, dialect
from gateway.errors import ConfigError

Config = Mapping[str, Any]
OTHER_KEY = (
    "SECRET_KEY is not the key that this database was used with; set that key, or add it to"
    " SECRET_KEY_FALLBACKS; if it is lost, run: gateway secret-key accept"
)


class StoredValue(Base):
    """One value that the database keeps for all nodes."""

    __tablename__ = "stored_values"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True)
class Shared:
    """A setting that all nodes must share.

    ``value`` returns what the database keeps of it, from a node's settings; ``conflict`` returns
    why a node must not serve, from its settings and the stored value, or "".
    """

    value: Callable[[Config], str]
    conflict: Callable[[Config, str], str]


def _plain(name: str, cure: str) -> Shared:
    """Return a setting that is stored as it is."""

    def value(config: Config) -> str:
        return str(int(config[name]) if isinstance(config[name], bool) else config[name])

    def conflict(config: Config, stored: str) -> str:
        if stored == value(config):
            return ""
        return (
            f"{name} is {value(config)} here, but {stored} in the database and on its other nodes;"
            f" set {stored}{cure}"
        )

    return Shared(value, conflict)


def fingerprints(config: Config) -> str:
    """Return what tells keys from each other, and nothing about them: SECRET_KEY, its fallbacks."""
    keys = (config["SECRET_KEY"], *config["SECRET_KEY_FALLBACKS"])
    return " ".join(derive_key(key, "fingerprint").hex()[:32] for key in keys)


def _other_key(config: Config, stored: str) -> str:
    # During a rotation one node has the new key and the old one below it; the others are next.
    ours, theirs = fingerprints(config).split(), stored.split()
    if ours[0] in theirs or theirs[0] in ours:
        return ""
    return OTHER_KEY


SHARED = {
    "TIMEZONE": _plain(
        "TIMEZONE", ", or change the database: stop all nodes and run: gateway set-timezone"
    ),
    "PASSWORD_MD5": _plain("PASSWORD_MD5", ", because its passwords are stored so"),
    "SECRET_KEY": Shared(fingerprints, _other_key),
}


def stored(connection: Connection) -> dict[str, str]:
    """Return the stored values by name."""
    rows = connection.execute(select(StoredValue.name, StoredValue.value))
    return {row.name: row.value for row in rows}


def conflict(values: Mapping[str, str], config: Config) -> str:
    """Return why a node with these settings must not serve a database, or "".

    :param values: those that the database keeps.
    """
    return next(conflicts(values, config), "")


def conflicts(values: Mapping[str, str], config: Config) -> Iterator[str]:
    """Return each reason why a node with these settings must not serve a database."""
    for name, setting in SHARED.items():
        if name in values and (reason := setting.conflict(config, values[name])):
            yield reason


def store(connection: Connection, name: str, value: str) -> None:
    """Keep a value in place of the one before; the caller commits."""
    new = dialect().insert(StoredValue).values(name=name, value=value)
    connection.execute(new.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def claim(app: Flask) -> None:
    """Compare the shared settings with the database's; store those that it does not keep yet.

    Call this once when the service starts. A database that does not answer, or that has no tables
    yet, does not stop the start.

    :raises ConfigError: when one differs.
    """
    with app.app_context():
        deadline.start()
        try:
            with db.engine.connect() as connection:
                kept = _claim(connection, app.config)
        except DBAPIError:
            return
        finally:
            db.engine.dispose()
    if reason := conflict(kept, app.config):
        raise ConfigError(reason)


def _claim(connection: Connection, config: Config) -> dict[str, str]:
    """Store what is not there yet, and the keys of a rotation; return what is there then."""
    kept = stored(connection)
    if conflict(kept, config):
        return kept
    ours = {name: setting.value(config) for name, setting in SHARED.items()}
    for name, value in ours.items():
        if name not in kept:  # another node may be faster
            new = dialect().insert(StoredValue).values(name=name, value=value)
            connection.execute(new.on_conflict_do_nothing())
    connection.commit()
    kept = stored(connection)
    if kept["SECRET_KEY"] != ours["SECRET_KEY"] and not conflict(kept, config):
        store(connection, "SECRET_KEY", ours["SECRET_KEY"])
        connection.commit()
    return kept


def keep_comparing(app: Flask) -> None:
    """Make a worker refuse connections to a database that another setting was stored in.

    The database may not have answered when the service started, or be another one by now.
    """
    with app.app_context():
        engine = db.engine
    sql = str(select(StoredValue.name, StoredValue.value).compile(engine))

    @event.listens_for(engine, "connect")
    def compare(connection: Any, _record: Any) -> None:
        driver_error = engine.dialect.loaded_dbapi.Error
        try:
            values = dict(connection.execute(sql).fetchall())
        except driver_error:  # there is no table yet; readyz says so
            return
        if reason := conflict(values, app.config):
            connection.close()
            refusal: Any = engine.dialect.loaded_dbapi.OperationalError(reason)
            refusal.names_nobody = True  # readyz may say it to everybody
            raise refusal
