"""smtplib's client, with a limit on what the relay says, and logins beyond ASCII."""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
from contextlib import suppress
from io import BufferedReader
from types import SimpleNamespace
from typing import Any

from gateway.mail.failures import MailError

MAX_REPLY_BYTES = 64 * 1024  # of all that a relay says, before TLS and within it
CHALLENGE, WELCOME, UNAVAILABLE = 334, 235, 421
MECHANISMS = ("PLAIN", "LOGIN")  # that we know; no other is needed within TLS


class Client(smtplib.SMTP):
    """A conversation with a relay. Another thread can abort it."""

    aborted = False
    raw_socket: socket.socket | None = None

    def use(self, connection: socket.socket, tls: ssl.SSLContext | None, name: str) -> None:
        """Talk over an open connection, with TLS from the first byte if there is a context.

        :param name: of the relay, which its certificate must show.
        :raises TimeoutError: when the conversation was aborted.
        """
        self.raw_socket = connection.dup()  # stays usable when TLS takes over the connection
        self.sock = connection
        if self.aborted:
            raise TimeoutError("aborted")
        if tls is not None:
            self.sock = tls.wrap_socket(connection, server_hostname=name)

    def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Change to TLS. smtplib alone verifies only the name of a host that it connected to.

        :param name: of the relay, which its certificate must show.
        """

        def wrap_socket(plain: socket.socket, **_: Any) -> ssl.SSLSocket:
            return context.wrap_socket(plain, server_hostname=name)

        wrapper: Any = SimpleNamespace(wrap_socket=wrap_socket)
        self.starttls(context=wrapper)

    def getreply(self) -> tuple[int, bytes]:
        """Read one reply, with a limit on all replies together."""
        if self.file is None:
            self.file = _Limited(self.sock.makefile("rb", 0))  # type: ignore[union-attr]
        return super().getreply()

    def ehlo_or_helo_if_needed(self) -> None:
        """Say EHLO or, to a relay that does not know it, HELO.

        :raises smtplib.SMTPHeloError: with the first refusal, because after it many relays hang up.
        """
        if self.helo_resp is not None or self.ehlo_resp is not None:
            return
        first = self.ehlo()
        with suppress(smtplib.SMTPServerDisconnected):
            if _is_good(first) or (first[0] != UNAVAILABLE and _is_good(self.helo())):
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

    def abort(self) -> None:
        """End the conversation at once; another thread calls this."""
        self.aborted = True
        if self.raw_socket is not None:
            with suppress(OSError):
                self.raw_socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        if self.raw_socket is not None:
            self.raw_socket.close()


class _Limited(BufferedReader):
    """The relay's replies: whole lines, up to MAX_REPLY_BYTES. smtplib alone has no limit."""

    left = MAX_REPLY_BYTES

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        self.left -= len(line)
        if self.left < 0:
            raise OSError("the relay talks without end")
        if line and not line.endswith(b"\n") and len(line) != size:
            raise OSError("the relay broke off within a line")
        return line


def _is_good(answer: tuple[int, bytes]) -> bool:
    return str(answer[0]).startswith("2")
