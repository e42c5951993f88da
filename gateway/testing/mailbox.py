"""The mails of the applications of a test, and the codes in them."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from flask_mail import Message, email_dispatched

from gateway.web import background

TIMEOUT = 60  # seconds; only work that hangs takes as long


class Mailbox:
    """Keeps the mails of applications that have MAIL_SUPPRESS_SEND; no server is needed.

    ``mailbox["lory@example.com"]`` is the newest code that was mailed to an address. ``mails``
    are all mails, oldest first, each with ``recipients``, ``subject``, ``body`` and ``html``.
    """

    def __init__(self) -> None:
        self._mails: list[Message] = []

    def watch(self, app: Flask) -> None:
        """Take the mails of an application, from Flask-Mail's signal."""
        email_dispatched.connect(self._take, sender=app)  # ends with the mailbox

    def _take(self, _app: Flask, message: Message, **_more: Any) -> None:
        self._mails.append(message)

    @property
    def mails(self) -> list[Message]:
        """All mails, oldest first, also those that are sent behind an answer."""
        wait_for_background()
        return list(self._mails)

    def __getitem__(self, address: str) -> str:
        """Return the newest code of an address.

        :raises LookupError: when no code was mailed to it.
        """
        mails = self.mails
        for mail in reversed(mails):
            code = code_in(mail.subject or "")
            if code and address.casefold() in [str(to).casefold() for to in mail.recipients]:
                return code
        got = ", ".join(sorted({str(to) for mail in mails for to in mail.recipients})) or "nobody"
        raise LookupError(f"no code was mailed to {address}; mails went to: {got}")


def code_in(subject: str) -> str | None:
    """Return the code with which the subject of a mail ends, if it does."""
    found = re.search(r"\d{4,12}$", subject)
    return found and found[0]


def wait_for_background() -> None:
    """Wait until all work behind responses is done.

    :raises TimeoutError: when one still works after a minute.
    """
    background.join(TIMEOUT)
