"""A relay on a real socket that takes mails, and goes wrong where and how a test wants.

A conversation comes to steps: "banner", then each command of the service ("EHLO", "MAIL", "RCPT",
"DATA", "QUIT", "STARTTLS", "AUTH"), "dot" at the end of a mail, "content" within it, and "TLS",
the handshake. A ``Fault`` tells what happens at one step instead of what should; ``relay.due``
holds the faults of the connections to come, one for each, and those after them suffer none.
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
from servers import PATIENCE, free_port
from witness import witness

PACE = 0.2  # seconds between two drops of what drips
FLOOD = 100 * 2**20  # bytes, far more than sockets hold
USUAL = {
    "banner": b"220 relay ESMTP\r\n",
    "STARTTLS": b"220 go on\r\n",
    "AUTH": b"235 welcome\r\n",
    "DATA": b"354 go on\r\n",
}
NEEDS_TRUST = {"AUTH", "MAIL", "RCPT", "DATA"}  # what only a relay with a right certificate hears


class Gone(Exception):
    """The conversation is over."""


@dataclass(frozen=True)
class Fault:
    """What a connection suffers: at one step, and unless ``once`` at each one after it, too.

    :param act: what is said in place of the right answer, as bytes; the kind of certificate that
        is shown, as text; or a function that is given the conversation.
    """

    step: str
    act: object
    once: bool = False

    def __str__(self):
        return f"{getattr(self.act, '__name__', repr(self.act)[:30])} at {self.step}"


class Relay:
    """The server.

    :param security: "", "MAIL_USE_TLS" or "MAIL_USE_SSL"; with one it wants a password, too.
    :param contexts: what ``certificates`` returned.
    """

    def __init__(self, security="", contexts=None):
        self.security, self.contexts = security, contexts
        self.due = deque()
        self.taken = defaultdict(list)  # by address, the codes in mails that got their 250
        self.logins = []  # the lines that held a password
        self.wrongs = []  # what the service did that a relay can see to be wrong
        self.open = set()
        self.changed = threading.Condition()
        self.port = free_port()
        self.bind()
        self.serve()

    def bind(self):
        """Hold the port, at which nobody listens yet."""
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
            talk = Talk(self, connection, self.due.popleft() if self.due else None)
            with self.changed:
                self.open.add(talk)
                self.changed.notify_all()
            threading.Thread(target=talk.run, daemon=True).start()

    def close(self):
        """Stop listening, and end every conversation."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=PATIENCE)
        with self.changed:
            for talk in self.open:
                with suppress(OSError):
                    talk.connection.shutdown(socket.SHUT_RDWR)
        self.await_open(0)

    def starve(self):
        """Listen, but let no connection come about: the queue of those to be accepted is full."""
        self.close()
        self.bind()
        self.listener.listen(0)
        self.only = socket.create_connection(("127.0.0.1", self.port))

    def recover(self):
        self.only.close()
        self.close()
        self.bind()
        self.serve()

    def await_open(self, many):
        """Wait until so many connections are open; tell whether they ever were."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.open) == many, timeout=15)


class Talk:
    """One conversation with the service."""

    def __init__(self, relay, connection, fault):
        self.relay, self.connection, self.fault = relay, connection, fault
        self.lines = None
        self.step = self.line = self.address = self.code = None
        self.struck = False  # by its fault
        self.trusted = not relay.security

    def run(self):
        try:
            with suppress(OSError, Gone):
                if self.relay.security == "MAIL_USE_SSL":
                    self.come_to("TLS")
                self.lines = self.connection.makefile("rb")
                self.come_to("banner")
                while line := self.lines.readline():
                    self.hear(line)
        finally:
            if self.lines:
                self.lines.close()
            self.connection.close()
            with self.relay.changed:
                self.relay.open.discard(self)
                self.relay.changed.notify_all()

    def hear(self, line):
        self.line = line
        verb = line.split(b" ")[0].strip().upper().decode("latin-1")
        if verb in NEEDS_TRUST and not self.trusted:
            self.relay.wrongs.append(f"{verb} was said to a relay not to be trusted")
        if verb == "AUTH":
            self.relay.logins.append(line)
        elif verb == "RCPT":
            self.address = re.search(rb"<(.*)>", line)[1].decode()
        said = self.come_to("EHLO" if verb == "HELO" else verb)
        if verb == "DATA" and said == b"354":
            self.read_mail()
            self.come_to("dot")
        elif verb == "STARTTLS" and said == b"220":
            self.come_to("TLS")
            self.lines.close()
            self.lines = self.connection.makefile("rb")
        elif verb == "QUIT":
            raise Gone

    def read_mail(self):
        lines = [self.lines.readline()]
        if self.fault and self.fault.step == "content":
            self.come_to("content")
        while lines[-1] != b".\r\n":
            if not lines[-1]:
                raise Gone
            lines.append(self.lines.readline())
        mail = message_from_bytes(b"".join(lines[:-1]), policy=policy.default)
        self.code = re.search(r"\d{10}", mail["Subject"])[0]
        witness.saw_secret(self.code)

    def come_to(self, step):
        """Do what is due at a step; return the code that was said, if any."""
        self.step = step
        act = "right" if step == "TLS" else self.usual()
        if self.fault and (not self.fault.once if self.struck else step == self.fault.step):
            self.struck = True
            act = self.fault.act
        if isinstance(act, str):
            return self.secure(act)
        return self.say(act) if isinstance(act, bytes) else act(self)

    def usual(self):
        if self.step != "EHLO" or not self.relay.security:
            return USUAL.get(self.step, b"250 OK\r\n")
        encrypted = isinstance(self.connection, ssl.SSLSocket)
        return b"250-relay\r\n250 %s\r\n" % (b"AUTH PLAIN LOGIN" if encrypted else b"STARTTLS")

    def say(self, answer):
        said = answer.splitlines()[-1][:3]
        if self.step == "dot" and said == b"250":
            # Noted before it is said, as the service may answer before this thread goes on.
            self.relay.taken[self.address].append(self.code)
        self.connection.sendall(answer)
        return said

    def secure(self, certificate="right"):
        context = self.relay.contexts[certificate]
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.trusted = certificate == "right"

    def wait(self, seconds):
        """Wait; end when the service hangs up."""
        with suppress(TimeoutError):
            self.connection.settimeout(seconds)
            while self.connection.recv(4096):
                pass
            raise Gone
        self.connection.settimeout(None)


# What a fault may do


def hang(talk):
    talk.wait(PATIENCE)


def drip(talk):
    """Begin the right answer, byte by byte, and never end the line."""
    for byte in chain(talk.usual().rstrip(), repeat(ord("x"))):
        talk.connection.sendall(bytes([byte]))
        talk.wait(PACE)


def drip_lines(talk):
    """Begin the right answer, line by line, and never say the last one."""
    while True:
        talk.connection.sendall(talk.usual()[:3] + b"-more\r\n")
        talk.wait(PACE)


def drip_a_handshake(talk):
    for byte in chain(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03", repeat(0)):
        talk.connection.sendall(bytes([byte]))
        talk.wait(PACE)


def flood(talk):
    """Begin the right answer with quick lines without end; nobody should hear them all."""
    block = (talk.usual()[:3] + b"-" + b"x" * 4000 + b"\r\n") * 16
    for _ in range(FLOOD // len(block)):
        talk.connection.sendall(block)
    talk.relay.wrongs.append(f"a flood of {FLOOD} bytes was heard")
    raise Gone


def close(talk):
    raise Gone


def reset(talk):
    talk.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Gone


def close_within_the_answer(talk):
    talk.connection.sendall(talk.usual()[:3] + b"-more\r\n")
    raise Gone


def answer_and_close(talk):
    talk.say(talk.usual())
    raise Gone


def say_421_and_close(talk):
    talk.say(b"421 4.3.2 closing\r\n")
    raise Gone


def refuse_and_hang(talk):
    """Refuse, and do not answer the RSET that follows."""
    if talk.step != talk.fault.step:
        hang(talk)
    return talk.say(b"550 no\r\n")


def answer_something_else(talk):
    return talk.say(b"250 OK\r\n" if talk.step == "DATA" else b"354 go on\r\n")


def repeat_the_mail(talk):
    """Refuse with the code in the answer, which must not reach the log."""
    return talk.say(b"554 5.7.1 spam: %s\r\n" % (talk.code or "").encode())


def repeat_the_password(talk):
    return talk.say(b"535 5.7.8 you said " + talk.line)


def answer_in_many_lines(talk):
    return talk.say((talk.usual()[:3] + b"-more\r\n") * 20 + talk.usual())


def answer_with_bare_line_feeds(talk):
    return talk.say(talk.usual().replace(b"\r\n", b"\n"))


def answer_beyond_ascii(talk):
    return talk.say(talk.usual().replace(b"\r\n", b" \xff\xfe\x80 \xe5\xa5\xbd\r\n"))


def answer_slowly(talk):
    talk.wait(0.4)
    return talk.say(talk.usual())


def certificates(folder):
    """Return a file of what the service is to trust, and the relay's contexts by what they are."""
    kinds = {  # the address that a certificate is for, and days until it ends
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
    """Return a certificate that is signed by itself, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate = signed_by_itself(name, key, address, days)
    return certificate.public_bytes(serialization.Encoding.PEM), private


def signed_by_itself(name, key, address, days):
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
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
