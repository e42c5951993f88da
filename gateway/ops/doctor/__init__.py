"""Check an installation: what is wrong with it, and how to fix that. One function for each part.

The checks change nothing but one row that is written to see whether that works. No finding holds a
secret.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from flask import current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from gateway import clock, log, mail
from gateway.db import db, readiness, shared
from gateway.db.schema import schema_of
from gateway.ops.backup import LAST_BACKUP
from gateway.ops.doctor.database import (
    MAX_LOG_BYTES,
    database_files,
    describe_server,
    secrets,
    shared_settings,
    shown,
    standbys,
    writes,
)
from gateway.ops.doctor.finding import FAULT, OK, WARNING, Finding, judge
from gateway.settings import SETTINGS, instance

MIN_FREE_BYTES = 100 * 2**20  # bytes
PUBLIC_TIMEOUT = 5  # seconds
MAX_BACKUP_AGE = timedelta(days=2)
MIN_SQLITE = (3, 35)  # the first with RETURNING
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def examine() -> list[Finding]:
    """Run every check. A check that fails is a fault, and the others still run.

    When the database does not answer, that is one finding.
    """
    findings: list[Finding] = []
    answers = True
    for check in CHECKS:
        if answers or check not in NEED_DATABASE:
            findings += _findings_of(check)
        if check is _database:
            answers = findings[-1].state != FAULT
    return findings


def _findings_of(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    name = check.__name__.strip("_")
    try:
        return list(check())
    except SQLAlchemyError as error:
        what = f"the database does not answer: {log.first_line(error)}"
    except UnicodeDecodeError:
        what = "the database holds text that is not UTF-8"
    except OSError as error:
        what = f"cannot be looked at: {error}"
    finally:
        db.session.rollback()
    return [Finding(FAULT, name, what, "see the database's line; run this again")]


def _settings() -> Iterator[Finding]:
    config = current_app.config
    yield Finding(OK, "settings", f"{len(SETTINGS)} settings make sense")
    for remark in config["UNKNOWN_NAMES"]:
        yield Finding(WARNING, "settings", remark, "correct the name, or remove it")
    if any("hobbychain.org" in template for template in config["END_POINTS"]):
        what = "END_POINTS are still the example's, and projects show them"
        fix = 'set your own: ["https://api.example.com/{pool_name}/rpc"]'
        yield Finding(WARNING, "settings", what, fix)
    if not config["TRUSTED_PROXIES"]:
        what = "TRUSTED_PROXIES is 0: behind nginx all clients would count as one"
        yield Finding(WARNING, "settings", what, "set 1 when this nginx is the only proxy in front")


def _database() -> Iterator[Finding]:
    url = shown(db.engine.url)
    is_sqlite = db.engine.dialect.name == "sqlite"
    try:
        version = "SELECT sqlite_version()" if is_sqlite else "SHOW server_version"
        found = db.session.scalar(text(version))
        state = db.session.scalar(text("PRAGMA quick_check")) if is_sqlite else "ok"
    except SQLAlchemyError as error:
        fix = "check SQLALCHEMY_DATABASE_URI, and that this user may use it"
        if "too many" in str(error):  # the server's max_connections, or a role's limit
            fix = "raise max_connections or the role's limit, run fewer workers, or use PgBouncer"
        yield Finding(FAULT, "database", f"{url}: {log.first_line(error)}", fix)
        return
    if state != "ok":
        yield Finding(FAULT, "database", f"{url}: {state}", "restore a backup")
    else:
        more = "" if is_sqlite else f", {describe_server()}"
        yield Finding(OK, "database", f"{url} answers, version {found}{more}")


def _schema() -> Iterator[Finding]:
    with db.engine.connect() as connection:
        schema = schema_of(connection)
        cure = schema.cure and (readiness.missing_grant(connection) or schema.cure)
    yield Finding(OK if schema.can_serve else FAULT, "schema", schema.words, cure)


def _relay() -> Iterator[Finding]:
    where = mail.describe(current_app)
    if current_app.config["MAIL_SUPPRESS_SEND"]:
        yield Finding(WARNING, "relay", where, "unset MAIL_SUPPRESS_SEND in production")
        return
    if not mail.is_possible():
        fix = "set MAIL_SERVER; the operator's guide lists the others"
        yield Finding(WARNING, "relay", where, fix)
        return
    try:
        mail.probe()
    except mail.MailError as error:
        yield Finding(FAULT, "relay", f"{current_app.config['MAIL_SERVER']}: {error}", error.cure)
    else:
        yield Finding(OK, "relay", f"{where}; it answers (gateway mail test ADDRESS sends one)")


def _public_url() -> Iterator[Finding]:
    url = current_app.config["PUBLIC_URL"]
    if not url:
        return
    fix = "set it to the address that people open, and see that the proxy passes it to the service"
    try:
        with urlopen(f"{url}/readyz", timeout=PUBLIC_TIMEOUT) as reply:  # noqa: S310 - http(s) only
            is_ours = isinstance(json.load(reply).get("header"), dict)
    except HTTPError as error:
        is_ours = error.code == HTTPStatus.SERVICE_UNAVAILABLE  # the line of the database says more
    except (OSError, ValueError, AttributeError) as error:
        yield Finding(WARNING, "public URL", f"{url} cannot be read from here: {error}", fix)
        return
    if not is_ours:
        yield Finding(FAULT, "public URL", f"at {url} another program answers", fix)
        return
    is_plain = url.startswith("http:")
    what = f"{url} {'is not encrypted' if is_plain else 'leads here; mails link the console there'}"
    yield judge("public URL", what, "set up TLS at the proxy", is_bad=is_plain)


def _clock() -> Iterator[Finding]:
    what, _, fix = readiness.clocks_differ(db.session.connection()).partition("; ")
    yield Finding(FAULT if what else OK, "clock", what or f"{clock.now():%F %T} UTC", fix)


def _sqlite() -> Iterator[Finding]:
    if db.engine.dialect.name != "sqlite":
        return
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        what = f"{sqlite3.sqlite_version} is too old"
        yield Finding(FAULT, "sqlite", what, "install SQLite 3.35 or newer")
        return
    _, log, _ = database_files()
    size = log.stat().st_size if log.exists() else 0
    what = f"{sqlite3.sqlite_version}, {size / 2**20:.1f} MiB in {log.name}"
    fix = f"end the program that reads for long (fuser {log}), then run: gateway purge"
    yield judge("sqlite", what, fix, is_bad=size > MAX_LOG_BYTES)


def _files() -> Iterator[Finding]:
    folder = Path(current_app.instance_path)
    files = database_files()
    private = [instance.key_file(current_app), folder / "config.py", *files]
    # Nobody else can read a file in a folder that nobody else may enter.
    closed = folder.is_dir() and not folder.stat().st_mode & OTHERS
    said = [
        f"others may read {path}; chmod go= {path}"
        for path in private
        if path.exists() and path.stat().st_mode & OTHERS and not (closed and path.parent == folder)
    ]
    for path in instance.closed_files(files[0]) if files else ():
        said.append(instance.cannot_use(path, "written"))
    for what, _, fix in (each.partition("; ") for each in said):
        yield Finding(FAULT, "files", what, fix)
    if not said:
        yield Finding(OK, "files", f"{folder} and the database are this user's alone")


def _disk() -> Iterator[Finding]:
    files = database_files()
    if not files:
        return
    free = shutil.disk_usage(files[0].parent).free
    what = f"{free // 2**20} MiB free at {files[0].parent}"
    fix = "make room: a full disk refuses all that writes"
    yield judge("disk", what, fix, is_bad=free < MIN_FREE_BYTES)


def _backup() -> Iterator[Finding]:
    """Look at the last backup that ``gateway backup`` made; find nothing when there is none."""
    with db.engine.connect() as connection:
        last = shared.stored(connection).get(LAST_BACKUP)
    if last is None:
        return
    moment, _, place = last.partition(" ")
    folder = Path(place)
    age = clock.now() - datetime.fromisoformat(moment)
    what = f"the last one is {age.days} days old, in {folder}"
    fix = "see: systemctl status gateway-backup.timer"
    yield judge("backup", what, fix, is_bad=age > MAX_BACKUP_AGE)
    for draft in instance.drafts_in(folder):
        if draft.exists():
            fix = "the next backup removes it; if none runs now, remove it"
            yield Finding(WARNING, "backup", f"{draft} is left by a backup that was killed", fix)
    size = sum(file.stat().st_size for file in database_files() if file.exists())
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < size:
        what = f"{free // 2**20} MiB free in {folder}, and the next backup takes {size // 2**20}"
        yield Finding(WARNING, "backup", what, "make room, or keep fewer backups (--keep)")


NEED_DATABASE = (secrets, standbys, _schema, shared_settings, writes, _clock, _sqlite, _backup)
CHECKS = (
    _settings,
    _database,
    secrets,
    standbys,
    _schema,
    shared_settings,
    writes,
    _relay,
    _public_url,
    _clock,
    _sqlite,
    _files,
    _disk,
    _backup,
)
