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
from support.helpers import code_of

from gateway import mail

LORY = {"user_name": "lory", "email": "lory@126.com"}
LOGIN = {"MAIL_USERNAME": "gateway", "MAIL_PASSWORD": "the-right-one"}


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about mail."""
    return sqlite_uri


@pytest.fixture
def relay_with():
    """Return a function that starts a relay with a fault in its first connection."""
    relays = []

    def make(*faults, security="", contexts=None):
        relays.append(faulty_smtp.FaultyRelay(security, contexts))
        relays[-1].faults.extend(faults)
        return relays[-1]

    yield make
    for relay in relays:
        relay.close()


@pytest.fixture
def contexts(tmp_path, monkeypatch):
    trusted, contexts = faulty_smtp.certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return contexts


def ask(app, **person):
    """Request a code; return the code of the reply and its seconds."""
    start = time.monotonic()
    reply = app.test_client().post("/api/v1/auth-code", json={**LORY, **person})
    return code_of(reply), time.monotonic() - start


def nothing_is_left(relay):
    """Tell whether the connection is closed and its thread has ended."""
    for thread in threading.enumerate():
        if thread.name == "mail":
            thread.join(timeout=5)
    return relay.wait_for_open(0) and not any(t.name == "mail" for t in threading.enumerate())


@pytest.mark.parametrize("act", [faulty_smtp.hang, faulty_smtp.drip])
def test_no_thread_is_left_when_the_relay_hangs(make_app, relay_with, monkeypatch, act):
    monkeypatch.setattr(mail.relay, "DEADLINE", 0.5)
    relay = relay_with(Fault("banner", act))
    code, seconds = ask(make_app(MAIL_PORT=relay.port))
    assert code == 1029
    assert seconds < 5
    assert nothing_is_left(relay)


@pytest.mark.parametrize("security", ["MAIL_USE_TLS", "MAIL_USE_SSL"])
def test_no_thread_is_left_when_the_handshake_is_too_slow(
    make_app, relay_with, contexts, monkeypatch, security
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
    assert ask(app)[0] == 1029
    assert nothing_is_left(relay)


def test_mail_is_not_sent_after_the_deadline(make_app, relay_with, monkeypatch):
    """Here the look-up of the relay's name is slow, which no socket timeout limits."""
    answered = threading.Event()
    look_up = socket.getaddrinfo
    monkeypatch.setattr(mail.relay, "DEADLINE", 0.5)
    monkeypatch.setattr(mail.relay, "_slots", threading.BoundedSemaphore(1))
    relay = relay_with()
    app = make_app(MAIL_PORT=relay.port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: answered.wait(30) and look_up(*a))
    code, seconds = ask(app)
    assert code == 1029
    assert seconds < 5
    assert ask(app)[0] == 1029  # the thread still holds the slot
    answered.set()
    assert nothing_is_left(relay)
    assert relay.accepted == {}
    assert ask(app)[0] == 0


def test_own_name_of_the_host_is_not_looked_up(make_app, relay_with, monkeypatch):
    """On a host without a name that look-up takes longer than the deadline."""
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("looked up"))
    assert ask(make_app(MAIL_PORT=relay_with().port))[0] == 0


def test_incomplete_answer_is_a_failure(make_app, relay_with):
    def break_off(session):
        session.send(b"250")
        raise faulty_smtp.ConversationOver

    relay = relay_with(Fault("dot", break_off))
    assert ask(make_app(MAIL_PORT=relay.port))[0] == 1029


def test_endless_answer_is_cut_off(make_app, relay_with):
    relay = relay_with(Fault("EHLO", faulty_smtp.flood))
    app = make_app(MAIL_PORT=relay.port)
    tracemalloc.start()
    try:
        code, seconds = ask(app)
        _, most_held = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert code == 1029
    assert seconds < 5
    assert most_held < 16 * 2**20
    assert nothing_is_left(relay)
    assert relay.violations == []


@pytest.mark.parametrize("name", ["relay.invalid", "x" * 70 + ".invalid"])
def test_unknown_host_name_of_the_relay(make_app, name):
    app = make_app(MAIL_SERVER=name)
    assert [ask(app)[0] for _ in range(2)] == [1029, 1029]  # a failure does not count as a mail


def test_text_of_the_relay_is_not_logged(make_app, relay_with, caplog):
    """A relay may repeat the mail with its code in the refusal."""
    relay = relay_with(Fault("dot", b"550 5.7.1 spam: Your registration code\r\n"))
    assert ask(make_app(MAIL_PORT=relay.port))[0] == 1029
    assert "SMTPDataError 550 5.7.1" in caplog.text
    assert "registration code" not in caplog.text


def test_slow_relay_does_not_block_other_requests(make_app, relay_with, monkeypatch):
    monkeypatch.setattr(mail.relay, "_slots", threading.BoundedSemaphore(1))
    monkeypatch.setattr(mail.relay, "DEADLINE", 3)
    relay = relay_with(Fault("banner", faulty_smtp.hang))
    app = make_app(MAIL_PORT=relay.port)
    first = threading.Thread(target=ask, args=(app,))
    first.start()
    assert relay.wait_for_open(1)
    start = time.monotonic()
    assert ask(app, user_name="other", email="other@126.com")[0] == 1029
    assert app.test_client().get("/readyz").status_code == 200
    assert time.monotonic() - start < 2
    relay.close()
    first.join(timeout=10)


@pytest.mark.parametrize("security", ["MAIL_USE_TLS", "MAIL_USE_SSL"])
def test_relay_with_valid_certificate_gets_mail_and_password(
    make_app, relay_with, contexts, security
):
    relay = relay_with(security=security, contexts=contexts)
    assert ask(make_app(MAIL_PORT=relay.port, **{security: True}, **LOGIN))[0] == 0
    assert len(relay.accepted[LORY["email"]]) == 1
    login = base64.b64encode(b"\0gateway\0the-right-one")
    assert relay.logins == [b"AUTH PLAIN " + login + b"\r\n"]


@pytest.mark.parametrize("security", ["MAIL_USE_TLS", "MAIL_USE_SSL"])
def test_refused_password_is_not_logged(make_app, relay_with, contexts, security, caplog):
    fault = Fault("AUTH", faulty_smtp.repeat_the_password)
    relay = relay_with(fault, security=security, contexts=contexts)
    assert ask(make_app(MAIL_PORT=relay.port, **{security: True}, **LOGIN))[0] == 1029
    assert relay.logins
    assert "SMTPAuthenticationError 535 5.7.8" in caplog.text
    for line in relay.logins:
        assert line.split()[-1].decode() not in caplog.text
    assert "the-right-one" not in caplog.text


def test_relay_without_tls_gets_no_password(make_app, relay):
    assert ask(make_app(MAIL_USE_TLS=True, **LOGIN))[0] == 1029
    assert relay.mails == []
