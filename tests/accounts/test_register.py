"""Who may register: REGISTRATION, MAIL_DOMAINS and invitations."""

import pytest
from support.helpers import OK, PASSWORD, assert_failure, code_of

from gateway.testing.mailbox import wait_for_background

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
def invite(command, app, relay):
    """Return a function that invites an address; it returns the code of the mail."""

    def invite(email="lory@126.com", **settings):
        app.config.update(settings)
        result = command("user", "invite", email)
        assert (result.exit_code, result.output) == (0, f"{email}: invited\n")
        return relay.code()

    return invite


def test_closed(make_client, relay, get_code, client):
    code = get_code(client, "lory", "lory@126.com")
    closed = make_client(REGISTRATION="closed")
    for reply in (ask(closed, "a@126.com"), register(closed, code), register(closed, "123456")):
        assert_failure(reply, 200, 1000)
        message = reply.json["header"]["message"]
        assert message == "Registration is closed; ask who runs this service"
    assert len(relay.mails) == 1
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


def test_by_invitation(make_client, get_code, client, relay):
    code = get_code(client, "lory", "lory@126.com")
    invited = make_client(REGISTRATION="invited")
    for reply in (ask(invited, "a@126.com"), register(invited, code)):
        assert_failure(reply, 200, 1000)
        assert reply.json["header"]["message"] == BY_INVITATION
    assert_failure(register(invited, "1" * 12), 200, 1008)
    assert len(relay.mails) == 1


@pytest.mark.parametrize("body", [{"email": "x"}, {"email": "x@y.zz"}, {"user_name": "a b"}])
def test_shape_comes_first(make_client, body):
    closed = make_client(REGISTRATION="closed")
    given = {"user_name": "lory", "email": "lory@126.com", **body}
    expected = 1000 if body["email" if "email" in body else "user_name"] == "x@y.zz" else 1003
    assert code_of(closed.post("/api/v1/auth-code", json=given)) == expected


@pytest.mark.parametrize("registration", ["open", "invited"])
def test_invitation_makes_one_account(app, invite, sql, registration):
    code = invite(REGISTRATION=registration)
    client = app.test_client()
    assert len(code) == 12
    assert code.isdecimal()
    assert code not in str(sql("SELECT * FROM mail_codes"))
    assert register(client, code, "LORY@126.com", "any_free_name").json == OK
    assert code_of(register(client, code, user_name="another")) == (
        1018 if registration == "open" else 1008
    )
    assert sql("SELECT user_name, email FROM users") == [("any_free_name", "LORY@126.com")]
    assert sql("SELECT * FROM mail_codes") == []


def test_who_cannot_be_invited(command, app, person, sql):
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
        result = command("user", "invite", email)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith(f"Error: {sentence}")
    assert sql("SELECT * FROM mail_codes") == mailed


def test_invitation_that_the_relay_does_not_take(command, app, invite, relay):
    code = invite(REGISTRATION="invited")
    relay.refuse_data = "451 later"
    result = command("user", "invite", "lory@126.com")
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
def test_text_of_an_invitation(command, relay, language, subject, days):
    command("user", "invite", "Lory@126.com", "--language", language)
    (sent,) = relay.mails
    assert sent["To"] == "Lory@126.com"
    assert sent["Subject"] == subject.format(relay.code())
    for part in ("plain", "html"):
        content = sent.get_body((part,)).get_content()
        assert relay.code() in content
        assert days in content


def test_log_of_an_invitation_holds_neither_address_nor_code(invite, caplog):
    code = invite()
    assert "126.com" not in caplog.text
    assert code not in caplog.text


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
def test_domains(make_client, relay, email, is_accepted):
    client = make_client(MAIL_DOMAINS=["Example.COM", "second.example.org"])
    reply = ask(client, email)
    if is_accepted:
        assert reply.json == OK
        assert register(client, relay.code(), email).json == OK
        return
    for refused in (reply, register(client, "1234567890", email)):
        assert_failure(refused, 400, 1003)
        sentence = "email must be an address at example.com or second.example.org"
        assert refused.json["header"]["message"] == sentence
    assert relay.mails == []


def test_domains_from_the_environment(make_client, monkeypatch):
    monkeypatch.setenv("GATEWAY_MAIL_DOMAINS", '["example.com"]')
    assert code_of(ask(make_client())) == 1003


def test_accounts_at_other_domains_stay(make_client, person):
    client = make_client(MAIL_DOMAINS=["example.com"])
    assert code_of(client.post("/api/v1/reset-code", json={"email": "lory@126.com"})) == 0
    wait_for_background()
    body = {"user_name": "lory@126.com", "password": PASSWORD}
    assert code_of(client.post("/api/v1/login", json=body)) == 0
