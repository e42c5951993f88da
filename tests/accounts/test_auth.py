"""Accounts: the rules of codes, registration, login and tokens."""

import time
from datetime import datetime, timedelta, timezone

import jwt as pyjwt
import pytest
from argon2 import PasswordHasher
from support.helpers import NO_POSTGRES, PASSWORD, SECRET_KEY, code_of, login

from gateway import crypto
from gateway.crypto import derive_key
from gateway.mail import flask_mail as mail
from gateway.ops.cli import main

LORY = {"user_name": "lory", "email": "civet148@126.com"}


def register(api, reg_code, **changes):
    return api("/register", {**LORY, "password": PASSWORD, "reg_code": reg_code, **changes})


# Codes


@pytest.mark.parametrize("digits", [4, 6, 10])
def test_code_has_the_configured_number_of_digits(make_app, get_code, digits):
    code = get_code(make_app(REG_CODE_DIGITS=digits).test_client(), **LORY)
    assert len(code) == digits
    assert code.isdecimal()


def test_mail_contains_the_code_as_text_and_html(api, relay):
    api("/auth-code", LORY)
    (mail,) = relay.mails
    code = relay.code()
    assert mail["To"] == "civet148@126.com"
    assert mail["From"] == "gateway@localhost"
    assert mail["Subject"] == f"gateway: your registration code is {code}"
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert f"code is {code}" in text.get_content()
    assert "10 minutes" in text.get_content()
    assert f"<strong>{code}</strong>" in html.get_content()


@pytest.mark.parametrize(
    ("accepted", "word"),
    [
        ("zh", "验证码"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "验证码"),
        ("zh-Hans-CN", "验证码"),
        ("en-US,en;q=0.9,zh;q=0.1", "code"),
        ("fr", "code"),
        ("", "code"),
    ],
)
def test_mail_is_in_the_language_of_accept_language(api, relay, accepted, word):
    api("/auth-code", LORY, headers={"Accept-Language": accepted})
    (mail,) = relay.mails
    parts = (mail.get_body(("plain",)), mail.get_body(("html",)))
    assert word in mail["Subject"]
    assert all(word in part.get_content() for part in parts)


@pytest.mark.parametrize("refusal", ["refuse_recipient", "refuse_data"])
def test_mail_that_was_not_sent_changes_nothing(api, relay, clock, refusal):
    api("/auth-code", LORY)
    earlier = relay.code()
    clock.advance(minutes=2)
    setattr(relay, refusal, "451 4.3.0 later")
    for _ in range(10):
        reply = api("/auth-code", LORY)
        assert (reply.status_code, code_of(reply)) == (503, 1029)
    relay.refuse_recipient = relay.refuse_data = None
    assert code_of(register(api, earlier)) == 0  # no unsent code has replaced it


def test_retry_after_a_failed_mail_is_allowed_at_once(api, relay):
    relay.refuse_recipient = "451 4.3.0 later"
    assert code_of(api("/auth-code", LORY)) == 1029
    relay.refuse_recipient = None
    assert code_of(api("/auth-code", LORY)) == 0
    assert code_of(api("/auth-code", LORY)) == 429
    assert code_of(register(api, relay.code())) == 0


def test_minute_starts_with_the_mail_that_was_sent(api, relay, clock):
    relay.refuse_recipient = "451 4.3.0 later"
    assert code_of(api("/auth-code", LORY)) == 1029
    relay.refuse_recipient = None
    clock.advance(seconds=50)
    assert code_of(api("/auth-code", LORY)) == 0
    clock.advance(seconds=20)
    assert code_of(api("/auth-code", LORY)) == 429


def test_without_a_relay_no_code_can_be_mailed(make_app):
    client = make_app(MAIL_SERVER=None).test_client()
    reply = client.post("/api/v1/auth-code", json=LORY)
    assert (reply.status_code, code_of(reply)) == (503, 1029)


def test_suppressed_mails_are_logged(make_app, caplog):
    client = make_app(MAIL_SERVER=None, MAIL_SUPPRESS_SEND=True).test_client()
    assert code_of(client.post("/api/v1/auth-code", json=LORY)) == 0
    (line,) = [r.getMessage() for r in caplog.records if "civet148@126.com" in r.getMessage()]
    code = line.split("code is ")[1].split()[0]
    reply = client.post("/api/v1/register", json={**LORY, "password": PASSWORD, "reg_code": code})
    assert code_of(reply) == 0


def test_suppressed_mails_can_be_recorded(make_app):
    """As Flask-Mail documents it, for the tests of applications that embed this service."""
    client = make_app(MAIL_SUPPRESS_SEND=True).test_client()
    with client.application.app_context(), mail.record_messages() as recorded:
        client.post("/api/v1/auth-code", json=LORY)
    assert recorded[0].recipients == ["civet148@126.com"]


# Registration


def test_checks_run_in_the_documented_order(api, sign_up):
    taken = sign_up("lory")
    wrong_in_all = {"user_name": "lory", "email": taken.email}
    assert code_of(api("/auth-code", {**wrong_in_all, "email": "x"})) == 1003
    assert code_of(api("/auth-code", wrong_in_all)) == 1018
    assert code_of(api("/auth-code", {**wrong_in_all, "email": "new@126.com"})) == 1005
    assert code_of(register(api, "0000", password="x", **wrong_in_all)) == 1003
    assert code_of(register(api, "0000", **wrong_in_all)) == 1018
    assert code_of(register(api, "0000", user_name="lory", email="new@126.com")) == 1005
    assert code_of(register(api, "0000", user_name="new", email="new@126.com")) == 1008


@pytest.mark.parametrize(
    ("first", "second"),
    [("Lory", "lORY"), ("straße", "STRASSE"), ("É", "e\u0301"), ("ﬁn", "FIN"), ("１", "1")],
)
def test_user_names_are_unique_regardless_of_case(api, sign_up, first, second):
    sign_up(first, "first@126.com")
    assert code_of(api("/auth-code", {"user_name": second, "email": "second@126.com"})) == 1005
    assert code_of(login(api, second)) == 0


def test_user_name_and_email_are_stored_as_written(sign_up, sql):
    sign_up("  ＬorY ", "Civet148@126.com")
    assert sql("SELECT user_name, email FROM users") == [("LorY", "Civet148@126.com")]


@pytest.mark.real_argon2
def test_password_is_stored_as_argon2id(person, sql):
    ((stored,),) = sql("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


# Login


def test_login_with_the_email_address(api, sign_up):
    sign_up("lory", "civet148@126.com")
    assert login(api, "Civet148@126.com").json["data"]["user_name"] == "lory"


def test_unknown_user_gets_the_same_reply(api, person):
    assert login(api, "nobody").json == login(api, "lory", "wrong password").json


def test_unknown_user_is_checked_with_the_current_parameters(monkeypatch):
    verified = []
    monkeypatch.setattr(PasswordHasher, "verify", lambda _, stored, __: verified.append(stored))
    assert not crypto.password_matches(PASSWORD, None)
    assert "$m=8,t=1,p=1$" in verified[0]


@pytest.mark.real_argon2
def test_unknown_user_takes_the_same_time(api, person):
    """Compare pairs, because without the dummy hash an unknown user takes a tenth of the time."""
    ratios = []
    for turn in range(5):
        start = time.perf_counter()
        login(api, "lory", "wrong password", environ_base={"REMOTE_ADDR": f"10.1.0.{turn}"})
        middle = time.perf_counter()
        login(api, "nobody", "wrong password", environ_base={"REMOTE_ADDR": f"10.2.0.{turn}"})
        ratios.append((time.perf_counter() - middle) / (middle - start))
    assert 0.5 < sorted(ratios)[2] < 2


def test_only_the_right_password_learns_of_the_ban(app, api, person):
    app.test_cli_runner().invoke(main, args=["user", "ban", "lory"])
    assert code_of(login(api, "lory", "wrong password")) == 1002
    assert code_of(login(api)) == 1012
    app.test_cli_runner().invoke(main, args=["user", "unban", "lory"])
    assert code_of(login(api)) == 0


@pytest.mark.real_argon2
def test_login_renews_an_older_hash(api, person, sql):
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    sql("UPDATE users SET password_hash = :weak", weak=weak)
    assert code_of(login(api)) == 0
    ((stored,),) = sql("SELECT password_hash FROM users")
    assert "m=19456,t=2,p=1" in stored
    assert code_of(login(api)) == 0


# Tokens


def sign(claims, key=None):
    return pyjwt.encode(claims, key or derive_key(SECRET_KEY, "jwt"), "HS256")


@pytest.fixture
def claims(person):
    """The claims of a valid token; each test changes one."""
    now = datetime.now(timezone.utc)
    return {
        "sub": str(person.user_id),
        "jti": "x",
        "iat": now,
        "exp": now + timedelta(hours=1),
        "generation": 0,
    }


def listing(api, token):
    return api("/project/list", headers={"Authorization": token})


@pytest.mark.parametrize("prefix", ["Bearer ", "bearer ", "", " Bearer  "])
def test_token_with_or_without_bearer(api, person, prefix):
    assert code_of(listing(api, prefix + person.token)) == 0


def test_unchanged_claims_are_accepted(api, claims):
    assert code_of(listing(api, sign(claims))) == 0


@pytest.mark.parametrize("missing", ["exp", "jti", "sub", "iat", "generation"])
def test_token_without_a_claim_is_refused(api, claims, missing):
    del claims[missing]
    assert code_of(listing(api, sign(claims))) == 1001


@pytest.mark.parametrize(
    "spoilt",
    [
        {"sub": "999"},
        {"sub": "x"},
        {"sub": "1 "},
        {"sub": "-1"},
        {"sub": "9999999999"},
        {"sub": "99999999999"},
        {"type": "refresh"},
        {"exp": 1},
        {"iat": 2**40},
        {"nbf": 2**40},
        {"generation": 1},
        {"generation": -1},
        {"generation": "0"},
        {"generation": False},
        {"generation": 0.0},
    ],
)
def test_token_with_a_bad_claim_is_refused(api, claims, spoilt):
    assert code_of(listing(api, sign({**claims, **spoilt}))) == 1001


def test_token_signed_with_another_key_is_refused(api, claims):
    assert code_of(listing(api, sign(claims, SECRET_KEY))) == 1001
    assert code_of(listing(api, sign(claims, "x" * 32))) == 1001


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "none"])
def test_token_with_another_algorithm_is_refused(api, claims, algorithm):
    token = pyjwt.encode(
        claims, None if algorithm == "none" else derive_key(SECRET_KEY, "jwt"), algorithm
    )
    assert code_of(listing(api, token)) == 1001


def test_token_from_a_node_whose_clock_is_5_seconds_ahead(api, claims):
    claims["iat"] += timedelta(seconds=5)
    assert code_of(listing(api, sign(claims))) == 0


def test_token_is_valid_for_twelve_hours(api, clock, sign_up):
    clock.freeze(2026, 11, 22, 12)
    token = sign_up().token
    clock.advance(hours=12, seconds=9)  # within the leeway of ten seconds
    assert code_of(listing(api, token)) == 0
    clock.advance(seconds=1)
    assert code_of(listing(api, token)) == 1001


def test_logout_revokes_one_token_on_every_node(make_app, api, person):
    other = login(api).json["data"]["auth_token"]
    assert code_of(person.post("/platform/logout")) == 0
    assert code_of(person.post("/platform/logout")) == 1001
    node = make_app().test_client()
    for client in (person.client, node):
        for token, code in ((person.token, 1001), (other, 0)):
            headers = {"Authorization": token}
            assert code_of(client.post("/api/v1/project/list", headers=headers)) == code


def test_token_of_a_banned_or_deleted_user_is_refused(app, api, person, sql):
    app.test_cli_runner().invoke(main, args=["user", "ban", "lory"])
    assert code_of(person.post("/project/list")) == 1001
    app.test_cli_runner().invoke(main, args=["user", "unban", "lory"])
    assert code_of(person.post("/project/list")) == 1001  # the ban revoked it for good
    token = login(api).json["data"]["auth_token"]
    assert code_of(listing(api, token)) == 0
    sql("DELETE FROM users")
    assert code_of(listing(api, token)) == 1001


def test_nobody_passes_without_the_database(person, make_app):
    nowhere = make_app(SQLALCHEMY_DATABASE_URI=NO_POSTGRES)
    for path in ("/project/list", "/platform/logout"):
        reply = nowhere.test_client().post(
            f"/api/v1{path}", headers={"Authorization": person.token}
        )
        assert (reply.status_code, code_of(reply)) == (503, 501)


def test_operator_commands_find_users_by_name_or_email(app, person, sql):
    runner = app.test_cli_runner()
    assert runner.invoke(main, args=["user", "promote", person.email.upper()]).exit_code == 0
    assert sql("SELECT is_admin FROM users") == [(True,)]
    runner.invoke(main, args=["user", "demote", "LORY", "--yes"])
    assert sql("SELECT is_admin FROM users") == [(False,)]
    result = runner.invoke(main, args=["user", "ban", "nobody"])
    assert result.exit_code == 1
    assert "no such account" in result.output


def test_a_revocation_outlives_its_token_by_a_day(person, clock, command, sql):
    """So a clock that was wrong for a while lets no revoked token in again."""
    assert code_of(person.post("/platform/logout")) == 0
    clock.advance(hours=35)
    command("purge")
    clock.advance(hours=-34)
    assert code_of(person.post("/project/list")) == 1001
    clock.advance(hours=36)
    command("purge")
    assert sql("SELECT * FROM revoked_tokens") == []
