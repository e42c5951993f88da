"""smtplib's client, with one deadline, a limit on what the relay says, and logins beyond ASCII."""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
import time
from contextlib import suppress
from functools import cached_property
from io import BufferedReader, RawIOBase
from typing import Any

from flask_mail import Mail

from gateway.mail.failures import MailError
from gateway.settings.checks import domain_of

MAX_REPLY_BYTES = 64 * 1024  # of all that a relay says, before TLS and within it
READY, CHALLENGE, WELCOME = 220, 334, 235  # statuses of a relay
GOOD = range(200, 300)
MECHANISMS = ("PLAIN", "LOGIN")  # that we know; no other is needed within TLS


class Client(smtplib.SMTP):
    """A conversation with the relay that the settings name.

    :param end: until when it may last, as ``time.monotonic``.
    """

    def __init__(self, mail: Mail, end: float) -> None:
        self.use_ssl = mail.use_ssl
        self.end = self.end_of_wait = end
        # This host's own name is often none that a relay accepts, and looking it up may take long.
        super().__init__(mail.server, mail.port, domain_of(mail.default_sender))

    @cached_property
    def context(self) -> ssl.SSLContext:
        """What verifies the relay's certificate; loading all authorities takes a while."""
        return ssl.create_default_context()

    def connect(self, host: str = "", port: int = 0, _source: Any = None) -> tuple[int, bytes]:
        """Connect to the first of the relay's addresses that is ready.

        Each gets an equal share of the time that is left, so a dead one leaves time for the next.
        """
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        while True:
            now = time.monotonic()
            self.end_of_wait = now + (self.end - now) / len(addresses)
            family, kind, protocol, _, address = addresses.pop(0)
            self.sock = socket.socket(family, kind, protocol)
            try:
                self.in_time().connect(address)
                if self.use_ssl:
                    self.sock = self.context.wrap_socket(self.sock, server_hostname=host)
                status, words = self.getreply()
                if status != READY:
                    raise smtplib.SMTPConnectError(status, words)
            except OSError:
                self.close()
                if not addresses:
                    raise
            else:
                self.end_of_wait = self.end
                return status, words

    def in_time(self) -> Any:
        """Return the connection; the next wait for the relay ends in time.

        :raises TimeoutError: when the time is over.
        """
        left = self.end_of_wait - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection: Any = self.sock
        connection.settimeout(left)
        return connection

    def getreply(self) -> tuple[int, bytes]:
        """Read one reply, within the limits of the conversation."""
        if self.file is None:
            self.file = BufferedReader(_Replies(self))
        return super().getreply()

    def ehlo_or_helo_if_needed(self) -> None:
        """Say EHLO or, to a relay that does not know it, HELO.

        :raises smtplib.SMTPHeloError: with the first refusal, because after it many relays hang up.
        """
        if self.helo_resp is not None or self.ehlo_resp is not None:
            return
        first = self.ehlo()
        if first[0] in GOOD:
            return
        with suppress(smtplib.SMTPServerDisconnected):
            if self.helo()[0] in GOOD:
                return
        raise smtplib.SMTPHeloError(*first)

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
            names = [name[:20] for name in offered if name.isascii() and name.isprintable()][:5]
            raise MailError(
                f"the relay offers only the login {', '.join(names)}, and the service knows"
                f" {', '.join(MECHANISMS)}",
                "let the account log in with a password, for instance one made for this application"
                " only; or use another relay",
            )
        for mechanism in known:
            status, words = self._authenticate(mechanism, user.encode(), password.encode())
            if status == WELCOME:
                return status, words  # some relays offer what they do not support
        raise smtplib.SMTPAuthenticationError(status, words)

    def _authenticate(self, mechanism: str, user: bytes, password: bytes) -> tuple[int, bytes]:
        """Log in with one mechanism. smtplib would send only ASCII; RFC 4616 says UTF-8."""
        plain = base64.b64encode(b"\0" + user + b"\0" + password)
        login = [base64.b64encode(user), base64.b64encode(password)]
        # Some relays want the answer of PLAIN after the question, too.
        first, answers = (b" " + plain, [plain]) if mechanism == "PLAIN" else (b"", login)
        status, words = self.docmd("AUTH", mechanism + first.decode())
        while status == CHALLENGE and answers:
            status, words = self.docmd(answers.pop(0).decode())
        return status, words


class _Replies(RawIOBase):
    """What the relay says: whole lines, up to MAX_REPLY_BYTES. smtplib alone has no limit."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.left = MAX_REPLY_BYTES
        self.is_in_line = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        number: int = self.client.in_time().recv_into(buffer)
        if number == 0 and self.is_in_line:
            raise OSError("the relay broke off within a line")
        self.is_in_line = number > 0 and buffer[number - 1] != ord("\n")
        self.left -= number
        if self.left < 0:
            raise OSError("the relay talks without end")
        return number
