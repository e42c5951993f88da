"""Render one mail and send it.

    templates/    subject and bodies by mail and language
    languages.py  chooses the language
    message.py    writes a mail as bytes that any relay takes
    relay.py      a conversation with the relay, with a deadline
    client.py     smtplib's client, with limits and logins in UTF-8
    failures.py   why a mail was not sent, and the cure
    outbox.py     the mails that an answer has promised, and what sends them

This package knows nothing of accounts and codes; ``auth`` tells ``outbox`` who makes which mail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blinker import Signal
from flask import Flask, current_app
from flask_mail import Mail
from jinja2 import Environment, FileSystemLoader, select_autoescape

from gateway import log
from gateway.mail import relay
from gateway.mail.failures import MailError, RecipientRefused
from gateway.mail.message import Message

__all__ = ["MailError", "RecipientRefused"]  # from failures

LANGUAGES = ("en", "zh")
# The view of the console that a mail links, by template; the others link the projects.
VIEWS = {"register": "register", "invite": "register", "reset": "forgot", "email": "account"}

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
            relay.converse(lambda connection: connection.deliver(message))
        is_sent = True
    finally:
        tried.send(current_app._get_current_object(), is_sent=is_sent)  # type: ignore[attr-defined]


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


def probe() -> None:
    """Talk to the relay as for a mail to the sender, and leave without sending one.

    :raises MailError: when the relay would not accept a mail now.
    """
    if not current_app.config["MAIL_SUPPRESS_SEND"]:
        relay.converse(lambda connection: connection.try_own_address())
