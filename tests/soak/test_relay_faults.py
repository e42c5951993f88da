"""The relay misbehaves at every step; the service answers in time, and loses and invents nothing.

A relay made of a real socket is told what each connection is to suffer. Whatever that is, the
reply is an envelope within ten seconds: code 0 when the relay took the mail, 1029 when not. A
mail that was not taken counts for nothing: the same address gets its code right after, and with
the code in whatever mail was taken one can register. Nobody else notices.
"""

from __future__ import annotations

import base64
import json
import math
import re
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from http.client import HTTPConnection
from ipaddress import ip_address
from itertools import chain, count, islice, product, repeat

import pytest
from conftest import PASSWORD
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from servers import PATIENCE, free_port
from witness import witness

from gateway import mail
from gateway.deploy import gunicorn

number = count()
IN_TIME = 10  # seconds, for any reply
AT_ONCE = 6  # hanging mails; fewer than one worker sends side by side
STEPS = ("banner", "EHLO", "MAIL", "RCPT", "DATA", "dot")
USUAL = {
    "banner": b"220 relay ESMTP\r\n",
    "STARTTLS": b"220 go on\r\n",
    "AUTH": b"235 welcome\r\n",
    "DATA": b"354 go on\r\n",
}
MAIL_PASSWORD = "the-relays-own-password"
NEEDS_TRUST = {"AUTH", "MAIL", "RCPT", "DATA"}  # what only a relay with a right certificate hears


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough here."""
    return sqlite_uri


# The relay


class Gone(Exception):
    """The relay has ended the conversation."""


@dataclass(frozen=True)
class Fault:
    """What a connection suffers: at one step, and unless ``once`` at each one after it, too.

    :param act: what is said in place of the right answer, or who deals with it.
    :param ends: the code of the reply; None is 0 or 1029, as the relay took the mail or not.
    """

    step: str
    name: str
    act: object = None
    once: bool = False
    ends: int | None = 1029

    def __str__(self):
        return f"{self.name} at {self.step}"


class Relay:
    """An SMTP server that keeps what it took, and gives each connection the fault it is due."""

    def __init__(self, security="", contexts=None):
        self.security = security
        self.contexts = contexts or {}
        self.port = free_port()
        self.due = deque()  # faults of the next connections; those after them suffer none
        self.taken = defaultdict(list)  # the codes of an address, of mails that got their 250
        self.betrayed = []  # what was told to a relay that cannot be trusted
        self.open = set()
        self.changed = threading.Condition()
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
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=PATIENCE)

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
    """One conversation with the service, as the relay leads it."""

    def __init__(self, relay, connection, fault):
        self.relay, self.connection, self.fault = relay, connection, fault
        self.step = ""
        self.address = self.code = None
        self.struck, self.left = False, 1  # by its fault; how often once is
        self.trusted = not relay.security
        self.lines = None

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
            self.hang_up()
            with self.relay.changed:
                self.relay.open.discard(self)
                self.relay.changed.notify_all()

    def hear(self, line):
        self.line = line
        verb = line.split(b" ")[0].strip().upper().decode("latin-1")
        if verb in NEEDS_TRUST and not self.trusted:
            self.relay.betrayed.append((str(self.fault), verb))
        if verb == "RCPT":
            self.address = re.search(rb"<(.*)>", line)[1].decode()
        self.come_to("EHLO" if verb == "HELO" else verb)
        if verb == "DATA" and self.step != "refused":
            self.read_mail()
            self.come_to("dot")
        elif verb == "STARTTLS" and self.step != "refused":
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
        taken = message_from_bytes(b"".join(lines[:-1]), policy=policy.default)
        self.code = re.search(r"\d{10}", taken["Subject"])[0]
        witness.saw_secret(self.code)

    def come_to(self, step):
        self.step = step
        if self.fault and (step == self.fault.step or self.struck) and self.left:
            self.left -= self.fault.once
            self.struck = True
            act = self.fault.act
            if callable(act):
                act(self)
            else:
                self.say(act)
        elif step == "TLS":
            self.secure()
        else:
            self.say(self.usual())

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
        refuses = {"DATA": b"354", "STARTTLS": b"220"}.get(self.step, said) != said
        self.connection.sendall(answer)
        if refuses:
            self.step = "refused"

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

    def hang_up(self):
        if self.lines:
            with suppress(OSError):
                self.lines.close()
        self.connection.close()


# What a relay may do in place of an answer


def hang(talk):
    talk.wait(PATIENCE)


def drip(talk):
    """Begin the right answer, a byte a second, and never end the line."""
    for byte in chain(talk.usual().rstrip(), repeat(ord("x"))):
        talk.connection.sendall(bytes([byte]))
        talk.wait(1)


def drip_lines(talk):
    """Begin the right answer, a line a second, and never say the last one."""
    while True:
        talk.connection.sendall(talk.usual()[:3] + b"-more\r\n")
        talk.wait(1)


def refuse_and_hang(talk):
    """Refuse, and do not answer the RSET that follows."""
    if talk.step == talk.fault.step:
        talk.say(b"550 no\r\n")
    else:
        hang(talk)


def close(talk):
    raise Gone


def reset(talk):
    talk.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Gone


def close_within_the_number(talk):
    talk.connection.sendall(talk.usual()[:2])
    raise Gone


def close_within_the_answer(talk):
    talk.connection.sendall(talk.usual()[:3] + b"-more\r\n")
    raise Gone


def say_421_and_close(talk):
    talk.say(b"421 4.3.2 closing\r\n")
    raise Gone


def answer_something_else(talk):
    talk.say(b"354 go on\r\n" if talk.step != "DATA" else b"250 OK\r\n")


def repeat_the_mail(talk):
    """Refuse with the code in the answer, which must not reach the log."""
    talk.say(b"554 5.7.1 spam: %s\r\n" % (talk.code or "").encode())


def answer_in_many_lines(talk):
    usual = talk.usual()
    talk.say((usual[:3] + b"-more\r\n") * 20 + usual)


def answer_with_bare_line_feeds(talk):
    talk.say(talk.usual().replace(b"\r\n", b"\n"))


def answer_beyond_ascii(talk):
    talk.say(talk.usual().replace(b"\r\n", b" \xff\xfe\x80 \xe5\xa5\xbd\r\n"))


def answer_slowly(talk):
    talk.wait(0.4)
    talk.say(talk.usual())


def answer_and_close(talk):
    talk.say(talk.usual())
    raise Gone


def answer_and_reset(talk):
    talk.say(talk.usual())
    reset(talk)


REFUSALS = {
    **{f"{code}": b"%d 4.7.1 no\r\n" % code for code in (421, 450, 451, 550, 554)},
    "421 and close": say_421_and_close,
    "close": close,
    "reset": reset,
    "close within the number": close_within_the_number,
    "close within the answer": close_within_the_answer,
    "garbage": b"\xff\x00 what is SMTP?\r\n",
    "an empty line": b"\r\n",
    "a line of 100 KB": b"x" * 100_000 + b"\r\n",
    "a refusal of 100 KB": b"550 " + b"x" * 100_000 + b"\r\n",
    "a refusal beyond ASCII": b"550 \xff\xfe\x80\r\n",
    "a refusal with bare LF": b"550 no\n",
    "a refusal in many lines": b"550-no\r\n" * 20 + b"550 no\r\n",
    "an answer to something else": answer_something_else,
    "the mail in the refusal": repeat_the_mail,
}
SLOW = {"hang": hang, "drip": drip, "drip lines": drip_lines}
ODD_ANSWERS = {
    "bare LF": answer_with_bare_line_feeds,
    "words beyond ASCII": answer_beyond_ascii,
}
AT_QUIT = {
    "hang": hang,
    "drip": drip,
    **{name: REFUSALS[name] for name in ("421", "close", "reset", "garbage", "a line of 100 KB")},
}
FAST_FAULTS = [
    *(Fault(step, name, act) for step, (name, act) in product(STEPS, REFUSALS.items())),
    *(Fault(step, n, act, True, None) for step, (n, act) in product(STEPS, ODD_ANSWERS.items())),
    *(Fault(step, "many lines", answer_in_many_lines, True, 0) for step in STEPS),
    *(Fault("QUIT", name, act, ends=0) for name, act in AT_QUIT.items()),
    Fault("content", "close", close),
    Fault("content", "reset", reset),
    Fault("dot", "250 and close", answer_and_close, ends=0),
    Fault("dot", "250 and reset", answer_and_reset, ends=0),
    Fault("EHLO", "502, but HELO is known", b"502 no\r\n", True, 0),
    Fault("RCPT", "251", b"251 will forward\r\n", True, 0),
    Fault("banner", "late answers", answer_slowly, ends=0),
    Fault("banner", "garbage, then SMTP", b"\xff\x00 what is SMTP?\r\n", True, None),
]
# Each six of these hold every step once.
SLOW_FAULTS = [
    Fault(step, *list(SLOW.items())[(k + shift) % len(SLOW)])
    for shift in range(len(SLOW))
    for k, step in enumerate(STEPS)
] + [Fault(step, "refuse and hang", refuse_and_hang) for step in STEPS[2:]]


# The client


@dataclass
class Reply:
    """What came back, and how long it took."""

    status: int
    headers: object
    body: object
    seconds: float

    @property
    def code(self):
        return self.body["header"]["code"]


def call(service, method, path, body=None, token=""):
    witness.saw(body)
    headers = {"Authorization": token} if token else {}
    start = time.monotonic()
    connection = HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body and json.dumps(body), headers)
        reply = connection.getresponse()
        content = reply.read()
    finally:
        connection.close()
    seconds = time.monotonic() - start
    body = json.loads(content)
    witness.saw(body)
    return Reply(reply.status, reply.headers, body, seconds)


def ask(service, who):
    body = {"user_name": who, "email": f"{who}@126.com"}
    return call(service, "POST", "/api/v1/auth-code", body)


def register(service, relay, who):
    """Register with the code of the mail that was taken for somebody; return the reply's code."""
    email = f"{who}@126.com"
    reg_code = (relay.taken[email] or ["none"])[-1]
    body = {"user_name": who, "email": email, "password": PASSWORD, "reg_code": reg_code}
    return call(service, "POST", "/api/v1/register", body).code


def breaches(reply, code):
    """Name what in a reply to auth-code is not as the contract says, if ``code`` is due."""
    header, data = reply.body["header"], reply.body["data"]
    if set(reply.body) != {"header", "data"} or set(header) != {
        "code",
        "message",
        "total",
        "count",
    }:
        yield f"no envelope: {reply.body}"
    if header["code"] != code:
        yield f"{header} instead of {code}"
    if (reply.status, header["total"], header["count"]) != (
        (200, 1, 1) if not code else (503, 0, 0)
    ):
        yield f"{reply.status} {header}"
    if data != {} or not header["message"]:
        yield f"{reply.body}"
    if code and not re.fullmatch(r"[1-9]\d*", reply.headers["Retry-After"] or ""):
        yield f"Retry-After: {reply.headers['Retry-After']}"
    if reply.seconds >= IN_TIME:
        yield f"{reply.seconds:.1f} s"


def settle(service, relay, who, reply, ends):
    """Judge a reply, then let its receiver register; name what was against the contract."""
    taken = len(relay.taken[f"{who}@126.com"])
    code = 0 if taken else 1029
    yield from breaches(reply, code)
    if ends not in (code, None) or taken > 1:
        yield f"the relay took {taken} mails"
    if code:
        again = ask(service, who)
        yield from (f"then: {breach}" for breach in breaches(again, 0))
        code = again.code
    if code == 0 and (code := register(service, relay, who)) != 0:
        yield f"register: {code}"


def suffer(service, relay, faults, meanwhile=lambda waiting: None, mend=lambda: None):
    """Let each fault befall somebody, all at once; then let everybody register.

    Who gets which fault is chance, so faults of different ends cannot be sent together. Return
    what was against the contract.
    """
    people = [f"u{next(number)}" for _ in faults]
    relay.due.extend(fault for fault in faults if fault.act)
    with ThreadPoolExecutor(len(people)) as pool:
        waiting = [pool.submit(ask, service, who) for who in people]
        meanwhile(waiting)
        replies = [future.result() for future in waiting]
    lost = [f"{fault} did not come about" for fault in relay.due]
    relay.due.clear()
    mend()
    with ThreadPoolExecutor(4) as pool:
        judged = pool.map(
            lambda who, reply: list(settle(service, relay, who, reply, faults[0].ends)),
            people,
            replies,
        )
        lost += chain.from_iterable(judged)
    if not relay.await_open(0):
        lost.append(f"{len(relay.open)} connections were left open")
        relay.open.clear()  # it is said once
    told = ", ".join(map(str, dict.fromkeys(faults)))
    return [f"{told}: {what}" for what in lost]


@pytest.fixture
def rogue():
    rogue = Relay()
    yield rogue
    rogue.close()


@pytest.fixture
def service(start_service, rogue):
    return start_service(workers=2, MAIL_PORT=rogue.port)


def test_a_relay_that_fails_or_is_odd_at_a_step(service, rogue, scale, tally):
    faults = FAST_FAULTS[:: scale(7, 1)] * scale(1, 5)
    lost = [what for fault in faults for what in suffer(service, rogue, [fault])]
    tally("relay", "faults and oddities at every step", len(faults), lost)


def test_no_relay(service, rogue, scale, tally):
    rounds = scale(1, 20)
    lost = []
    for _ in range(rounds):
        rogue.close()
        rogue.bind()
        people = [f"u{next(number)}" for _ in range(3)]
        for who in people:
            lost += breaches(ask(service, who), 1029)
        replies = [ask(service, who) for who in people]  # that refusal did not count
        rogue.serve()
        for who, reply in zip(people, replies, strict=True):
            lost += settle(service, rogue, who, reply, 1029)
    tally("relay", "nobody listens", rounds * 6, lost)


# Relays that do not come to an end, and what others notice of them


class Bystander:
    """Somebody who wants no mail, and how long each of their requests takes."""

    def __init__(self, service, relay):
        self.service = service
        who = f"u{next(number)}"
        assert ask(service, who).code == register(service, relay, who) == 0
        login = ("POST", "/api/v1/login", {"user_name": who, "password": PASSWORD})
        token = call(service, *login).body["data"]["auth_token"]
        self.requests = {
            "project/list": ("POST", "/api/v1/project/list", {}, token),
            "login": login,
            "healthz": ("GET", "/healthz"),
        }
        self.quiet, self.hanging = defaultdict(list), defaultdict(list)
        self.lost = []

    def watch(self, seconds, going_on):
        """Send requests, one after another, at least once and while something goes on."""
        more = True
        while more:
            for name, request in self.requests.items():
                reply = call(self.service, *request)
                seconds[name].append(reply.seconds)
                if (reply.status, reply.code) != (200, 0):
                    self.lost.append(f"{name}: {reply.body['header']}")
            more = going_on()

    def hurts(self):
        """Return what was lost; a request that waits for the relay waits for seconds."""
        quiet, hanging = (
            list(chain.from_iterable(seconds.values())) for seconds in (self.quiet, self.hanging)
        )
        slow_anyway = sum(seconds > 1 for seconds in quiet) / len(quiet)
        if p99(hanging) >= 2:
            self.lost.append(f"p99 is {p99(hanging):.1f} s")
        if sum(seconds > 1 for seconds in hanging) / len(hanging) > 0.01 + slow_anyway:
            self.lost.append("more than one in a hundred took over a second")
        return self.lost

    def __str__(self):
        return "p99 " + ", ".join(
            f"{name} {1000 * p99(self.quiet[name]):.0f} -> {1000 * p99(self.hanging[name]):.0f} ms"
            f" (x{p99(self.hanging[name]) / p99(self.quiet[name]):.2f})"
            for name in self.requests
        )


def p99(values):
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


def seconds_from_now(seconds):
    """Return a function that is true until then."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


@pytest.fixture
def beside(service, rogue, scale, tally):
    """Return a function that lets faults befall many, and a bystander ask for other things."""
    bystander = Bystander(service, rogue)

    def run(what, batches, all_hang, spoil=lambda: None, mend=lambda: None):
        """Watch, for each batch of faults, from ``all_hang(waiting)`` on until they are over."""
        lost = []

        def meanwhile(waiting):
            all_hang(waiting)
            bystander.watch(bystander.hanging, lambda: not all(f.done() for f in waiting))

        for batch in batches:
            bystander.watch(bystander.quiet, seconds_from_now(scale(1, 4)))
            spoil()
            lost += suffer(service, rogue, batch, meanwhile, mend)
        print(bystander)
        watched = sum(len(seconds) for seconds in bystander.hanging.values())
        tally("relay", what, sum(map(len, batches)), lost)
        tally("relay", f"requests beside these: {bystander}", watched, bystander.hurts())

    return run


def test_a_relay_that_does_not_come_to_an_end(beside, rogue, scale):
    faults = SLOW_FAULTS[: scale(AT_ONCE, None)]
    batches = [faults[k : k + AT_ONCE] for k in range(0, len(faults), AT_ONCE)] * scale(1, 5)
    beside("hangs and drips at every step", batches, lambda waiting: rogue.await_open(len(waiting)))


@pytest.fixture
def in_soak_only(scale):
    """Another deadline would make the tests too slow; test_mail.py has it in short."""
    if not scale(0, 1):
        pytest.skip("in the soak only")


def test_more_mails_than_may_hang_at_once(in_soak_only, beside, rogue):
    """What would have to wait for another mail is refused at once, and holds no thread."""
    threads, may_hang = 2 * gunicorn.threads, 2 * mail.MOST_AT_ONCE
    crowd = [Fault("connect", "hang")] * (threads + 2)
    refused = max(1, len(crowd) - may_hang)
    beside(
        "more mails than may hang, and no connection comes about",
        [crowd] * 5,
        lambda waiting: list(islice(as_completed(waiting), refused)),
        spoil=rogue.starve,
        mend=rogue.recover,
    )


def test_an_answer_without_end(service, rogue, scale, tally):
    """Lines that come quickly end no answer either; the service must not keep them all."""
    size = scale(100, 400) * 2**20

    def flood(talk):
        block = (b"250-" + b"x" * 4000 + b"\r\n") * 16
        for _ in range(size // len(block)):
            talk.connection.sendall(block)
        raise Gone

    service.server.wait_for("serving on")
    lost = []
    steps = STEPS[: scale(1, None)]
    for step in steps:
        before = sum(worker.memory_info().rss for worker in service.server.workers())
        lost += suffer(service, rogue, [Fault(step, "flood", flood)])
        grown = sum(worker.memory_info().rss for worker in service.server.workers()) - before
        if grown > 64 * 2**20:
            lost.append(f"flood at {step}: the workers grew by {grown // 2**20} MB")
    tally("relay", "answers without end", len(steps), lost)


# TLS and the relay's password


def signed(subject, issuer, key, issuer_key, *, names=(), ca=False, days=1):
    """Make a certificate that is good until ``days`` from now."""
    now = datetime.now(timezone.utc)
    names_of = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (subject, issuer)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(names_of[0])
        .issuer_name(names_of[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, ca, ca, False, False), critical=True
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture
def contexts(tmp_path, monkeypatch):
    """The relay's certificates, right and wrong; the service trusts the authority of most."""
    ours, theirs, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    here = [x509.IPAddress(ip_address("127.0.0.1"))]
    there = [x509.DNSName("relay.example.com"), x509.IPAddress(ip_address("127.0.0.2"))]
    trusted = tmp_path / "authority.pem"
    authority = signed("authority", "authority", ours, ours, ca=True)
    trusted.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    certificates = {
        "right": signed("relay", "authority", key, ours, names=here),
        "another name": signed("relay", "authority", key, ours, names=there),
        "no name": signed("127.0.0.1", "authority", key, ours),
        "expired": signed("relay", "authority", key, ours, names=here, days=-1),
        "another authority": signed("relay", "authority", key, theirs, names=here),
        "signed by itself": signed("relay", "relay", key, key, names=here),
    }
    contexts = {}
    for name, certificate in certificates.items():
        path = tmp_path / "relay.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(path)
    return contexts


def drip_a_handshake(talk):
    for byte in chain(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03", repeat(0)):
        talk.connection.sendall(bytes([byte]))
        talk.wait(1)


def come_late(talk):
    """Be slow until the handshake is made, which is when the service has given up; then drip."""
    if talk.step == "banner" and not talk.trusted:
        talk.wait(4)
        talk.say(talk.usual())
    elif talk.step == "TLS":
        threading.Event().wait(5)  # not wait(), which would read the handshake
        talk.secure()
    elif talk.trusted:
        drip_lines(talk)
    else:
        talk.say(talk.usual())


def repeat_the_password(talk):
    talk.say(b"535 5.7.8 you said " + talk.line)


AT_AUTH = {
    **{f"{code}": b"%d 5.7.8 no\r\n" % code for code in (421, 454, 534, 535)},
    "close": close,
    "garbage": b"\xff\x00 what is SMTP?\r\n",
    "the password in the refusal": repeat_the_password,
    "challenges without end": b"334 \r\n",
    "a challenge that is none": b"334 \xff!\r\n",
}
FAST_TLS_FAULTS = [
    *(
        Fault("TLS", f"a certificate, {name},", lambda talk, name=name: talk.secure(name), True)
        for name in ("another name", "no name", "expired", "another authority", "signed by itself")
    ),
    Fault("TLS", "garbage", b"what is TLS?\r\n"),
    Fault("TLS", "close", close),
    Fault("TLS", "reset", reset),
    *(Fault("AUTH", name, act) for name, act in AT_AUTH.items()),
    Fault("EHLO", "neither STARTTLS nor AUTH", b"250 relay\r\n", True),
    Fault("dot", "554", b"554 no\r\n"),
    Fault("dot", "close", close),
    Fault("dot", "250 and close", answer_and_close, ends=0),
    Fault("QUIT", "close", close, ends=0),
]
FAST_STARTTLS_FAULTS = [
    Fault("STARTTLS", name, REFUSALS[name]) for name in ("450", "421 and close", "reset", "garbage")
]
SLOW_TLS_FAULTS = [
    Fault("TLS", "hang", hang),
    Fault("TLS", "drip", drip_a_handshake),
    Fault("AUTH", "hang", hang),
    Fault("dot", "drip", drip),
    Fault("EHLO", "drip", drip),
]
TOO_LATE = Fault("banner", "come late", come_late)


@pytest.fixture(params=["MAIL_USE_TLS", "MAIL_USE_SSL"])
def secured(request, start_service, contexts):
    """A relay that speaks TLS and wants a password, and a service that uses it."""
    login = base64.b64encode(f"\0gateway\0{MAIL_PASSWORD}".encode()).decode()
    for secret in (MAIL_PASSWORD, login.rstrip("=")):
        witness.saw_secret(secret)
    relay = Relay(request.param, contexts)
    settings = {request.param: 1, "MAIL_USERNAME": "gateway", "MAIL_PASSWORD": MAIL_PASSWORD}
    yield start_service(workers=2, MAIL_PORT=relay.port, **settings), relay
    relay.close()


def test_a_relay_that_cannot_be_trusted_or_refuses_the_password(secured, scale, tally):
    service, relay = secured
    fast = FAST_TLS_FAULTS + FAST_STARTTLS_FAULTS * (relay.security == "MAIL_USE_TLS")
    batches = (
        [[fault] for fault in fast[:: scale(2, 1)]] + scale([], [SLOW_TLS_FAULTS, [TOO_LATE]])
    ) * scale(1, 5)
    lost = [what for batch in batches for what in suffer(service, relay, batch)]
    tally("relay", f"{relay.security}", sum(map(len, batches)), lost + relay.betrayed)
