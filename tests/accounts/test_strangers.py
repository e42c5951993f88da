"""What a stranger cannot do: keep an account out, learn whose address it is, guess without end."""

from __future__ import annotations

import inspect
import re
import time

import pytest
from support.helpers import PASSWORD, code_of, login, other_code

from gateway import crypto, throttle
from gateway.auth import clients, codes, limits
from gateway.auth.models import User
from gateway.db import db
from gateway.project import quota_mails, service
from gateway.testing.mailbox import wait_for_background

HOME = "127.0.0.1"  # where the fixture ``person`` logs in
WRONG = "a wrong password"
OTHER = "another digest of a password"


def at(ip):
    return {"environ_base": {"REMOTE_ADDR": ip}}


def guess(api, who="lory", ip="10.9.9.9", password=WRONG):
    return code_of(login(api, who, password, **at(ip)))


def lock_for_a_day(api, who="lory"):
    """Use up what all clients that an account does not know may guess in a day."""
    for number in range(20):
        assert [guess(api, who, f"10.1.{number}.1") for _ in range(5)] == [1002] * 5


def ask_for_reset_code(api, email="lory@126.com", ip=HOME):
    reply = api("/reset-code", {"email": email}, **at(ip))
    wait_for_background()
    return code_of(reply)


def reset(api, code, ip=HOME, password=OTHER, email="lory@126.com"):
    body = {"email": email, "reg_code": code, "password": password}
    return code_of(api("/reset-password", body, **at(ip)))


# Who logs in


def test_twenty_networks_do_not_lock_out_the_owner(api, person):
    lock_for_a_day(api)
    assert guess(api, ip="10.2.0.1", password=PASSWORD) == 429
    assert code_of(login(api)) == 0
    assert code_of(login(api, person.email)) == 0


def test_login_from_home_does_not_give_strangers_more_guesses(api, person):
    lock_for_a_day(api)
    assert code_of(login(api)) == 0
    assert guess(api, ip="10.2.0.1") == 429


def test_fifty_typos_behind_one_address_do_not_lock_out_who_is_known_there(api, sign_up):
    sign_up("lory")
    sign_up("libin")
    for number in range(50):
        assert guess(api, f"nobody{number}", HOME) == 1002
    assert guess(api, "nobody", HOME) == 429
    assert code_of(login(api, "lory")) == code_of(login(api, "libin")) == 0


def test_wrong_passwords_of_known_clients_count_for_nobody_else(api, sign_up, sql):
    """Not for others at the address, and not for the account's day."""
    for number in range(12):
        sign_up(f"lory{number}")
    for number in range(12):
        assert [guess(api, f"lory{number}", HOME) for _ in range(5)] == [1002] * 5
        assert guess(api, f"lory{number}", HOME, PASSWORD) == 429
    assert guess(api, "nobody", HOME) == 1002
    assert sql("SELECT count(*) FROM throttle_counts WHERE name = 'login-account'") == [(1,)]


def test_client_is_known_for_ninety_days_after_the_last_right_login(api, person, clock):
    clock.advance(days=1)
    assert code_of(login(api)) == 0
    clock.advance(days=90, minutes=-5)
    lock_for_a_day(api)
    assert code_of(login(api)) == 0
    clock.advance(days=90, minutes=1)
    lock_for_a_day(api)
    assert code_of(login(api)) == 429


@pytest.mark.parametrize(
    ("password", "banned", "known"),
    [(PASSWORD, False, 2), (WRONG, False, 1), (PASSWORD, True, 1)],
)
def test_only_a_right_login_makes_a_client_known(api, person, flask, sql, password, banned, known):
    if banned:
        flask("user", "ban", "lory")
    login(api, "lory", password, **at("10.3.0.1"))
    assert sql("SELECT count(*) FROM known_clients") == [(known,)]


def test_neighbour_in_the_same_64_is_the_same_client(api, person):
    assert guess(api, ip="2001:db8::1", password=PASSWORD) == 0
    lock_for_a_day(api)
    assert guess(api, ip="2001:db8::ffff", password=PASSWORD) == 0
    assert guess(api, ip="2001:db8:0:1::1", password=PASSWORD) == 429


def test_client_without_an_address_is_never_known(api, person, sql):
    """A proxy that does not say who asks would make everybody known."""
    for _ in range(2):
        assert guess(api, ip="", password=PASSWORD) == 0
    assert sql("SELECT count(*) FROM known_clients") == [(1,)]


def test_an_account_knows_at_most_fifty_clients(api, person, sql, clock):
    for number in range(60):
        clock.advance(seconds=1)
        assert guess(api, ip=f"10.4.{number}.1", password=PASSWORD) == 0
    assert sql("SELECT count(*) FROM known_clients") == [(50,)]
    lock_for_a_day(api)
    assert guess(api, ip="10.4.59.1", password=PASSWORD) == 0
    assert guess(api, ip="10.4.0.1", password=PASSWORD) == 429


def test_networks_are_stored_as_keyed_hashes(api, person, sql):
    ((stored,),) = sql("SELECT client FROM known_clients")
    assert re.fullmatch("[0-9a-f]{64}", stored)
    with person.client.application.app_context():
        assert stored == crypto.client_hash(person.user_id, HOME)
        assert stored != crypto.client_hash(person.user_id + 1, HOME)


# Who guesses


def test_lock_of_a_name_does_not_tell_whose_address_it_is(api, sign_up):
    sign_up("lory", "one@126.com")
    sign_up("libin", "two@126.com")
    for _ in range(5):
        guess(api, "lory")
    answers = {}
    for who in ("one@126.com", "two@126.com", "nobody@126.com", "libin", "nobody"):
        ip = "10.9.9.9" if who != "libin" else "10.9.9.8"
        answers[who] = [guess(api, who, ip) for _ in range(6)]
    assert set(map(tuple, answers.values())) == {(1002,) * 5 + (429,)}


def test_name_and_address_lock_together_for_a_guesser(api, person):
    """By the other spelling the right password is not told from a wrong one."""
    for _ in range(5):
        guess(api, "lory")
    assert guess(api, person.email, password=PASSWORD) == 1002
    assert guess(api, person.email, ip="10.9.9.8", password=PASSWORD) == 0


@pytest.mark.parametrize("spellings", [("lory", "lory@126.com"), ("lory@126.com", "lory")])
def test_a_day_of_guesses_by_name_and_address(api, person, spellings):
    first, second = spellings
    lock_for_a_day(api, first)
    assert guess(api, first, "10.2.0.1") == 429
    assert guess(api, second, "10.2.0.1", PASSWORD) == 1002
    assert guess(api, second, "10.2.0.1", WRONG) == 1002


def test_locked_account_takes_the_same_time_and_hashes(api, person, monkeypatch):
    seen = []
    matches = crypto.password_matches
    monkeypatch.setattr(
        crypto, "password_matches", lambda *pair: seen.append(pair) or matches(*pair)
    )
    for _ in range(5):
        guess(api, "lory")
    assert len(seen) == 5
    guess(api, person.email, password=PASSWORD)
    assert len(seen) == 6


def test_unknown_name_has_the_same_counters_and_statements(api, person, statements):
    def kinds(who):
        """Return the verb and the table of each statement; the order of the counters varies."""
        statements()
        guess(api, who)
        found = re.findall(
            r"(SELECT|INSERT|UPDATE|DELETE).*?(?:FROM|INTO) (\w+)", str(statements())
        )
        return sorted(found)

    guess(api, "somebody")
    assert len(kinds("lory")) > 8
    assert kinds("lory") == kinds("nobody") == kinds(person.email) == kinds("nobody@126.com")


def test_guesses_at_a_name_do_not_lock_out_who_registers_it(api, get_code, client):
    lock_for_a_day(api, "new")
    code = get_code(client, "new", "new@126.com")
    body = {"user_name": "new", "password": PASSWORD, "email": "new@126.com", "reg_code": code}
    assert code_of(api("/register", body)) == 0
    assert code_of(login(api, "new")) == 0


def test_right_login_from_a_new_client_clears_both_spellings(api, person):
    for who in ("lory", person.email):
        for _ in range(4):
            guess(api, who, ip="10.5.0.1" if who == "lory" else "10.5.0.2")
    assert guess(api, "lory", "10.5.0.1", PASSWORD) == 0
    assert [guess(api, "lory", "10.5.0.3") for _ in range(6)] == [1002] * 5 + [429]


# Right passwords cost as much


def test_right_passwords_are_refused_before_any_hashing(api, person, monkeypatch, clock):
    for _ in range(59):
        assert code_of(login(api)) == 0
    hashed = []
    monkeypatch.setattr(crypto, "password_matches", lambda *_: hashed.append(1))
    assert code_of(login(api)) == code_of(login(api, person.email)) == 429
    assert hashed == []


def test_right_passwords_of_a_banned_account_count_too(api, person, flask):
    flask("user", "ban", "lory")
    assert {code_of(login(api)) for _ in range(59)} == {1012}
    assert code_of(login(api)) == 429


def test_right_old_passwords_count_too(api, person):
    for number in range(59):
        old, new = (PASSWORD, OTHER) if number % 2 == 0 else (OTHER, PASSWORD)
        body = {"old_password": old, "new_password": new}
        assert code_of(person.post("/platform/change-password", body)) == 0
    body = {"old_password": OTHER, "new_password": PASSWORD}
    assert code_of(person.post("/platform/change-password", body)) == 429


# Who changes a password


def test_strangers_do_not_keep_a_token_holder_from_changing_the_password(api, person):
    lock_for_a_day(api)
    body = {"old_password": PASSWORD, "new_password": OTHER}
    reply = person.post("/platform/change-password", body, **at("10.7.0.1"))
    assert code_of(reply) == 0


def test_stolen_token_guesses_no_more_than_a_hundred_times_a_day(api, person):
    wrong = {"old_password": WRONG, "new_password": OTHER}
    for number in range(20):
        for _ in range(5):
            reply = person.post("/platform/change-password", wrong, **at(f"10.7.{number}.1"))
            assert code_of(reply) == 1002
    reply = person.post("/platform/change-password", wrong, **at("10.8.0.1"))
    assert code_of(reply) == 429
    right = {"old_password": PASSWORD, "new_password": OTHER}
    assert code_of(person.post("/platform/change-password", right)) == 0


# Who has forgotten the password


def test_strangers_do_not_use_up_the_mails_and_the_tries_of_the_owner(api, person, outbox, clock):
    for _ in range(5):
        assert ask_for_reset_code(api, ip="10.6.0.1") == 0
        for _ in range(6):
            assert reset(api, "00000000", "10.6.0.2") == 1008
        clock.advance(minutes=1, seconds=1)
    assert ask_for_reset_code(api, ip="10.6.0.3") == 429
    assert ask_for_reset_code(api) == 0
    code = outbox.code()
    for _ in range(9):
        assert reset(api, other_code(code), "10.6.0.2") == 1008
    assert reset(api, code, "10.6.0.2") == 1008  # strangers have used up their tries of it
    assert reset(api, code) == 0


def test_strangers_code_does_not_replace_the_owners(api, person, outbox):
    assert ask_for_reset_code(api) == 0
    own = outbox.code()
    assert ask_for_reset_code(api, ip="10.6.0.1") == 0
    assert reset(api, own) == 0


@pytest.mark.parametrize(("asked", "used"), [(HOME, "10.6.0.1"), ("10.6.0.1", HOME)])
def test_code_works_on_another_machine(api, person, outbox, sql, asked, used):
    assert ask_for_reset_code(api, ip=asked) == 0
    assert reset(api, outbox.code(), used) == 0
    assert sql("SELECT * FROM mail_codes") == []


def test_all_codes_of_an_address_end_with_a_new_password(api, person, outbox):
    assert ask_for_reset_code(api, ip="10.6.0.1") == 0
    first = outbox.code()
    assert ask_for_reset_code(api) == 0
    assert reset(api, outbox.code()) == 0
    assert reset(api, first, "10.6.0.1") == 1008


def test_strangers_share_five_tries_of_each_code(api, person, outbox, sql):
    assert ask_for_reset_code(api, ip="10.6.0.1") == 0
    assert ask_for_reset_code(api) == 0
    for number in range(8):
        assert reset(api, "00000000", f"10.6.{number}.2") == 1008
    assert sorted(tuple(r) for r in sql("SELECT tries, other_tries FROM mail_codes")) == [
        (0, 5),
        (5, 0),
    ]


def test_reset_lifts_the_locks(api, person, outbox):
    lock_for_a_day(api)
    for _ in range(5):
        guess(api, ip=HOME)
    assert code_of(login(api)) == 429
    assert ask_for_reset_code(api) == 0
    assert reset(api, outbox.code()) == 0
    assert code_of(login(api, password=OTHER)) == 0
    assert guess(api, "lory", "10.2.0.1", OTHER) == 0
    assert guess(api, person.email, "10.2.0.2", OTHER) == 0


# Mails


def test_tags_share_the_limits_of_their_mailbox(api, outbox):
    def ask(number, tag, ip):
        body = {"user_name": f"new{number}", "email": f"victim{tag}@126.com"}
        return code_of(api("/auth-code", body, **at(ip)))

    assert ask(0, "+1", "10.0.0.1") == 0
    assert [ask(n, f"+{n}", f"10.0.0.{n}") for n in range(2, 5)] == [429] * 3
    assert ask(9, "", "10.0.0.9") == 429
    assert ask_for_reset_code(api, "victim+1@126.com", "10.0.0.5") == 0
    assert ask_for_reset_code(api, "VICTIM+x+y@126.com", "10.0.0.6") == 429


def test_code_belongs_to_the_address_with_its_tag(api, outbox):
    body = {"user_name": "new", "email": "victim+1@126.com"}
    assert code_of(api("/auth-code", body)) == 0
    account = {**body, "password": PASSWORD, "reg_code": outbox.code()}
    assert code_of(api("/register", {**account, "email": "victim@126.com"})) == 1008
    assert code_of(api("/register", account)) == 0


def test_mails_in_an_hour_in_all(make_app, outbox, clock):
    client = make_app(MAILS_PER_HOUR=3).test_client()

    def ask(number):
        body = {"user_name": f"new{number}", "email": f"new{number}@126.com"}
        return code_of(client.post("/api/v1/auth-code", json=body, **at(f"10.0.0.{number}")))

    assert [ask(number) for number in range(5)] == [0, 0, 0, 429, 429]
    assert len(outbox.mails) == 3
    clock.advance(hours=1, seconds=1)
    assert ask(6) == 0


def test_failed_mails_count_for_nothing_in_all(make_app, outbox):
    client = make_app(MAILS_PER_HOUR=1).test_client()
    body = {"user_name": "new", "email": "new@126.com"}
    outbox.refuse_data = "451 4.3.0 later"
    for _ in range(3):
        assert code_of(client.post("/api/v1/auth-code", json=body)) == 1029
    outbox.refuse_data = None
    assert code_of(client.post("/api/v1/auth-code", json=body)) == 0


def test_known_clients_have_a_share_of_the_mails_that_strangers_cannot_take(make_app, sign_up):
    app = make_app(MAILS_PER_HOUR=100)
    person = sign_up(client=app.test_client())  # one mail
    with app.app_context():
        counters = limits.mails("register", "x@126.com", "10.0.0.1")
        for _ in range(97):
            throttle.hit(*(c for c in counters if c.name in ("mail-strangers", "mail-all")))
        db.session.commit()

    def api(path, body, **kwargs):
        return person.client.post(f"/api/v1{path}", json=body, **kwargs)

    assert ask_for_reset_code(api, ip="10.0.0.1") == 429
    assert ask_for_reset_code(api) == 0


def test_mails_per_ip_do_not_bind_who_is_known_there(make_app, sign_up):
    client = make_app(MAILS_PER_IP=2).test_client()
    sign_up(client=client)  # one mail

    def api(path, body, **kwargs):
        return client.post(f"/api/v1{path}", json=body, **kwargs)

    assert ask_for_reset_code(api, "nobody@126.com") == 0
    assert ask_for_reset_code(api, "nobody2@126.com") == 429
    assert ask_for_reset_code(api) == 0


def test_recipient_refused_for_good_counts_against_the_client_only(app):
    with app.app_context():
        counters = limits.mails("register", "x@126.com", "10.0.0.1")
        undone = {counter.name for counter in limits.of_address_only(counters)}
    assert undone == {"mail-minute", "mail-day"}


# Work before the limit


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/auth-code", "user_name"),
        ("/auth-code", "email"),
        ("/register", "reg_code"),
        ("/register", "password"),
        ("/login", "user_name"),
        ("/project/create", "project_name"),
    ],
)
@pytest.mark.parametrize("character", ["\u0301", "\ufdfa", " ", "a"])
def test_text_longer_than_256_characters_is_refused_unread(
    person, monkeypatch, path, field, character
):
    read = []
    monkeypatch.setattr("unicodedata.normalize", lambda form, text: read.append(text) or text)
    monkeypatch.setattr("unicodedata.category", lambda character: read.append(character) or "Ll")
    body = {
        "user_name": "new",
        "email": "new@126.com",
        "password": PASSWORD,
        "reg_code": "123456",
        "project_type": 1,
        "project_name": "x",
    }
    wanted = {
        "/auth-code": ("user_name", "email"),
        "/register": ("user_name", "email", "password", "reg_code"),
        "/login": ("user_name", "password"),
        "/project/create": ("project_type", "project_name"),
    }[path]
    long = character * 257
    reply = person.post(path, {**{name: body[name] for name in wanted}, field: long})
    assert code_of(reply) == 1003
    assert field in reply.json["header"]["message"]
    assert not any(long[:50] in text for text in read)


def test_operators_command_does_not_normalise_a_long_name(flask):
    start = time.perf_counter()
    result = flask("user", "show", "a" + "\u0301\u0323" * 60_000)
    assert "There is no such account" in result.output
    assert time.perf_counter() - start < 5


# Every counter, and who can fill it

COUNTERS = {
    # name: (limit, seconds, who is kept out when it is full, who can fill it)
    "login-account-ip": (5, 900, "the account at that client", "who sends from that client"),
    "login-account": (100, 86400, "the account at unknown clients", "anybody"),
    "login-written-ip": (5, 900, "the name at that unknown client", "who sends from that client"),
    "login-written": (100, 86400, "the name at unknown clients", "anybody"),
    "login-ip": (50, 900, "accounts that do not know that client", "who sends from that client"),
    "token-account-ip": (5, 900, "the token's holders at that client", "who has a token"),
    "token-account": (100, 86400, "the token's holders at unknown clients", "who has a token"),
    "right-password": (60, 900, "the account at that client", "who has the password"),
    "mail-minute": (1, 60, "the address, at one known or all unknown clients", "anybody"),
    "mail-day": (5, 86400, "the address, at one known or all unknown clients", "anybody"),
    "mail-ip": (100, 3600, "clients at that address that no account knows", "who sends from it"),
    "mail-strangers": (980, 3600, "clients that no account knows", "anybody, from 10 addresses"),
    "mail-all": (1000, 3600, "everybody's codes", "strangers 980, known clients the rest"),
    "project-create": (1000, 86400, "the account", "who has a token"),
    "quota-mail": (1, 172800, "nobody; a share of a day was mailed", "who has a key"),
    "quota-mail-user": (100, 86400, "nobody; mails about quotas are enough", "who has a key"),
}


def every_counter(app, user):
    """Return every counter that the service can make, as a known and as an unknown client."""
    found = []
    with app.app_context():
        for known in (True, False):
            for tries in (
                limits.of_login(user.name_key, user, "10.0.0.1", known=known),
                limits.of_login("nobody", None, "10.0.0.1", known=known),
                limits.of_caller(user.id, "10.0.0.1", known=known),
            ):
                found += [*tries.told, *tries.silent, *tries.cleared, tries.right]
            found += limits.mails("reset", "x@126.com", "10.0.0.1", known="k" if known else "")
        keys = user.name_key, user.email_key
        found += limits.of_guesses("10.0.0.1", *keys)
        found += limits.naming(codes.COUNTED, *keys)
    return found


def test_every_counter_and_who_can_fill_it(app, person):
    with app.app_context():
        user = db.session.get(User, person.user_id)
    made = {c.name: (c.limit, c.seconds) for c in every_counter(app, user)}
    made["project-create"] = (app.config["PROJECTS_PER_USER"], throttle.DAY)
    made["quota-mail"] = (1, 2 * throttle.DAY)
    made["quota-mail-user"] = (quota_mails.MAILS_OF_ACCOUNT, throttle.DAY)
    assert made == {name: row[:2] for name, row in COUNTERS.items()}
    sources = "".join(map(inspect.getsource, (limits, service, quota_mails)))
    written = set(re.findall(r'"((?:login|token|right|mail|project|quota)-[a-z-]+)"', sources))
    assert written == set(COUNTERS)


def test_no_counter_that_anybody_fills_binds_a_known_client(app, person):
    """But its own, which only that client fills, and the mails of which strangers get a share."""
    with app.app_context():
        user = db.session.get(User, person.user_id)
        known = clients.known(user.id, HOME)
        assert known
        login_tries = limits.of_login(user.name_key, user, HOME, known=True)
        binding = [*login_tries.told, *login_tries.silent, login_tries.right]
        binding += limits.of_caller(user.id, HOME, known=True).told
        binding += limits.mails("reset", user.email_key, HOME, known=known)
        elsewhere = limits.of_login(user.name_key, user, "10.0.0.1", known=False)
        strangers = [*elsewhere.told, *elsewhere.silent]
        strangers += limits.of_login("nobody", None, HOME, known=False).told
        strangers += limits.mails("reset", user.email_key, HOME)
    shared = {counter.key for counter in binding} & {counter.key for counter in strangers}
    assert {counter.name for counter in binding if counter.key in shared} == {"mail-all"}
