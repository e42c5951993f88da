"""Every setting: its default, its rule, and the checks that stop a bad start.

Values come from, each over the one before: the defaults here, ``instance/config.py``, environment
variables ``GATEWAY_<NAME>``, and the mapping given to ``create_app``. To add a setting, add a line
to ``SETTINGS`` and a row to the README's table.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from email.utils import getaddresses
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway import clock

MIN_SECRET_BYTES = 32
MAX_BODY_BYTES = 16 * 1024
INT32_MAX = 2**31 - 1
MAX_PORT = 65535
MAX_NAME = 64  # of the service, in a mail's subject
DEFAULT_BIND = "127.0.0.1:8082"
THREADS = 12  # of a worker, as gunicorn is told; each may need a connection, and few a second one


class ConfigError(Exception):
    """A setting makes no sense; the message is one line that names it and holds no value."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("must be printable text")
    return value


def _name(value: Any) -> str:
    if len(_text(value)) > MAX_NAME or not value.strip():
        raise ValueError(f"must be a name of at most {MAX_NAME} characters")
    return str(value).strip()


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _list_of(check: Callable[[Any], str]) -> Callable[[Any], list[str]]:
    def check_all(value: Any) -> list[str]:
        values = _parsed(value)
        if not isinstance(values, list | tuple):
            raise ValueError('must be a JSON list of texts, like ["one", "two"]')
        return [check(each) for each in values]

    return check_all


def _mapping(value: Any) -> dict[str, Any]:
    options = _parsed(value)
    if not isinstance(options, dict):
        raise ValueError('must be a JSON object, like {"pool_size": 10}')
    return options


def _flag(value: Any) -> bool:
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise ValueError("must be 1 or 0") from None


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d{1,10}", value, re.ASCII):
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be an integer from {low} to {high}")
        return value

    return check


def _secret(value: Any) -> str:
    if len(_text(value).encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"is too short; at least {MIN_SECRET_BYTES} random bytes are needed")
    return str(value)


def database(value: Any) -> str:
    """Return the URL of a database with its driver; raise ValueError with what is wrong with it."""
    text = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", _text(value))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("must be an sqlite:/// or postgresql:// URL") from None
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError("must be an sqlite:/// or postgresql:// URL")
    if url.drivername == "sqlite" and (url.host or ":memory:" in (url.database or ":memory:")):
        raise ValueError("must name a file; workers cannot share a database in memory")
    if url.drivername != "sqlite" and find_spec("psycopg") is None:
        raise ValueError("names Postgres, whose driver is missing; install gateway[postgres]")
    return text


def _host(value: Any) -> str:
    name, ipv6 = r"[A-Za-z0-9._-]+", r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
    if not re.fullmatch(f"{name}|{ipv6}", _text(value)):
        raise ValueError("must be a host name or an IP address, without a port")
    return str(value)


def _sender(value: Any) -> str:
    addresses = [address for _, address in getaddresses([_text(value)])]
    plain = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"
    if len(addresses) != 1 or not re.fullmatch(plain, addresses[0]):
        raise ValueError("must be an address like gateway@example.com or Name <address>")
    return str(value)


def _timezone(value: Any) -> str:
    try:
        return ZoneInfo(_text(value)).key
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone name like UTC or Asia/Shanghai") from None


def _bind(value: Any) -> str:
    tcp = re.fullmatch(r"(?:\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(\d{1,5})", _text(value))
    if not (tcp and int(tcp[1]) <= MAX_PORT) and not re.fullmatch(r"unix:.+", value):
        raise ValueError("must be an address like 127.0.0.1:8082 or unix:/path")
    return str(value)


def _folder(value: Any) -> str:
    if not Path(_text(value)).is_absolute():
        raise ValueError("must be an absolute path like /var/lib/gateway")
    return str(value)


@dataclass(frozen=True)
class Setting:
    """One setting; ``None`` as default means it may stay unset.

    ``check`` takes text from the environment or a Python value, returns the value to use, and
    raises ``ValueError`` with the rest of a sentence that begins with the setting's name.
    """

    name: str
    default: Any
    check: Callable[[Any], Any]


INSTANCE_PATH = Setting("INSTANCE_PATH", None, _folder)
SETTINGS = (
    Setting("SECRET_KEY", None, _secret),
    Setting("SECRET_KEY_FALLBACKS", [], _list_of(_secret)),
    Setting("SQLALCHEMY_DATABASE_URI", None, database),
    Setting("SQLALCHEMY_ENGINE_OPTIONS", {}, _mapping),
    Setting("MAIL_SERVER", None, _host),
    Setting("MAIL_PORT", 25, _integer(1, MAX_PORT)),
    Setting("MAIL_USE_TLS", False, _flag),
    Setting("MAIL_USE_SSL", False, _flag),
    Setting("MAIL_USERNAME", None, _text),
    Setting("MAIL_PASSWORD", None, _text),
    Setting("MAIL_DEFAULT_SENDER", "gateway@localhost", _sender),
    Setting("MAIL_SUPPRESS_SEND", False, _flag),
    Setting("SERVICE_NAME", "gateway", _name),
    Setting("REG_CODE_DIGITS", 4, _integer(4, 10)),
    Setting("MAILS_PER_IP", 100, _integer(1, INT32_MAX)),
    Setting("REQUEST_MAX", 30, _integer(0, INT32_MAX)),
    Setting("PROJECTS_PER_USER", 1000, _integer(0, INT32_MAX)),
    Setting(
        "END_POINTS",
        ["https://api.hobbychain.org/{pool_name}/rpc", "wss://api.hobbychain.org/{pool_name}/ws"],
        _list_of(_text),
    ),
    Setting("TIMEZONE", "UTC", _timezone),
    Setting("TRUSTED_PROXIES", 0, _integer(0, 10)),
    # These two are needed earlier: by deploy.gunicorn, and by instance_path.
    Setting("BIND", DEFAULT_BIND, _bind),
    INSTANCE_PATH,
)


def instance_path() -> str | None:
    """Return the folder for config.py, the secret key and SQLite; None for Flask's own choice.

    :raises ConfigError: when it is no absolute path.
    """
    value = os.environ.get("GATEWAY_INSTANCE_PATH") or None
    path: str | None = _checked(INSTANCE_PATH, value)
    return path


def load(app: Flask, overrides: Mapping[str, Any] | None = None) -> None:
    """Fill ``app.config`` from every source and check it.

    :raises ConfigError: when a setting makes no sense.
    """
    app.config.update({setting.name: setting.default for setting in SETTINGS})
    _load_file(app)
    _load_environment(app)
    app.config.update(overrides or {})
    for setting in SETTINGS:
        app.config[setting.name] = _checked(setting, app.config[setting.name])
    _check_mail(app.config)
    instance = Path(app.instance_path)
    if app.config["SECRET_KEY"] is None:
        app.config["SECRET_KEY"] = secret_from_file(instance)
    if app.config["SQLALCHEMY_DATABASE_URI"] is None:
        _make_private(instance)
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{instance / 'gateway.db'}"
    _fix_library_settings(app)


def _load_file(app: Flask) -> None:
    try:
        app.config.from_pyfile("config.py", silent=True)
    except Exception as error:  # noqa: BLE001 - the file is Python and may raise anything
        raise ConfigError(f"instance/config.py cannot be read: {type(error).__name__}") from None


def _load_environment(app: Flask) -> None:
    """Take ``GATEWAY_`` variables; ours as text, so that a password "0123" stays one.

    An empty variable counts as unset, as compose files and unit files write it.
    """
    before = {setting.name: app.config[setting.name] for setting in SETTINGS}
    try:
        app.config.from_prefixed_env("GATEWAY")
    except (TypeError, AttributeError):  # GATEWAY_A__B is A["B"], and A is no mapping
        names = ", ".join(n for n in os.environ if n.startswith("GATEWAY_") and "__" in n)
        raise ConfigError(f"{names}: there is no setting with parts of this name") from None
    for name, value in before.items():
        app.config[name] = os.environ.get(f"GATEWAY_{name}") or value


def _checked(setting: Setting, value: Any) -> Any:
    if value is None and setting.default is None:
        return None
    try:
        return setting.check(value)
    except ValueError as error:
        raise ConfigError(f"{setting.name} {error}") from None


def _check_mail(config: Mapping[str, Any]) -> None:
    if config["MAIL_USE_TLS"] and config["MAIL_USE_SSL"]:
        raise ConfigError("MAIL_USE_TLS and MAIL_USE_SSL exclude each other; set one")
    for name, other in (("MAIL_USERNAME", "MAIL_PASSWORD"), ("MAIL_PASSWORD", "MAIL_USERNAME")):
        # Flask-Mail would quietly send without logging in.
        if config[name] is not None and config[other] is None:
            raise ConfigError(f"{other} must be set, because {name} is")


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):  # somebody else's folder is theirs to guard
        folder.chmod(0o700)


def secret_from_file(folder: Path) -> str:
    """Return the secret in ``folder/secret_key``, made on first use (README, Settings).

    Several workers may call this at once on an empty folder: each writes a file of its own and
    the first to link it under the final name wins, so no one ever reads half a secret.

    :raises ConfigError: when the file holds too little.
    """
    path = folder / "secret_key"
    if not path.exists():
        _make_private(folder)
        draft = folder / f"secret_key.{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        return _secret(path.read_text().strip())
    except ValueError as error:
        raise ConfigError(f"SECRET_KEY in instance/secret_key {error}") from None


def _fix_library_settings(app: Flask) -> None:
    """Set what the libraries need and no operator should turn."""
    config = app.config
    # One byte more than allowed: Werkzeug cuts a chunked body silently at the limit, so
    # reading this much is what tells a body that is too long (see envelope).
    config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1
    config["MAIL_DEBUG"] = False  # it prints the SMTP dialogue, codes and password included
    config["MAIL_MAX_EMAILS"] = None  # at that many Flask-Mail waits for a farewell
    config["JWT_ALGORITHM"] = "HS256"
    config["JWT_DECODE_ALGORITHMS"] = ["HS256"]
    config["JWT_TOKEN_LOCATION"] = ["headers"]
    config["JWT_HEADER_NAME"] = "Authorization"
    config["JWT_HEADER_TYPE"] = ""  # auth.tokens strips "Bearer", which clients may leave out
    config["JWT_COOKIE_CSRF_PROTECT"] = False
    config["JWT_ENCODE_NBF"] = False
    config["JWT_ACCESS_TOKEN_EXPIRES"] = timedelta(hours=12)
    config["JWT_DECODE_LEEWAY"] = clock.LEEWAY
    config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # they would answer outside the envelope
    config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        # Those beyond pool_size are closed after each use, and made anew for the next.
        "pool_size": THREADS,
        "max_overflow": 3,
        "pool_use_lifo": True,  # the connection used last has its pages and plans at hand
        **config["SQLALCHEMY_ENGINE_OPTIONS"],
        "hide_parameters": True,  # they hold hashes and addresses, and tracebacks are logged
    }
