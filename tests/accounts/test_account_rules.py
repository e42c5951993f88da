"""Which names and passwords may be chosen, and what operators do to accounts."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.helpers import PASSWORD, code_of, login

from gateway.auth import strength
from gateway.errors import ApiError
from gateway.testing.mailbox import wait_for_background

COMMON = ["password", "12345678", "PassWord1", "qwertyuiop", "00000000", "iloveyou"]


# Names


def ask(api, name):
    return api("/auth-code", {"user_name": name, "email": "new@126.com"})


@pytest.mark.parametrize(
    "name",
    [*["--help", "-x", "_a", ".a", "\u00b7a", "\u30fba", "\uff0dx", " -x"]],
)
def test_name_must_begin_with_a_letter_or_a_digit(api, name):
    assert code_of(ask(api, name)) == 1003


@pytest.mark.parametrize(
    "name",
    ["a\u00b7", "a\u00b7\u00b7b", "1\u00b7a", "a\u00b71", "a.\u00b7b", "a\u30fb", "a\u00b7\u0301b"],
)
def test_middle_dot_must_be_between_letters(api, name):
    reply = ask(api, name)
    assert code_of(reply) == 1003
    assert "middle dot" in reply.json["header"]["message"]


@pytest.mark.parametrize(
    "name",
    [
        "col\u00b7lega",
        "ジョン\u30fbスミス",
        "ジョン\uff65スミス",  # the half-width dot is the other one after NFKC
        "α\u0387β",
        "二\u3007二四",
        "\u3007",
        "9lives",
        "e\u0301\u00b7e",
        "王小明",
        "a-b_c.d",
        "x-",
    ],
)
def test_names_of_many_scripts(sign_up, name):
    assert sign_up(name, "new@126.com").token


def test_name_of_before_can_still_log_in(api, sign_up, sql, flask):
    sign_up("lory")
    sql("UPDATE users SET user_name = '--help', name_key = '--help'")
    assert code_of(login(api, "--help")) == 0
    assert flask("user", "show", "--", "--help").exit_code == 0


# Passwords


@pytest.fixture
def get_reset_code(api, outbox):
    def get(email="lory@126.com"):
        assert code_of(api("/reset-code", {"email": email})) == 0
        wait_for_background()
        return outbox.code()

    return get


@pytest.mark.parametrize("weak", [*COMMON, "New-Name", "ｎｅｗ-name", "NEW-name@126.com"])
def test_weak_password_is_refused_at_registration(api, client, get_code, weak):
    code = get_code(client, "new-name", "new-name@126.com")
    body = {"user_name": "new-name", "email": "new-name@126.com", "reg_code": code}
    reply = api("/register", {**body, "password": weak})
    assert (reply.status_code, code_of(reply)) == (400, 1003)
    assert reply.json["header"]["message"].startswith("password ")
    assert code_of(api("/register", {**body, "password": PASSWORD})) == 0


@pytest.mark.parametrize("weak", [*COMMON, "long-name", "LONG-NAME@126.com"])
def test_weak_password_is_refused_at_a_change(sign_up, weak):
    person = sign_up("long-name")
    body = {"old_password": PASSWORD, "new_password": weak}
    reply = person.post("/platform/change-password", body)
    assert (reply.status_code, code_of(reply)) == (400, 1003)
    assert reply.json["header"]["message"].startswith("new_password ")


@pytest.mark.parametrize("weak", [*COMMON, "long-name", "LONG-NAME@126.com"])
def test_weak_password_is_refused_at_a_reset_and_the_code_stays(api, sign_up, get_reset_code, weak):
    sign_up("long-name")
    code = get_reset_code("long-name@126.com")
    body = {"email": "long-name@126.com", "reg_code": code}
    for _ in range(6):
        reply = api("/reset-password", {**body, "password": weak})
        assert (reply.status_code, code_of(reply)) == (400, 1003)
    assert code_of(api("/reset-password", {**body, "password": "another digest"})) == 0


def test_reset_does_not_tell_whose_address_it_is(api, sign_up, get_reset_code):
    """With a wrong code, the name of the account is refused like any other password."""
    sign_up("long-name", "one@126.com")
    get_reset_code("one@126.com")
    body = {"email": "one@126.com", "reg_code": "00000000"}
    for password in ("long-name", "other-name"):
        assert code_of(api("/reset-password", {**body, "password": password})) == 1008


@pytest.mark.parametrize("md5", [[], ["--md5"]])
@pytest.mark.parametrize("weak", ["password", "boss-name", "boss@126.com"])
def test_weak_password_is_refused_by_the_commands(flask, md5, weak):
    stdin = ["--password-stdin", *md5]
    create = ["user", "create", "boss-name", "boss@126.com", *stdin]
    for _ in range(2):
        assert "password " in flask(*create, input=weak).output
    assert flask(*create, input="a good password").exit_code == 0
    result = flask("user", "set-password", "boss-name", *stdin, input=weak)
    assert result.exit_code == 1
    assert "password " in result.output


@pytest.mark.parametrize("weak", COMMON)
def test_digests_are_not_judged(weak):
    for name in ("md5", "sha1", "sha256"):
        strength.refuse_weak(hashlib.new(name, weak.lower().encode()).hexdigest())


def test_old_account_with_a_weak_password_can_log_in(api, person, app, sql):
    from gateway import crypto  # noqa: PLC0415

    sql("UPDATE users SET password_hash = :h", h=crypto.hash_password("password"))
    assert code_of(login(api, password="password")) == 0


def test_list_of_common_passwords_has_ten_thousand():
    passwords = strength._common().split()
    assert len(set(passwords)) == 10_000
    assert all(len(p) >= 8 and p == p.casefold() for p in passwords)
    with pytest.raises(ApiError):
        strength.refuse_weak(passwords[-1].upper())
    for fine in ("assword", "password\tx", "12345678901234567890x", "The passwords:"):
        strength.refuse_weak(fine)


# Bans and admins


def test_unban_does_not_revive_a_token(api, flask, person):
    kept = {"old_password": PASSWORD, "new_password": "another digest"}
    person.post("/platform/change-password", kept)  # this token is kept by its id
    flask("user", "ban", "lory")
    flask("user", "unban", "lory")
    assert code_of(person.post("/project/list")) == 1001
    assert code_of(login(api, password="another digest")) == 0


@pytest.mark.parametrize("command", ["demote", "ban"])
def test_last_admin_stays(flask, sign_up, sql, command):
    sign_up("lory")
    sign_up("libin")
    sign_up("third")
    for name in ("lory", "libin"):
        flask("user", "promote", name)
    flask("user", "ban", "libin")  # a banned admin can do nothing
    result = flask("user", command, "lory")
    assert (result.exit_code, result.output) == (
        1,
        "Error: lory is the last admin; give --yes to do it anyway\n",
    )
    assert flask("user", command, "third").exit_code == 0
    flask("user", "unban", "libin")
    assert flask("user", command, "lory").exit_code == 0
    assert flask("user", command, "libin").exit_code == 1
    assert flask("user", command, "libin", "--yes").exit_code == 0


def test_two_commands_at_once_leave_an_admin(app, flask, sign_up, sql):
    from gateway.auth import admin  # noqa: PLC0415

    names = ["lory", "libin"]
    for name in names:
        sign_up(name)

    def demote(name):
        with app.app_context():
            try:
                admin.set_admin(name, False)
            except ApiError:
                return 1
            return 0

    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            for name in names:
                flask("user", "promote", name)
            assert sorted(pool.map(demote, names)) == [0, 1]


# Locks


def test_show_says_what_is_locked_and_unlock_lifts_it(flask, api, person, clock):
    clock.freeze(2024, 3, 7, 15, 44, 43)
    assert "cannot" not in flask("user", "show", "lory").output
    for number in range(20):
        at = {"environ_base": {"REMOTE_ADDR": f"10.0.{number}.1"}}
        for _ in range(5):
            login(api, "lory", "a wrong password", **at)
    shown = flask("user", "show", "lory").output.splitlines()[-1]
    assert shown == (
        "cannot     log in from clients it does not know until 2024-03-08 15:44:43,"
        " log in from a client that guessed until 2024-03-07 15:59:43"
    )
    new = {"environ_base": {"REMOTE_ADDR": "10.9.9.9"}}
    assert code_of(login(api, **new)) == 429
    assert flask("user", "unlock", "LORY@126.com").output == "lory: unlocked\n"
    assert "cannot" not in flask("user", "show", "lory").output
    assert code_of(login(api, **new)) == 0


def test_unlock_gives_new_mails(flask, api, person, clock, outbox):
    for _ in range(5):
        assert code_of(api("/reset-code", {"email": person.email})) == 0
        wait_for_background()
        clock.advance(minutes=1, seconds=1)
    assert code_of(api("/reset-code", {"email": person.email})) == 429
    assert "get more codes for a new password until" in flask("user", "show", "lory").output
    flask("user", "unlock", "lory")
    assert code_of(api("/reset-code", {"email": person.email})) == 0
    wait_for_background()


def test_unlock_touches_no_other_account(flask, api, sign_up, sql):
    sign_up("lory")
    sign_up("libin")
    for name in ("lory", "libin", "nobody"):
        for _ in range(5):
            login(api, name, "a wrong password")
    flask("user", "unlock", "lory")
    assert code_of(login(api, "lory")) == 0
    assert code_of(login(api, "libin")) == 429
    assert code_of(login(api, "nobody")) == 429


def test_set_password_lifts_the_locks(flask, api, person):
    for _ in range(5):
        login(api, "lory", "a wrong password")
    assert code_of(login(api)) == 429
    flask("user", "set-password", "lory", "--password-stdin", input="another digest")
    assert code_of(login(api, password="another digest")) == 0
