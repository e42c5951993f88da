"""Check that no log line of a whole test run contains a secret.

The test clients and the test relay add the secrets they send and receive; log handlers and servers
add each log line. At the end of the run ``leaks()`` finds lines with a secret; one fails the run.
"""

from __future__ import annotations

import atexit
import logging
import re
import tempfile

FIELDS = {"password", "old_password", "new_password", "auth_token", "project_secret"}


class LeakCheck(logging.Handler):
    """Collects secrets and log lines; as a logging handler, those of this process."""

    def __init__(self):
        super().__init__()
        self.secrets = set()
        self.log = tempfile.TemporaryFile("w+", errors="backslashreplace")  # noqa: SIM115
        atexit.register(self.log.close)

    def add_secret(self, text):
        # Shorter texts stand in a log by chance, for example as part of a time or an id.
        if isinstance(text, str) and re.fullmatch(r"[\w.-]{10,}", text) and len(set(text)) > 3:
            self.secrets.add(text)

    def add_secrets_in(self, content):
        """Add the secrets in a body that was sent or received."""
        if isinstance(content, dict):
            for name, value in content.items():
                if name in FIELDS:
                    self.add_secret(value)
                self.add_secrets_in(value)
        elif isinstance(content, list):
            for value in content:
                self.add_secrets_in(value)

    def add_log(self, text):
        self.log.write(text.rstrip("\n") + "\n")

    def emit(self, record):
        if not str(record.msg).startswith("mail to "):  # what MAIL_SUPPRESS_SEND logs
            self.add_log(self.format(record))

    def leaks(self):
        """Return the log lines that contain a secret."""
        self.log.seek(0)
        found = [line for line in self.log if self.secrets & words(line)]
        self.log.seek(0, 2)
        return found


def words(line):
    """Return all parts of a line that could be a code, a token or a secret."""
    return {*re.findall(r"\w+", line), *(w.strip(".-") for w in re.findall(r"[\w.-]+", line))}


leak_check = LeakCheck()
