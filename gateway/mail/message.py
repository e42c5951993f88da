"""Write a mail as bytes that any relay takes: RFC 5322, RFC 2047, and no byte above 127."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from email import policy
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime, formataddr

from gateway import clock
from gateway.settings.checks import split_sender

LINE = 76  # columns of an encoded line, by RFC 2045 and 2047; of other header lines, by custom
_SEVEN_BITS = policy.SMTP.clone(cte_type="7bit", max_line_length=LINE)


@dataclass(frozen=True)
class Message:
    """One mail. ``sender`` is an address, or a name and an address as in ``Name <address>``."""

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


def domain_of(sender: str) -> str:
    """Return the domain of the sender's address."""
    return split_sender(sender)[1].rpartition("@")[2]


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
