"""A strict reader of mails, by RFC 5322, 2045 and 2047.

``read`` returns what a mail says, or raises AssertionError or a defect of the email package with
what the mail does that a strict relay or reader refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.header import decode_header, make_header

STRICT = policy.SMTP.clone(raise_on_defect=True)
MAX_LINE = 998  # without CRLF
MAX_HEADER_LINE = 78  # a custom for headers; an address that is longer cannot be broken
MAX_ENCODED_LINE, MAX_WORD = 76, 75  # a line with an encoded word or an encoded body; such a word
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
ADDRESS = rf"{ATOM}(?:\.{ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
WORD = rf"=\?utf-8\?(?:b\?{BASE64}|q\?(?:[!->@-^`-~]|=[0-9A-F]{{2}}|_)*)\?="
# Within the name of an address fewer characters are allowed.
WORD_OF_A_NAME = r"=\?[^?]+\?[BbQq]\?[A-Za-z0-9!*+/=_-]*\?="
QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
DATE = (
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r" \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4}"
)
NAME = rf"{QUOTED}|(?:{ATOM}|{WORD_OF_A_NAME})(?: +(?:{ATOM}|{WORD_OF_A_NAME}))*"
SHAPES = {
    "From": rf"{ADDRESS}|(?:{NAME}) *<{ADDRESS}>",
    "To": ADDRESS,
    "Subject": ".+",
    "Date": DATE,
    "Message-ID": rf"<{ADDRESS}>",
    "MIME-Version": r"1\.0",
    "Auto-Submitted": "auto-generated",
    "Content-Type": r'multipart/alternative; *boundary="[0-9A-Za-z\'()+_,./:=? -]{1,70}"',
}


@dataclass
class Mail:
    """What a reader sees."""

    headers: dict
    subject: str
    sender_name: str
    sender: str
    recipient: str
    text: str
    html: str


def read(content: bytes) -> Mail:
    assert max(content, default=0) < 128, "a byte above 127, without 8BITMIME"
    assert b"\0" not in content, "a NUL"
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", content) is None, "CR or LF alone"
    text = content.decode("ascii")
    assert all(len(line) <= MAX_LINE for line in text.split("\r\n")), "a line over 998"
    head = text.partition("\r\n\r\n")[0]
    for line in head.split("\r\n"):
        check_header_line(line)
    mail = message_from_bytes(content, policy=STRICT)
    headers = {name: str(value) for name, value in mail.items()}
    assert len(headers) == len(mail.items()), "a header twice"
    raw = dict(field.split(": ", 1) for field in re.sub(r"\r\n(?=[ \t])", "", head).split("\r\n"))
    for name, shape in SHAPES.items():
        assert re.fullmatch(shape, raw.get(name, "")), f"{name}: {raw.get(name)}"
        assert raw[name] == raw[name].strip(), f"blanks around {name}"
    (sender,), (recipient,) = mail["From"].addresses, mail["To"].addresses
    assert raw["Message-ID"].strip("<>").partition("@")[2] == sender.domain
    plain, html = map(body, mail.iter_parts(), ("text/plain", "text/html"))
    name = raw["From"].rpartition("<")[0].strip()
    if name.startswith('"'):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    else:  # the other parser leaves a blank between two encoded words
        name = str(make_header(decode_header(name)))
    return Mail(
        headers, headers["Subject"], name, sender.addr_spec, recipient.addr_spec, plain, html
    )


def check_header_line(line):
    assert line.strip(), "a line of blanks"
    if "=?" in line:
        assert len(line) <= MAX_ENCODED_LINE, f"{len(line)} columns with an encoded word"
        for token in line.split():
            if "=?" in token:
                assert re.fullmatch(WORD, token), f"no proper encoded word: {token}"
                assert len(token) <= MAX_WORD, f"a word of {len(token)}"
    elif not re.fullmatch(rf"(To:)? ?<?{ADDRESS}>?", line):
        assert len(line) <= MAX_HEADER_LINE, f"{len(line)} columns: {line}"


def body(part, content_type):
    """Return the text of a part, which stands in lines as its encoding allows."""
    assert (part.get_content_type(), part.get_content_charset()) == (content_type, "utf-8")
    lines = part.get_payload().splitlines()
    encoding = part["Content-Transfer-Encoding"]
    assert encoding in ("7bit", "base64", "quoted-printable")
    if encoding != "7bit":
        assert all(len(line) <= MAX_ENCODED_LINE for line in lines), "an encoded line over 76"
    if encoding == "quoted-printable":
        for line in lines:
            assert re.fullmatch(r"(?:[\t -<>-~]|=[0-9A-F]{2})*=?", line), line
            assert line == line.rstrip(" \t"), "a blank at the end of a line"
    return part.get_payload(decode=True).decode().replace("\r\n", "\n")
