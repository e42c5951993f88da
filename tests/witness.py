"""What a whole run of the suite saw: the secrets it used, and every line that was logged.

The clients and the relay of the tests hand secrets in, handlers and servers log lines; when the
run has ended, ``leaks()`` finds the lines that hold a secret, and one is enough to fail the run.
"""

from __future__ import annotations

import atexit
import logging
import re
import tempfile

FIELDS = {"password", "old_password", "new_password", "auth_token", "project_secret"}
# Shorter or plainer ones stand in a log by chance, as a part of a time or of an id.
SEARCHABLE = re.compile(r"(?=.*(.).*(?!\1)(.).*(?!\1|\2)(.))[\w.-]{10,}", re.DOTALL)

secrets = set()
_log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
atexit.register(_log.close)


def saw_secret(text):
    if isinstance(text, str) and SEARCHABLE.fullmatch(text):
        secrets.add(text)


def saw(content):
    """Take the secrets out of what was sent or received."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name in FIELDS:
                saw_secret(value)
            saw(value)
    elif isinstance(content, list):
        for value in content:
            saw(value)


def saw_log(text):
    _log.write(text.rstrip("\n") + "\n")


class Handler(logging.Handler):
    """Sees what is logged in the process of the tests."""

    def emit(self, record):
        if str(record.msg).startswith("mail to "):
            return  # MAIL_SUPPRESS_SEND asks for it
        saw_log(self.format(record))


def leaks():
    """Return the logged lines that hold a secret."""
    _log.seek(0)
    found = [line for line in _log if secrets & words(line)]
    _log.seek(0, 2)
    return found


def words(line):
    """Return whatever in a line could be a code, a token or a secret."""
    return {*re.findall(r"\w+", line), *(w.strip(".-") for w in re.findall(r"[\w.-]+", line))}
