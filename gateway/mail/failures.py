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
ONE_MAIL = (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)
UNSET = (
    "set it, or set MAIL_SUPPRESS_SEND=1 to have mails written to the terminal, as make run does;"
    " see: gateway doctor"
)
LATER = "the relay says that it takes this mail later; if it goes on for hours, ask who runs it"
# What a relay says about one mail; it says nothing about the login.
CURES_BY_STATUS = {
    **dict.fromkeys((450, 451, 452), LATER),
    552: "the relay calls the mail too large, or the mailbox is full: look into the relay's log",
}
# What a refusal says of a recipient, by RFC 3463 or in words, and of who sends.
OF_RECIPIENT = re.compile(rb"5\.1\.([1-46]|10)\b|5\.2\.|no such|unknown|unrout", re.IGNORECASE)
OF_SENDER = re.compile(rb"relay|denied|authent|log ?in", re.IGNORECASE)
UNAVAILABLE = 550  # what relays say to any recipient before a login
NOBODY = (
    "the relay refuses every recipient: it wants MAIL_USERNAME and MAIL_PASSWORD, or must be told"
    " that this host may send"
)
# The first class that fits names the cure.
CURES: dict[type[Exception] | tuple[type[Exception], ...], str] = {
    (smtplib.SMTPHeloError, smtplib.SMTPSenderRefused): (
        "set MAIL_DEFAULT_SENDER to an address of your own domain that the relay lets this service"
        " use; the service names the domain in EHLO. With 530 the relay wants MAIL_USERNAME"
    ),
    smtplib.SMTPAuthenticationError: (
        "check MAIL_USERNAME and MAIL_PASSWORD; many providers want a password made for one"
        " application; a relay may also want MAIL_USE_TLS=1 first"
    ),
    smtplib.SMTPRecipientsRefused: f"check the address; if {NOBODY}",
    smtplib.SMTPDataError: "look into the relay's log: it refused the mail itself",
    smtplib.SMTPConnectError: "ask who runs the relay whether this host may use it",
    smtplib.SMTPServerDisconnected: f"the relay hung up; {REACH}",
    ssl.SSLCertVerificationError: (
        "set MAIL_SERVER to the name in the relay's certificate; the certificate of a private"
        " authority belongs into the file that SSL_CERT_FILE names"
    ),
    (ssl.SSLError, smtplib.SMTPNotSupportedError): (
        "check MAIL_PORT: MAIL_USE_SSL is for TLS from the first byte, usually port 465, and"
        " MAIL_USE_TLS for STARTTLS, usually port 587"
    ),
    (socket.gaierror, UnicodeError): "check MAIL_SERVER and this host's DNS: it knows no such name",
    OSError: REACH,
    Exception: "check the MAIL_ settings, and that the relay can be reached from here",
}


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


def explain(error: BaseException, *, begun: bool) -> MailError:
    """Return what an exception during a conversation means."""
    if isinstance(error, MailError):
        error.begun = begun
        return error
    status, _ = _answer(error)
    cure = CURES_BY_STATUS.get(status) if isinstance(error, ONE_MAIL) else None
    by_class = next(cure for kind, cure in CURES.items() if isinstance(error, kind))
    made = RecipientRefused if _is_recipient_for_good(error) else MailError
    return made(_cause(error), cure or by_class, begun=begun)


def is_about_the_service(refusal: smtplib.SMTPRecipientsRefused) -> bool:
    """Tell whether a relay may have refused a recipient because of who sends."""
    status, words = _answer(refusal)
    if not _is_recipient_for_good(refusal) or OF_RECIPIENT.search(words):
        return False
    return status == UNAVAILABLE or OF_SENDER.search(words) is not None


def _is_recipient_for_good(error: BaseException) -> bool:
    """Tell whether the relay refused the recipient, and would refuse it again."""
    status, _ = _answer(error)
    out_of_order, login_needed = 503, 530  # these two are about the conversation
    is_for_good = str(status).startswith("5") and status not in (out_of_order, login_needed)
    return isinstance(error, smtplib.SMTPRecipientsRefused) and is_for_good


def _answer(error: BaseException) -> tuple[int, bytes]:
    """Return the status and the words of a relay's refusal, or 0 and nothing."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()))
    words = getattr(error, "smtp_error", b"")
    return getattr(error, "smtp_code", 0), words if isinstance(words, bytes) else b""


def _cause(error: BaseException) -> str:
    """Return the error's type and codes, without the relay's words: they may repeat the mail."""
    name = type(error).__name__
    ours = isinstance(error, smtplib.SMTPServerDisconnected | smtplib.SMTPNotSupportedError)
    if ours or (isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException)):
        return f"{name}: {error}"
    status, words = _answer(error)
    detail = re.match(rb"\d\.\d{1,3}\.\d{1,3}\b", words)
    return " ".join(filter(None, (name, str(status or ""), detail[0].decode() if detail else "")))
