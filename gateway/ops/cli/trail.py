"""The trail that operators leave: each command writes a line to the log, with who ran it.

At a terminal the lines go to syslog, which is the journal on a system with systemd, because nobody
keeps what a terminal shows. Elsewhere they go to stderr, as those of the service do.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import SysLogHandler
from pathlib import Path

import click

from gateway import log
from gateway.settings.instance import user_name

SYSLOG = "/dev/log"


def start() -> None:
    """Send the lines of this process where operators' lines belong, with the operator's name."""
    if sys.stderr.isatty() and Path(SYSLOG).is_socket():
        syslog = SysLogHandler(SYSLOG, SysLogHandler.LOG_AUTHPRIV)
        syslog.ident = "gateway: "  # journalctl -t gateway
        log.logger.handlers = [syslog]
    log.name_operator(operator())


def operator() -> str:
    """Return the name of the person who runs this command, also behind sudo."""
    try:
        login = os.getlogin()  # who logged in at this terminal
    except OSError:
        login = ""
    name = os.environ.get("SUDO_USER") or login or user_name(os.getuid())
    return re.sub(r"[^\w.@-]", "?", name, flags=re.ASCII)


@contextmanager
def line(command: str) -> Iterator[None]:
    """Write the line of a command, also when it fails. It does not hold the arguments."""
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except (click.ClickException, click.Abort):
        outcome = "refused"
        raise
    except click.exceptions.Exit as end:
        outcome = "found" if end.exit_code else "done"  # doctor has found a fault
        raise
    finally:
        log.logger.info("command=%s outcome=%s", command.replace(" ", "."), outcome)
