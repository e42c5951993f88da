"""Changed passwords, and forgotten ones, which need a code by mail."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from argon2 import PasswordHasher
from support.helpers import OK, PASSWORD, code_of, login, other_code, postgres_only

from gateway import crypto, mail
from gateway.db import postgres
from gateway.log import logger
from gateway.mail import outbox as owed
from gateway.testing.mailbox import wait_for_background

OTHER = "another digest of a password"


def ask(api, email, **kwargs):
    reply = api("/reset-code", {"email": email}, **kwargs)
    wait_for_background()
    return reply


@pytest.fixture
def reset_code(api, relay):
    """Return a function that requests a code for a new password and reads it from the mail."""

    def get(email="lory@126.com"):
        assert code_of(ask(api, email)) == 0
        return relay.code()

    return get


def reset(api, reg_code, email="lory@126.com", password=OTHER, **kwargs):
    body = {"email": email, "reg_code": reg_code, "password": password}
    return api("/reset-password", body, **kwargs)


def change(person, old=PASSWORD, new=OTHER, **kwargs):
    return person.post(
        "/platform/change-password", {"old_password": old, "new_password": new}, **kwargs
    )


def token_of(api, **kwargs):
    return login(api, **kwargs).json["data"]["auth_token"]


def elsewhere(act):
    """Call a function in another thread, because a nested request would share the session."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def is_in(api, token):
    return code_of(api("/project/list", headers={"Authorization": token})) == 0


# A changed password


def test_old_password_is_invalid_after_a_change(api, person):
    reply = change(person)
    assert reply.json == OK
    assert code_of(login(api)) == 1002
    assert code_of(login(api, password=OTHER)) == 0


def test_change_revokes_every_other_token(api, sign_up, person):
    others = [token_of(api) for _ in range(3)]
    neighbour = sign_up("libin")
    assert code_of(change(person)) == 0
    assert is_in(api, person.token)
    assert not any(is_in(api, token) for token in others)
    assert is_in(api, neighbour.token)
    assert is_in(api, token_of(api, password=OTHER))


def test_kept_token_is_revoked_by_the_next_change(api, person):
    change(person)
    newer = token_of(api, password=OTHER)
    assert is_in(api, person.token)
    body = {"old_password": OTHER, "new_password": PASSWORD}
    reply = api("/platform/change-password", body, headers={"Authorization": newer})
    assert code_of(reply) == 0
    assert not is_in(api, person.token)
    assert is_in(api, newer)


def test_kept_token_can_change_again_and_log_out(api, person):
    change(person)
    assert code_of(change(person, OTHER, PASSWORD)) == 0
    assert code_of(person.post("/platform/logout")) == 0
    assert not is_in(api, person.token)


def test_wrong_old_password_changes_nothing(api, person):
    before = token_of(api)
    reply = change(person, "not the old one")
    assert reply.status_code == 200
    assert code_of(reply) == 1002
    assert reply.json["header"]["message"] == "The old password is wrong"
    assert is_in(api, before)
    assert code_of(login(api)) == 0


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
    assert code_of(change(person)) == 1002
    assert code_of(login(api, password=OTHER)) == 1002
    assert code_of(login(api, password="the one between")) == 0


# A password that changes while somebody logs in


def during_login(monkeypatch, act):
    """Call ``act`` once, right after the password has been verified."""
    matches = crypto.password_matches

    def judge(password, password_hash):
        monkeypatch.setattr(crypto, "password_matches", matches)
        answer = matches(password, password_hash)
        assert code_of(elsewhere(act)) == 0
        return answer

    monkeypatch.setattr(crypto, "password_matches", judge)


def test_reset_during_a_login_revokes_its_token(api, person, reset_code, monkeypatch):
    code = reset_code()
    during_login(monkeypatch, lambda: reset(api, code))
    assert not is_in(api, token_of(api))


@pytest.mark.real_argon2
def test_renewed_hash_does_not_undo_a_reset(api, person, reset_code, sql, monkeypatch):
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    sql("UPDATE users SET password_hash = :weak", weak=weak)
    code = reset_code()
    during_login(monkeypatch, lambda: reset(api, code))
    login(api)
    assert code_of(login(api)) == 1002
    assert code_of(login(api, password=OTHER)) == 0


# A forgotten password


def test_reset_password_with_a_code(api, person, reset_code):
    code = reset_code()
    assert len(code) == 8
    assert code.isdecimal()
    reply = reset(api, code)
    assert reply.json == OK
    assert code_of(login(api)) == 1002
    assert code_of(login(api, password=OTHER)) == 0


def test_reset_revokes_every_token(api, sign_up, person, reset_code):
    neighbour = sign_up("libin")
    change(person)  # keeps this token, but the reset must revoke it
    tokens = [person.token, token_of(api, password=OTHER)]
    assert code_of(reset(api, reset_code(), password=PASSWORD)) == 0
    assert not any(is_in(api, token) for token in tokens)
    assert is_in(api, neighbour.token)


def test_reset_does_not_unban(api, command, person, reset_code):
    command("user", "ban", "lory")
    assert code_of(reset(api, reset_code())) == 0
    assert code_of(login(api, password=OTHER)) == 1012


@pytest.mark.parametrize(
    ("accepted", "subject", "minutes"),
    [
        ("en", "gateway: your code for a new password is {}", "10 minutes"),
        ("zh-CN", "gateway：您的密码重置验证码是 {}", "10 分钟"),
    ],
)
def test_text_of_the_reset_mail(api, person, relay, accepted, subject, minutes):
    ask(api, "LORY@126.com", headers={"Accept-Language": accepted})
    sent = relay.mails[-1]
    assert sent["To"] == "lory@126.com"  # as registered, not as typed
    assert sent["Subject"] == subject.format(relay.code())
    for part in ("plain", "html"):
        content = sent.get_body((part,)).get_content()
        assert relay.code() in content
        assert minutes in content


def test_unknown_address_gets_the_same_reply_and_no_mail(api, person, relay, caplog):
    mails = len(relay.mails)
    unknown = ask(api, "nobody@126.com")
    assert len(relay.mails) == mails
    assert "nobody@126.com" not in caplog.text
    known = ask(api, "lory@126.com")
    assert len(relay.mails) == mails + 1
    assert (known.status_code, known.json) == (unknown.status_code, unknown.json)
    assert sorted(known.headers.keys()) == sorted(unknown.headers.keys())
    assert reset(api, "00000000", "nobody@126.com").json == reset(api, "00000000").json


@pytest.mark.parametrize("email", ["lory@126.com", "nobody@126.com"])
@pytest.mark.parametrize("fault", ["not there", "does not let in"])
def test_failing_relay_is_neither_counted_nor_visible(make_app, sign_up, relay, email, fault):
    sign_up()
    broken = {"MAIL_PORT": 1} if fault == "not there" else {"MAIL_USE_TLS": True}
    client = make_app(**broken).test_client()
    for _ in range(8):
        reply = client.post("/api/v1/reset-code", json={"email": email})
        wait_for_background()
        assert (reply.status_code, code_of(reply)) == (200, 0)
    whole = make_app().test_client()
    assert code_of(whole.post("/api/v1/reset-code", json={"email": email})) == 0
    wait_for_background()


def test_without_a_relay_everybody_gets_an_error(make_app, sign_up):
    sign_up()
    client = make_app(MAIL_SERVER=None).test_client()
    for email in ("lory@126.com", "nobody@126.com"):
        reply = client.post("/api/v1/reset-code", json={"email": email})
        assert (reply.status_code, code_of(reply)) == (503, 1029)


@pytest.mark.parametrize("known", [True, False])
def test_background_work_starts_after_the_reply(app, person, monkeypatch, known):
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


def test_reply_does_not_wait_for_the_relay(api, person, monkeypatch):
    """The mail is sent after the reply, so the time of the reply reveals nothing."""
    may_go, sent = threading.Event(), threading.Event()
    send = mail.send

    def send_later(*arguments, **context):
        assert may_go.wait(30)
        send(*arguments, **context)
        sent.set()

    monkeypatch.setattr(mail, "send", send_later)
    reply = api("/reset-code", {"email": person.email})
    assert code_of(reply) == 0
    assert not sent.is_set()
    may_go.set()
    assert sent.wait(30)
    wait_for_background()


def test_known_and_unknown_addresses_take_the_same_time(api, sign_up, monkeypatch):
    """Compare pairs; the relay is slow, so waiting for it would be visible."""
    known = [sign_up(f"user{number}").email for number in range(5)]
    monkeypatch.setattr(mail, "send", lambda *_, **__: time.sleep(0.3))
    monkeypatch.setattr(mail, "probe", lambda: time.sleep(0.3))
    ratios = []
    for number, email in enumerate(known):
        start = time.perf_counter()
        api("/reset-code", {"email": email})
        middle = time.perf_counter()
        api("/reset-code", {"email": f"nobody{number}@126.com"})
        ratios.append((time.perf_counter() - middle) / (middle - start))
        wait_for_background()
    assert 0.4 < sorted(ratios)[2] < 2.5


# Codes for a new password


def test_unmailed_code_of_an_unknown_address_is_invalid(api, sql, monkeypatch):
    monkeypatch.setattr(crypto, "random_text", lambda length, alphabet: "7" * length)
    assert code_of(ask(api, "nobody@126.com")) == 0
    assert len(sql("SELECT * FROM mail_codes")) == 1
    assert code_of(reset(api, "77777777", "nobody@126.com")) == 1008
    assert sql("SELECT * FROM users") == []


def test_lines_in_the_log(api, person, reset_code, caplog):
    caplog.clear()
    code = reset_code()
    reset(api, other_code(code))
    reset(api, code)
    person.token = token_of(api, password=OTHER)
    change(person, "not this one")
    change(person, OTHER, PASSWORD)
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
    reply = ask(api, person.email, headers={"X-Request-ID": "abc-1"})
    assert code_of(reply) == 0
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
        assert code_of(ask(api, person.email)) == 0
        assert 1 < time.monotonic() - start < 10
        connection.rollback()
    assert "database unavailable: (psycopg.OperationalError) the server does not answer" in (
        caplog.text
    )


def test_stopping_server_still_sends_the_promised_mail(start_service, relay, sql):
    service = start_service(workers=2)
    service.sign_up("lory")
    relay.pause = 1
    assert service.post("/reset-code", {"email": "lory@126.com"})[1] == 0
    mails = len(relay.mails)
    service.server.stop()
    assert len(relay.mails) == mails + 1
    assert sql("SELECT purpose FROM mail_codes") == [("reset",)]
