"""The instance folder, which holds config.py, the secret key and SQLite's files."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shlex import quote

from flask import Flask
from sqlalchemy import URL
from sqlalchemy.engine import make_url

from gateway.errors import ConfigError
from gateway.settings import checks

# Key in app.extensions: whether this process has made the key file; none without such a file.
_MADE_KEY = "gateway.made_key"
_DRAFT = ".gateway.draft"  # one name, so that the next run removes what a killed one has left


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"INSTANCE_PATH: {cannot_use(folder, 'written', error)}") from None
    with suppress(OSError):  # another user's folder; that user protects it
        folder.chmod(0o700)


def create_file(path: Path, write: Callable[[Path], object], *, replace: bool = False) -> bool:
    """Make a file whole, closed to others and safe on the disk, or not at all.

    Of several processes one makes it, and the others wait for it: a lock on the folder keeps them
    apart. The system gives it back when a process ends, however it ends.

    :param write: writes the content into the empty file whose path it gets.
    :param replace: whether to take the place of a file of this name.
    :returns: whether this call has made the file; False when there was one.
    :raises OSError: when the folder cannot be written.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if os.path.lexists(path) and not replace:
            return False
        drafts = drafts_in(path.parent)
        try:
            _remove(drafts)
            drafts[0].touch(0o600, exist_ok=False)
            write(drafts[0])
            with drafts[0].open("rb") as draft:
                os.fsync(draft.fileno())
            drafts[0].rename(path)
        finally:
            _remove(drafts)
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def drafts_in(folder: Path) -> tuple[Path, ...]:
    """Return the files that ``create_file`` writes first; a killed process leaves them."""
    return (*sqlite_files(folder / _DRAFT), folder / f"{_DRAFT}-journal")


def _remove(files: tuple[Path, ...]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def has_key_file(app: Flask) -> bool:
    """Tell whether SECRET_KEY came from the key file, and not from a setting."""
    return _MADE_KEY in app.extensions


def key_file(app: Flask) -> Path:
    """Return the file of the keys: SECRET_KEY in the first line, fallbacks in those below."""
    return Path(app.instance_path, "secret_key")


def read_keys(app: Flask, *, make: bool) -> list[str]:
    """Return the keys of the key file.

    :param make: whether to make the file with a random key if there is none.
    :raises ConfigError: when there is none, it holds too little, or it cannot be read or made.
    """
    path = key_file(app)
    app.extensions[_MADE_KEY] = False
    try:
        if make and not path.exists():
            make_private(path.parent)
            app.extensions[_MADE_KEY] = create_file(path, lambda draft: draft.write_text(new_key()))
        return [checks.secret(line.strip()) for line in path.read_text().splitlines() or [""]]
    except FileNotFoundError:
        raise ConfigError(
            f"SECRET_KEY: there is no file {path}; put it back; for a new installation run:"
            " gateway db upgrade"
        ) from None
    except OSError as error:
        verb = "read" if _may(os.F_OK, path) else "written"
        raise ConfigError(f"SECRET_KEY: {cannot_use(path, verb, error)}") from None
    except ValueError as error:
        what = "is not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"SECRET_KEY in {path} {what}") from None


def new_key() -> str:
    return secrets.token_urlsafe(48)


def rotate_key(app: Flask) -> None:
    """Put a new key before those in the key file.

    :raises OSError: when it cannot be read or written.
    """
    path = key_file(app)
    keys = "\n".join([new_key(), *path.read_text().splitlines()])
    create_file(path, lambda draft: draft.write_text(keys), replace=True)


def sqlite_file(url: URL | str, folder: str = "") -> Path | None:
    """Return the path of SQLite's database; None for Postgres, and for SQLite's own "file:..."."""
    url = make_url(url)
    if url.get_backend_name() != "sqlite" or str(url.database).startswith("file:"):
        return None
    return Path(folder, str(url.database))


def sqlite_files(name: Path) -> tuple[Path, ...]:
    """Return the database and the files beside it; a link leads to where they really are."""
    file = Path(os.path.realpath(name))
    return (file, Path(f"{file}-wal"), Path(f"{file}-shm"))


def closed_files(name: Path) -> list[Path]:
    """Return those of a database's files, and its folder, that this user may not write."""
    # To open the file here would be wrong: when a process closes a file, it loses SQLite's locks.
    files = sqlite_files(name)
    return [
        path
        for path in (files[0].parent, *files)
        if _may(os.F_OK, path) and not _may(os.W_OK, path)
    ]


def check_database_folder(app: Flask) -> None:
    """Check that SQLite can write its files; do nothing for Postgres.

    Call this once when the service starts. A worker that starts later must not end the service
    because the disk has a fault at that moment.

    :raises ConfigError: when the folder or a file cannot be written.
    """
    name = sqlite_file(app.config["SQLALCHEMY_DATABASE_URI"], app.instance_path)
    if name is None:
        return
    folder = sqlite_files(name)[0].parent
    if not os.path.isdir(folder):  # Path.is_dir raises when it may not look
        raise ConfigError(f"SQLALCHEMY_DATABASE_URI: there is no folder {folder}; make it")
    for path in closed_files(name):
        raise ConfigError(f"SQLALCHEMY_DATABASE_URI: {cannot_use(path, 'written')}")


def make_database(app: Flask, *, again: bool) -> None:
    """Make SQLite's file, closed to others, if there is none.

    :param again: whether to make it although the key beside it is older.
    :raises ConfigError: when the key is older, because the data is elsewhere then.
    """
    name = sqlite_file(app.config["SQLALCHEMY_DATABASE_URI"], app.instance_path)
    if name is None or (file := sqlite_files(name)[0]).exists():
        return
    key = key_file(app)
    is_older = key.exists() and not app.extensions.get(_MADE_KEY)
    if file.parent == key.parent and is_older and not again:
        raise ConfigError(
            f"there is no database {file}, but the key of one is in {key}; put the database back"
            " (a backup), or begin with an empty one: gateway db upgrade --new"
        )
    file.touch(0o600)


def cannot_use(path: Path, verb: str, error: OSError | None = None) -> str:
    """Say that this user cannot use a file or a folder, and the cure.

    :param verb: "read" or "written".
    :param error: what the system said, if it was asked.
    """
    there = next(each for each in (path, *path.parents) if _may(os.F_OK, each))
    owner, user = user_name(there.stat().st_uid), user_name(os.geteuid())
    number = (error and error.errno) or errno.EACCES
    if verb == "written" and os.statvfs(there).f_flag & os.ST_RDONLY:
        number = errno.EROFS
    cure = {
        errno.EACCES: f"run this as {owner}, or run: chown {quote(user)} {quote(str(there))}",
        errno.EROFS: "its file system is read-only; see why (dmesg), and mount it for writing",
        errno.ENOSPC: "the disk is full; make room",
    }
    said = f"{there} cannot be {verb} by the user {user}"
    if number in cure:
        return f"{said}; {cure[number]}"
    return f"{said}: {os.strerror(number)}"


def _may(mode: int, path: Path) -> bool:
    return os.access(path, mode, effective_ids=True)


def user_name(number: int) -> str:
    """Return the name of a user; the number where it has none, as in containers."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
