"""Write one mail and send it.

    templates/    subject and bodies by mail and language
    languages.py  chooses the language
    relay.py      a conversation with the relay, with a deadline
    client.py     smtplib's client, with limits and logins in UTF-8
    failures.py   why a mail was not sent, and the cure
    outbox.py     the mails that an answer has promised, and what sends them
    models.py     their table

This package knows nothing of accounts and codes; ``auth`` tells ``outbox`` who makes which mail.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from email import policy
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from pathlib import Path
from typing import Any

from blinker import Signal
from flask import Flask, current_app
from flask_mail import Mail
from jinja2 import Environment, FileSystemLoader, select_autoescape

from gateway import clock, log
from gateway.mail import relay
from gateway.mail.failures import MailError, RecipientRefused
from gateway.settings.checks import domain_of, split_sender

__all__ = ["MailError", "RecipientRefused"]  # from failures

LANGUAGES = ("en", "zh")
# The view of the console that a mail links, by template; the others link the projects.
VIEWS = {"register": "register", "invite": "register", "reset": "forgot", "email": "account"}
LINE = 76  # columns of an encoded line, by RFC 2045 and 2047; of other header lines, by custom
_SEVEN_BITS = policy.SMTP.clone(cte_type="7bit", max_line_length=LINE)

flask_mail = Mail()
tried = Signal()  # with the application and ``is_sent``, after each try to send a mail
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
)


def init_app(app: Flask) -> None:
    """Set up Flask-Mail. No operator should change these two settings."""
    app.config["MAIL_DEBUG"] = False  # it prints the SMTP dialogue with codes and the password
    app.config["MAIL_MAX_EMAILS"] = None  # after that many mails Flask-Mail waits for QUIT's reply
    flask_mail.init_app(app)


def is_possible() -> bool:
    """Tell whether the settings name any way for a mail to go."""
    return bool(current_app.config["MAIL_SERVER"] or current_app.config["MAIL_SUPPRESS_SEND"])


def describe(app: Flask) -> str:
    """Return one line that says where the application's mails go."""
    if app.config["MAIL_SUPPRESS_SEND"]:
        return "mails, codes included, are not sent but written to this log"
    if app.config["MAIL_SERVER"]:
        return f"mails are sent through {app.config['MAIL_SERVER']}"
    return "no MAIL_SERVER is set: codes cannot be mailed (code 1029)"


def send(template: str, email: str, language: str, **context: Any) -> None:
    """Send the mail in ``templates/<template>/<language>/`` to one address.

    With MAIL_SUPPRESS_SEND, write the mail to the log instead.

    :param language: one of ``LANGUAGES``.
    :raises RecipientRefused: when the relay refuses the address for good.
    :raises MailError: when the relay did not accept the mail in time.
    """
    message = compose(template, email, language, **context)
    is_sent = False
    try:
        if current_app.config["MAIL_SUPPRESS_SEND"]:
            log.logger.info("mail to %s: %s\n\n%s\n", email, message.subject, message.text)
            # Flask-Mail sends nothing now; tests read mail.record_messages().
            flask_mail.send_message(
                subject=message.subject, recipients=[email], body=message.text, html=message.html
            )
        else:
            relay.converse(lambda connection: connection.deliver(email, message.as_bytes()))
        is_sent = True
    finally:
        tried.send(current_app._get_current_object(), is_sent=is_sent)  # type: ignore[attr-defined]


def probe() -> None:
    """Talk to the relay as for a mail to the sender, and leave without sending one.

    :raises MailError: when the relay would not accept a mail now.
    """
    if not current_app.config["MAIL_SUPPRESS_SEND"]:
        relay.converse(lambda connection: connection.try_own_address())


def compose(template: str, email: str, language: str, **context: Any) -> Message:
    """Return the mail that ``send`` would send."""
    config = current_app.config
    context["service"] = config["SERVICE_NAME"]
    # From the setting, because a stranger chooses the host that a request names.
    link = f"{config['PUBLIC_URL']}/#{VIEWS.get(template, 'projects')}"
    context["console"] = link if config["PUBLIC_URL"] and config["PAGES"] else ""
    subject, text, html = (
        _templates.get_template(f"{template}/{language}/{name}").render(context)
        for name in ("subject.txt", "body.txt", "body.html")
    )
    return Message(config["MAIL_DEFAULT_SENDER"], email, subject.strip(), text, html)


@dataclass(frozen=True)
class Message:
    """A mail in a form that any relay takes: RFC 5322, RFC 2047, no byte above 127.

    ``sender`` is an address, or a name and an address as in ``Name <address>``."""

    sender: str
    recipient: str
    subject: str
    text: str
    html: str

    def as_bytes(self) -> bytes:
        """Return the mail as it goes to the relay after DATA."""
        # EmailMessage would encode headers against RFC 2047: its words touch each other.
        headers = (
            f"From: {_mailbox(*split_sender(self.sender))}",
            f"To: {self.recipient}",
            f"Subject: {_encoded('Subject', self.subject)}",
            f"Date: {format_datetime(clock.now())}",
            f"Message-ID: <{uuid.uuid4().hex}@{domain_of(self.sender)}>",
            "Auto-Submitted: auto-generated",
        )
        content = EmailMessage(_SEVEN_BITS)
        content.set_content(self.text)
        content.add_alternative(self.html, subtype="html")
        return "".join(f"{header}\r\n" for header in headers).encode("ascii") + content.as_bytes()


def _mailbox(name: str, address: str) -> str:
    """Return the value of From."""
    plain = formataddr((name, address)) if _is_plain(name) else ""
    if plain and len(f"From: {plain}") <= LINE:
        return plain
    # The address has a line of its own, because a line with an encoded word is limited.
    return f"{_encoded('From', name)}\r\n <{address}>" if name else address


def _encoded(header: str, text: str) -> str:
    """Return free text as the value of a header: as it is, or as encoded words, one a line."""
    if _is_plain(text) and len(f"{header}: {text}") <= LINE:
        return text
    valid = text.encode("utf-8", "replace").decode()
    return Header(valid, "utf-8", LINE, header).encode(linesep="\r\n")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "=?" not in text and text == text.strip()
