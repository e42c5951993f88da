"""How an account moves to another e-mail address."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.helpers import (
    OK,
    PASSWORD,
    ask_reset,
    assert_failure,
    code_of,
    is_in,
    login,
    on_both,
    register,
    reset,
)

from gateway.ops.cli import main
from gateway.testing.mailbox import wait_for_background

NEW = "New@example.com"
HERE = [("lory@126.com", "lory@126.com")]


@pytest.fixture
def email_code(relay):
    """Return a function that asks for a code for a new address, and reads it from the mail."""

    def get(person, email=NEW):
        assert person.post("/platform/email-code", {"email": email}).json == OK
        assert relay.mails[-1]["To"] == email
        return relay.code()

    return get


def post_change(person, reg_code, email=NEW, password=PASSWORD):
    body = {"password": password, "email": email, "reg_code": reg_code}
    return person.post("/platform/change-email", body)


def change(person, *arguments, **kwargs):
    reply = post_change(person, *arguments, **kwargs)
    wait_for_background()
    return reply


def address_of(sql, user_name="lory"):
    return sql("SELECT email, email_key FROM users WHERE user_name = :name", name=user_name)


@on_both
def test_change_of_the_address(api, person, sign_up, email_code, relay, sql):
    """Tokens stay valid, because the password is the same; the old address is free at once."""
    second = login(api).json["data"]["auth_token"]
    code = email_code(person)
    assert change(person, code).json == OK
    assert address_of(sql) == [(NEW, "new@example.com")]
    assert relay.mails[-1]["To"] == "lory@126.com"
    assert code_of(login(api, "new@EXAMPLE.com")) == 0
    assert code_of(login(api, "lory@126.com")) == 1002
    assert code_of(login(api, "lory")) == 0
    assert is_in(person)
    assert code_of(api("/project/list", headers={"Authorization": second})) == 0
    assert_failure(change(person, code), 200, 1018)
    assert sql("SELECT * FROM owed_mails") == sql("SELECT * FROM mail_codes") == []
    assert is_in(sign_up("another", "lory@126.com"))


SUBJECTS = {
    "en": "gateway: your account has another address now",
    "zh": "gateway：您的账户已更换邮箱",
}
WORDS = {"en": "Your account lory with gateway", "zh": "您在 gateway 的账户 lory 已更换邮箱"}


@pytest.mark.parametrize("language", SUBJECTS)
def test_text_of_the_mail_to_the_old_address(person, email_code, relay, sql, language):
    """It is in the account's language, whatever the request speaks: that may be a thief's."""
    sql("UPDATE users SET language = :language", language=language)
    body = {"password": PASSWORD, "email": NEW, "reg_code": email_code(person)}
    other = {"en": "zh-CN", "zh": "en"}[language]
    headers = {"Authorization": person.token, "Accept-Language": other}
    person.client.post("/api/v1/platform/change-email", json=body, headers=headers)
    wait_for_background()
    sent = relay.mails[-1]
    assert (sent["To"], sent["Subject"]) == ("lory@126.com", SUBJECTS[language])
    for part in ("plain", "html"):
        content = sent.get_body((part,)).get_content()
        assert WORDS[language] in content
        assert "example.com" not in content  # whoever reads this need not know the new one


def test_mail_to_the_old_address_waits_for_the_relay(person, email_code, relay, sql):
    code = email_code(person)
    relay.refuse_data = "451 later"
    assert code_of(change(person, code)) == 0
    ((kind, key),) = sql("SELECT kind, key FROM owed_mails")
    assert (kind, key) == ("moved", "lory@126.com")
    number = len(relay.mails)
    relay.refuse_data = None
    assert relay.wait_for_mails(number + 1)
    assert relay.mails[-1]["To"] == "lory@126.com"


@on_both
def test_what_belonged_to_the_old_address_dies_with_it(api, person, email_code, relay, sql):
    """Its code for a new password is void, and no count binds who registers it next."""
    assert ask_reset(api) == 0
    code = relay.code()
    for _ in range(3):
        login(api, "lory@126.com", "not the password")
    assert code_of(change(person, email_code(person))) == 0
    assert sql("SELECT * FROM mail_codes") == []
    assert sql("SELECT name FROM throttle_counts WHERE name LIKE 'login-%'") == []
    for email in ("lory@126.com", NEW):
        assert code_of(reset(api, code, email)) == 1008
    assert code_of(login(api)) == 0


@pytest.mark.parametrize("email", ["libin@126.com", "LIBIN@126.com", "lory@126.com"])
def test_registered_address(person, sign_up, relay, email):
    sign_up("libin")
    mails = len(relay.mails)
    assert_failure(person.post("/platform/email-code", {"email": email}), 200, 1018)
    assert_failure(change(person, "1234567890", email), 200, 1018)
    assert len(relay.mails) == mails


@on_both
def test_address_that_is_registered_meanwhile(person, sign_up, email_code, sql):
    code = email_code(person)
    sign_up("libin", NEW)
    assert_failure(change(person, code), 200, 1018)
    assert address_of(sql) == HERE


@pytest.mark.parametrize(
    ("body", "code"),
    [
        *[({"email": email}, 1003) for email in ("x", None, "a@127.com")],
        *[({"password": ""}, 1003), ({"reg_code": 1}, 1003)],
        *[({name: ...}, 1004) for name in ("email", "password", "reg_code")],
    ],
)
def test_bad_request_changes_nothing(app, person, email_code, sql, body, code):
    app.config["MAIL_DOMAINS"] = ["126.com", "example.com"]
    given = {"password": PASSWORD, "email": NEW, "reg_code": email_code(person), **body}
    given = {name: value for name, value in given.items() if value is not ...}
    assert_failure(person.post("/platform/change-email", given), 400, code)
    if "email" in body:
        del given["password"], given["reg_code"]
        assert_failure(person.post("/platform/email-code", given), 400, code)
    assert address_of(sql) == HERE


def test_relay_that_does_not_take_the_code(person, relay, caplog):
    relay.refuse_data = "451 later"
    assert_failure(person.post("/platform/email-code", {"email": NEW}), 503, 1029)
    assert re.search(r"mail not sent: .* 451.*; user=1 purpose=email; ", caplog.text)
    relay.refuse_data, relay.refuse_recipient = None, "550 5.1.1 no such user"
    assert_failure(person.post("/platform/email-code", {"email": NEW}), 400, 1003)
    relay.refuse_recipient = None
    assert person.post("/platform/email-code", {"email": NEW}).json == OK


@on_both
def test_guesses_at_the_new_address_do_not_keep_its_owner_out(api, person, email_code):
    for _ in range(5):
        assert code_of(login(api, NEW, "not the password")) == 1002
    assert code_of(login(api, NEW)) == 429
    assert code_of(change(person, email_code(person))) == 0
    assert code_of(login(api, NEW)) == 0


@pytest.mark.parametrize(
    ("stored", "given", "used"),
    [("zh", [], "zh"), ("en", ["--language", "zh"], "zh"), ("zh", ["--language", "en"], "en")],
)
def test_set_email(command, api, person, relay, sql, stored, given, used):
    sql("UPDATE users SET language = :language", language=stored)
    result = command("user", "set-email", "lory", NEW, *given)
    assert (result.exit_code, result.output) == (0, f"lory: email set to {NEW}\n")
    assert address_of(sql) == [(NEW, "new@example.com")]
    assert [(m["To"], m["Subject"]) for m in relay.mails[1:]] == [("lory@126.com", SUBJECTS[used])]
    assert code_of(login(api, NEW)) == 0
    assert is_in(person)


def test_set_email_without_a_relay_owes_no_mail(make_app, person, sql):
    runner = make_app(MAIL_SERVER=None).test_cli_runner()
    result = runner.invoke(main, args=["user", "set-email", "lory", NEW])
    assert result.exit_code == 0
    told = "the old address was not told: no MAIL_SERVER is set\n"
    assert result.output == f"lory: email set to {NEW}\n{told}"
    assert sql("SELECT * FROM owed_mails") == []


def test_log_of_a_move_holds_no_address(command, person, email_code, caplog):
    change(person, email_code(person))
    command("user", "set-email", "lory", "third@example.com")
    for word in ("126.com", "example.com", "lory"):
        assert word not in caplog.text


# Races


@on_both
def test_two_accounts_want_one_address(sign_up, email_code, clock):
    people = [sign_up(f"p{n}") for n in range(2)]
    for n in range(3):
        email, wanted = f"x{n}@a.com", []
        for person in people:
            wanted.append((person, email_code(person, email), email))
            clock.advance(minutes=1)
        with ThreadPoolExecutor(2) as pool:
            replies = pool.map(lambda arguments: post_change(*arguments), wanted)
            assert sorted(map(code_of, replies)) == [0, 1018]
        wait_for_background()


@on_both
def test_address_is_registered_and_moved_to_at_once(person, client, get_code, email_code, sql):
    registration = get_code(client, "new", NEW)
    code, other = email_code(person), client.application.test_client()
    with ThreadPoolExecutor(2) as pool:
        moved = pool.submit(post_change, person, code)
        made = pool.submit(register, other.api, registration, "new", NEW)
    assert {code_of(moved.result()), code_of(made.result())} == {0, 1018}
    assert sql("SELECT count(*) FROM users WHERE email_key = 'new@example.com'") == [(1,)]
