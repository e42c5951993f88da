"""Write a mail as bytes that any relay takes: RFC 5322, RFC 2047, and no byte above 127.

The headers are written here, because neither Flask-Mail nor the email package follows RFC 2047 to
the letter: their encoded words touch each other, are too long, or lose blanks.
"""

from __future__ import annotations

import base64
import re
import uuid
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

from gateway import clock
from gateway.settings.checks import split_sender

LINE = 76  # columns of an encoded line, by RFC 2045 and 2047; of other header lines, by custom
WORD = 75  # columns of an encoded word
WORD_FRAME = len("=?utf-8?b??=")
ATOMS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+( [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_SEVEN_BITS = policy.SMTP.clone(cte_type="7bit", max_line_length=LINE)


@dataclass(frozen=True)
class Message:
    """One mail. ``sender`` is an address, or a name and an address as in ``Name <address>``."""

    sender: str
    recipient: str
    subject: str
    text: str
    html: str

    @property
    def envelope_sender(self) -> str:
        """The sender's address without the name."""
        return split_sender(self.sender)[1]

    def as_bytes(self) -> bytes:
        """Return the mail as it goes to the relay after DATA."""
        name, address = split_sender(self.sender)
        headers = (
            f"From: {_mailbox(name, address)}",
            f"To: {self.recipient}",
            f"Subject: {_unstructured(self.subject, len('Subject: '))}",
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
    if not name:
        return address
    if not _is_plain(name):
        # The address has a line of its own, because a line with an encoded word is limited.
        return "\r\n ".join([*_encoded_words(name, len("From: ")), f"<{address}>"])
    if not re.fullmatch(ATOMS, name):
        name = '"{}"'.format(re.sub(r'(["\\])', r"\\\1", name))
    return _fold(f"{name} <{address}>", len("From: "))


def _unstructured(text: str, column: int) -> str:
    """Return the value of a header that holds free text.

    :param column: where it begins.
    """
    if _is_plain(text):
        return _fold(text, column)
    return "\r\n ".join(_encoded_words(text, column))


def _is_plain(text: str) -> bool:
    """Tell whether a text can stand in a header as it is, on lines that are not too long."""
    longest = max(map(len, text.split(" ")))
    return text.isascii() and text.isprintable() and "=?" not in text and longest < WORD - 10


def _encoded_words(text: str, column: int) -> list[str]:
    """Encode a text as words of whole characters, one for each line.

    Readers join the words without the line breaks, so every blank stands within a word.
    """
    words, part, room = [], b"", _bytes_in(LINE - column)
    for character in text.encode("utf-8", "replace").decode():
        encoded = character.encode()
        if len(part) + len(encoded) > room:
            words.append(part)
            part, room = b"", _bytes_in(WORD)
        part += encoded
    return [f"=?utf-8?b?{base64.b64encode(part).decode()}?=" for part in [*words, part]]


def _bytes_in(columns: int) -> int:
    """Return how many bytes an encoded word of this width holds."""
    return (columns - WORD_FRAME) // 4 * 3


def _fold(text: str, column: int) -> str:
    """Break a text into lines in front of blanks; a reader takes out the breaks, not the blanks."""
    lines = [""]
    for word in re.findall(r" *[^ ]+", text):
        if lines[-1].strip() and column + len(lines[-1]) + len(word) > LINE:
            lines.append("")
            column = 0
        lines[-1] += word
    return "\r\n".join(lines)
