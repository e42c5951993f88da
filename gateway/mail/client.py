"""smtplib's client, with limits, a name in EHLO, and logins beyond ASCII."""

from __future__ import annotations

import base64
import hmac
import smtplib
import socket
from contextlib import suppress
from typing import Any, BinaryIO

from gateway.mail.dial import dial
from gateway.mail.failures import MailError

MAX_REPLY_BYTES = 64 * 1024  # of all that a relay says, before TLS and within it
MAX_CHALLENGES = 5  # of one login
CHALLENGE, WELCOME, UNAVAILABLE = 334, 235, 421
MECHANISMS = ("CRAM-MD5", "PLAIN", "LOGIN")  # that we know, the best one first


class Client(smtplib.SMTP):
    """A connection to a relay. Another thread can abort it, and it limits what the relay says."""

    greets = True  # the relay speaks first
    aborted = False
    raw_socket: socket.socket | None = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = dial(host, port, timeout, greets=self.greets)
        self.raw_socket = made.dup()  # stays usable when TLS takes over the socket
        if self.aborted:
            made.close()
            raise TimeoutError("aborted")
        return made

    def getreply(self) -> tuple[int, bytes]:
        """Read one reply, with a limit on all replies together."""
        if self.file is None:
            self.file = _Limited(self.sock.makefile("rb"))  # type: ignore[union-attr]
        return super().getreply()

    def ehlo_or_helo_if_needed(self) -> None:
        """Say EHLO or, to a relay that does not know it, HELO.

        :raises smtplib.SMTPHeloError: with the first refusal, because after it many relays hang up.
        """
        if self.helo_resp is not None or self.ehlo_resp is not None:
            return
        status, words = self.ehlo()
        if _is_good(status):
            return
        if status != UNAVAILABLE:
            with suppress(smtplib.SMTPServerDisconnected):
                if _is_good(self.helo()[0]):
                    return
        raise smtplib.SMTPHeloError(status, words)

    def login(self, user: str, password: str, **_options: Any) -> tuple[int, bytes]:
        """Log in with the first mechanism that works.

        :raises MailError: when the relay offers none that we know.
        :raises smtplib.SMTPAuthenticationError: when it refuses.
        """
        self.ehlo_or_helo_if_needed()
        offered = self.esmtp_features.get("auth", "").upper().split()
        known = [mechanism for mechanism in MECHANISMS if mechanism in offered]
        if not offered:
            raise MailError(
                "the relay offers no login (AUTH)",
                "many relays offer it only within TLS: set MAIL_USE_TLS=1, usually with"
                " MAIL_PORT=587; if the relay needs none, unset MAIL_USERNAME and MAIL_PASSWORD",
            )
        if not known:
            raise MailError(
                f"the relay offers only the login {', '.join(_shown(offered))}, and the service"
                f" knows {', '.join(MECHANISMS)}",
                "let the account log in with a password, for instance one made for this application"
                " only; or use another relay",
            )
        self.user, self.password = user, password
        for mechanism in known[:-1]:  # some relays offer what they do not support
            with suppress(smtplib.SMTPAuthenticationError):
                return self._authenticate(mechanism)
        return self._authenticate(known[-1])

    def _authenticate(self, mechanism: str) -> tuple[int, bytes]:
        """Log in with one mechanism. smtplib would send only ASCII; RFC 4616 says UTF-8."""
        first = f" {_base64(self._answer('PLAIN', 0))}" if mechanism == "PLAIN" else ""
        status, words = self.docmd("AUTH", mechanism + first)
        for number in range(MAX_CHALLENGES):
            if status != CHALLENGE:
                break
            answer = self._answer(mechanism, number, base64.decodebytes(words))
            status, words = self.docmd(_base64(answer))
        if status != WELCOME:
            raise smtplib.SMTPAuthenticationError(status, words)
        return status, words

    def _answer(self, mechanism: str, number: int, challenge: bytes = b"") -> bytes:
        """Return what a mechanism answers to its challenges, the first of which has number 0."""
        user, password = self.user.encode(), self.password.encode()
        if mechanism == "PLAIN":
            return b"\0" + user + b"\0" + password
        if mechanism == "LOGIN":
            return password if number else user
        return user + b" " + hmac.digest(password, challenge, "md5").hex().encode()

    def abort(self) -> None:
        """End the conversation at once; another thread calls this."""
        self.aborted = True
        if self.raw_socket is not None:
            with suppress(OSError):
                self.raw_socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        try:
            super().close()
        finally:
            if self.raw_socket is not None:
                self.raw_socket.close()


class TlsClient(smtplib.SMTP_SSL, Client):
    """The same, with TLS from the first byte."""

    greets = False  # before the TLS handshake nobody does


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


def _is_good(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - the statuses of success in SMTP


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _shown(names: list[str]) -> list[str]:
    """Return at most five names in a form that can be logged."""
    return [name[:20] for name in names if name.isascii() and name.isprintable()][:5]
