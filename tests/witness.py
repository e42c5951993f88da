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


class Witness(logging.Handler):
    """Remembers secrets and lines; as a handler, what is logged in the tests' own process."""

    def __init__(self):
        super().__init__()
        self.secrets = set()
        self.log = tempfile.TemporaryFile("w+", errors="backslashreplace")  # noqa: SIM115
        atexit.register(self.log.close)

    def saw_secret(self, text):
        # Shorter or plainer ones stand in a log by chance, as a part of a time or of an id.
        if isinstance(text, str) and re.fullmatch(r"[\w.-]{10,}", text) and len(set(text)) > 3:
            self.secrets.add(text)

    def saw(self, content):
        """Take the secrets out of what was sent or received."""
        if isinstance(content, dict):
            for name, value in content.items():
                if name in FIELDS:
                    self.saw_secret(value)
                self.saw(value)
        elif isinstance(content, list):
            for value in content:
                self.saw(value)

    def saw_log(self, text):
        self.log.write(text.rstrip("\n") + "\n")

    def emit(self, record):
        if not str(record.msg).startswith("mail to "):  # MAIL_SUPPRESS_SEND asks for those
            self.saw_log(self.format(record))

    def leaks(self):
        """Return the logged lines that hold a secret."""
        self.log.seek(0)
        found = [line for line in self.log if self.secrets & words(line)]
        self.log.seek(0, 2)
        return found


def words(line):
    """Return whatever in a line could be a code, a token or a secret."""
    return {*re.findall(r"\w+", line), *(w.strip(".-") for w in re.findall(r"[\w.-]+", line))}


witness = Witness()
