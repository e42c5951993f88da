"""A strict reader of mails, by RFC 5322, 2045 and 2047, without the lenient email package.

``read`` returns the headers and bodies of a mail, or raises AssertionError with what the mail does
that a strict relay or reader refuses.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

MAX_LINE = 998  # without CRLF
MAX_HEADER_LINE = 78  # a custom for headers; an address that is longer cannot be broken
MAX_ENCODED_LINE, MAX_WORD = 76, 75  # a line with an encoded word, and such a word
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
ADDRESS = rf"{ATOM}(?:\.{ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
DATE = (
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r" \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4}"
)


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
    headers, body = split_entity(text)
    for name in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"):
        assert name in headers, f"no {name}"
    assert headers["MIME-Version"] == "1.0"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(DATE, headers["Date"]), headers["Date"]
    name, sender = mailbox(headers["From"])
    message_id = re.fullmatch(rf"<({ADDRESS})>", headers["Message-ID"])
    assert message_id, headers["Message-ID"]
    assert message_id[1].rpartition("@")[2] == sender.rpartition("@")[2]
    assert re.fullmatch(ADDRESS, headers["To"]), headers["To"]
    plain, html = parts(headers["Content-Type"], body)
    subject = unstructured(headers["Subject"])
    return Mail(headers, subject, name, sender, headers["To"], plain, html)


def split_entity(text):
    """Return the unfolded headers, and the body after the empty line."""
    head, gap, body = text.partition("\r\n\r\n")
    assert gap, "no empty line after the headers"
    headers = {}
    for field in re.split(r"\r\n(?![ \t])", head):
        lines = field.split("\r\n")
        match = re.fullmatch(r"([!-9;-~]+): ?(.*)", field, re.DOTALL)
        assert match, f"no header: {field!r}"
        assert match[1] not in headers, f"{match[1]} twice"
        for line in lines:
            assert line.strip(), f"a line of blanks in {match[1]}"
            if re.search(r"=\?.*\?=", line):
                assert len(line) <= MAX_ENCODED_LINE, f"{len(line)} columns with an encoded word"
            else:
                alone = re.search(rf"^(To:)? ?<?{ADDRESS}>?$", line)
                assert len(line) <= MAX_HEADER_LINE or alone, f"{len(line)} columns: {line}"
        headers[match[1]] = match[2].replace("\r\n", "")
        assert headers[match[1]] == headers[match[1]].strip(), f"blanks around {match[1]}"
    return headers, body


def encoded_word(token):
    """Decode one encoded word; return None for other text."""
    match = re.fullmatch(r"=\?([A-Za-z0-9-]+)\?([BbQq])\?([!->@-~]*)\?=", token)
    if match is None:
        assert "=?" not in token, f"no proper encoded word: {token}"
        return None
    assert len(token) <= MAX_WORD, f"a word of {len(token)}"
    charset, encoding, text = match.groups()
    if encoding in "Bb":
        assert re.fullmatch(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", text)
        content = binascii.a2b_base64(text)
    else:
        assert re.fullmatch(r"(?:[^=]|=[0-9A-F]{2})*", text), text
        content = binascii.a2b_qp(text.replace("_", "=20"), header=False)
    return content.decode(charset)  # strict: a word must not end within a character


def unstructured(value):
    """Decode a header of free text: blanks between two encoded words are not part of it."""
    result, after_word = "", False
    for blanks, token in re.findall(r"([ \t]*)([^ \t]+)", value):
        word = encoded_word(token)
        result += "" if after_word and word is not None else blanks
        result += token if word is None else word
        after_word = word is not None
    return result


def mailbox(value):
    """Return the name and the address of a header that holds one of them."""
    if re.fullmatch(ADDRESS, value):
        return "", value
    match = re.fullmatch(rf"(.+?)[ \t]*<({ADDRESS})>", value)
    assert match, f"no mailbox: {value}"
    phrase = match[1]
    if phrase.startswith('"'):
        quoted = re.fullmatch(r'"((?:[ !#-\[\]-~]|\\[ -~])*)"', phrase)
        assert quoted, f"no quoted string: {phrase}"
        return re.sub(r"\\(.)", r"\1", quoted[1]), match[2]
    for token in re.split(r"[ \t]+", phrase):
        assert re.fullmatch(ATOM, token), f"neither an atom nor an encoded word: {token}"
        if token.startswith("=?"):  # within a phrase fewer characters are allowed
            assert re.fullmatch(r"=\?[^?]+\?[BbQq]\?[A-Za-z0-9!*+/=_-]*\?=", token), token
    return unstructured(phrase), match[2]


def parts(content_type, body):
    """Return the two bodies of multipart/alternative."""
    match = re.fullmatch(
        r'multipart/alternative;[ \t]*boundary="([0-9A-Za-z\'()+_,./:=? -]{1,70})"', content_type
    )
    assert match, content_type
    pieces = re.split(rf"(?:^|\r\n)--{re.escape(match[1])}(?:--)?[ \t]*(?:\r\n|$)", body)
    assert re.search(rf"\r\n--{re.escape(match[1])}--\r\n", body), "no end of the parts"
    assert len(pieces) == 4, f"{len(pieces) - 2} parts"
    texts = []
    for piece, subtype in zip(pieces[1:3], ("plain", "html"), strict=True):
        headers, content = split_entity(piece)
        assert headers["Content-Type"] in (
            f'text/{subtype}; charset="utf-8"',
            f"text/{subtype}; charset=utf-8",
        )
        texts.append(decode_body(headers["Content-Transfer-Encoding"], content))
    return texts


def decode_body(encoding, content):
    lines = content.split("\r\n")
    if encoding == "7bit":
        return content.replace("\r\n", "\n")
    assert all(len(line) <= 76 for line in lines), "a line of an encoded body over 76"
    if encoding == "base64":
        assert re.fullmatch(r"[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*", content)
        decoded = binascii.a2b_base64("".join(lines))
    else:
        assert encoding == "quoted-printable", encoding
        for line in lines:
            assert re.fullmatch(r"(?:[\t -<>-~]|=[0-9A-F]{2})*=?", line), line
            assert line == line.rstrip(" \t"), "a blank at the end of a line"
        decoded = binascii.a2b_qp("\r\n".join(lines))
    return decoded.decode("utf-8").replace("\r\n", "\n")
