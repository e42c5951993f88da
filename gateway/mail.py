"""Render and send one mail. Knows nothing of codes or the database.

Flask-Mail builds and hands over the message; this module gives its connection what it lacks:
verified TLS, a total deadline, and a clear answer whether the relay took the mail.
"""

from __future__ import annotations

import os
import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, BinaryIO

from flask import Flask, current_app, render_template
from flask_mail import Connection, Message

from gateway import log
from gateway.config import THREADS
from gateway.extensions import mail

LANGUAGES = ("en", "zh")
DEADLINE = 8  # seconds for all that the relay does; a reply takes less than ten
MOST_SAID = 64 * 1024  # bytes that a relay may say, before TLS and within it
READY = 220  # what a relay says first
MOST_AT_ONCE = THREADS - 4  # a slow relay must leave room for other requests

_slots = threading.BoundedSemaphore(MOST_AT_ONCE)


class MailError(Exception):
    """The mail was not accepted; the message holds no address, code or password."""


def describe(app: Flask) -> str:
    """Say where the application's mails go."""
    if app.config["MAIL_SUPPRESS_SEND"]:
        return "mails, codes included, are not sent but written to this log"
    if app.config["MAIL_SERVER"]:
        return f"mails are sent through {app.config['MAIL_SERVER']}"
    return "no MAIL_SERVER is set: codes cannot be mailed (code 1029)"


def check_config(app: Flask) -> None:
    """Warn at the start when no mail can be sent; but not before every operator command."""
    with app.app_context():
        if not is_possible() and not os.environ.get("FLASK_RUN_FROM_CLI"):
            log.logger.warning(describe(app))


def is_possible() -> bool:
    """Tell whether mails go anywhere at all."""
    return bool(current_app.config["MAIL_SERVER"] or current_app.config["MAIL_SUPPRESS_SEND"])


def send(template: str, email: str, language: str, **context: Any) -> None:
    """Send the mail in ``templates/mail/<template>/<language>/`` to one address.

    With MAIL_SUPPRESS_SEND the mail is written to the log instead.

    :param language: one of ``LANGUAGES``.
    :raises MailError: when the relay did not accept the mail in time.
    """
    folder = f"mail/{template}/{language}"
    context["service"] = current_app.config["SERVICE_NAME"]
    content: dict[str, Any] = {
        "subject": render_template(f"{folder}/subject.txt", **context).strip(),
        "recipients": [email],
        "body": render_template(f"{folder}/body.txt", **context),
        "html": render_template(f"{folder}/body.html", **context),
    }
    if current_app.config["MAIL_SUPPRESS_SEND"]:
        log.logger.info("mail to %s: %s\n\n%s\n", email, content["subject"], content["body"])
        mail.send(Message(**content))  # sends nothing; for tests that use mail.record_messages()
        return
    # Made by the thread that sends it, as it takes a look-up of this host's name.
    _converse(lambda connection: connection.send(Message(**content)))


def probe() -> None:
    """Talk to the relay as for a mail, log in, and leave.

    :raises MailError: when the relay would not take a mail now.
    """
    if not current_app.config["MAIL_SUPPRESS_SEND"]:
        _converse(lambda connection: connection.greet())


def _converse(say: Callable[[_Connection], None]) -> None:
    """Talk to the relay in a thread of its own, as only that bounds name look-ups too.

    A slot is held until that thread ends, which may be after the deadline.

    :raises MailError: when the talk did not end well, and in time.
    """
    if not current_app.config["MAIL_SERVER"]:
        raise MailError("no MAIL_SERVER is set")
    # Waiting for a slot would hold the very threads that the slots leave free.
    if not _slots.acquire(blocking=False):
        raise MailError("too many mails are waiting for the relay")
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    connection = _Connection(app.extensions["mail"])
    accepted: Future[None] = Future()

    def work() -> None:
        try:
            with app.app_context(), connection:
                say(connection)
                accepted.set_result(None)
        except Exception as error:  # noqa: BLE001 - handed to the waiting request
            if not accepted.done():
                accepted.set_exception(error)
        finally:
            _slots.release()

    try:
        threading.Thread(target=work, name="mail", daemon=True).start()
    except RuntimeError:
        _slots.release()
        raise MailError("no thread can be started") from None
    try:
        accepted.result(timeout=DEADLINE)
    except FutureTimeoutError:
        connection.abort()
        raise MailError(f"the relay took longer than {DEADLINE} s") from None
    except Exception as error:  # noqa: BLE001 - whatever it was, no mail went out
        raise MailError(_describe(error)) from None


def _describe(error: Exception) -> str:
    """Name the fault by its type and codes; a relay's own words may repeat what we sent."""
    ours = isinstance(error, smtplib.SMTPServerDisconnected | smtplib.SMTPNotSupportedError)
    if ours or (isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException)):
        return f"{type(error).__name__}: {error}"
    answer = (getattr(error, "smtp_code", ""), getattr(error, "smtp_error", b""))
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answer = next(iter(error.recipients.values()))
    status, words = answer
    detail = re.match(rb"\d\.\d{1,3}\.\d{1,3}\b", words if isinstance(words, bytes) else b"")
    parts = (type(error).__name__, str(status), detail[0].decode() if detail else "")
    return " ".join(part for part in parts if part)


class _Relay(smtplib.SMTP):
    """smtplib's client, but it can be cut off by another thread, and hears no endless talk."""

    aborted = False
    wire: socket.socket | None = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self.wire = made.dup()  # remains when TLS takes the socket over
        if self.aborted:
            made.close()
            raise TimeoutError("aborted")
        return made

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Limited(self.sock.makefile("rb"))  # type: ignore[union-attr]
        return super().getreply()

    def abort(self) -> None:
        """Break off, from another thread, whatever is waited for."""
        self.aborted = True
        if self.wire is not None:
            with suppress(OSError):
                self.wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self.wire is not None:
                self.wire.close()


class _TlsRelay(smtplib.SMTP_SSL, _Relay):
    """The same, with TLS from the first byte."""


class _Limited:
    """What a relay says: whole lines, and up to MOST_SAID; smtplib would keep every one."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = MOST_SAID

    def readline(self, size: int) -> bytes:
        line = self.file.readline(size)
        self.left -= len(line)
        if self.left < 0:
            raise OSError("the relay talks without end")
        if line and not line.endswith(b"\n") and len(line) < size:
            raise OSError("the relay broke off within a line")
        return line

    def close(self) -> None:
        self.file.close()


class _Connection(Connection):
    """Flask-Mail's connection with verified TLS, time limits and no wait for a farewell."""

    aborted = False

    def configure_host(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        host = (
            _TlsRelay(timeout=DEADLINE, context=context)
            if self.mail.use_ssl
            else _Relay(timeout=DEADLINE)
        )
        self.host = host  # from here on abort() reaches it
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

    def greet(self) -> None:
        """Say hello, if TLS or the login did not say it already."""
        if self.host is not None:
            self.host.ehlo_or_helo_if_needed()

    def __exit__(self, *_exception: object) -> None:
        # The relay's answer to DATA decides; whatever it does at QUIT does not matter.
        if self.host is not None:
            with suppress(smtplib.SMTPException, OSError):
                self.host.putcmd("quit")
            self.host.close()

    def abort(self) -> None:
        """Break off the conversation; called from another thread."""
        self.aborted = True
        if isinstance(self.host, _Relay):
            self.host.abort()
