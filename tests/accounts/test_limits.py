"""Limits of clients without a device cookie, and what nobody learns from them."""

from __future__ import annotations

import re
import statistics
import time

import pytest
from support.helpers import (
    OTHER,
    PASSWORD,
    ask_reset,
    at,
    change_password,
    code_of,
    login,
    on_both,
    register,
    reset,
)

from gateway import crypto
from gateway.testing.mailbox import wait_for_background

HOME = "127.0.0.1"
WRONG = "a wrong password"


@pytest.fixture
def client(app):
    """Nobody in this file keeps cookies."""
    return app.test_client(use_cookies=False)


def guess(api, who="lory", ip=HOME, password=WRONG):
    return code_of(login(api, who, password, **at(ip)))


# Passwords


@pytest.mark.parametrize("who", ["lory", "Lory@126.com"])
@on_both
def test_five_failures_per_account_and_network(api, person, clock, who):
    assert [guess(api, who) for _ in range(5)] == [1002] * 5
    reply = login(api, who)  # even the right password
    assert (reply.status_code, code_of(reply)) == (429, 429)
    assert 850 <= int(reply.headers["Retry-After"]) <= 900
    assert reply.json["header"]["message"] == "Too many attempts; try again in 15 minutes"
    assert guess(api, who, "10.0.0.9", PASSWORD) == 0
    clock.advance(minutes=15, seconds=1)
    assert guess(api, who, password=PASSWORD) == 0


def test_name_and_address_are_counted_apart(api, person):
    """Together they would tell whose address it is."""
    assert [guess(api, "lory") for _ in range(6)] == [1002] * 5 + [429]
    for who in (person.email, "nobody@126.com", "nobody"):
        assert [guess(api, who) for _ in range(6)] == [1002] * 5 + [429]


@on_both
def test_a_hundred_failures_per_account_in_a_day(api, person, clock):
    for number in range(20):
        assert [guess(api, ip=f"10.0.{number}.1") for _ in range(5)] == [1002] * 5
    clock.advance(minutes=16)
    reply = login(api, **at("10.1.0.1"))
    assert code_of(reply) == 429
    assert int(reply.headers["Retry-After"]) > 80000
    clock.advance(days=1)
    assert guess(api, ip="10.1.0.1", password=PASSWORD) == 0


def test_fifty_failures_per_network(api, person):
    assert {guess(api, f"nobody{number}") for number in range(50)} == {1002}
    assert guess(api, password=PASSWORD) == 429
    assert guess(api, ip="10.0.0.9", password=PASSWORD) == 0


def test_network_of_ipv6(api, person):
    assert {guess(api, ip=f"2001:db8::{number}") for number in range(5)} == {1002}
    assert guess(api, ip="2001:db8::ffff", password=PASSWORD) == 429
    assert guess(api, ip="2001:db8:0:1::1", password=PASSWORD) == 0


@on_both
def test_success_clears_the_failures(api, person):
    for _ in range(12):
        assert [guess(api) for _ in range(4)] == [1002] * 4
        assert guess(api, password=PASSWORD) == 0


@pytest.mark.parametrize("banned", [False, True])
def test_sixty_right_logins_per_account_and_network(
    api, person, command, clock, monkeypatch, banned
):
    """They are refused before any hashing, because each costs as much as a wrong one."""
    if banned:
        command("user", "ban", "lory")
    for number in range(59):  # the person has logged in once
        who = ("lory", person.email)[number % 2]
        assert guess(api, who, password=PASSWORD) == (1012 if banned else 0)
    with monkeypatch.context() as patch:
        patch.setattr(crypto, "password_matches", None)
        assert guess(api, password=PASSWORD) == guess(api, person.email, password=PASSWORD) == 429
    assert guess(api, ip="10.0.0.9", password=PASSWORD) == (1012 if banned else 0)
    clock.advance(minutes=15, seconds=1)
    assert guess(api, password=PASSWORD) == (1012 if banned else 0)


def change(person, old, new, ip=HOME):
    return code_of(change_password(person, old, new, **at(ip)))


@on_both
def test_where_a_token_comes_with_the_password(api, person, clock):
    """Guesses without a token do not count there, nor the other way round."""
    assert [guess(api) for _ in range(6)] == [1002] * 5 + [429]
    assert [change(person, WRONG, OTHER) for _ in range(6)] == [1002] * 5 + [429]
    assert change(person, PASSWORD, OTHER) == 429
    assert guess(api, ip="10.0.0.9", password=PASSWORD) == 0
    for number in range(19):
        assert {change(person, WRONG, OTHER, f"10.7.{number}.1") for _ in range(5)} == {1002}
    assert change(person, PASSWORD, OTHER, "10.8.0.1") == 429
    clock.advance(hours=24)
    person.sign_in()
    assert change(person, PASSWORD, OTHER) == 0


def test_change_clears_its_failures_and_counts_right_passwords(person):
    passwords = [PASSWORD, OTHER]
    for number in range(60):
        if number < 3:
            assert {change(person, WRONG, OTHER) for _ in range(4)} == {1002}
        expected = 0 if number < 59 else 429  # the person has logged in once
        assert change(person, passwords[number % 2], passwords[1 - number % 2]) == expected


@on_both
def test_reset_lifts_the_locks(api, person, relay, ten_a_day):
    for ip in (HOME, "10.1.1.1"):
        assert {guess(api, who, ip) for who in ("lory", person.email) for _ in range(5)} == {1002}
    assert ask_reset(api) == 0
    assert code_of(reset(api, relay.code())) == 0
    assert guess(api, password=OTHER) == guess(api, person.email, password=OTHER) == 0


@on_both
def test_guesses_at_a_name_do_not_lock_out_who_registers_it(api, get_code, client, ten_a_day):
    for ip in (HOME, "10.1.1.1"):
        for who in ("new", "new@126.com"):
            assert {guess(api, who, ip) for _ in range(5)} == {1002}
    code = get_code(client, "new", "new@126.com")
    assert code_of(register(api, code, "new", "new@126.com")) == 0
    assert guess(api, "new", password=PASSWORD) == 0
    assert guess(api, "new@126.com", password=PASSWORD) == 0


# What nobody learns: whether a name or an address has an account


def forget_time(reply):
    """Return what a stranger sees of a reply, but its date and the id of the request."""
    headers = {k: v for k, v in reply.headers if k not in ("Date", "X-Request-ID")}
    return reply.status_code, reply.data, headers


@on_both
def test_login_and_reset_tell_nobody_who_has_an_account(api, person, clock):
    """Known and unknown names get the same replies and headers, after any number of tries."""
    clock.freeze(2027, 1, 2)  # so Retry-After is the same, too
    known, unknown = (["lory", person.email], ["nory", "nory@126.com"])
    seen = {
        who: [forget_time(login(api, who, WRONG, **at(ip))) for ip in "ab" for _ in range(7)]
        for who in known + unknown
        for ip in [f"10.5.{len(who)}.1"]
    }
    assert len({str(replies) for replies in seen.values()}) == 1
    replies = []
    for email in (person.email, "nory@126.com"):
        replies.append([])
        for _ in range(2):
            replies[-1].append(forget_time(api("/reset-code", {"email": email})))
            wait_for_background()
        replies[-1] += [forget_time(reset(api, "00000000", email)) for _ in range(7)]
    assert replies[0] == replies[1]


@on_both
def test_known_and_unknown_names_take_the_same_statements(api, person, statements):
    def kinds(who):
        statements()
        guess(api, who, "10.9.9.9")
        found = re.findall(
            r"(SELECT|INSERT|UPDATE|DELETE).*?(?:FROM|INTO) (\w+)", str(statements())
        )
        return sorted(found)

    guess(api, "somebody", "10.9.9.9")
    assert len(kinds("lory")) > 4
    assert kinds("lory") == kinds("nobody") == kinds(person.email) == kinds("nobody@126.com")


@pytest.mark.real_argon2
@pytest.mark.parametrize("path", ["reset-code", "reset-password"])  # soak/ measures login
@on_both
def test_known_and_unknown_names_take_the_same_time(api, person, clock, path):
    """In CPU time, because other processes lengthen waits. A hash more would take much longer."""
    times = {"lory": [], "nory": []}
    for number in range(20):
        clock.advance(days=1)
        if path == "reset-password":  # for an address with an open code, and one without
            assert ask_reset(api) == 0
        for who in sorted(times, reverse=number % 2):
            body = {"user_name": who, "email": f"{who}@126.com", "reg_code": "00000000"}
            begin = time.process_time()
            api(f"/{path}", {**body, "password": WRONG})
            times[who].append(time.process_time() - begin)
            wait_for_background()
    known, unknown = map(statistics.median, times.values())
    assert 0.6 < known / unknown < 1.6, times


# Mails


@pytest.fixture
def ask(request, api, person, relay):
    """Return a function that asks for a mail with a code, and returns the reply."""
    path = request.param
    number = iter(range(10**6))

    def ask(email, ip=HOME):
        body = {"email": email, "user_name": f"new{next(number)}"}
        headers = person.headers if path.startswith("platform") else {}
        reply = api(f"/{path}", body, headers=headers, **at(ip))
        wait_for_background()
        return reply

    return ask


by_address = pytest.mark.parametrize("ask", ["auth-code", "reset-code"], indirect=True)


@by_address
@pytest.mark.parametrize("email", ["new@126.com", "lory@126.com"])
@on_both
def test_mails_of_an_address(ask, clock, request, email):
    """One a minute, five a day; for a new password an unknown address has the same limits."""
    if email == "lory@126.com" and "auth-code" in request.node.name:
        email = "another@126.com"
    clock.freeze(2024, 3, 7, 12)
    for _ in range(4):
        assert code_of(ask(email)) == 0
        clock.advance(seconds=59)
        reply = ask(email.upper(), "10.0.0.7")
        assert (reply.status_code, reply.headers["Retry-After"]) == (429, "1")
        assert reply.json["header"]["message"] == "Too many attempts; try again in 1 s"
        clock.advance(seconds=61)
    assert code_of(ask(email)) == 0
    clock.advance(minutes=2)
    reply = ask(email)
    assert reply.headers["Retry-After"] == str(86400 - 600)
    assert reply.json["header"]["message"] == "Too many attempts; try again in 24 hours"
    clock.advance(days=1)
    assert code_of(ask(email)) == 0


@pytest.mark.parametrize("ask", ["auth-code"], indirect=True)
@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("a.b@126.com", "a.b+x@126.com", 429),
        ("a.b+1@126.com", "A.b+x+y@126.com", 429),
        ("a.b@126.com", "ab@126.com", 0),
        ("a.b@gmail.com", "ab@gmail.com", 429),
        ("ab+x@GoogleMail.com", "a.b@googlemail.com", 429),
        ("a.b@gmail.com", "a.b@mail.gmail.com", 0),
    ],
)
def test_spellings_of_one_mailbox(ask, relay, first, second, code):
    assert code_of(ask(first, "10.0.0.1")) == 0
    assert code_of(ask(second, "10.0.0.2")) == code


def test_code_is_for_the_address_as_it_was_written(api, client, get_code):
    code = get_code(client, "new", "vic.tim+1@gmail.com")
    for email in ("vic.tim@gmail.com", "victim+1@gmail.com"):
        assert code_of(register(api, code, "new", email)) == 1008
    assert code_of(register(api, code, "new", "vic.tim+1@gmail.com")) == 0


@pytest.mark.parametrize("ask", ["platform/email-code"], indirect=True)
def test_codes_for_a_new_address_are_counted_by_the_account(ask, person, sign_up, clock):
    """5 an hour, 20 a day, and never against the mailbox: nobody blocks another's new address."""
    for _ in range(4):
        assert [code_of(ask("new@126.com")) for _ in range(6)] == [0] * 5 + [429]
        other = sign_up(f"libin{clock.now().timestamp():.0f}")
        assert code_of(other.post("/platform/email-code", {"email": "new@126.com"})) == 0
        clock.advance(hours=1, seconds=1)
    assert code_of(ask("other@126.com")) == 429
    clock.advance(hours=20)
    person.sign_in()
    assert code_of(ask("other@126.com")) == 0


def mail_to(client, number, ip):
    body = {"user_name": f"new{number}", "email": f"new{number}@126.com"}
    return code_of(client.api("/auth-code", body, **at(ip)))


def test_mails_per_ip(make_app, clock):
    client = make_app(MAILS_PER_IP=3).test_client()
    assert [mail_to(client, n, "203.0.113.1") for n in range(4)] == [0, 0, 0, 429]
    assert ask_reset(client.api, "x@126.com", **at("203.0.113.1")) == 429
    assert mail_to(client, 5, "203.0.113.2") == 0
    clock.advance(hours=1, seconds=1)
    assert mail_to(client, 6, "203.0.113.1") == 0


def test_mails_per_ipv6_network(make_app):
    """A /64 has as many as an IPv4 address, and a /48 four times as many."""
    client = make_app(MAILS_PER_IP=2).test_client()
    networks = [f"2001:db8:1:{n}::{host}" for n in range(5) for host in (1, 2, 3)]
    found = [mail_to(client, n, ip) for n, ip in enumerate(networks)]
    assert found == [0, 0, 429] * 4 + [429] * 3
    assert mail_to(client, 99, "2001:db8:2::1") == 0


def test_mails_in_an_hour_in_all(make_app, relay, clock):
    client = make_app(MAILS_PER_HOUR=3).test_client()
    assert [mail_to(client, n, f"10.0.0.{n}") for n in range(5)] == [0, 0, 0, 429, 429]
    assert len(relay.mails) == 3
    clock.advance(hours=1, seconds=1)
    assert mail_to(client, 6, HOME) == 0


@pytest.mark.parametrize("fault", ["refuse_recipient", "refuse_data"])
@on_both
def test_mail_that_the_relay_does_not_take_counts_for_nothing(make_app, relay, clock, fault):
    """Nor does it replace an earlier code."""
    client = make_app(MAILS_PER_HOUR=2, MAILS_PER_IP=2).test_client()
    assert mail_to(client, 1, HOME) == 0
    earlier = relay.code()
    clock.advance(seconds=61)
    setattr(relay, fault, "451 4.3.0 later")
    assert [mail_to(client, 1, HOME) for _ in range(10)] == [1029] * 10
    relay.refuse_recipient = relay.refuse_data = None
    clock.advance(seconds=50)
    other = mail_to(client, 2, HOME)
    clock.advance(seconds=20)
    assert (other, mail_to(client, 1, HOME)) == (0, 429)
    assert code_of(register(client.api, earlier, "new1", "new1@126.com")) == 0


def test_recipient_that_is_refused_for_good_counts_against_the_client(make_app, relay):
    client = make_app(MAILS_PER_IP=3).test_client()
    relay.refuse_recipient = "550 5.1.1 no such user"
    assert [mail_to(client, 1, HOME) for _ in range(4)] == [1003] * 3 + [429]
    relay.refuse_recipient = None
    assert mail_to(client, 1, "10.0.0.2") == 0


# Work before the limit


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/auth-code", ["user_name", "email"]),
        ("/register", ["reg_code", "password"]),
        ("/login", ["user_name"]),
        ("/project/create", ["project_name"]),
    ],
)
def test_text_longer_than_256_characters_is_refused_unread(person, monkeypatch, path, fields):
    read = []
    monkeypatch.setattr("unicodedata.normalize", lambda form, text: read.append(text) or text)
    monkeypatch.setattr("unicodedata.category", lambda character: read.append(character) or "Ll")
    body = {"user_name": "new", "email": "new@126.com", "password": PASSWORD}
    body |= {"reg_code": "123456", "project_type": 1, "project_name": "x"}
    for field in fields:
        for character in ("\u0301", "\ufdfa", " ", "a"):
            reply = person.post(path, {**body, field: character * 257})
            assert code_of(reply) == 1003
            assert field in reply.json["header"]["message"]
            assert not any(character * 50 in text for text in read)


def test_operators_command_does_not_normalise_a_long_name(command, monkeypatch):
    with monkeypatch.context() as only_here:  # pytest's report normalises, too
        only_here.setattr("unicodedata.normalize", None)
        result = command("user", "show", "a" + "\u0301\u0323" * 60_000)
    assert "There is no such account" in result.output
