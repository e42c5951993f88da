"""Talk to the SMTP relay.

Flask-Mail builds the message and hands it over. This module gives Flask-Mail's connection what it
lacks: a verified TLS certificate, one deadline for the whole conversation, and a clear answer
whether the relay accepted the mail.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import BinaryIO

from flask import current_app
from flask_mail import Connection

from gateway.config import THREADS

DEADLINE = 8  # seconds for the whole conversation, because a reply takes less than 10
MAX_REPLY_BYTES = 64 * 1024  # of all that a relay says, before TLS and within it
READY = 220  # the status with which a relay greets
MAX_PARALLEL_MAILS = THREADS - 4  # a slow relay must leave threads for other requests

_slots = threading.BoundedSemaphore(MAX_PARALLEL_MAILS)


class MailError(Exception):
    """The relay did not accept the mail. The message holds no address, code or password."""


def converse(talk: Callable[[RelayConnection], None]) -> None:
    """Talk to the relay in a separate thread, because only that limits name look-ups, too.

    The thread holds one of the parallel slots until it ends, which may be after the deadline.

    :param talk: called with the open connection.
    :raises MailError: when the conversation failed or took too long.
    """
    if not current_app.config["MAIL_SERVER"]:
        raise MailError("no MAIL_SERVER is set")
    # Do not wait for a slot: that would hold the threads that the slots are to leave free.
    if not _slots.acquire(blocking=False):
        raise MailError("too many mails are waiting for the relay")
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
            _slots.release()

    try:
        threading.Thread(target=run, name="mail", daemon=True).start()
    except RuntimeError:
        _slots.release()
        raise MailError("no thread can be started") from None
    try:
        accepted.result(timeout=DEADLINE)
    except FutureTimeoutError:
        connection.abort()
        raise MailError(f"the relay took longer than {DEADLINE} s") from None
    except Exception as error:  # noqa: BLE001 - any of them means that no mail was sent
        raise MailError(_explain(error)) from None


def _explain(error: Exception) -> str:
    """Return the error's type and codes, without the relay's words: they may repeat the mail."""
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
    """smtplib's client; another thread can abort it, and it limits what the relay says."""

    aborted = False
    raw_socket: socket.socket | None = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self.raw_socket = made.dup()  # stays usable when TLS takes over the socket
        if self.aborted:
            made.close()
            raise TimeoutError("aborted")
        return made

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Limited(self.sock.makefile("rb"))  # type: ignore[union-attr]
        return super().getreply()

    def abort(self) -> None:
        """End the conversation at once; another thread calls this."""
        self.aborted = True
        if self.raw_socket is not None:
            with suppress(OSError):
                self.raw_socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self.raw_socket is not None:
                self.raw_socket.close()


class _TlsRelay(smtplib.SMTP_SSL, _Relay):
    """The same, with TLS from the first byte."""


class _Limited:
    """The relay's replies: whole lines, up to MAX_REPLY_BYTES. smtplib alone has no limit."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = MAX_REPLY_BYTES

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


class RelayConnection(Connection):
    """Flask-Mail's connection with verified TLS and a deadline; it does not wait at QUIT."""

    aborted = False

    def configure_host(self) -> smtplib.SMTP:
        """Connect, start TLS and log in, as the settings say."""
        context = ssl.create_default_context()
        host = (
            _TlsRelay(timeout=DEADLINE, context=context)
            if self.mail.use_ssl
            else _Relay(timeout=DEADLINE)
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

    def greet(self) -> None:
        """Say EHLO, unless TLS or the login did so already."""
        if self.host is not None:
            self.host.ehlo_or_helo_if_needed()

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
        if isinstance(self.host, _Relay):
            self.host.abort()
