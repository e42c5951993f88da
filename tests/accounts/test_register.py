"""Who may register: REGISTRATION, MAIL_DOMAINS and invitations; the order of the checks."""

import pytest
from support.helpers import (
    OK,
    ask_reset,
    assert_failure,
    code_of,
    login,
    on_both,
    register,
)

CLOSED = "Registration is closed; ask who runs this service"
BY_INVITATION = (
    "Registration is by invitation; ask the people who run this service for one, then register with"
    " its 12 digits"
)


def ask(api, email="lory@126.com", user_name="lory"):
    return api("/auth-code", {"user_name": user_name, "email": email})


@pytest.fixture
def make_api(make_app):
    return lambda **settings: make_app(**settings).test_client().api


@pytest.fixture
def invite(command, app, relay):
    """Return a function that invites an address; it returns the code of the mail."""

    def invite(email="lory@126.com", **settings):
        app.config.update(settings)
        result = command("user", "invite", email)
        assert (result.exit_code, result.output) == (0, f"{email}: invited\n")
        return relay.code()

    return invite


def test_checks_run_in_the_documented_order(api, person):
    assert code_of(ask(api, "x")) == 1003
    assert code_of(ask(api, person.email)) == 1018
    assert code_of(ask(api, "new@126.com")) == 1005
    assert code_of(register(api, "0000", password="x")) == 1003
    assert code_of(register(api, "0000")) == 1018
    assert code_of(register(api, "0000", email="new@126.com")) == 1005
    assert code_of(register(api, "0000", "new", "new@126.com")) == 1008


@pytest.mark.parametrize(
    ("registration", "sentence"), [("closed", CLOSED), ("invited", BY_INVITATION)]
)
def test_not_open(make_api, api, relay, get_code, client, registration, sentence):
    code = get_code(client, "lory", "lory@126.com")
    other = make_api(REGISTRATION=registration)
    for reply in (ask(other, "a@126.com"), register(other, code), register(other, "123456")):
        assert_failure(reply, 200, 1000)
        assert reply.json["header"]["message"] == sentence
    expected = 1000 if registration == "closed" else 1008
    assert code_of(register(other, "1" * 12)) == expected
    assert len(relay.mails) == 1
    assert code_of(register(api, code)) == 0  # a refusal did not use the code up
    # People with accounts notice nothing, and nobody learns who has one.
    assert code_of(login(other)) == 0
    for body in ({"email": "lory@126.com"}, {"email": "new@126.com"}, {"user_name": "new"}):
        assert code_of(ask(other, **body)) == 1000
        assert code_of(register(other, "1" * 12, **body)) == expected
    assert code_of(ask(other, "x")) == 1003  # the shape comes first


@pytest.mark.parametrize("registration", ["open", "invited"])
@on_both
def test_invitation_makes_one_account(app, invite, sql, registration):
    code, api = invite(REGISTRATION=registration), app.test_client().api
    assert register(api, code, "any_free_name", "LORY@126.com").json == OK
    again = 1018 if registration == "open" else 1008
    assert code_of(register(api, code, "another")) == again
    assert sql("SELECT user_name, email FROM users") == [("any_free_name", "LORY@126.com")]
    assert sql("SELECT * FROM mail_codes") == []


@pytest.mark.parametrize("words", [["invite"], ["set-email", "lory"]])
def test_addresses_that_operators_are_refused(command, app, person, relay, sql, words):
    before = [sql("SELECT * FROM mail_codes"), sql("SELECT * FROM users"), len(relay.mails)]
    app.config.update(MAIL_DOMAINS=["126.com"])
    refused = {
        "LORY@126.com": "Email already exist",
        "new@127.com": "email must be an address at 126.com",
        "new@": "email must be an address like name@example.com",
    }
    for email, sentence in refused.items():
        result = command("user", *words, email)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith(f"Error: {sentence}")
    after = [sql("SELECT * FROM mail_codes"), sql("SELECT * FROM users"), len(relay.mails)]
    assert after == before


def test_nobody_is_invited_while_registration_is_closed(command, app):
    app.config["REGISTRATION"] = "closed"
    sentence = "Registration is closed; set REGISTRATION to open or invited"
    assert command("user", "invite", "new@126.com").output == f"Error: {sentence}\n"


def test_invitation_that_the_relay_does_not_take(command, api, invite, relay):
    code = invite(REGISTRATION="invited")
    relay.refuse_data = "451 later"
    result = command("user", "invite", "lory@126.com")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: the mail was not sent: ")
    assert code_of(register(api, code)) == 0  # the earlier one is valid


def test_log_of_an_invitation_holds_neither_address_nor_code(invite, caplog):
    code = invite()
    assert "126.com" not in caplog.text
    assert code not in caplog.text


@pytest.mark.parametrize("email", ["lory@EXAMPLE.com", "lory+tag@second.example.org"])
def test_accepted_domains(make_api, relay, email):
    api = make_api(MAIL_DOMAINS=["Example.COM", "second.example.org"])
    assert ask(api, email).json == OK
    assert register(api, relay.code(), email=email).json == OK


def test_refused_domains(make_api, relay):
    api = make_api(MAIL_DOMAINS=["Example.COM", "second.example.org"])
    for domain in ("example.org", "sub.example.com", "myexample.com", "126.com"):
        email = f"example.com@{domain}"
        for refused in (ask(api, email), register(api, "1234567890", email=email)):
            assert_failure(refused, 400, 1003)
            sentence = "email must be an address at example.com or second.example.org"
            assert refused.json["header"]["message"] == sentence
    assert relay.mails == []


def test_domains_from_the_environment(make_api, person, monkeypatch):
    """Accounts at other domains stay."""
    monkeypatch.setenv("GATEWAY_MAIL_DOMAINS", '["example.com"]')
    api = make_api()
    assert code_of(ask(api, "new@126.com", "new")) == 1003
    assert ask_reset(api) == code_of(login(api, person.email)) == 0
