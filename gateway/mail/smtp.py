"""Talk to the SMTP relay.

This module gives Flask-Mail's connection what it lacks: a verified TLS certificate, one deadline
for the whole conversation, and a clear answer whether the relay accepted the mail.
"""

from __future__ import annotations

import smtplib
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress

from flask import current_app, has_request_context
from flask_mail import Connection

from gateway.mail.client import Client, TlsClient
from gateway.mail.failures import REACH, UNSET, MailError, explain
from gateway.mail.message import Message, domain_of
from gateway.settings import THREADS
from gateway.settings.checks import split_sender

DEADLINE = 8  # seconds for the whole conversation, because a reply takes less than 10
READY, ACCEPTED, WILL_FORWARD = 220, 250, 251  # statuses of a relay
MAX_PARALLEL_MAILS = THREADS - 4  # a slow relay must leave threads for other requests

_slots = threading.BoundedSemaphore(MAX_PARALLEL_MAILS)


def converse(talk: Callable[[RelayConnection], None]) -> None:
    """Talk to the relay in a separate thread, because only that limits name look-ups, too.

    For a request, the thread holds one of the parallel slots until it ends, which may be after the
    deadline.

    :param talk: called with the open connection.
    :raises MailError: when the conversation failed or took too long.
    """
    if not current_app.config["MAIL_SERVER"]:
        raise MailError("no MAIL_SERVER is set", UNSET)
    # Only requests need a slot; what sends mails behind an answer limits its own threads. Do not
    # wait for a slot: that would hold the threads that the slots are to leave free.
    takes_slot = has_request_context()
    if takes_slot and not _slots.acquire(blocking=False):
        raise MailError("too many mails are waiting for the relay", "let the relay answer faster")

    def free_slot() -> None:
        if takes_slot:
            _slots.release()

    app = current_app._get_current_object()  # type: ignore[attr-defined]
    connection = RelayConnection(app.extensions["mail"])
    accepted: Future[None] = Future()

    def run() -> None:
        try:
            with app.app_context(), connection:
                talk(connection)
                accepted.set_result(None)
        except Exception as error:  # noqa: BLE001 - the waiting request gets it
            if not accepted.done():
                accepted.set_exception(error)
        finally:
            free_slot()

    try:
        threading.Thread(target=run, name="mail", daemon=True).start()
    except RuntimeError:
        free_slot()
        raise MailError("no thread can be started") from None
    try:
        accepted.result(timeout=DEADLINE)
    except FutureTimeoutError:
        connection.abort()
        cause = f"the relay took longer than {DEADLINE} s"
        raise MailError(cause, REACH, begun=connection.begun) from None
    except Exception as error:  # noqa: BLE001 - any of them means that no mail was sent
        raise explain(error, begun=connection.begun) from None


class RelayConnection(Connection):
    """Flask-Mail's connection with verified TLS and a deadline; it does not wait at QUIT."""

    aborted = False
    begun = False  # the relay has accepted the sender

    def configure_host(self) -> smtplib.SMTP:
        """Connect, start TLS and log in, as the settings say."""
        context = ssl.create_default_context()
        # This host's own name is often none that a relay accepts, and looking it up may take long.
        name = domain_of(self.mail.default_sender)
        host = (
            TlsClient(local_hostname=name, timeout=DEADLINE, context=context)
            if self.mail.use_ssl
            else Client(local_hostname=name, timeout=DEADLINE)
        )
        self.host = host  # from here on abort() can reach it
        if self.aborted:
            raise TimeoutError("aborted")
        host._host = self.mail.server  # type: ignore[attr-defined]  # the name TLS verifies
        try:
            status, words = host.connect(self.mail.server, self.mail.port)
            if status != READY:
                raise smtplib.SMTPConnectError(status, words)
            if self.mail.use_tls:
                host.starttls(context=context)
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
        host = self._open_host()
        host.ehlo_or_helo_if_needed()
        _, sender = split_sender(self.mail.default_sender)
        options = [f"size={size}"] if size and host.has_extn("size") else []
        status, words = host.mail(sender, options)
        if status != ACCEPTED:
            raise smtplib.SMTPSenderRefused(status, words, sender)
        self.begun = True

    def deliver(self, message: Message) -> None:
        """Send one mail."""
        content = message.as_bytes()
        self.begin(len(content))
        host = self._open_host()
        status, words = host.rcpt(message.recipient)
        if status not in (ACCEPTED, WILL_FORWARD):
            raise smtplib.SMTPRecipientsRefused({message.recipient: (status, words)})
        status, words = host.data(content)
        if status != ACCEPTED:
            raise smtplib.SMTPDataError(status, words)

    def _open_host(self) -> smtplib.SMTP:
        assert self.host is not None  # noqa: S101 - for the type checker
        return self.host

    def __exit__(self, *_exception: object) -> None:
        """Send QUIT and close, without waiting for an answer."""
        # The relay's answer to DATA decides. Its answer to QUIT does not matter.
        if self.host is not None:
            with suppress(smtplib.SMTPException, OSError):
                self.host.putcmd("quit")
            self.host.close()

    def abort(self) -> None:
        """End the conversation at once; another thread calls this."""
        self.aborted = True
        if isinstance(self.host, Client):
            self.host.abort()
