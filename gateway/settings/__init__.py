"""Every setting with its default and its validator, and how the settings are loaded.

Values come from four sources; a later one wins: the defaults below, ``config.py`` in the instance
folder, environment variables ``GATEWAY_<NAME>``, and the mapping given to ``create_app``. To add a
setting, add a line to ``SETTINGS`` and a row to the table in deploy/README.md.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from flask import Config, Flask
from flask_jwt_extended import JWTManager
from sqlalchemy import URL

from gateway.errors import ConfigError
from gateway.settings import checks, database_url, instance

MAX_BODY_BYTES = 16 * 1024
INT32_MAX = 2**31 - 1
THREADS = 12  # in each worker; each thread may need a database connection, a few need a second one
EXIT_CODE = 3  # gunicorn and the systemd unit do not start a service again that ends with it


@dataclass(frozen=True)
class Setting:
    """One setting; it may stay unset if its default is None. ``check`` is its validator."""

    name: str
    default: Any
    check: Callable[[Any], Any]


INSTANCE_PATH = Setting("INSTANCE_PATH", None, checks.folder)
BIND = Setting("BIND", "127.0.0.1:8082", checks.bind)
WEB_CONCURRENCY = Setting("WEB_CONCURRENCY", None, checks.integer(1, 1000))
# These two are needed before config.py can be read, so only the environment can set them.
ENVIRONMENT_ONLY = (INSTANCE_PATH, BIND)
SETTINGS = (
    Setting("SECRET_KEY", None, checks.secret),
    Setting("SECRET_KEY_FALLBACKS", [], checks.list_of(checks.secret)),
    Setting("SQLALCHEMY_DATABASE_URI", None, database_url.check),
    Setting("SQLALCHEMY_ENGINE_OPTIONS", {}, checks.mapping),
    Setting("MAIL_SERVER", None, checks.host),
    Setting("MAIL_PORT", 25, checks.integer(1, checks.MAX_PORT)),
    Setting("MAIL_USE_TLS", False, checks.flag),
    Setting("MAIL_USE_SSL", False, checks.flag),
    Setting("MAIL_USERNAME", None, checks.text),
    Setting("MAIL_PASSWORD", None, checks.text),
    Setting("MAIL_DEFAULT_SENDER", "gateway@localhost", checks.sender),
    Setting("MAIL_SUPPRESS_SEND", False, checks.flag),
    Setting("SERVICE_NAME", "gateway", checks.service_name),
    Setting("PUBLIC_URL", "", checks.public_url),
    Setting("REGISTRATION", "open", checks.one_of("open", "invited", "closed")),
    Setting("MAIL_DOMAINS", [], checks.list_of(checks.domain)),
    Setting("REG_CODE_DIGITS", 6, checks.integer(4, 10)),
    Setting("PASSWORD_MD5", True, checks.flag),
    # Limits count up to four times it.
    Setting("MAILS_PER_IP", 100, checks.integer(1, INT32_MAX // 4)),
    Setting("MAILS_PER_HOUR", 1000, checks.integer(1, INT32_MAX)),
    Setting("REQUEST_MAX", 30, checks.integer(0, INT32_MAX)),
    Setting("REQUESTS_PER_MONTH", 0, checks.integer(0, INT32_MAX)),
    Setting("REQUESTS_PER_MINUTE", 0, checks.integer(0, 6_000_000)),
    Setting("QUOTA_MAILS", True, checks.flag),
    Setting("PROJECTS_PER_USER", 1000, checks.integer(0, INT32_MAX)),
    Setting(
        "END_POINTS",
        ["https://api.hobbychain.org/{pool_name}/rpc", "wss://api.hobbychain.org/{pool_name}/ws"],
        checks.list_of(checks.end_point),
    ),
    Setting("TIMEZONE", "UTC", checks.timezone),
    Setting("TRUSTED_PROXIES", 0, checks.integer(0, 10)),
    Setting("PAGES", True, checks.flag),
    Setting("METRICS", False, checks.metrics),
    *ENVIRONMENT_ONLY,
)
# Settings of the libraries that are in no table of defaults; no operator needs them.
LIBRARY_NAMES = {
    "MAIL_ASCII_ATTACHMENTS",
    "MAIL_DEBUG",
    "MAIL_MAX_EMAILS",
    "SQLALCHEMY_BINDS",
    "SQLALCHEMY_ECHO",
    "SQLALCHEMY_RECORD_QUERIES",
    "SQLALCHEMY_TRACK_MODIFICATIONS",
}
# Common wrong names that difflib does not match.
SYNONYMS = {"PORT": "BIND", "HOST": "BIND", "ADDRESS": "BIND", "LISTEN": "BIND"}


def stop(error: ConfigError) -> NoReturn:
    """Print why the service cannot start, on one line, and end the process."""
    print(f"gateway cannot start: {error}", file=sys.stderr, flush=True)
    sys.exit(EXIT_CODE)


def from_environment(setting: Setting, prefix: str = "GATEWAY_") -> Any:
    """Return a setting that only the environment sets, or its default.

    :raises ConfigError: when it makes no sense.
    """
    return _checked(setting, os.environ.get(f"{prefix}{setting.name}") or setting.default)


def load(overrides: Mapping[str, Any] | None = None, *, make_key: bool = True) -> Flask:
    """Return an application that has its settings, from every source and checked, and no more.

    ``UNKNOWN_NAMES`` is a remark for each name in config.py or the environment that sets nothing.

    :param make_key: whether to make a secret key if there is none.
    :raises ConfigError: when a setting makes no sense, or a file of the instance folder cannot
        be read or made.
    """
    app = Flask(
        "gateway",
        instance_path=from_environment(INSTANCE_PATH),
        instance_relative_config=True,
        static_folder=None,
    )
    defaults = {setting.name: deepcopy(setting.default) for setting in SETTINGS}
    app.config.update(defaults)
    app.config["UNKNOWN_NAMES"] = [*_load_file(app), *_load_environment(app)]
    app.config.update(overrides or {})
    app.config["HAS_END_POINTS"] = app.config["END_POINTS"] is not defaults["END_POINTS"]
    for setting in SETTINGS:
        app.config[setting.name] = _checked(setting, app.config[setting.name])
    checks.mail(app.config)
    # gunicorn reads this one itself, before ours, and ends with a traceback when it is no number.
    # The database's migration, which comes earlier at every start, ends here.
    from_environment(WEB_CONCURRENCY, prefix="")
    if app.config["SECRET_KEY"] is None:
        app.config["SECRET_KEY"], *older = instance.read_keys(app, make=make_key)
        app.config["SECRET_KEY_FALLBACKS"] = [*older, *app.config["SECRET_KEY_FALLBACKS"]]
    if app.config["SQLALCHEMY_DATABASE_URI"] is None:
        instance.make_private(Path(app.instance_path))
        # Not as text, from which SQLAlchemy 2.0 (Python 3.10) would not read a ? back.
        url = URL.create("sqlite", database=os.path.join(app.instance_path, "gateway.db"))
        app.config["SQLALCHEMY_DATABASE_URI"] = url
    # These two are for Flask, and no operator should change them. One byte more than allowed:
    # Werkzeug cuts a chunked body at the limit and says nothing, so a body is too long when this
    # many bytes could be read.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # Flask's replies would have no envelope
    return app


def _load_file(app: Flask) -> list[str]:
    """Read config.py; return a remark for each of its names that sets nothing."""
    path = Path(app.instance_path, "config.py")
    values = Config(app.root_path)
    try:
        values.from_pyfile(str(path))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a Python file may raise anything
        own = isinstance(error, OSError) and error.filename == str(path)
        if own and isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            return []
        if own and isinstance(error, PermissionError):
            raise ConfigError(instance.cannot_use(path, "read", error)) from None
        raise ConfigError(_where_it_failed(path, error)) from None
    app.config.update(values)
    too_late = {setting.name for setting in ENVIRONMENT_ONLY}
    return [
        *(f"{n} in {path} has no effect; set GATEWAY_{n}" for n in sorted(too_late & set(values))),
        *_remarks([*values, *_in_lower_case(path)], "", f" in {path}"),
    ]


def _in_lower_case(path: Path) -> list[str]:
    """Return the names in config.py that would be settings in capitals."""
    ours = {setting.name for setting in SETTINGS}
    names = re.findall(r"^(\w+)\s*=", path.read_text(errors="replace"), re.MULTILINE)
    return [name for name in names if not name.isupper() and name.upper() in ours]


def _where_it_failed(path: Path, error: BaseException) -> str:
    """Say in which line config.py failed; the error's own words may hold a secret."""
    if isinstance(error, SyntaxError):
        line, what = error.lineno, f"SyntaxError: {error.msg}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line, what = lines[-1] if lines else None, type(error).__name__
    where = f"{path}, line {line}" if line else str(path)
    cure = "; put texts in quotes" if isinstance(error, NameError | SyntaxError) else ""
    return f"{where}: {what}{cure}"


def _load_environment(app: Flask) -> list[str]:
    """Take ``GATEWAY_`` variables; return a remark for each that sets nothing.

    Our settings are taken as text, because a password "0123" is no number. An empty variable
    counts as unset, because compose files and unit files write it so.
    """
    before = {setting.name: app.config[setting.name] for setting in SETTINGS}
    try:
        app.config.from_prefixed_env("GATEWAY")
    except (TypeError, AttributeError):  # GATEWAY_A__B sets A["B"], but A is no mapping
        names = ", ".join(n for n in os.environ if n.startswith("GATEWAY_") and "__" in n)
        raise ConfigError(f"{names}: there is no setting with parts of this name") from None
    for name, value in before.items():
        app.config[name] = os.environ.get(f"GATEWAY_{name}") or value
    given = [n.removeprefix("GATEWAY_") for n in os.environ if n.startswith("GATEWAY_")]
    return _remarks(given, "GATEWAY_", "")


def _remarks(given: Iterable[str], prefix: str, where: str) -> list[str]:
    """Return a remark for each name that is no setting of ours nor of a library."""
    ours = [setting.name for setting in SETTINGS]
    unknown = {name for name in given if name.partition("__")[0] not in ours}
    if unknown:
        everything = Flask("every_default")
        JWTManager(everything)  # adds the defaults of its many settings
        unknown -= LIBRARY_NAMES | set(everything.config)
    remarks = []
    for name in sorted(unknown):
        close = get_close_matches(name.upper(), ours, n=1)
        best = SYNONYMS.get(name, close[0] if close else "")
        advice = f" (did you mean {prefix}{best}?)" if best else ""
        remarks.append(f"{prefix}{name}{where}: there is no such setting{advice}")
    return remarks


def _checked(setting: Setting, value: Any) -> Any:
    if value is None and setting.default is None:
        return None
    try:
        return setting.check(value)
    except ValueError as error:
        raise ConfigError(f"{setting.name} {error}") from None
