"""Mail: what is logged about a relay, what it may learn, and that no thread outlives the deadline.

soak/test_relay_faults.py tests the answers of the service for faults at every step.
"""

import base64
import socket
import threading
import time
import tracemalloc

import pytest
from support import faulty_smtp
from support.faulty_smtp import Fault

from gateway import mail

EMAIL = "user0@126.com"
LOGIN = {"MAIL_USERNAME": "gateway", "MAIL_PASSWORD": "the-right-one"}
in_each_tls = pytest.mark.parametrize("security", ["MAIL_USE_TLS", "MAIL_USE_SSL"])


def nothing_is_left(relay):
    """Tell whether the connection is closed and its thread has ended."""
    for thread in threading.enumerate():
        if thread.name == "mail":
            thread.join(timeout=20)
    return relay.wait_for_open(0) and not any(t.name == "mail" for t in threading.enumerate())


@pytest.mark.parametrize("act", [faulty_smtp.hang, faulty_smtp.drip])
@pytest.mark.parametrize("step", ["banner", "dot"])
def test_no_thread_is_left_when_the_relay_hangs(make_app, relay_with, ask, monkeypatch, step, act):
    monkeypatch.setattr(mail.relay, "DEADLINE", 0.5)
    relay = relay_with(Fault(step, act))
    assert ask(make_app(MAIL_PORT=relay.port)) == 1029
    assert nothing_is_left(relay)


@in_each_tls
def test_no_thread_is_left_when_the_handshake_is_too_slow(
    make_app, relay_with, ask, contexts, monkeypatch, security
):
    """The look-up, the handshake and the slow answer are each short, but together too slow."""
    look_up = socket.getaddrinfo

    def look_up_slowly(*args):
        time.sleep(0.6)
        return look_up(*args)

    def come_late(session):
        if session.step == "TLS":
            time.sleep(0.7)
            session.secure()
            late.set()
        elif late.is_set():
            faulty_smtp.drip_lines(session)
        else:
            session.send(session.normal_reply())

    late = threading.Event()
    monkeypatch.setattr(mail.relay, "DEADLINE", 1)
    relay = relay_with(Fault("TLS", come_late), security=security, contexts=contexts)
    app = make_app(MAIL_PORT=relay.port, **{security: True})
    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
    assert ask(app) == 1029
    assert nothing_is_left(relay)


def test_mail_is_not_sent_after_the_deadline(make_app, faulty, ask, monkeypatch, caplog):
    """Here the look-up of the relay's name is slow, which no socket timeout limits."""
    answered = threading.Event()
    look_up = socket.getaddrinfo
    monkeypatch.setattr(mail.relay, "DEADLINE", 0.5)
    monkeypatch.setattr(mail.relay, "slots", threading.BoundedSemaphore(1))
    app = make_app(MAIL_PORT=faulty.port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: answered.wait(30) and look_up(*a))
    assert ask(app) == 1029
    assert "too many mails" not in caplog.text
    assert ask(app) == 1029  # because the thread still holds the slot
    assert "too many mails" in caplog.text
    answered.set()
    assert nothing_is_left(faulty)
    assert faulty.accepted == {}
    assert ask(app) == 0


def test_own_name_of_the_host_is_not_looked_up(make_app, faulty, ask, monkeypatch):
    """On a host without a name that look-up takes longer than the deadline."""
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("looked up"))
    assert ask(make_app(MAIL_PORT=faulty.port)) == 0


def test_incomplete_answer_is_a_failure(make_app, relay_with, ask):
    def break_off(session):
        session.send(b"250")
        raise faulty_smtp.ConversationOver

    relay = relay_with(Fault("dot", break_off))
    assert ask(make_app(MAIL_PORT=relay.port)) == 1029


def test_endless_answer_is_cut_off(make_app, relay_with, ask):
    relay = relay_with(Fault("EHLO", faulty_smtp.flood))
    app = make_app(MAIL_PORT=relay.port)
    tracemalloc.start()
    try:
        assert ask(app) == 1029
        _, most_held = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_held < 16 * 2**20
    assert nothing_is_left(relay)
    assert relay.violations == []


@pytest.mark.parametrize("name", ["relay.invalid", "x" * 70 + ".invalid"])
def test_unknown_host_name_of_the_relay(make_app, ask, name):
    app = make_app(MAIL_SERVER=name)
    assert [ask(app) for _ in range(2)] == [1029, 1029]  # a failure does not count as a mail


def test_text_of_the_relay_is_not_logged(make_app, relay_with, ask, caplog):
    """A relay may repeat the mail with its code in the refusal."""
    relay = relay_with(Fault("dot", b"550 5.7.1 spam: Your registration code\r\n"))
    assert ask(make_app(MAIL_PORT=relay.port)) == 1029
    assert "SMTPDataError 550 5.7.1" in caplog.text
    assert "registration code" not in caplog.text


@in_each_tls
def test_relay_with_valid_certificate_gets_mail_and_password(
    make_app, relay_with, ask, contexts, security
):
    relay = relay_with(security=security, contexts=contexts)
    assert ask(make_app(MAIL_PORT=relay.port, **{security: True}, **LOGIN)) == 0
    assert len(relay.accepted[EMAIL]) == 1
    login = base64.b64encode(b"\0gateway\0the-right-one")
    assert relay.logins == [b"AUTH PLAIN " + login + b"\r\n"]


@in_each_tls
@pytest.mark.parametrize("certificate", ["another name", "expired", "stranger"])
def test_relay_without_a_valid_certificate_gets_nothing(
    make_app, relay_with, ask, contexts, security, certificate
):
    relay = relay_with(Fault("TLS", certificate, once=True), security=security, contexts=contexts)
    assert ask(make_app(MAIL_PORT=relay.port, **{security: True}, **LOGIN)) == 1029
    assert (relay.logins, relay.violations) == ([], [])


@in_each_tls
def test_refused_password_is_not_logged(make_app, relay_with, ask, contexts, security, caplog):
    fault = Fault("AUTH", faulty_smtp.repeat_the_password)
    relay = relay_with(fault, security=security, contexts=contexts)
    assert ask(make_app(MAIL_PORT=relay.port, **{security: True}, **LOGIN)) == 1029
    assert relay.logins
    assert "SMTPAuthenticationError 535 5.7.8" in caplog.text
    for line in relay.logins:
        assert line.split()[-1].decode() not in caplog.text
    assert "the-right-one" not in caplog.text


def test_relay_without_tls_gets_no_password(make_app, relay, ask):
    assert ask(make_app(MAIL_USE_TLS=True, **LOGIN)) == 1029
    assert relay.mails == []
