"""Talk to the SMTP relay.

This module gives Flask-Mail's connection what it lacks: a verified TLS certificate, one deadline
for the whole conversation, and a clear answer whether the relay accepted the mail.
"""

from __future__ import annotations

import smtplib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from flask import current_app, has_request_context
from flask_mail import Connection, Mail

from gateway.db import deadline
from gateway.mail.client import Client
from gateway.mail.failures import (
    NOBODY,
    REACH,
    UNSET,
    MailError,
    explain,
    is_about_the_service,
)
from gateway.settings import THREADS
from gateway.settings.checks import split_sender

DEADLINE = 8  # seconds for the whole conversation, because a reply takes less than 10
ACCEPTED, WILL_FORWARD = 250, 251  # statuses of a relay
MAX_PARALLEL_MAILS = THREADS - 4  # a slow relay must leave threads for other requests

slots = threading.BoundedSemaphore(MAX_PARALLEL_MAILS)


def converse(talk: Callable[[RelayConnection], None]) -> None:
    """Talk to the relay in a separate thread, because only that limits name look-ups, too.

    Requests share MAX_PARALLEL_MAILS slots and fail at once when none is free; a thread holds its
    slot until it ends, which may be after the deadline. Background work has its own limit.

    :param talk: called with the open connection.
    :raises MailError: when the conversation failed or took too long.
    """
    if not current_app.config["MAIL_SERVER"]:
        raise MailError("no MAIL_SERVER is set", UNSET)
    slot = slots if has_request_context() else threading.Semaphore()
    if not slot.acquire(blocking=False):
        raise MailError("too many mails are waiting for the relay", "let the relay answer faster")
    connection = RelayConnection(current_app.extensions["mail"])
    accepted: Future[None] = Future()

    def run() -> None:
        try:
            with connection:
                talk(connection)
            accepted.set_result(None)
        except Exception as error:  # noqa: BLE001 - the waiting request gets it
            accepted.set_exception(error)
        finally:
            slot.release()

    try:
        threading.Thread(target=run, name="mail", daemon=True).start()
    except RuntimeError:
        slot.release()
        raise MailError("no thread can be started") from None
    try:
        with deadline.aside():
            accepted.result(DEADLINE)
    except Exception as error:  # noqa: BLE001 - ``explain`` says what each means
        if time.monotonic() >= connection.end:
            cause = f"the relay took longer than {DEADLINE} s"
            raise MailError(cause, REACH, begun=connection.begun) from None
        raise explain(error, begun=connection.begun) from None


class RelayConnection(Connection):
    """Flask-Mail's connection with verified TLS and a deadline; it does not wait at QUIT."""

    host: Client
    begun = False  # the relay has accepted the sender

    def __init__(self, mail: Mail) -> None:
        super().__init__(mail)
        self.end = time.monotonic() + DEADLINE

    def configure_host(self) -> Client:
        """Connect, start TLS and log in, as the settings say."""
        host = Client(self.mail, self.end)
        try:
            if self.mail.use_tls:
                host.starttls(context=host.context)
            if self.mail.username and self.mail.password:
                host.login(self.mail.username, self.mail.password)
        except BaseException:
            host.close()
            raise
        return host

    def begin(self, size: int = 0) -> None:
        """Begin a mail: say EHLO, unless TLS or the login did so already, and name the sender.

        :param size: of the mail, in bytes, if it is known.
        """
        self.host.ehlo_or_helo_if_needed()
        options = [f"size={size}"] if size and self.host.has_extn("size") else []
        status, words = self.host.mail(self._sender(), options)
        if status != ACCEPTED:
            raise smtplib.SMTPSenderRefused(status, words, self._sender())
        self.begun = True

    def try_own_address(self) -> None:
        """Name the sender as a recipient, because a relay that wants a login refuses everybody.

        Begin the mail first, unless that has been done.

        :raises MailError: when the relay refuses even this one, and not because it is unknown.
        """
        if not self.begun:
            self.begin()
        refusal = self._name_recipient(self._sender())
        if refusal is not None and is_about_the_service(refusal):
            self.begun = False
            raise MailError(str(explain(refusal, begun=False)), NOBODY)

    def deliver(self, recipient: str, content: bytes) -> None:
        """Send one mail."""
        self.begin(len(content))
        if refusal := self._name_recipient(recipient):
            if is_about_the_service(refusal):
                with suppress(smtplib.SMTPServerDisconnected):
                    self.try_own_address()
            raise refusal
        status, words = self.host.data(content)
        if status != ACCEPTED:
            raise smtplib.SMTPDataError(status, words)

    def _name_recipient(self, address: str) -> smtplib.SMTPRecipientsRefused | None:
        """Return the relay's refusal of a recipient, if it refuses."""
        status, words = self.host.rcpt(address)
        if status in (ACCEPTED, WILL_FORWARD):
            return None
        return smtplib.SMTPRecipientsRefused({address: (status, words)})

    def _sender(self) -> str:
        return split_sender(self.mail.default_sender)[1]

    def __exit__(self, *_exception: object) -> None:
        """Send QUIT and close, without waiting for an answer."""
        # The relay's answer to DATA decides. Its answer to QUIT does not matter.
        with suppress(smtplib.SMTPException, OSError):
            self.host.putcmd("quit")
        self.host.close()
