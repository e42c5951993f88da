"""Why a mail was not sent: the cause, and what an operator can do about it."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl

REACH = (
    "check MAIL_SERVER and MAIL_PORT, and that a firewall lets this host through; many hosters"
    " block port 25; a relay on port 465 needs MAIL_USE_SSL=1"
)
UNSET = (
    "set it, or set MAIL_SUPPRESS_SEND=1 to have mails written to the terminal, as make run does;"
    " see: gateway doctor"
)
# The first class that fits names the cure.
CURES: tuple[tuple[type[Exception], str], ...] = (
    (
        smtplib.SMTPHeloError,
        "set MAIL_DEFAULT_SENDER to an address of your own domain, because the service gives that"
        " domain as its name in EHLO",
    ),
    (
        smtplib.SMTPAuthenticationError,
        "check MAIL_USERNAME and MAIL_PASSWORD; many providers want a password made for one"
        " application; a relay may also want MAIL_USE_TLS=1 first",
    ),
    (
        smtplib.SMTPSenderRefused,
        "set MAIL_DEFAULT_SENDER to an address that the relay lets this service use; with status"
        " 530 it wants MAIL_USERNAME and MAIL_PASSWORD",
    ),
    (
        smtplib.SMTPRecipientsRefused,
        "if the relay refuses every recipient, it wants MAIL_USERNAME and MAIL_PASSWORD, or must be"
        " told that this host may send",
    ),
    (smtplib.SMTPDataError, "look into the relay's log: it refused the mail itself"),
    (
        smtplib.SMTPConnectError,
        "ask whoever runs the relay whether this host may use it; it refused the connection",
    ),
    (smtplib.SMTPServerDisconnected, f"the relay hung up; {REACH}"),
    (
        ssl.SSLCertVerificationError,
        "set MAIL_SERVER to the name in the relay's certificate; the certificate of a private"
        " authority belongs into the file that SSL_CERT_FILE names",
    ),
    (
        ssl.SSLError,
        "check MAIL_PORT: MAIL_USE_SSL is for TLS from the first byte, usually port 465, and"
        " MAIL_USE_TLS for STARTTLS, usually port 587",
    ),
    (
        smtplib.SMTPNotSupportedError,
        "check MAIL_PORT: STARTTLS is usually at port 587; for port 465 set MAIL_USE_SSL instead of"
        " MAIL_USE_TLS",
    ),
    (socket.gaierror, "check MAIL_SERVER and this host's DNS: no address is known for the name"),
    (UnicodeError, "check MAIL_SERVER: this is no name that DNS knows"),
    (OSError, REACH),
    (Exception, "check the MAIL_ settings, and that the relay can be reached from here"),
)


class MailError(Exception):
    """The relay did not accept the mail. The message holds no address, code or password.

    :param cure: what an operator can do about it.
    :param begun: whether the relay had accepted the sender, so that only this mail is concerned.
    """

    def __init__(self, cause: str, cure: str = "", *, begun: bool = False) -> None:
        super().__init__(cause)
        self.cure = cure or "see: gateway doctor"
        self.begun = begun


class RecipientRefused(MailError):
    """The relay refuses this recipient for good."""


def explain(error: Exception, *, begun: bool) -> MailError:
    """Return what an exception during a conversation means."""
    if isinstance(error, MailError):
        error.begun = begun
        return error
    cure = next(cure for kind, cure in CURES if isinstance(error, kind))
    made = RecipientRefused if _is_recipient_for_good(error) else MailError
    return made(_cause(error), cure, begun=begun)


def _is_recipient_for_good(error: Exception) -> bool:
    """Tell whether the relay refused the recipient, and would refuse it again."""
    if not isinstance(error, smtplib.SMTPRecipientsRefused):
        return False
    status, _ = next(iter(error.recipients.values()))
    out_of_order, login_needed = 503, 530  # these two are about the conversation
    return str(status).startswith("5") and status not in (out_of_order, login_needed)


def _cause(error: Exception) -> str:
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
