"""An SMTP server on a real socket that makes the faults a test asks for.

A conversation has steps: "banner", then one for each command of the service ("EHLO", "MAIL",
"RCPT", "DATA", "QUIT", "STARTTLS", "AUTH"), "content" inside a mail, "dot" at its end, and "TLS"
for the handshake. A ``Fault`` replaces what the server does at one step. ``relay.faults`` is a
queue: each new connection takes the next fault; when the queue is empty, connections work.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from ipaddress import ip_address
from itertools import chain, repeat

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.helpers import TIMEOUT
from support.leak_check import leak_check
from support.servers import free_port

PACE = 0.2  # seconds between two bytes or lines of a slow answer
FLOOD = 100 * 2**20  # bytes; socket buffers hold far less
NORMAL_REPLIES = {
    "banner": b"220 relay ESMTP\r\n",
    "STARTTLS": b"220 go on\r\n",
    "AUTH": b"235 welcome\r\n",
    "DATA": b"354 go on\r\n",
}
# Commands that the service may send only to a relay with a valid certificate.
NEEDS_TRUST = {"AUTH", "MAIL", "RCPT", "DATA"}


class ConversationOver(Exception):
    """The conversation is over."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a connection: at one step and, unless ``once``, at each later step.

    :param act: bytes to send in place of the right answer; or the kind of certificate to show,
        as text; or a function that is called with the conversation.
    """

    step: str
    act: object
    once: bool = False

    def __str__(self):
        return f"{getattr(self.act, '__name__', repr(self.act)[:30])} at {self.step}"


class FaultyRelay:
    """The server.

    :param security: "", "MAIL_USE_TLS" or "MAIL_USE_SSL"; the last two also want a password.
    :param contexts: what ``certificates`` returned.
    """

    def __init__(self, security="", contexts=None):
        self.security, self.contexts = security, contexts
        self.faults = deque()
        self.accepted = defaultdict(list)  # address: the codes in mails answered with 250
        self.mails = []  # the same mails, as bytes
        self.logins = []  # the lines with a password
        self.violations = []  # what the service did wrong
        self.open = set()
        self.changed = threading.Condition()
        self.port = free_port()
        self.bind()
        self.serve()

    def answer(self, session):
        """Return what to say at a step in place of the right answer, or None."""

    def keep(self, session):
        """Note a mail before it is accepted, because the service may answer at once."""
        self.accepted[session.address].append(session.code)
        self.mails.append(session.mail)

    def bind(self):
        """Take the port without listening on it."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))

    def serve(self):
        self.listener.listen(128)
        self.thread = threading.Thread(target=self.accept, args=(self.listener,), daemon=True)
        self.thread.start()

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            session = Conversation(self, connection, self.faults.popleft() if self.faults else None)
            with self.changed:
                self.open.add(session)
                self.changed.notify_all()
            threading.Thread(target=session.run, daemon=True).start()

    def close(self):
        """Stop listening and end every conversation."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=TIMEOUT)
        with self.changed:
            for session in self.open:
                with suppress(OSError):
                    session.connection.shutdown(socket.SHUT_RDWR)
        self.wait_for_open(0)

    def fill_queue(self):
        """Listen, but accept no connection: the queue of the listener is full."""
        self.close()
        self.bind()
        self.listener.listen(0)
        self.only = socket.create_connection(("127.0.0.1", self.port))

    def recover(self):
        self.only.close()
        self.close()
        self.bind()
        self.serve()

    def wait_for_open(self, number):
        """Wait until ``number`` connections are open; return False after 15 seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.open) == number, timeout=15)


class Conversation:
    """One SMTP conversation with the service."""

    def __init__(self, relay, connection, fault):
        self.relay, self.connection, self.fault = relay, connection, fault
        self.lines = None
        self.step = self.line = self.address = self.code = self.mail = None
        self.fault_begun = False
        self.trusted = not relay.security

    def run(self):
        try:
            with suppress(OSError, ConversationOver):
                if self.relay.security == "MAIL_USE_SSL":
                    self.do_step("TLS")
                self.lines = self.connection.makefile("rb")
                self.do_step("banner")
                while line := self.lines.readline():
                    self.handle(line)
        finally:
            if self.lines:
                self.lines.close()
            self.connection.close()
            with self.relay.changed:
                self.relay.open.discard(self)
                self.relay.changed.notify_all()

    def handle(self, line):
        self.line = line
        verb = line.split(b" ")[0].strip().upper().decode("latin-1")
        if verb in NEEDS_TRUST and not self.trusted:
            self.relay.violations.append(f"{verb} was sent to a relay without a valid certificate")
        if verb == "AUTH":
            self.relay.logins.append(line)
        elif verb == "RCPT":
            self.address = re.search(rb"<(.*)>", line)[1].decode()
        said = self.do_step("EHLO" if verb == "HELO" else verb)
        if verb == "DATA" and said == b"354":
            self.read_mail()
            self.do_step("dot")
        elif verb == "STARTTLS" and said == b"220":
            self.do_step("TLS")
            self.lines.close()
            self.lines = self.connection.makefile("rb")
        elif verb == "QUIT":
            raise ConversationOver

    def read_mail(self):
        lines = [self.lines.readline()]
        if self.fault and self.fault.step == "content":
            self.do_step("content")
        while lines[-1] != b".\r\n":
            if not lines[-1]:
                raise ConversationOver
            lines.append(self.lines.readline())
        # Undo the dot in front of a line that begins with one, as RFC 5321 says.
        self.mail = b"".join(re.sub(rb"^\.", b"", line) for line in lines[:-1])
        mail = message_from_bytes(self.mail, policy=policy.default)
        if found := re.search(r"\d{10}", mail["Subject"]):  # a test mail holds none
            self.code = found[0]
            leak_check.add_secret(self.code)

    def do_step(self, step):
        """Do a step, or its fault; return the code that was sent, if any."""
        self.step = step
        act = "right" if step == "TLS" else self.normal_reply()
        if self.fault and (not self.fault.once if self.fault_begun else step == self.fault.step):
            self.fault_begun = True
            act = self.fault.act
        if isinstance(act, str):
            return self.secure(act)
        return self.send(act) if isinstance(act, bytes) else act(self)

    def normal_reply(self):
        if answer := self.relay.answer(self):
            return answer
        if self.step != "EHLO" or not self.relay.security:
            return NORMAL_REPLIES.get(self.step, b"250 OK\r\n")
        encrypted = isinstance(self.connection, ssl.SSLSocket)
        return b"250-relay\r\n250 %s\r\n" % (b"AUTH PLAIN LOGIN" if encrypted else b"STARTTLS")

    def send(self, answer):
        said = answer.splitlines()[-1][:3]
        if self.step == "dot" and said == b"250":
            self.relay.keep(self)
        self.connection.sendall(answer)
        return said

    def secure(self, certificate="right"):
        context = self.relay.contexts[certificate]
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.trusted = certificate == "right"

    def wait(self, seconds):
        """Wait; end the conversation when the service hangs up."""
        if not seconds:
            return
        with suppress(TimeoutError):
            self.connection.settimeout(seconds)
            while self.connection.recv(4096):
                pass
            raise ConversationOver
        self.connection.settimeout(None)


# Functions for ``Fault.act``


def hang(session):
    session.wait(TIMEOUT)


def drip(session):
    """Send the right answer byte by byte, and never end the line."""
    for byte in chain(session.normal_reply().rstrip(), repeat(ord("x"))):
        session.connection.sendall(bytes([byte]))
        session.wait(PACE)


def drip_lines(session):
    """Send the right answer line by line, and never send the last line."""
    while True:
        session.connection.sendall(session.normal_reply()[:3] + b"-more\r\n")
        session.wait(PACE)


def drip_a_handshake(session):
    for byte in chain(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03", repeat(0)):
        session.connection.sendall(bytes([byte]))
        session.wait(PACE)


def flood(session):
    """Send many lines fast; the service must stop reading before the end."""
    block = (session.normal_reply()[:3] + b"-" + b"x" * 4000 + b"\r\n") * 16
    for _ in range(FLOOD // len(block)):
        session.connection.sendall(block)
    session.relay.violations.append(f"the service read all {FLOOD} bytes")
    raise ConversationOver


def close(session):
    raise ConversationOver


def reset(session):
    session.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConversationOver


def close_within_the_answer(session):
    session.connection.sendall(session.normal_reply()[:3] + b"-more\r\n")
    raise ConversationOver


def answer_and_close(session):
    session.send(session.normal_reply())
    raise ConversationOver


def say_421_and_close(session):
    session.send(b"421 4.3.2 closing\r\n")
    raise ConversationOver


def refuse_and_hang(session):
    """Refuse, and never answer the RSET that follows."""
    if session.step != session.fault.step:
        hang(session)
    return session.send(b"550 no\r\n")


def answer_something_else(session):
    return session.send(b"250 OK\r\n" if session.step == "DATA" else b"354 go on\r\n")


def repeat_the_mail(session):
    """Refuse and repeat the code of the mail, which must not reach the log."""
    return session.send(b"554 5.7.1 spam: %s\r\n" % (session.code or "").encode())


def repeat_the_password(session):
    return session.send(b"535 5.7.8 you said " + session.line)


def answer_in_many_lines(session):
    return session.send((session.normal_reply()[:3] + b"-more\r\n") * 20 + session.normal_reply())


def answer_with_bare_line_feeds(session):
    return session.send(session.normal_reply().replace(b"\r\n", b"\n"))


def answer_beyond_ascii(session):
    return session.send(session.normal_reply().replace(b"\r\n", b" \xff\xfe\x80 \xe5\xa5\xbd\r\n"))


def answer_slowly(session):
    session.wait(0.4)
    return session.send(session.normal_reply())


def certificates(folder):
    """Return a file of trusted certificates, and the relay's TLS contexts by kind."""
    kinds = {  # the address in the certificate, and days until it expires
        "right": ("127.0.0.1", 1),
        "another name": ("127.0.0.2", 1),
        "expired": ("127.0.0.1", -1),
        "stranger": ("127.0.0.1", 1),
    }
    trusted = folder / "trusted.pem"
    contexts = {}
    with trusted.open("wb") as store:
        for kind, (address, days) in kinds.items():
            certificate, key = certificate_and_key(kind, address, days)
            if kind != "stranger":
                store.write(certificate)
            path = folder / "relay.pem"
            path.write_bytes(certificate + key)
            contexts[kind] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            contexts[kind].load_cert_chain(path)
    return trusted, contexts


def certificate_and_key(name, address, days):
    """Return a self-signed certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate = self_signed(name, key, address, days)
    return certificate.public_bytes(serialization.Encoding.PEM), private


def self_signed(name, key, address, days):
    known_as = (
        x509.IPAddress(ip_address(address)) if address[0].isdigit() else x509.DNSName(address)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([known_as]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
