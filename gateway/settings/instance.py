"""The instance folder, which holds config.py, the secret key and SQLite's files."""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import time
from contextlib import suppress
from pathlib import Path
from shlex import quote

from flask import Flask
from sqlalchemy.engine import make_url

from gateway.errors import ConfigError
from gateway.settings import checks

# Attribute of the file secret_key: this folder has a database, which uses the key.
_HAS_DATABASE = "user.gateway.has_database"
_OLD = 24 * 3600  # seconds; a key that is older probably had a database


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(_no_folder(folder, error)) from None
    with suppress(OSError):  # another user's folder; that user protects it
        folder.chmod(0o700)


def secret_from_file(folder: Path) -> str:
    """Return the secret in ``folder/secret_key``; make it first if there is none.

    Several workers may call this at once on an empty folder. Each writes a file of its own, and
    one of them gets the final name. No worker ever reads half a secret.

    :raises ConfigError: when the file holds too little, or cannot be read or made.
    """
    path = folder / "secret_key"
    try:
        missing = not path.exists()
    except OSError as error:  # this user may not enter the folder
        raise ConfigError(_no_folder(folder, error)) from None
    if missing:
        make_private(folder)
        try:
            _make_secret(path)
        except OSError as error:
            raise ConfigError(_no_folder(folder, error)) from None
    try:
        return checks.secret(path.read_text().strip())
    except OSError as error:
        message = f"SECRET_KEY: {path} cannot be read: {error.strerror}; run: {chown_command(path)}"
        raise ConfigError(message) from None
    except ValueError as error:
        what = "is not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"SECRET_KEY in {path} {what}") from None


def _make_secret(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another worker was faster
        except FileExistsError:
            pass
        except OSError:  # this file system has no hard links
            _rename_first(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _rename_first(draft: Path, path: Path) -> None:
    """Give the draft its final name unless another worker was faster.

    Renaming would replace the other worker's file, so a lock on the folder keeps the others away.
    The system gives the lock back when a process ends, however it ends.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not path.exists():
            draft.rename(path)
    finally:
        os.close(folder)


def check_database_folder(app: Flask) -> None:
    """Check that SQLite can write its files; do nothing for Postgres.

    Call this once when the service starts. A worker that starts later must not end the service
    because the disk has a fault at that moment.

    :raises ConfigError: when the folder or a file cannot be written.
    """
    file = _database_file(app)
    if file is None:
        return
    if file.parent == Path(app.instance_path):
        make_private(file.parent)
    if not os.path.isdir(file.parent):  # Path.is_dir raises when it may not look
        raise ConfigError(f"SQLALCHEMY_DATABASE_URI: there is no folder {file.parent}; make it")
    for path in (file.parent, file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        # To open the file here would be wrong: when a process closes a file, it loses SQLite's
        # locks on it.
        if _may(os.F_OK, path) and not _may(os.W_OK, path):
            raise ConfigError(
                f"SQLALCHEMY_DATABASE_URI: {path} cannot be written by the user {_user()};"
                f" run: {chown_command(path)}"
            )


def make_database(app: Flask, *, again: bool) -> str:
    """Make SQLite's file, closed to others, if there is none; return what to tell the operator.

    :param again: whether to make it although this folder has had one.
    :raises ConfigError: when this folder has had one, because its data is elsewhere then.
    """
    file = _database_file(app)
    if file is None:
        return ""
    secret_key = Path(app.instance_path, "secret_key")
    is_ours = file.parent == secret_key.parent and secret_key.exists()
    told = ""
    if not file.exists():
        if is_ours and not again:
            if _has_had_database(secret_key):
                raise ConfigError(
                    f"there is no database {file}, but {secret_key} was used with one; put it back,"
                    " or make an empty one: gateway db upgrade --new"
                )
            if time.time() - secret_key.stat().st_mtime > _OLD:
                told = f"{file}: made an empty database; if there was one, stop and put it back"
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
    if is_ours:
        with suppress(OSError):  # some file systems have no attributes; then there is only a line
            os.setxattr(secret_key, _HAS_DATABASE, b"1")
    return told


def _has_had_database(secret_key: Path) -> bool:
    try:
        return bool(os.getxattr(secret_key, _HAS_DATABASE))
    except OSError:
        return False


def _database_file(app: Flask) -> Path | None:
    """Return where SQLite's file really is, also behind a link; None without such a file."""
    url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
    if url.get_backend_name() != "sqlite" or str(url.database).startswith("file:"):
        return None
    file = Path(app.instance_path, str(url.database))
    return Path(os.path.realpath(file)) if os.path.islink(file) else file


def _may(mode: int, path: Path) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _no_folder(folder: Path, error: OSError) -> str:
    return (
        f"INSTANCE_PATH: {folder} cannot be written by the user {_user()}: {error.strerror};"
        " give this user the folder, or set GATEWAY_INSTANCE_PATH to another one"
    )


def chown_command(path: Path) -> str:
    """Return the command that gives a path to the user who runs this."""
    return f"chown {quote(_user())} {quote(str(path))}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # containers run with numbers that have no name
        return str(os.geteuid())
