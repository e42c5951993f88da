"""Device cookies: strangers keep nobody out who has logged in from a device before."""

import re

import pytest
from support.helpers import (
    OTHER,
    PASSWORD,
    SECRET_KEY,
    ask_reset,
    assert_failure,
    at,
    change_password,
    code_of,
    login,
    on_both,
    other_code,
    reset,
)

from gateway.db import db
from gateway.testing.mailbox import wait_for_background

HOME, AWAY = "127.0.0.1", "10.9.9.9"
WRONG = "a wrong password"
NAME = "gateway_device_1"

pytestmark = pytest.mark.usefixtures("ten_a_day")


@pytest.fixture
def stranger(app):
    """Return a function that posts without cookies."""
    return app.test_client(use_cookies=False).api


def guess(api, who="lory", ip=AWAY, password=WRONG):
    return code_of(login(api, who, password, **at(ip)))


def lock(stranger, *names):
    """Use up what strangers may guess, in a day and from the owner's own network."""
    for name in names or ("lory",):
        for ip in (HOME, "10.1.1.1"):
            assert [guess(stranger, name, ip) for _ in range(5)] == [1002] * 5


def cookie_of(client, name=NAME):
    found = client.get_cookie(name, path="/api/v1")
    return found.value if found else None


def set_cookies(reply):
    return reply.headers.getlist("Set-Cookie")


def try_with(app, value, name=NAME, **headers):
    """Log in with a cookie while strangers lock the account: 0 if the device is known, else 429."""
    headers["Cookie"] = f"{name}={value}"
    return code_of(login(app.test_client(use_cookies=False).api, headers=headers))


def test_form_of_the_cookie(api, person, clock):
    clock.freeze(2027, 1, 2, 3, 4, 5)
    (line,) = set_cookies(login(api))
    value, *attributes = line.split("; ")
    nonce, issued = r"[0-9a-f]{32}", 1798859045
    assert re.fullmatch(rf"{NAME}=1\.1\.{nonce}\.{issued}\.[0-9a-f]{{64}}", value)
    assert set(attributes) >= {"HttpOnly", "SameSite=Strict", "Path=/api/v1", "Max-Age=7776000"}
    assert "Secure" not in attributes
    assert not any(attribute.startswith("Domain") for attribute in attributes)


@pytest.mark.parametrize("how", ["proxy", "scheme", "setting"])
def test_secure(make_app, sign_up, how):
    sign_up()
    client = make_app(PUBLIC_URL="https://a.com" if how == "setting" else "").test_client()
    base = {"base_url": "https://localhost"} if how == "scheme" else {}
    headers = {"X-Forwarded-Proto": "https"} if how == "proxy" else {}
    body = {"user_name": "lory", "password": PASSWORD}
    for path in ("/login", "/platform/delete-account"):
        reply = client.api(path, body, headers=headers, **base)
        assert "; Secure;" in set_cookies(reply)[0]
        headers["Authorization"] = reply.json["data"].get("auth_token")


@on_both
def test_strangers_keep_nobody_out(api, stranger, person, relay, clock):
    """All that they may guess and ask for, from other networks and from the owner's own."""
    lock(stranger, "lory", person.email)
    for _ in range(5):
        assert ask_reset(stranger, **at(HOME)) == 0
        clock.advance(minutes=1, seconds=1)
    assert guess(stranger, ip=HOME, password=PASSWORD) == 429
    assert ask_reset(stranger) == 429
    assert code_of(login(api)) == code_of(login(api, person.email)) == 0
    assert code_of(change_password(person, new="one between")) == 0  # this keeps the device
    assert code_of(login(api, password="one between")) == 0
    assert ask_reset(api) == 0
    code = relay.code()
    for _ in range(12):
        assert code_of(reset(stranger, other_code(code), **at(HOME))) == 1008
    assert code_of(reset(api, code)) == 0
    assert code_of(login(api, password=OTHER)) == 0


def test_login_of_a_device_gives_strangers_no_more_guesses(api, stranger, person):
    lock(stranger)
    assert code_of(login(api)) == 0
    assert guess(stranger, ip="10.2.0.1", password=PASSWORD) == 429


@on_both
def test_no_device_binds_another(app, api, stranger, person):
    """Two browsers of one person, behind one address: typos in one do not bind the other."""
    second = app.test_client().api
    assert code_of(login(second)) == 0
    lock(stranger)
    assert [guess(api, ip=HOME) for _ in range(5)] == [1002] * 5
    assert guess(api, ip=HOME, password=PASSWORD) == 429
    assert code_of(login(second)) == 0


def test_device_that_guessed_is_as_none_until_its_counts_end(api, stranger, person, clock):
    for _ in range(5):
        assert guess(api, ip=HOME) == 1002
    assert [guess(api, ip=HOME) for _ in range(6)] == [1002] * 5 + [429]  # now as a stranger
    assert guess(api, ip=AWAY, password=PASSWORD) == 0  # the account's count has room elsewhere
    lock(stranger, person.email)
    clock.advance(minutes=15, seconds=1)
    assert guess(api, person.email, HOME, PASSWORD) == 0  # its count has ended


@on_both
def test_fifty_wrong_passwords_of_a_device_in_a_day(api, stranger, person, clock):
    for _ in range(10):
        assert [guess(api, ip=HOME) for _ in range(5)] == [1002] * 5
        clock.advance(minutes=15, seconds=1)
    lock(stranger)
    assert guess(api, ip=HOME, password=PASSWORD) == 429
    clock.advance(days=1)
    assert guess(api, ip=HOME, password=PASSWORD) == 0


def test_right_password_clears_the_counts_of_its_device(api, person):
    for _ in range(13):
        assert [guess(api, ip=HOME) for _ in range(4)] == [1002] * 4
        assert guess(api, ip=HOME, password=PASSWORD) == 0


def test_age_is_checked_by_the_service(app, stranger, person, clock):
    value = cookie_of(person.client)
    clock.advance(days=90)
    lock(stranger)
    assert try_with(app, value) == 429
    clock.advance(minutes=-5)
    assert try_with(app, value) == 0


def test_right_login_renews_under_the_same_nonce(api, person, clock):
    values = [cookie_of(person.client)]
    clock.advance(days=1)
    login(api)
    values.append(cookie_of(person.client))
    (_, user, nonce, issued, mac), later = (value.split(".") for value in values)
    assert later[1:3] == [user, nonce]
    assert 86400 <= int(later[3]) - int(issued) < 86460
    assert later[4] != mac


def test_only_a_right_password_or_a_reset_sets_it(api, stranger, person, command, relay):
    """No refusal touches it. Log-out, a change of the password or the address keep it."""
    before = cookie_of(person.client)
    replies = [
        login(api, password=WRONG),
        login(api, "nobody"),
        api("/reset-code", {"email": person.email}),
        reset(api, "00000000"),
        person.post("/platform/delete-account", {"password": WRONG}),
        change_password(person),
        person.post("/platform/logout"),
    ]
    wait_for_background()
    command("user", "ban", "lory")
    replies.append(login(api, password=OTHER))
    assert [code_of(r) for r in replies] == [1002, 1002, 0, 1008, 1002, 0, 0, 1012]
    assert [set_cookies(reply) for reply in replies] == [[]] * len(replies)
    assert cookie_of(person.client) == before
    assert len(set_cookies(reset(stranger, relay.code()))) == 1


def test_delete_account_expires_it(person):
    reply = person.post("/platform/delete-account", {"password": PASSWORD})
    assert re.match(rf"{NAME}=; .*Max-Age=0; .*Path=/api/v1", set_cookies(reply)[0])
    assert cookie_of(person.client) is None


def test_two_accounts_in_one_browser(api, sign_up, stranger):
    sign_up("lory")
    sign_up("libin")
    lock(stranger, "lory", "libin")
    assert code_of(login(api, "lory")) == code_of(login(api, "libin")) == 0


BAD = {
    "forged": lambda v, _: v[:-1] + ("0" if v[-1] != "0" else "1"),
    "later": lambda v, _: re.sub(r"\d{10}", lambda m: str(int(m[0]) + 9), v),
    "another version": lambda v, _: "2" + v[1:],
    "another account's": lambda _, other: other,
    "renamed": lambda _, other: re.sub(r"^1\.2\.", "1.1.", other),
    "upper case": lambda v, _: v.upper(),
    "no ASCII": lambda v, _: v[:-1] + "é",
    "digits of another script": lambda v, _: v.replace("1.1.", "1.١."),
    "padded": lambda v, _: v.replace("1.1.", "1.01."),
    "empty": lambda _v, _: "",
    "long": lambda v, _: v * 30,
}


def test_bad_cookie_is_as_none(app, sign_up, stranger):
    clients = [app.test_client() for _ in range(2)]
    sign_up("lory", client=clients[0])
    sign_up("libin", client=clients[1])
    values = cookie_of(clients[0]), cookie_of(clients[1], "gateway_device_2")
    lock(stranger)
    assert try_with(app, values[0]) == 0
    bad = {name: spoil(*values) for name, spoil in BAD.items()}
    assert {name: try_with(app, value) for name, value in bad.items()} == dict.fromkeys(BAD, 429)
    # Of several with one name, for instance planted by a sibling host, any valid one counts.
    for value in bad.values():
        for several in ([value, values[0], "x"], [values[0], value]):
            assert try_with(app, f"; {NAME}=".join(several)) == 0


def test_secret_keys(make_app, sign_up):
    app, new = make_app(), "another secret key, long enough to be one"
    client = app.test_client()
    sign_up(client=client)
    value = cookie_of(client)
    lock(app.test_client(use_cookies=False).api)
    assert try_with(make_app(SECRET_KEY=new, SECRET_KEY_FALLBACKS=[SECRET_KEY]), value) == 0
    assert try_with(make_app(SECRET_KEY=new), value) == 429


def test_sec_fetch_site(app, person, stranger):
    lock(stranger)
    expected = {"same-origin": 0, "none": 0, "same-site": 429, "cross-site": 429, "": 429}
    for site, code in expected.items():
        assert try_with(app, cookie_of(person.client), **{"Sec-Fetch-Site": site}) == code


def test_where_a_token_comes_with_the_password(person, stranger):
    """Guesses without a token do not count, and those of a thief with one bind no device."""
    lock(stranger)
    wrong = {"old_password": WRONG, "new_password": OTHER}
    headers = person.headers
    for network in range(20):
        ip = at(f"10.7.{network}.1" if network else HOME)
        for _ in range(5):
            reply = stranger("/platform/change-password", wrong, headers=headers, **ip)
            assert code_of(reply) == 1002
    right = {**wrong, "old_password": PASSWORD}
    reply = stranger("/platform/change-password", right, headers=headers, **at(AWAY))
    assert_failure(reply, 429, 429)
    assert code_of(change_password(person)) == 0


@on_both
def test_mails_of_a_device_are_its_own(make_app, sign_up, relay, clock):
    """Neither MAILS_PER_IP nor MAILS_PER_HOUR binds it, but then it has 2 mails an hour."""
    client = make_app(MAILS_PER_IP=3, MAILS_PER_HOUR=3).test_client()
    sign_up(client=client)
    assert [ask_reset(client.api, f"nobody{n}@126.com") for n in range(3)] == [0, 0, 429]
    for code in (0, 0, 429):
        assert ask_reset(client.api) == code
        clock.advance(minutes=1, seconds=1)
    clock.advance(hours=1)
    for code in (0, 0, 0, 429):  # five a day, as for everybody
        clock.advance(minutes=1, seconds=1)
        assert ask_reset(client.api) == code


def test_nothing_of_a_device_is_stored_or_logged(api, person, sql, caplog):
    guess(api, ip=HOME)
    assert ask_reset(api) == 0
    _, _, nonce, _, mac = cookie_of(person.client).split(".")
    everything = caplog.text + str([sql(f"SELECT * FROM {t}") for t in db.metadata.tables])
    assert nonce not in everything
    assert mac not in everything


def test_no_cookie_for_scripts_of_other_sites(api, person):
    for reply in (login(api, headers={"Origin": "https://evil.example"}), person.post("/x")):
        assert not any(name.startswith("Access-Control") for name in reply.headers.keys())  # noqa: SIM118
