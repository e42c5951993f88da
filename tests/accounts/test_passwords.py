"""Changed passwords, and forgotten ones, which need a code by mail."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from argon2 import PasswordHasher
from support.helpers import (
    OK,
    OTHER,
    PASSWORD,
    ask_reset,
    change_password,
    code_of,
    elsewhere,
    is_in,
    login,
    on_both,
    other_code,
    postgres_only,
    reset,
)

from gateway import crypto, mail
from gateway.auth import codes
from gateway.db import postgres
from gateway.log import logger
from gateway.mail import outbox as owed
from gateway.testing.mailbox import wait_for_background


@pytest.fixture
def reset_code(api, relay):
    """Return a function that requests a code for a new password and reads it from the mail."""

    def get():
        assert ask_reset(api) == 0
        return relay.code()

    return get


def token_of(api, **kwargs):
    return login(api, **kwargs).json["data"]["auth_token"]


def is_valid(api, token):
    return code_of(api("/project/list", headers={"Authorization": token})) == 0


# A changed password


@on_both
def test_change_revokes_every_other_token(api, sign_up, person):
    others = [token_of(api) for _ in range(3)]
    neighbour = sign_up("libin")
    assert change_password(person).json == OK
    assert is_in(person)
    assert not any(is_valid(api, token) for token in others)
    assert is_in(neighbour)
    assert code_of(login(api)) == 1002
    assert is_valid(api, token_of(api, password=OTHER))


@on_both
def test_kept_token_is_revoked_by_the_next_change(api, person):
    change_password(person)
    assert code_of(change_password(person, OTHER, PASSWORD)) == 0
    assert code_of(change_password(person)) == 0  # the kept token can change again
    newer = token_of(api, password=OTHER)
    assert is_in(person)
    body = {"old_password": OTHER, "new_password": PASSWORD}
    reply = api("/platform/change-password", body, headers={"Authorization": newer})
    assert code_of(reply) == 0
    assert not is_in(person)
    assert is_valid(api, newer)


def test_wrong_old_password_changes_nothing(api, person):
    before = token_of(api)
    reply = change_password(person, "not the old one")
    assert (reply.status_code, code_of(reply)) == (200, 1002)
    assert reply.json["header"]["message"] == "The old password is wrong"
    assert is_valid(api, before)
    assert code_of(login(api)) == 0


@on_both
def test_change_fails_if_another_change_came_first(api, person, monkeypatch):
    """Another change comes between the check of the old password and the new hash."""
    hash_password = crypto.hash_password
    second = token_of(api)

    def change_between(password):
        monkeypatch.setattr(crypto, "hash_password", hash_password)
        body = {"old_password": PASSWORD, "new_password": "the one between"}
        headers = {"Authorization": second}
        reply = elsewhere(lambda: api("/platform/change-password", body, headers=headers))
        assert code_of(reply) == 0
        return hash_password(password)

    monkeypatch.setattr(crypto, "hash_password", change_between)
    assert code_of(change_password(person)) == 1002
    assert code_of(login(api, password=OTHER)) == 1002
    assert code_of(login(api, password="the one between")) == 0


@pytest.mark.real_argon2
@on_both
def test_reset_during_a_login_wins(api, person, reset_code, sql, monkeypatch):
    """It revokes the token of the login, and the login does not put the old password back."""
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    sql("UPDATE users SET password_hash = :weak", weak=weak)
    code, matches = reset_code(), crypto.password_matches

    def judge(password, password_hash):
        monkeypatch.setattr(crypto, "password_matches", matches)
        answer = matches(password, password_hash)
        assert code_of(elsewhere(lambda: reset(api, code))) == 0
        return answer

    monkeypatch.setattr(crypto, "password_matches", judge)
    assert not is_valid(api, token_of(api))
    assert code_of(login(api)) == 1002
    assert code_of(login(api, password=OTHER)) == 0


# A forgotten password


@on_both
def test_account_erased_while_its_code_is_checked(api, person, reset_code, sql, monkeypatch):
    code, check = reset_code(), codes.check

    def erase(*arguments):
        check(*arguments)
        sql("DELETE FROM mail_codes")
        sql("DELETE FROM users")

    monkeypatch.setattr(codes, "check", erase)
    assert code_of(reset(api, code)) == 1008


def test_reset_revokes_every_token(api, sign_up, person, reset_code):
    neighbour = sign_up("libin")
    change_password(person, new="the one before")  # keeps this token, but the reset must revoke it
    tokens = [person.token, token_of(api, password="the one before")]
    assert reset(api, reset_code()).json == OK
    assert not any(is_valid(api, token) for token in tokens)
    assert is_in(neighbour)
    assert code_of(login(api, password="the one before")) == 1002
    assert code_of(login(api, password=OTHER)) == 0


def test_reset_does_not_unban(api, command, person, reset_code):
    command("user", "ban", "lory")
    assert code_of(reset(api, reset_code())) == 0
    assert code_of(login(api, password=OTHER)) == 1012


def test_unknown_address_gets_no_mail(api, person, relay, caplog):
    mails = len(relay.mails)
    assert ask_reset(api, "nobody@126.com") == 0
    assert len(relay.mails) == mails
    assert "nobody@126.com" not in caplog.text
    assert ask_reset(api, "LORY@126.com") == 0
    assert len(relay.mails) == mails + 1
    assert relay.mails[-1]["To"] == "lory@126.com"  # as registered, not as typed


@pytest.mark.parametrize("email", ["lory@126.com", "nobody@126.com"])
@pytest.mark.parametrize("fault", ["not there", "does not let in"])
def test_failing_relay_is_neither_counted_nor_visible(make_app, sign_up, relay, email, fault):
    sign_up()
    broken = {"MAIL_PORT": 1} if fault == "not there" else {"MAIL_USE_TLS": True}
    for settings, times in ((broken, 8), ({}, 1)):
        client = make_app(**settings).test_client()
        for _ in range(times):
            reply = client.post("/api/v1/reset-code", json={"email": email})
            wait_for_background()
            assert (reply.status_code, code_of(reply)) == (200, 0)


@pytest.mark.parametrize("known", [True, False])
def test_background_work_starts_after_the_reply(app, person, monkeypatch, known):
    """So the time of the reply does not tell whether anything is mailed."""
    begun = threading.Event()
    for name in ("send", "probe"):
        monkeypatch.setattr(mail, name, lambda *_, **__: begun.set())

    def post(email):
        return app.test_client().post("/api/v1/reset-code", json={"email": email}, buffered=False)

    reply = post(person.email if known else "nobody@126.com")
    assert not begun.wait(0.3)
    reply.close()
    assert begun.wait(20)
    wait_for_background()


# Codes for a new password


@on_both
def test_unmailed_code_of_an_unknown_address_is_invalid(api, sql, monkeypatch):
    monkeypatch.setattr(crypto, "random_text", lambda length, alphabet: "7" * length)
    assert ask_reset(api, "nobody@126.com") == 0
    assert len(sql("SELECT * FROM mail_codes")) == 1
    assert code_of(reset(api, "77777777", "nobody@126.com")) == 1008
    assert sql("SELECT * FROM users") == []


def test_lines_in_the_log(api, person, reset_code, caplog):
    caplog.clear()
    code = reset_code()
    reset(api, other_code(code))
    reset(api, code)
    person.token = token_of(api, password=OTHER)
    change_password(person, "not this one")
    change_password(person, OTHER, PASSWORD)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "auth.reset_code user=- ip=127.0.0.1 code=0 status=200",
        "auth.reset_password user=- ip=127.0.0.1 code=1008 status=200",
        "auth.reset_password user=1 ip=127.0.0.1 code=0 status=200",
        "auth.login user=1 ip=127.0.0.1 code=0 status=200",
        "auth.change_password user=1 ip=127.0.0.1 code=1002 status=200",
        "auth.change_password user=1 ip=127.0.0.1 code=0 status=200",
    ]
    for secret in (code, OTHER, person.email):
        assert secret not in caplog.text


def test_background_failure_is_logged_with_the_request_id(api, person, monkeypatch, capsys):
    def fail(*_arguments, **_context):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(mail, "send", fail)
    monkeypatch.setattr(logger.handlers[0], "stream", sys.stderr)
    assert ask_reset(api, headers={"X-Request-ID": "abc-1"}) == 0
    written = capsys.readouterr().err
    assert "ERROR request=abc-1 unhandled exception" in written
    assert "RuntimeError: unforeseen" in written


def test_reset_code_without_a_free_thread(api, app, person, relay, monkeypatch):
    """The promise is stored, so the next thread that sends anything keeps it."""

    def refuse(*_arguments):
        raise RuntimeError("can't start new thread")

    mails = len(relay.mails)
    with monkeypatch.context() as patch:
        patch.setattr(ThreadPoolExecutor, "submit", refuse)
        assert code_of(api("/reset-code", {"email": person.email})) == 0
    assert len(relay.mails) == mails
    with app.app_context():
        assert owed.send_due() == 1
    assert code_of(reset(api, relay.code())) == 0


@postgres_only
def test_background_work_stops_waiting_for_a_hanging_database(
    api, person, postgres_uri, monkeypatch, caplog
):
    monkeypatch.setattr(postgres, "ANSWER_TIMEOUT", 1)
    with psycopg.connect(postgres_uri) as connection:

        def lock(*_arguments, **_context):
            connection.execute("LOCK TABLE mail_codes IN EXCLUSIVE MODE")

        monkeypatch.setattr(mail, "send", lock)
        start = time.monotonic()
        assert ask_reset(api) == 0
        assert time.monotonic() - start > 1
        connection.rollback()
    assert "database unavailable: (psycopg.OperationalError) the server does not answer" in (
        caplog.text
    )


def test_stopping_server_ends_a_mail_that_is_under_way(start_service, relay, sql):
    service = start_service(workers=2)
    service.sign_up("lory")
    relay.pause = 1
    assert service.post("/reset-code", {"email": "lory@126.com"})[1] == 0
    assert relay.wait_until_taken(2)  # after that of the registration; it answers a second later
    service.server.stop()
    assert len(relay.mails) == 2
    assert sql("SELECT purpose FROM mail_codes") == [("reset",)]
