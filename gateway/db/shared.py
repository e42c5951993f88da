"""Settings that all nodes must share. The database keeps the first node's; every node compares.

With another TIMEZONE a node would begin each day at another moment, and its requests would pass a
quota that is used up. With another SECRET_KEY it would mail codes that are dead on other nodes,
and with another PASSWORD_MD5 refuse right passwords. To add a setting, add an entry to ``SHARED``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask
from sqlalchemy import Connection, String, Text, event, select, update
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
_OTHER = "{name} is {ours} here, but {stored} in the database and on its other nodes; set {stored}"
# What to say to a node that has another one than the database keeps.
SHARED = {
    "TIMEZONE": f"{_OTHER}, or change the database: stop all nodes and run: gateway set-timezone",
    "PASSWORD_MD5": f"{_OTHER}, because its passwords are stored so",
    "SECRET_KEY": OTHER_KEY,
}


class StoredValue(Base):
    """One value that the database keeps for all nodes."""

    __tablename__ = "stored_values"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


def value(name: str, config: Config) -> str:
    """Return what the database keeps of a setting; of keys only what tells them from each other."""
    if name != "SECRET_KEY":
        return str(int(config[name]) if isinstance(config[name], bool) else config[name])
    keys = (config["SECRET_KEY"], *config["SECRET_KEY_FALLBACKS"])
    return " ".join(derive_key(key, "fingerprint").hex()[:32] for key in keys)


def _agree(ours: str, stored: str, *, runs: bool) -> bool:
    # During a rotation one node has the new key and the old one below it. The others are next:
    # they go on with the old one, but do not start with it again.
    here, there = ours.split(), stored.split()
    return there[0] in here or (runs and here[0] in there)


def stored(connection: Connection) -> dict[str, str]:
    """Return the stored values by name."""
    rows = connection.execute(select(StoredValue.name, StoredValue.value))
    return {row.name: row.value for row in rows}


def conflict(values: Mapping[str, str], config: Config, *, runs: bool = False) -> str:
    """Return why a node with these settings must not serve a database, or "".

    :param values: those that the database keeps.
    :param runs: whether the node runs already, so that a rotation on another node leaves it be.
    """
    return next(conflicts(values, config, runs=runs), "")


def conflicts(values: Mapping[str, str], config: Config, *, runs: bool = False) -> Iterator[str]:
    """Return each reason why a node with these settings must not serve a database."""
    for name, sentence in SHARED.items():
        ours, stored = value(name, config), values.get(name)
        if stored is not None and not _agree(ours, stored, runs=runs):
            yield sentence.format(name=name, ours=ours, stored=stored)


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
    if reason := conflict(kept, app.config):
        raise ConfigError(reason)


def _claim(connection: Connection, config: Config) -> dict[str, str]:
    """Store what is not there yet, and the keys of a rotation; return what is there then."""
    kept, keys = stored(connection), value("SECRET_KEY", config)
    if conflict(kept, config):
        return kept
    for name in SHARED:
        if name not in kept:  # another node may be faster
            new = dialect().insert(StoredValue).values(name=name, value=value(name, config))
            connection.execute(new.on_conflict_do_nothing())
    if kept.setdefault("SECRET_KEY", keys) != keys:
        as_read = StoredValue.value == kept["SECRET_KEY"]  # unless another node was faster
        change = update(StoredValue).where(StoredValue.name == "SECRET_KEY", as_read)
        connection.execute(change.values(value=keys))
    connection.commit()
    return stored(connection)


def keep_comparing(app: Flask) -> None:
    """Make a worker refuse connections to a database that another setting was stored in.

    The database may not have answered when the service started, or be another one by now.
    """
    with app.app_context():
        engine = db.engine
    sql = str(select(StoredValue.name, StoredValue.value).compile(engine))

    @event.listens_for(engine, "connect")
    def compare(connection: Any, _record: Any) -> None:
        try:
            values = dict(connection.execute(sql).fetchall())
        except engine.dialect.loaded_dbapi.Error:  # there is no table yet; readyz says so
            return
        if reason := conflict(values, app.config, runs=True):
            connection.close()
            refusal: Any = engine.dialect.loaded_dbapi.OperationalError(reason)
            refusal.names_nobody = True  # readyz may say it to everybody
            raise refusal
