"""Validators of the settings: each takes a value and returns the one to use.

A value is text from the environment or a Python value from ``config.py``. A validator that refuses
it raises ``ValueError`` with the rest of a sentence that begins with the setting's name. The
sentence never holds the value, because the value may be a secret.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.errors import ConfigError

MIN_SECRET_BYTES = 32
MAX_SERVICE_NAME = 64  # characters; the name stands in the subject of a mail
MAX_PORT = 65535


def text(value: Any) -> str:
    """Return text that is not empty and holds no control character."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("must be printable text")
    return value


def service_name(value: Any) -> str:
    """Return a short name, without white space around it."""
    if len(text(value)) > MAX_SERVICE_NAME or not value.strip():
        raise ValueError(f"must be a name of at most {MAX_SERVICE_NAME} characters")
    return str(value).strip()


def matching(pattern: str, sentence: str) -> Callable[[Any], str]:
    """Return a validator for texts that match a regular expression as a whole."""

    def check_text(value: Any) -> str:
        if not re.fullmatch(pattern, text(value)):
            raise ValueError(sentence)
        return str(value)

    return check_text


def one_of(*words: str) -> Callable[[Any], str]:
    """Return a validator for one of a few words."""
    return matching("|".join(words), f"must be one of: {', '.join(words)}")


end_point = matching(
    r"(?:[^{}]|\{(?:pool_name|pool/|credential)\})+",
    "must have no placeholders but {pool_name}, {pool/} (the name and a slash, or nothing) and"
    " {credential}",
)
host = matching(
    r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*",
    "must be a host name or an IP address, without a port",
)


def list_of(check: Callable[[Any], str]) -> Callable[[Any], list[str]]:
    """Return a validator for a list, or for JSON text that holds one; ``check`` takes one item."""

    def check_list(value: Any) -> list[str]:
        values = _parse_json(value)
        if not isinstance(values, list | tuple):
            raise ValueError('must be a JSON list of texts, like ["one", "two"]')
        return [check(item) for item in values]

    return check_list


def mapping(value: Any) -> dict[str, Any]:
    """Return a dictionary; it may be given as a JSON object."""
    options = _parse_json(value)
    if not isinstance(options, dict):
        raise ValueError('must be a JSON object, like {"pool_size": 10}')
    return options


def flag(value: Any) -> bool:
    """Return whether something is switched on."""
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if str(value).lower() not in known:
        raise ValueError("must be 1 or 0")
    return known[str(value).lower()]


def metrics(value: Any) -> bool:
    """Return whether metrics are switched on; they need a library that no other part needs."""
    if flag(value) and find_spec("prometheus_client") is None:
        raise ValueError("needs prometheus_client: install the extra, pip install '.[metrics]'")
    return flag(value)


def domain(value: Any) -> str:
    """Return the domain of mail addresses, in lower case."""
    label = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
    name = text(value).casefold()
    if not re.fullmatch(rf"(?:{label}\.)+{label}", name):
        raise ValueError('must be a JSON list of domains, like ["example.com"]')
    return name


def integer(low: int, high: int) -> Callable[[Any], int]:
    """Return a validator for an integer from ``low`` to ``high``."""

    def check_integer(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d{1,10}", value, re.ASCII):
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be an integer from {low} to {high}")
        return value

    return check_integer


def secret(value: Any) -> str:
    """Return a secret that is long enough to be one."""
    if len(text(value).encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"is too short; at least {MIN_SECRET_BYTES} random bytes are needed")
    return str(value)


def public_url(value: Any) -> str:
    """Return the address of the service for people, without a slash at its end; it may be ""."""
    name, port, path = r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]", r"(:\d{1,5})?", r"(/[A-Za-z0-9._~-]+)*"
    if value and not re.fullmatch(rf"https?://({name}){port}{path}/?", text(value)):
        raise ValueError("must be an address like https://gateway.example.com, or empty")
    return str(value).rstrip("/")


def is_this_machine(name: str) -> bool:
    """Tell whether a host name or address is this machine's own, which no network lies before."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return re.fullmatch(r"(.+\.)?localhost\.?|localhost\.localdomain", name.lower()) is not None


def sender(value: Any) -> str:
    """Return the one address that mails come from; a name may stand before it."""
    name, address = split_sender(text(value))
    atom, label = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", "[A-Za-z0-9-]+"
    plain = rf"{atom}(\.{atom})*@{label}(\.{label})*"
    is_quoted = value.lstrip().startswith('"')
    # Text like "a@x.com, B <b@x.com>" is two addresses.
    is_list = not is_quoted and re.search(r'[<>"]|@.*,|,.*@', name)
    if not re.fullmatch(plain, address) or is_list:
        raise ValueError("must be an address like gateway@example.com or Name <address>")
    return str(value)


def split_sender(value: str) -> tuple[str, str]:
    """Return the name, which may be empty, and the address in ``Name <address>``.

    A name may stand in quotes. A name that was encoded by hand, ``=?utf-8?b?...?=``, is decoded.
    """
    match = re.fullmatch(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^"]*?))\s*<([^<>]*)>\s*', value)
    if match is None:
        return "", value.strip()
    quoted, bare, address = match.groups()
    name = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
    if re.fullmatch(r"(=\?[\w-]+\?[bqBQ]\?[^?\s]*\?=\s*)+", name):
        with suppress(LookupError, ValueError, HeaderParseError):  # it only looked like that
            name = str(make_header(decode_header(name)))
    return name.strip(), address


def domain_of(sender: str) -> str:
    """Return the domain of the sender's address."""
    return split_sender(sender)[1].rpartition("@")[2]


def timezone(value: Any) -> str:
    """Return the name of a time zone."""
    try:
        return ZoneInfo(text(value)).key
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone name like UTC or Asia/Shanghai") from None


def bind(value: Any) -> str:
    """Return an address to listen at, as gunicorn takes it."""
    tcp = re.fullmatch(r"(?:\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(\d{1,5})", text(value))
    if not (tcp and int(tcp[1]) <= MAX_PORT) and not re.fullmatch(r"unix:.+", value):
        raise ValueError("must be an address like 127.0.0.1:8082 or unix:/path")
    return str(value)


def folder(value: Any) -> str:
    """Return the absolute path of a folder that is there."""
    if not (Path(text(value)).is_absolute() and os.path.isdir(value)):
        raise ValueError("must be a folder that is there, like /var/lib/gateway")
    return str(value)


def mail(config: Mapping[str, Any]) -> None:
    """Check that the settings of the relay fit together.

    :raises ConfigError: when they do not.
    """
    if config["MAIL_USE_TLS"] and config["MAIL_USE_SSL"]:
        raise ConfigError("MAIL_USE_TLS and MAIL_USE_SSL exclude each other; set one")
    for name, other in (("MAIL_USERNAME", "MAIL_PASSWORD"), ("MAIL_PASSWORD", "MAIL_USERNAME")):
        # Flask-Mail would send without logging in, and say nothing.
        if config[name] is not None and config[other] is None:
            raise ConfigError(f"{other} must be set, because {name} is")
    encrypted = config["MAIL_USE_TLS"] or config["MAIL_USE_SSL"] or config["MAIL_SUPPRESS_SEND"]
    server = config["MAIL_SERVER"]
    if config["MAIL_USERNAME"] and server and not encrypted and not is_this_machine(server):
        raise ConfigError(
            "MAIL_USERNAME and MAIL_PASSWORD would cross the network readable;"
            " set MAIL_USE_TLS or MAIL_USE_SSL"
        )


def _parse_json(value: Any) -> Any:
    """Return what JSON text stands for; None for other text, and every other value as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
