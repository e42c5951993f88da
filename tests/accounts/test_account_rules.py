"""Which names and passwords may be chosen, and what operators do to accounts."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.helpers import PASSWORD, code_of, login

from gateway import crypto
from gateway.auth import common_passwords
from gateway.errors import ApiError
from gateway.ops.cli import main
from gateway.testing.mailbox import wait_for_background

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


def test_name_of_before_can_still_log_in(api, sign_up, sql, command):
    sign_up("lory")
    sql("UPDATE users SET user_name = '--help', name_key = '--help'")
    assert code_of(login(api, "--help")) == 0
    assert command("user", "show", "--", "--help").exit_code == 0


# Passwords: what is typed and its MD5 digest are one password


def digest(text):
    return hashlib.md5(text.encode()).hexdigest()


FORMS = {"typed": str, "digest": digest, "DIGEST": lambda text: digest(text).upper()}
TYPED, NEWER = "seven green bottles", "Füße \u0301 über 8 "
WEAK = ["password", "PassWord1", "00000000", "Long-Name", "ｌｏｎｇ-name", "LONG-name@126.com"]
WEAK += map(digest, ["password", "Password1", "ILOVEYOU", "long-name", "LONG-NAME", "Long-name"])
WEAK += [digest("long-name@126.com").upper()]


@pytest.fixture
def choose(request, api, client, command, get_code, relay):
    """Return a function that chooses a password where the test says; it returns an outcome.

    The account is long-name. The outcome is 0, or the field of a refusal 1003.
    """
    where, email = request.param, "long-name@126.com"
    account = {"user_name": "long-name", "email": email}
    stdin = ["--password-stdin"]
    if where not in ("register", "create"):
        command("user", "create", "long-name", email, *stdin, input=TYPED)

    def outcome(reply):
        if code_of(reply) == 1003:
            return reply.json["header"]["message"].split()[0]
        return code_of(reply)

    def ask_the_code():
        if where == "register":
            return get_code(client, **account)
        assert code_of(api("/reset-code", {"email": email})) == 0
        wait_for_background()
        return relay.code()

    reg_code = ask_the_code() if where in ("register", "reset") else ""

    def choose(password):
        if where == "register":
            return outcome(
                api("/register", {**account, "reg_code": reg_code, "password": password})
            )
        if where == "reset":
            body = {"email": email, "reg_code": reg_code, "password": password}
            return outcome(api("/reset-password", body))
        if where == "change":
            token = login(api, "long-name", TYPED).json["data"]["auth_token"]
            body = {"old_password": TYPED, "new_password": password}
            headers = {"Authorization": token}
            return outcome(api("/platform/change-password", body, headers=headers))
        words = ["create", "long-name", email] if where == "create" else [where, "long-name"]
        result = command("user", *words, *stdin, input=password)
        assert result.exit_code == (1 if "Error: " in result.output else 0)
        return result.output.split()[1] if result.exit_code else 0

    return choose


everywhere = pytest.mark.parametrize(
    "choose", ["register", "change", "reset", "create", "set-password"], indirect=True
)


@everywhere
def test_weak_passwords_are_refused_in_each_form(choose, request):
    """A refusal leaves a code valid. The reference's own example, of 123456, is accepted."""
    field = "new_password" if "change" in request.node.name else "password"
    assert {weak: choose(weak) for weak in WEAK} == dict.fromkeys(WEAK, field)
    assert choose("7 chars") == field
    assert choose(PASSWORD) == 0


@everywhere
@pytest.mark.parametrize("made", FORMS)
def test_account_works_in_every_client(choose, api, made):
    """32 hexadecimal digits are a digest, also when a person typed them."""
    assert choose(FORMS[made](NEWER)) == 0
    for form in FORMS.values():
        assert code_of(login(api, "long-name", form(NEWER))) == 0
    for wrong in (NEWER.strip(), digest(digest(NEWER)), digest(NEWER)[:-1], "x"):
        assert code_of(login(api, "long-name", wrong)) == 1002


@pytest.mark.parametrize("given", FORMS)
@pytest.mark.parametrize("path", ["change-password", "change-email", "delete-account"])
def test_password_is_proved_in_each_form(sign_up, relay, path, given):
    person, proof = sign_up(), FORMS[given]("123456")  # shorter than one that may be chosen
    if path == "change-email":
        assert code_of(person.post("/platform/email-code", {"email": "new@126.com"})) == 0
    code = relay.code() if path == "change-email" else ""
    body = {
        "change-password": {"old_password": proof, "new_password": NEWER},
        "change-email": {"password": proof, "email": "new@126.com", "reg_code": code},
        "delete-account": {"password": proof},
    }[path]
    assert code_of(person.post(f"/platform/{path}", body)) == 0
    wait_for_background()


def test_password_without_md5(make_app, monkeypatch):
    """With PASSWORD_MD5=0 a password is what was typed: 32 hexadecimal digits are any text."""
    monkeypatch.setattr("hashlib.md5", None)
    app = make_app(PASSWORD_MD5=False)
    client, runner = app.test_client(), app.test_cli_runner()

    def create(password):
        words = ["user", "create", "lory", "lory@126.com", "--password-stdin"]
        return runner.invoke(main, args=words, input=password).exit_code

    def log_in(password):
        body = {"user_name": "lory", "password": password}
        return code_of(client.post("/api/v1/login", json=body))

    assert create("password") == create("LORY@126.com") == 1
    assert create("5F4DCC3B5AA765D61D8327DEB882CF99") == 0  # the digest of "password"
    assert log_in("5F4DCC3B5AA765D61D8327DEB882CF99") == 0
    assert log_in("5f4dcc3b5aa765d61d8327deb882cf99") == log_in("password") == 1002


@pytest.mark.parametrize(
    ("password", "code"),
    [("", 1003), ("x", 1002), ("x" * 128, 1002), ("x" * 129, 1003), (digest("x")[1:], 1002)],
)
def test_lengths_of_a_password_that_is_proved(api, person, password, code):
    assert code_of(login(api, password=password)) == code


def test_reset_does_not_tell_whose_address_it_is(api, sign_up):
    """With a wrong code, the name of the account is refused like any other password."""
    sign_up("long-name", "one@126.com")
    assert code_of(api("/reset-code", {"email": "one@126.com"})) == 0
    wait_for_background()
    body = {"email": "one@126.com", "reg_code": "00000000"}
    for password in ("long-name", "other-name", digest("long-name")):
        assert code_of(api("/reset-password", {**body, "password": password})) == 1008


def test_old_account_with_a_weak_password_can_log_in(api, person, sql):
    sql("UPDATE users SET password_hash = :h", h=crypto.hash_password(digest("password")))
    assert code_of(login(api, password="password")) == 0


def test_list_of_common_passwords_has_ten_thousand():
    passwords = common_passwords._passwords().split()
    assert len(set(passwords)) == 10_000
    assert all(len(p) >= 8 and p == p.casefold() for p in passwords)
    for way in (str, str.upper, str.capitalize):
        assert common_passwords.holds("", digest(way(passwords[-1])))
    assert common_passwords.holds(passwords[-1].upper(), "")
    for fine in ("assword", "password\tx", "12345678901234567890x", "The passwords:"):
        assert not common_passwords.holds(fine, "")


# Bans and admins


def test_unban_does_not_revive_a_token(api, command, person):
    kept = {"old_password": PASSWORD, "new_password": "another digest"}
    person.post("/platform/change-password", kept)  # this token is kept by its id
    command("user", "ban", "lory")
    command("user", "unban", "lory")
    assert code_of(person.post("/project/list")) == 1001
    assert code_of(login(api, password="another digest")) == 0


@pytest.mark.parametrize("call", ["demote", "ban"])
def test_last_admin_stays(command, sign_up, sql, call):
    sign_up("lory")
    sign_up("libin")
    sign_up("third")
    for name in ("lory", "libin"):
        command("user", "promote", name)
    command("user", "ban", "libin")  # a banned admin can do nothing
    result = command("user", call, "lory")
    assert (result.exit_code, result.output) == (
        1,
        "Error: lory is the last admin; give --yes to do it anyway\n",
    )
    assert command("user", call, "third").exit_code == 0
    command("user", "unban", "libin")
    assert command("user", call, "lory").exit_code == 0
    assert command("user", call, "libin").exit_code == 1
    assert command("user", call, "libin", "--yes").exit_code == 0


def test_two_commands_at_once_leave_an_admin(app, command, sign_up, sql):
    from gateway.auth import admin  # noqa: PLC0415

    names = ["lory", "libin"]
    for name in names:
        sign_up(name)

    def demote(name):
        with app.app_context():
            try:
                admin.change(name, is_admin=False)
            except ApiError:
                return 1
            return 0

    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            for name in names:
                command("user", "promote", name)
            assert sorted(pool.map(demote, names)) == [0, 1]


# Locks


@pytest.fixture
def client(app):
    """Nobody here keeps a device cookie."""
    return app.test_client(use_cookies=False)


def test_show_says_what_is_locked_and_unlock_lifts_it(command, api, person, clock):
    clock.freeze(2024, 3, 7, 15, 44, 43)
    assert "cannot" not in command("user", "show", "lory").output
    for number in range(20):
        at = {"environ_base": {"REMOTE_ADDR": f"10.0.{number}.1"}}
        for _ in range(5):
            login(api, "lory", "a wrong password", **at)
    shown = command("user", "show", "lory").output.splitlines()[-1]
    assert shown == (
        "cannot        log in from new devices until 2024-03-08 15:44:43,"
        " log in from a network that guessed until 2024-03-07 15:59:43"
    )
    new = {"environ_base": {"REMOTE_ADDR": "10.9.9.9"}}
    assert code_of(login(api, **new)) == 429
    assert command("user", "unlock", "LORY@126.com").output == "lory is unlocked\n"
    assert "cannot" not in command("user", "show", "lory").output
    assert code_of(login(api, **new)) == 0


def test_unlock_gives_new_mails(command, api, person, clock, relay):
    for _ in range(5):
        assert code_of(api("/reset-code", {"email": person.email})) == 0
        wait_for_background()
        clock.advance(minutes=1, seconds=1)
    assert code_of(api("/reset-code", {"email": person.email})) == 429
    assert "get more codes for a new password until" in command("user", "show", "lory").output
    command("user", "unlock", "lory")
    assert code_of(api("/reset-code", {"email": person.email})) == 0
    wait_for_background()


def test_unlock_touches_no_other_account(command, api, sign_up, sql):
    sign_up("lory")
    sign_up("libin")
    for name in ("lory", "libin", "nobody"):
        for _ in range(5):
            login(api, name, "a wrong password")
    command("user", "unlock", "lory")
    assert code_of(login(api, "lory")) == 0
    assert code_of(login(api, "libin")) == 429
    assert code_of(login(api, "nobody")) == 429


def test_set_password_lifts_the_locks(command, api, person):
    for _ in range(5):
        login(api, "lory", "a wrong password")
    assert code_of(login(api)) == 429
    command("user", "set-password", "lory", "--password-stdin", input="another digest")
    assert code_of(login(api, password="another digest")) == 0
