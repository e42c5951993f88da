"""Accounts: the rules of codes, registration, login and tokens."""

import unicodedata
from datetime import datetime, timedelta, timezone

import jwt as pyjwt
import pytest
from argon2 import PasswordHasher
from support.helpers import (
    NO_POSTGRES,
    PASSWORD,
    SECRET_KEY,
    code_of,
    login,
    on_both,
    register,
)

from gateway import crypto
from gateway.crypto import derive_key
from gateway.mail import flask_mail as mail

LORY = {"user_name": "lory", "email": "civet148@126.com"}


# Codes


@pytest.mark.parametrize("digits", [4, 6, 10])
def test_code_has_the_configured_number_of_digits(make_app, get_code, digits):
    code = get_code(make_app(REG_CODE_DIGITS=digits).test_client(), **LORY)
    assert len(code) == digits
    assert code.isdecimal()


@pytest.mark.parametrize("path", ["auth-code", "reset-code"])
def test_without_a_relay_no_code_can_be_mailed(make_app, path):
    """For a new password, too, whoever has an account."""
    api = make_app(MAIL_SERVER=None).test_client().api
    for email in ("lory@126.com", "nobody@126.com"):
        reply = api(f"/{path}", {"user_name": "new", "email": email})
        assert (reply.status_code, code_of(reply)) == (503, 1029)


def test_suppressed_mails_are_logged(make_app, caplog):
    api = make_app(MAIL_SERVER=None, MAIL_SUPPRESS_SEND=True).test_client().api
    assert code_of(api("/auth-code", LORY)) == 0
    (line,) = [r.getMessage() for r in caplog.records if "civet148@126.com" in r.getMessage()]
    code = line.split("code is ")[1].split()[0]
    assert code_of(register(api, code, **LORY)) == 0


def test_suppressed_mails_can_be_recorded(make_app):
    """As Flask-Mail documents it, for the tests of applications that embed this service."""
    client = make_app(MAIL_SUPPRESS_SEND=True).test_client()
    with client.application.app_context(), mail.record_messages() as recorded:
        client.post("/api/v1/auth-code", json=LORY)
    assert recorded[0].recipients == ["civet148@126.com"]


# Registration


@pytest.mark.parametrize(
    ("first", "second"),
    [("Lory", "lORY"), ("straße", "STRASSE"), ("É", "e\u0301"), ("ﬁn", "FIN"), ("１", "1")],
)
@on_both
def test_user_names_are_unique_regardless_of_case(api, sign_up, sql, first, second):
    sign_up(f"  {first} ", "First@126.com")
    stored = unicodedata.normalize("NFKC", first)
    assert sql("SELECT user_name, email FROM users") == [(stored, "First@126.com")]
    assert code_of(api("/auth-code", {"user_name": second, "email": "second@126.com"})) == 1005
    assert code_of(login(api, second)) == 0


# Hashes of passwords


def test_unknown_user_is_checked_with_the_current_parameters(monkeypatch):
    verified = []
    monkeypatch.setattr(PasswordHasher, "verify", lambda _, stored, __: verified.append(stored))
    assert not crypto.password_matches(PASSWORD, None)
    assert "$m=8,t=1,p=1$" in verified[0]


@pytest.mark.real_argon2
def test_login_renews_an_older_hash(api, person, sql):
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    for _ in range(2):  # as it was registered, and as the log-in has renewed it
        ((stored,),) = sql("SELECT password_hash FROM users")
        assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        sql("UPDATE users SET password_hash = :weak", weak=weak)
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


SPOILT = [{name: ...} for name in ("exp", "jti", "sub", "iat", "generation")]
SPOILT += [{"sub": sub} for sub in ("999", "x", "1 ", "-1", "9999999999", "99999999999", 1)]
SPOILT += [{"generation": number} for number in (1, -1, "0", False, 0.0, 2**31)]
SPOILT += [{"jti": jti} for jti in ("", "x" * 37, "a b", 1)]
SPOILT += [{"exp": moment} for moment in (1, "9999999999", 1e10, 10**11)]
SPOILT += [{"type": "refresh"}, {"iat": 2**40}, {"nbf": 2**40}]


@on_both
def test_token_with_a_bad_claim_is_refused(api, claims):
    """Some of them would make Postgres fail."""
    assert code_of(listing(api, sign(claims))) == 0
    for spoilt in SPOILT:
        changed = {name: value for name, value in {**claims, **spoilt}.items() if value is not ...}
        assert (spoilt, code_of(listing(api, sign(changed)))) == (spoilt, 1001)


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


@on_both
def test_logout_revokes_one_token_on_every_node(make_app, api, person):
    other = login(api).json["data"]["auth_token"]
    assert code_of(person.post("/platform/logout")) == 0
    assert code_of(person.post("/platform/logout")) == 1001
    for node in (api, make_app().test_client().api):
        for token, code in ((person.token, 1001), (other, 0)):
            assert code_of(listing(node, token)) == code


def test_nobody_passes_without_the_database(person, make_app):
    nowhere = make_app(SQLALCHEMY_DATABASE_URI=NO_POSTGRES).test_client()
    for path in ("/project/list", "/platform/logout"):
        reply = nowhere.api(path, headers=person.headers)
        assert (reply.status_code, code_of(reply)) == (503, 501)


@on_both
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
