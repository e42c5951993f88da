"""The relay fails at every step; the service still answers in time and keeps its promises.

Within ten seconds the reply is an envelope: code 0 if the relay accepted the mail, 1029 if not. A
mail that was not accepted changes nothing: the same address can request a code at once. The code of
an accepted mail can be used to register. Other users notice nothing.
"""

from __future__ import annotations

import base64
import math
import re
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import count, islice, product

import pytest
from support import faulty_smtp as smtp
from support.faulty_smtp import Fault
from support.helpers import PASSWORD
from support.leak_check import leak_check
from support.servers import call

from gateway import mail
from gateway.server import gunicorn

number = count()
IN_TIME = 10  # seconds for any reply
MAIL_PASSWORD = "the-relays-own-password"
STEPS = ("banner", "EHLO", "MAIL", "RCPT", "DATA", "dot")
GARBAGE = b"\xff\x00 what is SMTP?\r\n"
LONG_LINE = b"x" * 100_000 + b"\r\n"

REFUSALS = (
    b"421 4.3.2 no\r\n",
    b"451 4.7.1 no\r\n",
    b"554 5.7.1 no\r\n",
    b"550 \xff\xfe\x80\r\n",
    b"550-no\r\n" * 20 + b"550 no\r\n",
    b"\r\n",
    GARBAGE,
    LONG_LINE,
    smtp.close,
    smtp.reset,
    smtp.close_within_the_answer,
    smtp.say_421_and_close,
    smtp.answer_something_else,
    smtp.repeat_the_mail,
    smtp.flood,
)
ODDITIES = (
    *(Fault("QUIT", act) for act in (smtp.hang, smtp.close, smtp.reset, GARBAGE, LONG_LINE)),
    Fault("dot", smtp.answer_and_close),
    Fault("EHLO", b"502 only HELO\r\n", once=True),
    Fault("RCPT", b"251 will forward\r\n", once=True),
    Fault("banner", smtp.answer_in_many_lines),
    Fault("banner", smtp.answer_with_bare_line_feeds),
    Fault("banner", smtp.answer_beyond_ascii),
    Fault("banner", smtp.answer_slowly),
)
FAST_FAULTS = (
    *(Fault(step, act) for act, step in product(REFUSALS, STEPS)),
    Fault("content", smtp.close),
    Fault("content", smtp.reset),
    Fault("RCPT", smtp.refuse_and_hang),
)
REFUSES = (smtp.repeat_the_mail, smtp.refuse_and_hang)  # with 554 and 550
HANGS = (smtp.hang, smtp.drip, smtp.drip_lines)
HANGING = (  # each batch at once; smaller than what one worker sends in parallel
    *([Fault(step, HANGS[(k + n) % 3]) for k, step in enumerate(STEPS)] for n in range(3)),
    [Fault(step, smtp.refuse_and_hang) for step in STEPS[2:] if step != "RCPT"],
)
TLS_FAULTS = (
    *(Fault("TLS", kind, once=True) for kind in ("another name", "expired", "stranger")),
    *(Fault("TLS", act) for act in (b"what is TLS?\r\n", smtp.close, smtp.reset)),
    Fault("EHLO", b"250 neither STARTTLS nor AUTH\r\n", once=True),
    Fault("AUTH", b"454 4.7.0 not now\r\n"),
    Fault("AUTH", b"535 5.7.8 no\r\n"),
    Fault("AUTH", b"334 \r\n"),
    Fault("AUTH", b"334 \xff!\r\n"),
    Fault("AUTH", smtp.repeat_the_password),
    Fault("AUTH", smtp.close),
    Fault("dot", b"554 no\r\n"),
)
STARTTLS_FAULTS = tuple(Fault("STARTTLS", a) for a in (b"454 no\r\n", GARBAGE, smtp.reset))
HANGING_TLS = [
    Fault("TLS", smtp.hang),
    Fault("TLS", smtp.drip_a_handshake),
    Fault("AUTH", smtp.hang),
    Fault("EHLO", smtp.drip),
    Fault("dot", smtp.drip_lines),
]


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about mail."""
    return sqlite_uri


@pytest.fixture
def relay_with(start_service):
    """Return a function that starts a relay and a service that sends through it."""
    relays = []

    def make(security="", contexts=None, **settings):
        relays.append(smtp.FaultyRelay(security, contexts))
        return start_service(workers=2, MAIL_PORT=relays[-1].port, **settings), relays[-1]

    yield make
    for relay in relays:
        relay.close()


# The client


def ask(service, who):
    return call(service.port, "/api/v1/auth-code", {"user_name": who, "email": f"{who}@126.com"})


def register(service, relay, who):
    """Register with the code of an accepted mail; return the code of the reply."""
    email = f"{who}@126.com"
    reg_code = (relay.accepted[email] or ["none"])[-1]
    account = {"user_name": who, "email": email, "password": PASSWORD, "reg_code": reg_code}
    return service.post("/register", account)[1]


def breaches(reply, code):
    """Yield what is wrong in a reply to auth-code that should have this code."""
    header = reply.body["header"]
    due = {0: (200, 1, 1), 1003: (400, 0, 0), 1029: (503, 0, 0)}[code]
    if (header["code"], reply.status, header["total"], header["count"]) != (code, *due):
        yield f"{reply.status} {header} instead of {code}"
    if (set(reply.body), reply.body["data"]) != ({"header", "data"}, {}) or not header["message"]:
        yield f"no envelope: {reply.body}"
    if code == 1029 and not re.fullmatch(r"[1-9]\d*", reply.headers["Retry-After"] or ""):
        yield f"Retry-After: {reply.headers['Retry-After']}"
    if reply.seconds >= IN_TIME:
        yield f"{reply.seconds:.1f} s"


def settle(service, relay, who, reply, code):
    """Check a reply, then register its receiver; yield what is wrong."""
    taken = len(relay.accepted[f"{who}@126.com"])
    yield from breaches(reply, code)
    if taken != (not code):
        yield f"the relay took {taken} mails"
    if code:
        yield from (f"then: {breach}" for breach in breaches(ask(service, who), 0))
    if registered := register(service, relay, who):
        yield f"register: {registered}"


def suffer(service, relay, faults, code=1029, meanwhile=lambda waiting: None, mend=lambda: None):
    """Request one mail per fault, all at once, then register everybody; return what is wrong.

    Which request meets which fault is random.
    """
    people = [f"u{next(number)}" for _ in faults]
    relay.faults.extend(fault for fault in faults if fault.act)
    with ThreadPoolExecutor(len(people)) as pool:
        waiting = [pool.submit(ask, service, who) for who in people]
        meanwhile(waiting)
    lost = [f"{fault} did not come about" for fault in relay.faults]
    relay.faults.clear()
    mend()
    for who, reply in zip(people, waiting, strict=True):
        lost += settle(service, relay, who, reply.result(), code)
    if not relay.wait_for_open(0):
        lost.append(f"{len(relay.open)} connections were left open")
        relay.open.clear()  # report it once
    lost += relay.violations
    relay.violations.clear()
    return [f"{', '.join(map(str, dict.fromkeys(faults)))}: {what}" for what in lost]


def test_relay_fails_at_a_step(relay_with, scale, tally):
    service, relay = relay_with()
    faults = FAST_FAULTS[:: scale(5, 1)] * scale(1, 4)  # every fifth covers each act and each step
    lost = [what for f in faults for what in suffer(service, relay, [f], code_for(f))]
    tally("relay", "faults at every step", len(faults), lost)


def code_for(fault):
    """Return the code of the reply: a recipient who is refused for good is an invalid address."""
    is_for_good = isinstance(fault.act, bytes) and re.match(rb"5\d\d[ -]", fault.act)
    return 1003 if fault.step == "RCPT" and (is_for_good or fault.act in REFUSES) else 1029


def test_relay_accepts_the_mail_in_an_unusual_way(relay_with, scale, tally):
    service, relay = relay_with()
    faults = ODDITIES * scale(1, 4)
    lost = [what for fault in faults for what in suffer(service, relay, [fault], 0)]
    tally("relay", "oddities of a relay that takes the mail", len(faults), lost)


def test_no_relay_listens(relay_with, scale, tally):
    service, relay = relay_with()
    rounds = scale(1, 20)
    lost = []
    for who in (f"u{next(number)}" for _ in range(rounds)):
        relay.close()
        relay.bind()
        lost += breaches(ask(service, who), 1029)
        reply = ask(service, who)  # because the refusal did not count
        relay.serve()
        lost += settle(service, relay, who, reply, 1029)
    tally("relay", "nobody listens", rounds * 2, lost)


@pytest.mark.parametrize("security", ["MAIL_USE_TLS", "MAIL_USE_SSL"])
def test_relay_with_faulty_tls_or_login(relay_with, security, tmp_path, monkeypatch, scale, tally):
    login = base64.b64encode(f"\0gateway\0{MAIL_PASSWORD}".encode()).decode()
    for secret in (MAIL_PASSWORD, login.rstrip("=")):
        leak_check.add_secret(secret)
    trusted, contexts = smtp.certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    settings = {security: 1, "MAIL_USERNAME": "gateway", "MAIL_PASSWORD": MAIL_PASSWORD}
    service, relay = relay_with(security, contexts, **settings)
    faults = TLS_FAULTS + STARTTLS_FAULTS * (security == "MAIL_USE_TLS")
    batches = [[fault] for fault in faults[:: scale(2, 1)]] + scale([], [HANGING_TLS])
    lost = [what for batch in batches * scale(1, 4) for what in suffer(service, relay, batch)]
    tally("relay", security, sum(map(len, batches)) * scale(1, 4), lost)


# Relays that never finish, and how long the requests of others take meanwhile


class Bystander:
    """A user who needs no mail, and how long each of the user's requests takes."""

    def __init__(self, service, relay):
        self.service = service
        who = f"u{next(number)}"
        assert ask(service, who).code == register(service, relay, who) == 0
        # Each login from another network, because a client may log in only so often.
        self.networks = map("2001:db8:{:x}::1".format, count())
        login = ("/api/v1/login", {"user_name": who, "password": PASSWORD})
        token = call(service.port, *login).body["data"]["auth_token"]
        self.requests = {
            "project/list": ("/api/v1/project/list", {}, token),
            "login": login,
            "healthz": ("/healthz",),
        }
        self.quiet, self.hanging = defaultdict(list), defaultdict(list)
        self.lost = []

    def watch(self, seconds, going_on):
        """Send requests one after another, at least once and while ``going_on()`` is true."""
        more = True
        while more:
            for name, request in self.requests.items():
                ip = next(self.networks) if name == "login" else ""
                reply = call(self.service.port, *request, ip=ip)
                seconds[name].append(reply.seconds)
                if (reply.status, reply.code) != (200, 0):
                    self.lost.append(f"{name}: {reply.body['header']}")
            more = going_on()

    def hurts(self):
        """Return what was lost; a request is too slow if it seems to wait for the relay."""
        for name, seconds in self.hanging.items():
            slow, slow_anyway = (sum(s > 1 for s in x) for x in (seconds, self.quiet[name]))
            if p99(seconds) >= 2 or max(seconds) >= 5 or slow > 0.01 * len(seconds) + slow_anyway:
                self.lost.append(f"{name}: p99 {p99(seconds):.1f} s, most {max(seconds):.1f} s")
        return self.lost

    def __str__(self):
        return "p99 " + ", ".join(
            f"{name} {1000 * p99(self.quiet[name]):.0f} -> {1000 * p99(self.hanging[name]):.0f} ms"
            f" (x{p99(self.hanging[name]) / p99(self.quiet[name]):.2f})"
            for name in self.requests
        )


def p99(values):
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


@pytest.fixture
def beside(relay_with, scale, tally):
    """Return a function that runs batches of faults while a bystander sends other requests.

    The bystander starts after ``all_hang(relay, waiting)`` and ends with the batch.
    """
    service, relay = relay_with()
    bystander = Bystander(service, relay)

    def run(what, batches, all_hang, fill_queue=False):
        def meanwhile(waiting):
            all_hang(relay, waiting)
            bystander.watch(bystander.hanging, lambda: not all(f.done() for f in waiting))

        lost = []
        for batch in batches:
            end = time.monotonic() + scale(1, 4)
            bystander.watch(bystander.quiet, lambda end=end: time.monotonic() < end)
            if fill_queue:
                relay.fill_queue()
            mend = relay.recover if fill_queue else lambda: None
            lost += suffer(service, relay, batch, meanwhile=meanwhile, mend=mend)
        watched = sum(len(seconds) for seconds in bystander.hanging.values())
        print(bystander)
        tally("relay", what, sum(map(len, batches)), lost)
        tally("relay", f"requests beside these: {bystander}", watched, bystander.hurts())

    return run


def test_relay_never_finishes(beside, scale):
    beside(
        "hangs and drips at every step",
        HANGING[: scale(1, None)] * scale(1, 4),
        lambda relay, waiting: relay.wait_for_open(len(waiting)),
    )


@pytest.fixture
def in_soak_only(scale):
    if not scale(0, 1):
        pytest.skip("runs under make soak only; test_mail.py has a short version")


def test_more_hanging_mails_than_allowed(in_soak_only, beside):
    """A mail that would have to wait for others is refused at once and holds no thread."""
    crowd = [Fault("connect", None)] * (2 * gunicorn.threads + 2)
    refused = len(crowd) - 2 * mail.relay.MAX_PARALLEL_MAILS
    beside(
        "more mails than may hang, and no connection comes about",
        [crowd] * 4,
        lambda _, waiting: list(islice(as_completed(waiting), refused)),
        fill_queue=True,
    )
