"""Relays as people have them: odd names, addresses, logins and refusals, and how each is named."""

import base64
import socket
import threading
from contextlib import closing

import pytest
from support import faulty_smtp
from support.faulty_smtp import Fault
from support.helpers import code_of
from support.servers import free_port

from gateway import mail
from gateway.ops.cli import main

OFFER = b"250-relay\r\n250 AUTH %s\r\n"
WITH_A_LOGIN = {"MAIL_USERNAME": "a", "MAIL_PASSWORD": "b"}


def mail_test(app):
    """Run the operator's command; return what it says."""
    return app.test_cli_runner().invoke(main, args=["mail", "test", "lory@126.com"])


def relay_finding(app):
    """Run doctor; return the line about the relay."""
    lines = app.test_cli_runner().invoke(main, args=["doctor"]).output.split("\n")
    start = next(n for n, line in enumerate(lines) if line.split()[1:2] == ["relay"])
    return " ".join(lines[start : start + 2])


# The name in EHLO


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("gateway@mail.example.com", b"mail.example.com"),
        ("示例 <a@example.org>", b"example.org"),
        ("gateway@localhost", b"localhost"),
    ],
)
def test_name_in_ehlo_is_the_senders_domain(make_app, faulty, sender, name, ask):
    said = []
    faulty.faults.append(
        Fault("EHLO", lambda s: said.append(s.line) or s.send(b"250 OK\r\n"), once=True)
    )
    assert ask(make_app(MAIL_PORT=faulty.port, MAIL_DEFAULT_SENDER=sender)) == 0
    assert said == [b"ehlo " + name + b"\r\n"]


# A relay with several addresses


@pytest.fixture
def relay_at(monkeypatch):
    """Return a function that gives the relay's name several addresses of loopback."""

    def resolve(*ports):
        look_up = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *_: [look_up("127.0.0.1", p, 0, socket.SOCK_STREAM)[0] for p in ports],
        )

    return resolve


@pytest.fixture
def listener():
    """A server that accepts connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        yield silent


@pytest.fixture
def full_port():
    """A port where no connection comes about, as at an address that is not there."""
    with closing(socket.socket()) as server, closing(socket.socket()) as only:
        server.bind(("127.0.0.1", free_port()))
        server.listen(0)
        only.connect(server.getsockname())
        yield server.getsockname()[1]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_dead_addresses_are_passed_over(
    make_app, faulty, relay_at, listener, full_port, position, ask
):
    dead = [full_port, listener.getsockname()[1], free_port()]
    relay_at(*dead[:position], *dead[position + 1 :], faulty.port)
    assert ask(make_app()) == 0
    assert faulty.accepted["user0@126.com"]


def test_address_that_turns_us_away_is_passed_over(make_app, faulty, relay_at, ask):
    other = faulty_smtp.FaultyRelay()
    other.faults += [Fault("banner", b"421 4.3.2 busy\r\n")] * 2
    relay_at(other.port, faulty.port)
    assert ask(make_app()) == 0
    other.close()


def test_slow_address_is_not_given_up(make_app, faulty, relay_at, full_port, ask):
    faulty.faults.append(Fault("banner", faulty_smtp.answer_slowly, once=True))
    relay_at(faulty.port, full_port)
    assert ask(make_app()) == 0


def test_no_address_works(make_app, relay_at, ask, full_port, listener, monkeypatch):
    monkeypatch.setattr(mail.relay, "DEADLINE", 0.5)
    relay_at(full_port, listener.getsockname()[1])
    assert ask(make_app()) == 1029
    for thread in threading.enumerate():
        if thread.name == "mail":
            thread.join(timeout=20)
            assert not thread.is_alive()


# Logins


@pytest.mark.parametrize("offer", [b"PLAIN", b"LOGIN", b"plain login", b"XOAUTH2 PLAIN"])
@pytest.mark.parametrize(("user", "password"), [("用户", "密码"), ("a", "b")])
def test_login_is_utf8(make_app, faulty, offer, user, password, ask):
    given = []

    def offer_and_let_in(session):
        if session.step == "EHLO":
            return session.send(OFFER % offer)
        if session.step != "AUTH":
            return session.send(session.normal_reply())
        _, mechanism, *answers = session.line.split()
        while len(answers) < (1 if mechanism == b"PLAIN" else 2):
            session.send(b"334 \r\n")
            answers.append(session.lines.readline())
        given.extend(base64.b64decode(answer).decode() for answer in answers)
        return session.send(b"235 welcome\r\n")

    faulty.faults.append(Fault("EHLO", offer_and_let_in))
    app = make_app(MAIL_PORT=faulty.port, MAIL_USERNAME=user, MAIL_PASSWORD=password)
    assert ask(app) == 0
    assert given in ([f"\0{user}\0{password}"], [user, password])


# Causes and cures


@pytest.mark.parametrize(
    ("fault", "settings", "cause", "cure"),
    [
        (Fault("banner", b"554 5.7.1 no\r\n"), {}, "554 5.7.1", "may use it"),
        (Fault("EHLO", b"421 4.7.0 who?\r\n"), {}, "SMTPHeloError 421", "MAIL_DEFAULT_SENDER"),
        (Fault("EHLO", b"550 5.7.1 who?\r\n"), {}, "SMTPHeloError 550", "MAIL_DEFAULT_SENDER"),
        (Fault("MAIL", b"553 5.7.1 no\r\n"), {}, "SMTPSenderRefused 553", "MAIL_DEFAULT_SENDER"),
        (Fault("MAIL", b"530 5.7.0 log in\r\n"), {}, "530 5.7.0", "MAIL_USERNAME"),
        (Fault("MAIL", b"452 4.3.1 full\r\n"), {}, "452 4.3.1", "takes this mail later"),
        (Fault("MAIL", b"552 5.3.4 big\r\n"), {}, "552 5.3.4", "too large"),
        (Fault("RCPT", b"550 5.7.1 no relay\r\n"), {}, "550 5.7.1", "MAIL_USERNAME"),
        (Fault("RCPT", b"554 5.7.1 Relay access denied\r\n"), {}, "554 5.7.1", "every recipient"),
        (
            Fault("EHLO", OFFER % b"XOAUTH2 OAUTHBEARER", once=True),
            WITH_A_LOGIN,
            "only the login XOAUTH2, OAUTHBEARER",
            "log in with a password",
        ),
        (None, WITH_A_LOGIN, "offers no login", "MAIL_USE_TLS=1"),
        (None, {"MAIL_USE_TLS": True}, "STARTTLS", "465"),
        (None, {"MAIL_USE_SSL": True}, "SSL", "587"),
        (None, {"MAIL_SERVER": "relay.invalid"}, "gaierror", "DNS"),
        (None, {"MAIL_PORT": 1}, "Connection refused", "MAIL_PORT"),
    ],
)
def test_cause_and_cure_are_named(make_app, faulty, caplog, fault, settings, cause, cure, ask):
    app = make_app(**{"MAIL_PORT": faulty.port, **settings})
    faulty.faults += [fault] * 3 if fault else []
    finding = relay_finding(app)
    assert cause in finding
    assert cure in finding
    said = mail_test(app)
    assert said.exit_code == 1
    assert cause in said.output
    assert cure in said.output
    assert ask(app) == 1029
    assert cause in caplog.text
    assert cure in caplog.text


@pytest.mark.parametrize(
    ("fault", "cause", "cure"),
    [
        (Fault("RCPT", b"550 5.1.1 no\r\n"), "SMTPRecipientsRefused 550 5.1.1", "MAIL_USERNAME"),
        (Fault("RCPT", b"450 4.2.1 busy\r\n"), "450 4.2.1", "takes this mail later"),
        (Fault("RCPT", b"552 5.2.2 full\r\n"), "552 5.2.2", "mailbox is full"),
        (Fault("dot", b"554 5.6.0 no\r\n"), "SMTPDataError 554 5.6.0", "relay's log"),
    ],
)
def test_refused_test_mail_names_cause_and_cure(make_app, faulty, fault, cause, cure):
    faulty.faults.append(fault)
    said = mail_test(make_app(MAIL_PORT=faulty.port))
    assert said.exit_code == 1
    assert cause in said.output
    assert cure in said.output
    assert ("MAIL_USERNAME" in said.output) == (cure == "MAIL_USERNAME")


# Refused recipients


@pytest.mark.parametrize("words", [b"550 5.1.1 no", b"553 5.1.3", b"551 unknown", b"554 5.7.1"])
def test_refused_recipient_is_an_invalid_parameter(make_app, faulty, words, ask, post):
    """A relay that says 5.7.1 of one recipient takes the sender's own address."""
    app = make_app(MAIL_PORT=faulty.port, MAILS_PER_IP=3)
    faulty.faults += [Fault("RCPT", words + b"\r\n", once=True)] * 2
    for _ in range(2):  # it does not count for the address
        reply = post(app)
        assert (reply.status_code, code_of(reply)) == (400, 1003)
        assert reply.json["header"]["message"].startswith("email ")
    assert ask(app) == 0
    assert ask(app, 1) == 429  # but for the client


@pytest.mark.parametrize("status", [b"450 4.2.1", b"451", b"452 4.2.2", b"421 4.3.2", b"530 5.7.0"])
def test_recipient_that_is_not_refused_for_good(make_app, faulty, status, ask, post):
    app = make_app(MAIL_PORT=faulty.port, MAILS_PER_IP=1)
    faulty.faults += [Fault("RCPT", status + b" later\r\n")] * 2
    for _ in range(2):
        reply = post(app)
        assert (reply.status_code, code_of(reply)) == (503, 1029)
    assert ask(app) == 0


def test_refused_recipient_keeps_an_earlier_code(make_app, faulty, clock, ask):
    app = make_app(MAIL_PORT=faulty.port)
    assert ask(app) == 0
    clock.advance(seconds=61)
    faulty.faults.append(Fault("RCPT", b"550 5.2.1 no\r\n"))
    assert ask(app) == 1003
    account = {"user_name": "user0", "email": "user0@126.com", "password": "a password"}
    (code,) = faulty.accepted["user0@126.com"]
    reply = app.test_client().post("/api/v1/register", json={**account, "reg_code": code})
    assert code_of(reply) == 0
