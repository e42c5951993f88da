"""How an account moves to another e-mail address."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.helpers import (
    OK,
    PASSWORD,
    assert_failure,
    code_of,
    login,
)

from gateway.ops.cli import main
from gateway.testing.mailbox import wait_for_background

OTHER = "another digest of a password"
NEW = "New@example.com"


def register(client, reg_code, email="lory@126.com", user_name="lory"):
    body = {"user_name": user_name, "password": PASSWORD, "email": email, "reg_code": reg_code}
    return client.post("/api/v1/register", json=body)


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


def is_in(person):
    return person.post("/project/list").status_code == 200


def test_change_of_the_address(api, person, email_code, relay, sql):
    second = login(api).json["data"]["auth_token"]
    code = email_code(person)
    assert change(person, code).json == OK
    assert address_of(sql) == [(NEW, "new@example.com")]
    assert relay.mails[-1]["To"] == "lory@126.com"
    assert code_of(login(api, "new@EXAMPLE.com")) == 0
    assert code_of(login(api, "lory@126.com")) == 1002
    assert code_of(login(api, "lory")) == 0
    # Tokens stay valid, because the password is the same.
    assert is_in(person)
    assert code_of(api("/project/list", headers={"Authorization": second})) == 0
    assert_failure(change(person, code), 200, 1018)
    assert sql("SELECT * FROM owed_mails") == sql("SELECT * FROM mail_codes") == []


def test_old_address_is_free(person, sign_up, email_code):
    assert code_of(change(person, email_code(person))) == 0
    assert is_in(sign_up("another", "lory@126.com"))


@pytest.mark.parametrize(
    ("language", "subject", "words"),
    [
        ("en", "gateway: your account has another address now", "Your account lory with gateway"),
        ("zh", "gateway：您的账户已更换邮箱", "您在 gateway 的账户 lory 已更换邮箱"),
    ],
)
def test_text_of_the_mail_to_the_old_address(
    person, email_code, relay, sql, language, subject, words
):
    """It is in the account's language, whatever the request speaks: that may be a thief's."""
    sql("UPDATE users SET language = :language", language=language)
    body = {"password": PASSWORD, "email": NEW, "reg_code": email_code(person)}
    other = {"en": "zh-CN", "zh": "en"}[language]
    headers = {"Authorization": person.token, "Accept-Language": other}
    person.client.post("/api/v1/platform/change-email", json=body, headers=headers)
    wait_for_background()
    sent = relay.mails[-1]
    assert (sent["To"], sent["Subject"]) == ("lory@126.com", subject)
    for part in ("plain", "html"):
        content = sent.get_body((part,)).get_content()
        assert words in content
        assert "example.com" not in content  # whoever reads this need not know the new one


@pytest.mark.parametrize(
    ("accepted", "subject"),
    [
        ("en", "gateway: your code for a new address is {}"),
        ("zh", "gateway：您的新邮箱验证码是 {}"),
    ],
)
def test_text_of_the_mail_with_the_code(person, relay, accepted, subject):
    headers = {"Authorization": person.token, "Accept-Language": accepted}
    person.client.post("/api/v1/platform/email-code", json={"email": NEW}, headers=headers)
    assert relay.mails[-1]["Subject"] == subject.format(relay.code())


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


def test_code_for_a_new_password_dies_with_the_old_address(api, person, email_code, relay, sql):
    assert code_of(api("/reset-code", {"email": "lory@126.com"})) == 0
    wait_for_background()
    code = relay.code()
    assert code_of(change(person, email_code(person))) == 0
    assert sql("SELECT * FROM mail_codes") == []
    for email in ("lory@126.com", NEW):
        body = {"email": email, "reg_code": code, "password": OTHER}
        assert code_of(api("/reset-password", body)) == 1008
    assert code_of(login(api)) == 0


@pytest.mark.parametrize("email", ["libin@126.com", "LIBIN@126.com", "lory@126.com"])
def test_registered_address(person, sign_up, relay, email):
    sign_up("libin")
    mails = len(relay.mails)
    assert_failure(person.post("/platform/email-code", {"email": email}), 200, 1018)
    assert_failure(change(person, "1234567890", email), 200, 1018)
    assert len(relay.mails) == mails


def test_address_that_is_registered_meanwhile(person, sign_up, email_code, sql):
    code = email_code(person)
    sign_up("libin", NEW)
    assert_failure(change(person, code), 200, 1018)
    assert address_of(sql) == [("lory@126.com", "lory@126.com")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"email": "x"}, 1003),
        ({"email": None}, 1003),
        ({"email": 1}, 1003),
        ({"email": "a@127.com"}, 1003),
        ({"password": ""}, 1003),
        ({"reg_code": 1}, 1003),
        ({"email": ...}, 1004),
        ({"password": ...}, 1004),
        ({"reg_code": ...}, 1004),
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
    assert address_of(sql) == [("lory@126.com", "lory@126.com")]


def test_wrong_password_changes_nothing_and_counts(person, email_code, sql):
    code = email_code(person)
    for _ in range(10):  # 5 of the device, and 5 as a stranger
        assert_failure(change(person, code, password="not the password"), 200, 1002)
    assert_failure(change(person, code), 429, 429)
    assert address_of(sql) == [("lory@126.com", "lory@126.com")]


def test_relay_that_does_not_take_the_code(person, relay):
    relay.refuse_data = "451 later"
    assert_failure(person.post("/platform/email-code", {"email": NEW}), 503, 1029)
    relay.refuse_data, relay.refuse_recipient = None, "550 5.1.1 no such user"
    assert_failure(person.post("/platform/email-code", {"email": NEW}), 400, 1003)
    relay.refuse_recipient = None
    assert person.post("/platform/email-code", {"email": NEW}).json == OK


@pytest.mark.parametrize("path", ["email-code", "change-email"])
def test_without_a_token(api, path):
    assert_failure(api(f"/platform/{path}", {"email": NEW}), 401, 1001)


def test_guesses_at_the_new_address_do_not_keep_its_owner_out(api, person, email_code):
    for _ in range(5):
        assert code_of(login(api, NEW, "not the password")) == 1002
    assert code_of(login(api, NEW)) == 429
    assert code_of(change(person, email_code(person))) == 0
    assert code_of(login(api, NEW)) == 0


def test_old_address_can_be_limited_and_used_anew(person, sign_up, email_code, sql, api):
    """What was counted for the old address does not bind who registers it next."""
    for _ in range(3):
        login(api, "lory@126.com", "not the password")
    assert code_of(change(person, email_code(person))) == 0
    keys = sql("SELECT name FROM throttle_counts WHERE name LIKE 'login-%'")
    assert keys == []


def test_set_email(command, api, person, relay, sql):
    result = command("user", "set-email", "lory", NEW)
    assert (result.exit_code, result.output) == (0, f"lory: email set to {NEW}\n")
    assert address_of(sql) == [(NEW, "new@example.com")]
    assert [sent["To"] for sent in relay.mails[1:]] == ["lory@126.com"]
    assert code_of(login(api, NEW)) == 0
    assert is_in(person)


@pytest.mark.parametrize(
    ("stored", "given", "subject"),
    [
        ("zh", [], "gateway：您的账户已更换邮箱"),
        ("en", [], "gateway: your account has another address now"),
        ("en", ["--language", "zh"], "gateway：您的账户已更换邮箱"),
        ("zh", ["--language", "en"], "gateway: your account has another address now"),
    ],
)
def test_language_of_set_email(command, person, relay, sql, stored, given, subject):
    sql("UPDATE users SET language = :language", language=stored)
    assert command("user", "set-email", "lory", NEW, *given).exit_code == 0
    assert relay.mails[-1]["Subject"] == subject


def test_set_email_refuses(command, app, person, sign_up, relay, sql):
    sign_up("libin")
    app.config["MAIL_DOMAINS"] = ["126.com"]
    refused = {
        "libin@126.com": "Email already exist",
        "lory@126.com": "Email already exist",
        "new@127.com": "email must be an address at 126.com",
        "new": "email must be an address like name@example.com",
    }
    mails = len(relay.mails)
    for email, sentence in refused.items():
        result = command("user", "set-email", "lory", email)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith(f"Error: {sentence}")
    assert address_of(sql) == [("lory@126.com", "lory@126.com")]
    assert len(relay.mails) == mails


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


def test_two_accounts_want_one_address(sign_up, email_code, clock):
    people = [sign_up(f"p{n}") for n in range(2)]
    for n in range(5):
        email, wanted = f"x{n}@a.com", []
        for person in people:
            wanted.append((person, email_code(person, email), email))
            clock.advance(minutes=1)
        with ThreadPoolExecutor(2) as pool:
            replies = pool.map(lambda arguments: post_change(*arguments), wanted)
            assert sorted(map(code_of, replies)) == [0, 1018]
        wait_for_background()


def test_address_is_registered_and_moved_to_at_once(person, client, get_code, email_code, sql):
    registration = get_code(client, "new", NEW)
    code = email_code(person)
    with ThreadPoolExecutor(2) as pool:
        moved = pool.submit(post_change, person, code)
        made = pool.submit(register, client.application.test_client(), registration, NEW, "new")
    found = {code_of(moved.result()), code_of(made.result())}
    assert found == {0, 1018}
    assert sql("SELECT count(*) FROM users WHERE email_key = 'new@example.com'") == [(1,)]
