"""Who joins: REGISTRATION, MAIL_DOMAINS and invitations; and new addresses of accounts."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.helpers import (
    OK,
    PASSWORD,
    assert_failure,
    code_of,
    login,
    other_code,
)

from gateway.auth import codes, joining
from gateway.ops.cli import main
from gateway.testing.mailbox import wait_for_background

OTHER = "another digest of a password"
NEW = "New@example.com"
BY_INVITATION = (
    "Registration is by invitation; ask the people who run this service for one, then register with"
    " its 12 digits"
)


def ask(client, email="lory@126.com", user_name="lory"):
    return client.post("/api/v1/auth-code", json={"user_name": user_name, "email": email})


def register(client, reg_code, email="lory@126.com", user_name="lory"):
    body = {"user_name": user_name, "password": PASSWORD, "email": email, "reg_code": reg_code}
    return client.post("/api/v1/register", json=body)


@pytest.fixture
def make_client(make_app):
    return lambda **settings: make_app(**settings).test_client()


@pytest.fixture
def invite(flask, app, outbox):
    """Return a function that invites an address; it returns the code of the mail."""

    def invite(email="lory@126.com", **settings):
        app.config.update(settings)
        result = flask("user", "invite", email)
        assert (result.exit_code, result.output) == (0, f"{email}: invited\n")
        return outbox.code()

    return invite


# REGISTRATION


def test_closed(make_client, outbox, get_code, client):
    code = get_code(client, "lory", "lory@126.com")
    closed = make_client(REGISTRATION="closed")
    for reply in (ask(closed, "a@126.com"), register(closed, code), register(closed, "123456")):
        assert_failure(reply, 200, 1000)
        message = reply.json["header"]["message"]
        assert message == "Registration is closed; ask who runs this service"
    assert len(outbox.mails) == 1
    assert code_of(register(client, code)) == 0  # a refusal did not use the code up


def test_closed_tells_nothing_about_accounts(make_client, person):
    closed = make_client(REGISTRATION="closed")
    for body in ({"email": "lory@126.com"}, {"email": "new@126.com"}, {"user_name": "new"}):
        assert code_of(ask(closed, **body)) == code_of(register(closed, "1" * 12, **body)) == 1000


def test_people_with_accounts_notice_nothing(make_client, person):
    for registration in ("closed", "invited"):
        client = make_client(REGISTRATION=registration)
        body = {"user_name": "lory", "password": PASSWORD}
        assert code_of(client.post("/api/v1/login", json=body)) == 0


def test_by_invitation(make_client, get_code, client, outbox):
    code = get_code(client, "lory", "lory@126.com")
    invited = make_client(REGISTRATION="invited")
    for reply in (ask(invited, "a@126.com"), register(invited, code)):
        assert_failure(reply, 200, 1000)
        assert reply.json["header"]["message"] == BY_INVITATION
    assert_failure(register(invited, "1" * 12), 200, 1008)
    assert len(outbox.mails) == 1


@pytest.mark.parametrize("body", [{"email": "x"}, {"email": "x@y.zz"}, {"user_name": "a b"}])
def test_shape_comes_first(make_client, body):
    closed = make_client(REGISTRATION="closed")
    given = {"user_name": "lory", "email": "lory@126.com", **body}
    expected = 1000 if body["email" if "email" in body else "user_name"] == "x@y.zz" else 1003
    assert code_of(closed.post("/api/v1/auth-code", json=given)) == expected


# Invitations


@pytest.mark.parametrize("registration", ["open", "invited"])
def test_invitation_makes_one_account(app, invite, sql, registration):
    code = invite(REGISTRATION=registration)
    client = app.test_client()
    assert len(code) == 12
    assert code.isdecimal()
    assert code not in str(sql("SELECT * FROM mail_codes"))
    assert register(client, code, "LORY@126.com", "any_free_name").json == OK
    assert code_of(register(client, code, user_name="another")) == 1018
    assert sql("SELECT user_name, email FROM users") == [("any_free_name", "LORY@126.com")]
    assert sql("SELECT * FROM mail_codes") == []


def test_invitation_is_for_its_address(app, invite):
    code = invite(REGISTRATION="invited")
    assert code_of(register(app.test_client(), code, "other@126.com")) == 1008
    assert code_of(register(app.test_client(), code)) == 0


def test_invitation_is_valid_for_a_week(app, invite, clock):
    code = invite(REGISTRATION="invited")
    clock.advance(days=6, hours=23, minutes=59)
    assert code_of(register(app.test_client(), code)) == 0


def test_invitation_expires(app, invite, clock):
    code = invite(REGISTRATION="invited")
    clock.advance(days=7)
    assert code_of(register(app.test_client(), code)) == 1008


def test_new_invitation_replaces_the_old_one(app, invite):
    old = invite(REGISTRATION="invited")
    new = invite()
    assert code_of(register(app.test_client(), old)) == 1008
    assert code_of(register(app.test_client(), new)) == 0


def test_invitation_dies_with_the_fifth_wrong_code(app, invite):
    code = invite(REGISTRATION="invited")
    client = app.test_client()
    for _ in range(4):
        assert code_of(register(client, other_code(code))) == 1008
    assert code_of(register(client, code[:-1])) == 1000  # has not as many digits, so costs no try
    assert code_of(register(client, other_code(code))) == 1008
    assert code_of(register(client, code)) == 1008
    assert code_of(register(client, invite())) == 0


def test_registration_codes_of_strangers_cost_an_invitation_nothing(app, invite, outbox):
    code = invite()
    client = app.test_client()
    assert code_of(ask(client)) == 0
    own = outbox.code()
    assert len(own) == 10
    for _ in range(9):
        assert code_of(register(client, other_code(own))) == 1008
    assert code_of(register(client, own)) == 1008
    assert code_of(register(client, code)) == 0


def test_invitation_costs_a_registration_code_nothing(app, invite, outbox):
    client = app.test_client()
    ask(client)
    own = outbox.code()
    code = invite()
    for _ in range(6):
        assert code_of(register(client, other_code(code))) == 1008
    assert code_of(register(client, own)) == 0


def test_no_registration_code_can_have_as_many_digits_as_an_invitation(make_app):
    app = make_app(REG_CODE_DIGITS=10)
    with app.app_context():
        assert codes.digits(codes.REGISTER) == 10 < codes.digits(codes.INVITE)
        assert joining.purpose_of("1" * 10) == codes.REGISTER
        assert joining.purpose_of("1" * 12) == codes.INVITE


def test_refused_registration_leaves_the_invitation(app, invite, sign_up):
    sign_up("libin")
    code = invite(REGISTRATION="invited")
    assert code_of(register(app.test_client(), code, user_name="LiBin")) == 1005
    assert code_of(register(app.test_client(), code)) == 0


def test_who_cannot_be_invited(flask, app, person, sql):
    mailed = sql("SELECT * FROM mail_codes")
    refused = {
        ("lory@126.com", "open"): "Email already exist",
        ("LORY@126.com", "invited"): "Email already exist",
        ("new@126.com", "closed"): "Registration is closed; set REGISTRATION to open or invited",
        ("new@127.com", "open"): "email must be an address at 126.com",
        ("new@", "open"): "email must be an address like name@example.com",
    }
    for (email, registration), sentence in refused.items():
        app.config.update(REGISTRATION=registration, MAIL_DOMAINS=["126.com"])
        result = flask("user", "invite", email)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith(f"Error: {sentence}")
    assert sql("SELECT * FROM mail_codes") == mailed


def test_invitation_that_the_relay_does_not_take(flask, app, invite, outbox):
    code = invite(REGISTRATION="invited")
    outbox.refuse_data = "451 later"
    result = flask("user", "invite", "lory@126.com")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: the mail was not sent: ")
    assert code_of(register(app.test_client(), code)) == 0  # the earlier one is valid


@pytest.mark.parametrize(
    ("language", "subject", "days"),
    [
        ("en", "gateway: your invitation is {}", "7 days"),
        ("zh", "gateway：您的邀请码是 {}", "7 天"),
    ],
)
def test_text_of_an_invitation(flask, outbox, language, subject, days):
    flask("user", "invite", "Lory@126.com", "--language", language)
    (sent,) = outbox.mails
    assert sent["To"] == "Lory@126.com"
    assert sent["Subject"] == subject.format(outbox.code())
    for part in ("plain", "html"):
        content = sent.get_body((part,)).get_content()
        assert outbox.code() in content
        assert days in content


def test_log_of_an_invitation_holds_neither_address_nor_code(invite, caplog):
    code = invite()
    assert "126.com" not in caplog.text
    assert code not in caplog.text


# MAIL_DOMAINS


@pytest.mark.parametrize(
    ("email", "is_accepted"),
    [
        ("lory@example.com", True),
        ("lory@EXAMPLE.com", True),
        ("lory+tag@second.example.org", True),
        ("lory@example.org", False),
        ("lory@sub.example.com", False),
        ("lory@myexample.com", False),
        ("example.com@126.com", False),
    ],
)
def test_domains(make_client, outbox, email, is_accepted):
    client = make_client(MAIL_DOMAINS=["Example.COM", "second.example.org"])
    reply = ask(client, email)
    if is_accepted:
        assert reply.json == OK
        assert register(client, outbox.code(), email).json == OK
        return
    for refused in (reply, register(client, "1234567890", email)):
        assert_failure(refused, 400, 1003)
        sentence = "email must be an address at example.com or second.example.org"
        assert refused.json["header"]["message"] == sentence
    assert outbox.mails == []


def test_domains_from_the_environment(make_client, monkeypatch):
    monkeypatch.setenv("GATEWAY_MAIL_DOMAINS", '["example.com"]')
    assert code_of(ask(make_client())) == 1003


def test_accounts_at_other_domains_stay(make_client, person):
    client = make_client(MAIL_DOMAINS=["example.com"])
    assert code_of(client.post("/api/v1/reset-code", json={"email": "lory@126.com"})) == 0
    wait_for_background()
    body = {"user_name": "lory@126.com", "password": PASSWORD}
    assert code_of(client.post("/api/v1/login", json=body)) == 0


# A new address


@pytest.fixture
def email_code(outbox):
    """Return a function that asks for a code for a new address, and reads it from the mail."""

    def get(person, email=NEW):
        assert person.post("/platform/email-code", {"email": email}).json == OK
        assert outbox.mails[-1]["To"] == email
        return outbox.code()

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


def test_change_of_the_address(api, person, email_code, outbox, sql):
    second = login(api).json["data"]["auth_token"]
    code = email_code(person)
    assert change(person, code).json == OK
    assert address_of(sql) == [(NEW, "new@example.com")]
    assert outbox.mails[-1]["To"] == "lory@126.com"
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
    person, email_code, outbox, sql, language, subject, words
):
    """It is in the account's language, whatever the request speaks: that may be a thief's."""
    sql("UPDATE users SET language = :language", language=language)
    body = {"password": PASSWORD, "email": NEW, "reg_code": email_code(person)}
    other = {"en": "zh-CN", "zh": "en"}[language]
    headers = {"Authorization": person.token, "Accept-Language": other}
    person.client.post("/api/v1/platform/change-email", json=body, headers=headers)
    wait_for_background()
    sent = outbox.mails[-1]
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
def test_text_of_the_mail_with_the_code(person, outbox, accepted, subject):
    headers = {"Authorization": person.token, "Accept-Language": accepted}
    person.client.post("/api/v1/platform/email-code", json={"email": NEW}, headers=headers)
    assert outbox.mails[-1]["Subject"] == subject.format(outbox.code())


def test_mail_to_the_old_address_waits_for_the_relay(person, email_code, outbox, sql):
    code = email_code(person)
    outbox.refuse_data = "451 later"
    assert code_of(change(person, code)) == 0
    ((kind, key),) = sql("SELECT kind, key FROM owed_mails")
    assert (kind, key) == ("moved", "lory@126.com")
    number = len(outbox.mails)
    outbox.refuse_data = None
    assert outbox.wait_for_mails(number + 1)
    assert outbox.mails[-1]["To"] == "lory@126.com"


def test_code_for_a_new_password_dies_with_the_old_address(api, person, email_code, outbox, sql):
    assert code_of(api("/reset-code", {"email": "lory@126.com"})) == 0
    wait_for_background()
    code = outbox.code()
    assert code_of(change(person, email_code(person))) == 0
    assert sql("SELECT * FROM mail_codes") == []
    for email in ("lory@126.com", NEW):
        body = {"email": email, "reg_code": code, "password": OTHER}
        assert code_of(api("/reset-password", body)) == 1008
    assert code_of(login(api)) == 0


def test_code_for_an_address_has_the_rules_of_registration_codes(person, email_code, clock):
    code = email_code(person)
    reply = person.post("/platform/email-code", {"email": NEW.upper()})
    assert_failure(reply, 429, 429)
    for _ in range(5):
        assert code_of(change(person, code[1:])) == 1008  # too few digits cost no try
    for _ in range(5):
        assert code_of(change(person, other_code(code))) == 1008
    assert code_of(change(person, code)) == 1008
    for _ in range(4):
        clock.advance(minutes=2)
        newest = email_code(person)
    clock.advance(minutes=2)
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 429
    clock.advance(minutes=8)
    assert code_of(change(person, newest)) == 1008


def test_limit_of_an_address_is_shared_by_all_accounts(person, sign_up, email_code):
    other = sign_up("libin")
    email_code(person)
    assert code_of(other.post("/platform/email-code", {"email": NEW})) == 429


def test_leaving_does_not_lift_the_limit_of_an_address(sign_up, email_code):
    email_code(sign_up())
    person = sign_up("libin")
    person.post("/platform/delete-account", {"password": PASSWORD})
    again = sign_up("libin")
    assert code_of(again.post("/platform/email-code", {"email": NEW})) == 429


def test_code_is_for_one_account_and_one_purpose(
    api, person, sign_up, email_code, get_code, client, outbox
):
    other = sign_up("libin")
    code = email_code(person)
    assert code_of(change(other, code)) == 1008
    assert code_of(register(client, code, NEW, "new")) == 1008
    assert code_of(api("/reset-password", {"email": NEW, "reg_code": code, "password": OTHER})) == (
        1008
    )
    registration = get_code(client, "new", NEW)
    assert code_of(change(person, registration)) == 1008
    assert code_of(change(other, registration)) == 1008
    assert code_of(change(person, code)) == 0


def test_strangers_cannot_use_up_the_tries(person, sign_up, email_code):
    other = sign_up("libin")
    code = email_code(person)
    for _ in range(9):
        assert code_of(change(other, other_code(code))) == 1008
    assert code_of(change(person, code)) == 0


@pytest.mark.parametrize("email", ["libin@126.com", "LIBIN@126.com", "lory@126.com"])
def test_registered_address(person, sign_up, outbox, email):
    sign_up("libin")
    mails = len(outbox.mails)
    assert_failure(person.post("/platform/email-code", {"email": email}), 200, 1018)
    assert_failure(change(person, "1234567890", email), 200, 1018)
    assert len(outbox.mails) == mails


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
    for _ in range(5):
        assert_failure(change(person, code, password="not the password"), 200, 1002)
    assert_failure(change(person, code), 429, 429)
    assert address_of(sql) == [("lory@126.com", "lory@126.com")]


def test_relay_that_does_not_take_the_code(person, outbox):
    outbox.refuse_data = "451 later"
    assert_failure(person.post("/platform/email-code", {"email": NEW}), 503, 1029)
    outbox.refuse_data, outbox.refuse_recipient = None, "550 5.1.1 no such user"
    assert_failure(person.post("/platform/email-code", {"email": NEW}), 400, 1003)
    outbox.refuse_recipient = None
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
    keys = sql("SELECT name FROM throttle_counts WHERE name LIKE 'login-written%'")
    assert keys == []


def test_set_email(flask, api, person, outbox, sql):
    result = flask("user", "set-email", "lory", NEW)
    assert (result.exit_code, result.output) == (0, f"lory: email set to {NEW}\n")
    assert address_of(sql) == [(NEW, "new@example.com")]
    assert [sent["To"] for sent in outbox.mails[1:]] == ["lory@126.com"]
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
def test_language_of_set_email(flask, person, outbox, sql, stored, given, subject):
    sql("UPDATE users SET language = :language", language=stored)
    assert flask("user", "set-email", "lory", NEW, *given).exit_code == 0
    assert outbox.mails[-1]["Subject"] == subject


def test_set_email_refuses(flask, app, person, sign_up, outbox, sql):
    sign_up("libin")
    app.config["MAIL_DOMAINS"] = ["126.com"]
    refused = {
        "libin@126.com": "Email already exist",
        "lory@126.com": "Email already exist",
        "new@127.com": "email must be an address at 126.com",
        "new": "email must be an address like name@example.com",
    }
    mails = len(outbox.mails)
    for email, sentence in refused.items():
        result = flask("user", "set-email", "lory", email)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith(f"Error: {sentence}")
    assert address_of(sql) == [("lory@126.com", "lory@126.com")]
    assert len(outbox.mails) == mails


def test_set_email_without_a_relay_owes_no_mail(make_app, person, sql):
    runner = make_app(MAIL_SERVER=None).test_cli_runner()
    result = runner.invoke(main, args=["user", "set-email", "lory", NEW])
    assert result.exit_code == 0
    told = "the old address was not told: no MAIL_SERVER is set\n"
    assert result.output == f"lory: email set to {NEW}\n{told}"
    assert sql("SELECT * FROM owed_mails") == []


def test_log_of_a_move_holds_no_address(flask, person, email_code, caplog):
    change(person, email_code(person))
    flask("user", "set-email", "lory", "third@example.com")
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


def test_same_code_twice_at_once(person, email_code, sql):
    code = email_code(person)
    with ThreadPoolExecutor(2) as pool:
        found = sorted(
            code_of(reply) for reply in pool.map(lambda _: post_change(person, code), "ab")
        )
    assert found in ([0, 1008], [0, 1018])


def test_address_is_registered_and_moved_to_at_once(person, client, get_code, email_code, sql):
    registration = get_code(client, "new", NEW)
    code = email_code(person)
    with ThreadPoolExecutor(2) as pool:
        moved = pool.submit(post_change, person, code)
        made = pool.submit(register, client.application.test_client(), registration, NEW, "new")
    found = {code_of(moved.result()), code_of(made.result())}
    assert found == {0, 1018}
    assert sql("SELECT count(*) FROM users WHERE email_key = 'new@example.com'") == [(1,)]
