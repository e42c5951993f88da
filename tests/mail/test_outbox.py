"""What reset-code has promised is mailed, whatever the relay and the process do meanwhile."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from support import faulty_smtp, helpers
from support.faulty_smtp import Fault
from support.helpers import code_of

from gateway.auth import codes
from gateway.db import db
from gateway.db.purge import purge_expired
from gateway.mail import outbox as owed
from gateway.testing.mailbox import wait_for_background

OTHER = "another digest of a password"
LATER, CLOSING = b"451 4.3.0 later\r\n", b"421 4.3.2 closing\r\n"
both = pytest.mark.parametrize("database_uri", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def add_people(sql):
    """Return a function that creates so many accounts; it returns their addresses."""
    return lambda number: helpers.add_people(sql, [f"user{n}" for n in range(number)])


@pytest.fixture
def ten_digits(monkeypatch):
    monkeypatch.setattr(codes, "digits", lambda _: 10)  # faulty_smtp reads codes of this length


@pytest.fixture
def by_hand(monkeypatch):
    """Let nothing be sent by itself."""
    monkeypatch.setattr(owed, "send_soon", lambda: None)
    monkeypatch.setattr(owed, "keep_sending", lambda app: None)


def ask(app, email):
    return app.test_client().post("/api/v1/reset-code", json={"email": email})


def reset(app, email, code):
    body = {"email": email, "reg_code": code, "password": OTHER}
    return code_of(app.test_client().post("/api/v1/reset-password", json=body))


def send_due(app):
    with app.app_context():
        return owed.send_due()


def number_owed(sql):
    return sql("SELECT count(*) FROM owed_mails")[0][0]


def test_forty_people_at_once(start_service, relay, add_people):
    service = start_service(workers=2)
    people = add_people(40)
    relay.pause = 0.5
    with ThreadPoolExecutor(40) as pool:
        codes = list(pool.map(lambda who: service.post("/reset-code", {"email": who})[1], people))
    assert set(codes) == {0}
    assert relay.wait_for_mails(40)
    assert sorted(relay.codes) == sorted(people)


@pytest.mark.parametrize(
    ("step", "act"),
    [
        *(("banner", CLOSING), ("EHLO", faulty_smtp.close), ("MAIL", LATER)),
        *(("RCPT", LATER), ("DATA", faulty_smtp.close), ("dot", CLOSING)),
    ],
)
def test_relay_that_fails_for_a_while_gets_the_mail_later(
    make_app, faulty, add_people, ten_digits, by_hand, clock, step, act
):
    app = make_app(MAIL_PORT=faulty.port)
    (email,) = add_people(1)
    faulty.faults += [Fault(step, act)] * 3
    assert code_of(ask(app, email)) == 0
    for _ in range(4):
        assert send_due(app) == 1
        clock.advance(seconds=10)
    assert send_due(app) == 0
    (code,) = faulty.accepted[email]
    assert reset(app, email, code) == 0


def test_pauses_grow_until_the_code_would_expire(make_app, add_people, by_hand, clock, sql):
    app = make_app(MAIL_PORT=1)
    (email,) = add_people(1)
    clock.freeze(2024, 3, 7, 12)
    start = clock.now()
    assert code_of(ask(app, email)) == 0
    tries = []
    while clock.now() < start + timedelta(minutes=11):
        if send_due(app):
            tries.append((clock.now() - start).total_seconds())
        clock.advance(seconds=2)
    pauses = [b - a for a, b in pairwise(tries)]
    assert pauses[:6] == [2, 4, 8, 16, 32, 60]
    assert pauses[:-1] == sorted(pauses[:-1])
    assert tries[-1] == 598
    with app.app_context():
        assert purge_expired()["owed_mails"] == 1


def test_mail_in_the_last_moment_brings_a_code_of_ten_minutes(
    app, relay, add_people, by_hand, clock
):
    clock.freeze(2024, 3, 7, 12)
    (email,) = add_people(1)
    assert code_of(ask(app, email)) == 0
    clock.advance(minutes=9, seconds=59)
    assert send_due(app) == 1
    clock.advance(minutes=9, seconds=59)
    assert reset(app, email, relay.code()) == 0


def test_expired_promise_is_dropped(app, relay, add_people, by_hand, clock):
    (email,) = add_people(1)
    assert code_of(ask(app, email)) == 0
    clock.advance(minutes=10, seconds=1)
    assert send_due(app) == 0
    assert relay.mails == []


def test_nothing_readable_waits_in_the_database(app, relay, add_people, by_hand, sql):
    (email,) = add_people(1)
    assert code_of(ask(app, email)) == 0
    assert sql("SELECT * FROM mail_codes") == []
    (row,) = sql("SELECT * FROM owed_mails")
    send_due(app)
    assert relay.code() not in str(row)
    assert sql("SELECT * FROM owed_mails") == []


@both
def test_each_mail_is_sent_once_by_many_workers(make_app, relay, add_people, by_hand):
    apps = [make_app() for _ in range(4)]
    people = add_people(20)
    for email in people:
        assert code_of(ask(apps[0], email)) == 0
    with ThreadPoolExecutor(4) as pool:
        tried = list(pool.map(send_due, apps))
    assert sum(tried) == len(relay.mails) == 20
    assert sorted(relay.codes) == sorted(people)


@both
def test_known_and_unknown_addresses_cost_the_same_statements(
    app, person, add_people, by_hand, statements
):
    """For a client that the account does not know; ``person`` knows this one."""

    def shapes():
        """Return the statements without their values, which SQLite's log holds."""
        return [re.sub(r"'[^']*'|\b(\d+|NULL)\b", "?", statement) for statement in statements()]

    (email,) = add_people(1)
    ask(app, "first@126.com")
    shapes()
    assert code_of(ask(app, email)) == 0
    known = shapes()
    assert code_of(ask(app, "nobody@126.com")) == 0
    assert shapes() == known
    assert any("owed_mails" in statement for statement in known)


@pytest.mark.parametrize("refusal", [b"451 4.7.1 later\r\n", b"550 5.1.1 no\r\n"])
def test_what_the_relay_says_about_an_address_does_not_tell_that_it_is_known(
    make_app, faulty, add_people, ten_digits, by_hand, refusal
):
    app = make_app(MAIL_PORT=faulty.port)
    (email,) = add_people(1)
    faulty.faults += [Fault("RCPT", refusal)] * 2
    for address in (email, "nobody@126.com"):
        assert code_of(ask(app, address)) == 0
        send_due(app)
        assert code_of(ask(app, address)) == 429


def test_refused_recipient_is_not_asked_again(
    make_app, faulty, add_people, ten_digits, by_hand, caplog, sql
):
    app = make_app(MAIL_PORT=faulty.port)
    (email,) = add_people(1)
    faulty.faults.append(Fault("RCPT", b"550 5.1.1 no such user\r\n"))
    assert code_of(ask(app, email)) == 0
    assert send_due(app) == 1
    assert "not tried again: SMTPRecipientsRefused 550 5.1.1" in caplog.text
    assert number_owed(sql) == 0


@pytest.mark.parametrize("asks_again", [True, False])
def test_mail_that_is_sent_at_last_counts(make_app, relay, add_people, by_hand, clock, asks_again):
    (email,) = add_people(1)
    broken, app = make_app(MAIL_PORT=1), make_app()
    assert code_of(ask(broken, email)) == 0
    assert send_due(broken) == 1
    if asks_again:
        assert code_of(ask(app, email)) == 0  # the first counted for nothing
    clock.advance(seconds=2)
    assert send_due(app) == 1
    assert len(relay.mails) == 1
    assert code_of(ask(app, email)) == 429


@both
def test_database_that_fails_after_the_relay_has_accepted(
    app, relay, add_people, by_hand, clock, monkeypatch
):
    """The mail goes out twice, and the second one holds the valid code."""
    (email,) = add_people(1)
    assert code_of(ask(app, email)) == 0
    store = codes.store

    def lose_the_database(*_arguments):
        monkeypatch.setattr(codes, "store", store)
        raise OperationalError("", None, Exception("gone"))

    monkeypatch.setattr(codes, "store", lose_the_database)
    with pytest.raises(OperationalError):
        send_due(app)
    assert len(relay.mails) == 1
    clock.advance(seconds=20)
    assert send_due(app) == 1
    assert len(relay.mails) == 2
    assert reset(app, email, relay.code()) == 0


def test_claim_of_a_killed_process_runs_out(app, relay, add_people, by_hand, clock):
    (email,) = add_people(1)
    assert code_of(ask(app, email)) == 0
    with app.app_context():
        assert owed.claim() is not None  # and here the process is killed
    assert send_due(app) == 0
    clock.advance(seconds=14)
    assert send_due(app) == 0
    clock.advance(seconds=2)
    assert send_due(app) == 1
    assert len(relay.mails) == 1


def test_clock_that_was_set_back_holds_nothing_up(app, relay, add_people, by_hand, clock):
    first, second = add_people(2)
    clock.advance(days=1)
    for email in (first, second):
        assert code_of(ask(app, email)) == 0
    with app.app_context():
        owed.claim()
    clock.advance(days=-1)
    assert send_due(app) == 2
    assert len(relay.mails) == 2


def owe(app, asker, language="en", key="about this"):
    """Owe the test mail to an address that is named as the asker."""
    with app.app_context():
        lifetime = timedelta(minutes=1)
        email = f"{asker}@126.com"
        owed.promise("test", key, language, lifetime, asker=asker, email=email, context={})
        db.session.commit()


def in_flight(app, relay, pool):
    """Begin to send the mail that is owed, until ``relay.holds`` ends; return the future result."""
    relay.holds = True
    sending = pool.submit(send_due, app)
    assert relay.wait_until_taken(1)
    return sending


def recipients(relay):
    return [mail["To"] for mail in relay.mails]


@both
def test_of_two_who_ask_each_gets_a_mail(app, relay, sql):
    owe(app, "stranger")
    with ThreadPoolExecutor(1) as pool:
        sending = in_flight(app, relay, pool)
        owe(app, "owner")
        relay.holds = False
    assert sending.result() + send_due(app) == 2
    assert sorted(recipients(relay)) == ["owner@126.com", "stranger@126.com"]
    assert number_owed(sql) == 0


@both
@pytest.mark.parametrize("answer", [None, "451 4.3.0 later"])
def test_mail_that_is_promised_anew_while_it_is_sent_goes_out_too(app, relay, sql, answer):
    """Whoever sends the first deletes or puts off only that one, and nobody sends both at once."""
    owe(app, "lory")
    relay.refuse_late = answer
    with ThreadPoolExecutor(1) as pool:
        sending = in_flight(app, relay, pool)
        owe(app, "lory", "zh")
        assert send_due(app) == 0
        relay.holds = False
        sending.result()
    wait_for_background()
    subjects = [mail["Subject"] for mail in relay.mails]
    assert subjects[-1] == "gateway：测试邮件"
    assert len(subjects) == (1 if answer else 2)
    assert number_owed(sql) == 0


@both
def test_claim_that_ran_out_ends_nothing(app, relay, sql, clock):
    """Another process sends the mail by now; it alone deletes the row."""
    owe(app, "lory")
    with app.app_context():
        slow = owed.claim()
    clock.advance(seconds=16)
    with app.app_context():
        assert owed.claim() is not None
        owed.send(slow)
    assert number_owed(sql) == 1


def test_a_mail_costs_two_waits_for_the_disk(app, relay, add_people, by_hand):
    """One until it is promised, and one after it is sent; the claim waits for nothing."""
    (email,) = add_people(1)
    waits = []
    with app.app_context():
        engine = db.engine

    @event.listens_for(engine, "commit")
    def note(connection):
        driver = connection.connection.driver_connection
        if driver.in_transaction and driver.execute("PRAGMA synchronous").fetchone() == (2,):
            waits.append(len(relay.mails))

    assert code_of(ask(app, email)) == 0
    assert send_due(app) == 1
    assert waits == [0, 1]


def test_operators_see_what_is_owed_and_why(command, person, relay, clock, caplog):
    clock.freeze(2024, 3, 7, 12)
    relay.refuse_data = "451 4.3.0 later"
    person.client.post("/api/v1/reset-code", json={"email": person.email})
    wait_for_background()
    assert "SMTPDataError 451 4.3.0; user=1 purpose=reset; " in caplog.text
    (row,) = json.loads(command("mail", "list", "--json").output)["list"]
    assert row == {
        "purpose": "reset",
        "to": "lory@126.com",
        "since": "2024-03-07 12:00:00",
        "tries": 1,
        "next_try": "2024-03-07 12:00:02",
        "cause": "SMTPDataError 451 4.3.0",
    }
    for who in ("lory", "Lory@126.com"):
        assert "reset" in command("mail", "list", "--to", who).output
    assert "reset" not in command("mail", "list", "--to", "other@126.com").output
    assert "SMTPDataError 451" in command("user", "show", "lory").output
