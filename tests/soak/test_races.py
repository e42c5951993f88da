"""Many requests at once: no limit is exceeded, and nobody is refused without a reason.

Eight processes send at the same moment to gunicorn with four workers. Each round of a race has new
users and codes; exactly one of its requests may succeed. All races share one service.
"""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from support.helpers import PASSWORD, empty, other_code, until
from support.services import MANY, services

number = count()
TWINS = ["straße", "STRASSE", "strasse", "Straẞe", "ſtraße", "ﬆrasse", "ｓｔｒａßｅ", "STRAßE"]
WRONG = "a wrong password"


def registration(user_name, email, reg_code):
    body = {"user_name": user_name, "password": PASSWORD, "email": email, "reg_code": reg_code}
    return "/register", body


def login(user_name, ip, password=PASSWORD):
    return "/login", {"user_name": user_name, "password": password}, "", ip


def network(n, k=0):
    return f"2001:db8:{n:x}:{k}::1"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared(request, relay_server, tmp_path_factory):
    databases = request.getfixturevalue(f"{request.param}_databases")
    url = databases.new()
    with services(url, relay_server, tmp_path_factory.mktemp("races")) as start:
        yield start(workers=4), url
    databases.give_back(url)


@pytest.fixture
def database_uri(shared):
    return shared[1]


@pytest.fixture
def service(shared, relay, sql):
    empty(sql)
    return shared[0]


@pytest.fixture
def race(parallel_clients, service, scale, tally, request):
    """Return a function that runs all rounds of a race."""
    title = request.node.name.removeprefix("test_").replace("_", " ")

    def run(prepare, *, winner=0, winners=1, losers=(), then=lambda n: True):
        """Send the requests of ``prepare(n)`` at once; ``then(n)`` checks the result."""
        lost = []
        rounds = scale(3, 200)
        for _ in range(rounds):
            n = next(number)
            answers = parallel_clients.send(service.port, prepare(n))
            codes = Counter(code for _, code, _ in answers)
            if codes[winner] != winners or set(codes) - {winner, *losers} or not then(n):
                lost.append(codes)
        tally("rounds of 8 at once", title, rounds, lost)

    return run


# Registration and codes


def test_same_registration_eight_times(race, service, sql):
    def prepare(n):
        code = service.code_for(f"u{n}", f"u{n}@126.com")
        return [registration(f"u{n}", f"u{n}@126.com", code)] * 8

    race(prepare, losers={1018, 1005, 1008})
    assert sql("SELECT count(*) FROM mail_codes") == [(0,)]


def test_same_address_with_eight_names(race, service):
    def prepare(n):
        code = service.code_for(f"u{n}", f"u{n}@126.com")
        return [registration(f"u{n}x{k}", f"{'uU'[k % 2]}{n}@126.com", code) for k in range(8)]

    race(prepare, losers={1018, 1008})


def test_eight_addresses_with_spellings_of_one_name(race, service, sql, parallel_clients):
    def prepare(n):
        people = [{"user_name": f"{TWINS[k]}{n}", "email": f"u{n}x{k}@126.com"} for k in range(8)]
        parallel_clients.send(service.port, [("/auth-code", person) for person in people])
        return [registration(**p, reg_code=service.relay.codes[p["email"]]) for p in people]

    def the_losers_codes_are_not_burnt(n):
        left = sql("SELECT tries FROM mail_codes WHERE email_key LIKE :like", like=f"u{n}x%")
        return left == [(0,)] * 7

    race(prepare, losers={1005}, then=the_losers_codes_are_not_burnt)


@pytest.fixture
def reset_code(service, sql):
    """Return a function that requests a code for a new password, and waits until it is valid."""

    def request(email):
        sql("DELETE FROM throttle_counts")
        sql("DELETE FROM mail_codes")
        assert service.post("/reset-code", {"email": email})[1] == 0
        until(lambda: sql("SELECT 1 FROM mail_codes"))
        return service.relay.codes[email]

    return request


@pytest.fixture(params=["register", "reset"])
def use_code(request, service, reset_code):
    """Return a function that requests a code; it returns the code, and a request that uses one."""

    def use(n):
        email = f"u{n}@126.com"
        if request.param == "register":
            code = service.code_for(f"u{n}", email)
            return code, lambda code: registration(f"u{n}", email, code)
        service.sign_up(f"u{n}")
        body = {"email": email, "password": f"race {n} password"}
        return reset_code(email), lambda code: ("/reset-password", {**body, "reg_code": code})

    return use


def test_last_try_of_a_code(race, service, use_code):
    def prepare(n):
        code, using = use_code(n)
        for _ in range(4):
            assert service.post(*using(other_code(code)))[1] == 1008
        return [using(code)] * 8

    race(prepare, losers={1018, 1008})


def test_at_most_five_tries_of_a_code(race, service, use_code, sql):
    requests = {}

    def prepare(n):
        code, using = use_code(n)
        requests[n] = using(code)
        return [using(other_code(code))] * 8

    def the_code_is_dead(n):
        query = "SELECT tries FROM mail_codes WHERE email_key = :email"
        is_used_up = sql(query, email=f"u{n}@126.com") == [(5,)]
        return is_used_up and service.post(*requests[n])[1] == 1008

    race(prepare, winner=1008, winners=8, then=the_code_is_dead)


def test_last_try_of_strangers_and_of_who_asked(race, service, reset_code, sql):
    """Both have one try left, and only who asked has the right code."""
    service.sign_up("lory")

    def prepare(n):
        code = reset_code("lory@126.com")
        sql("UPDATE mail_codes SET tries = 4, other_tries = 4")
        right = {"email": "lory@126.com", "reg_code": code, "password": PASSWORD}
        wrong = {**right, "reg_code": other_code(code)}
        strangers = [("/reset-password", wrong, "", network(n))] * 4
        return strangers + [("/reset-password", right)] * 4

    race(prepare, losers={1008})


def test_codes_of_many_askers_and_one_right_one(race, service, reset_code, sql):
    """Rows of many askers are locked in one order, so nobody waits for ever."""
    service.sign_up("lory")

    def prepare(n):
        code = reset_code("lory@126.com")
        sql(
            "INSERT INTO mail_codes (asker, code_hash, tries, other_tries, purpose, email_key,"
            " expires_at) SELECT k.name, 'another', 0, 0, purpose, email_key, expires_at"
            " FROM mail_codes, (SELECT '0' AS name UNION SELECT 'a' UNION SELECT 'z') AS k"
        )
        right = {"email": "lory@126.com", "reg_code": code, "password": PASSWORD}
        askers = ["", "", *(network(n, k) for k in range(6))]
        return [("/reset-password", right, "", asker) for asker in askers]

    race(prepare, losers={1008})


# Sessions and projects


def test_eight_sessions_change_the_password(race, service):
    """Afterwards only the token of the winner is valid."""
    service.sign_up("lory")
    passwords, tokens = [PASSWORD], {}

    def prepare(n):
        old, new = passwords[-1], f"race {n} password"
        passwords.append(new)
        body = {"user_name": "lory", "password": old}
        tokens[n] = [service.post("/login", body)[2]["auth_token"] for _ in range(8)]
        change = {"old_password": old, "new_password": new}
        return [("/platform/change-password", change, token) for token in tokens[n]]

    def one_is_in(n):
        return sum(service.post("/project/list", {}, t)[1] == 0 for t in tokens[n]) == 1

    race(prepare, losers={1001, 1002}, then=one_is_in)


def test_same_logout_eight_times(race, service, sql):
    service.sign_up("lory")

    def prepare(n):
        sql("DELETE FROM throttle_counts")
        return [("/platform/logout", {}, service.log_in("lory"))] * 8

    race(prepare, losers={1001})


def test_same_deletion_eight_times(race, service, sql):
    token = service.sign_up("lory")

    def prepare(n):
        service.post("/project/create", {"project_type": 1, "project_name": f"p{n}"}, token)
        ((newest,),) = sql("SELECT max(id) FROM projects")
        return [("/project/delete", {"id": newest}, token)] * 8

    race(prepare, losers={1006})
    assert sql("SELECT live_projects FROM users") == [(0,)]


def test_last_project_of_an_account(race, service, sql):
    token = service.sign_up("lory")

    def prepare(n):
        sql("UPDATE users SET live_projects = 999")
        return [("/project/create", {"project_type": 1, "project_name": f"p{n}"}, token)] * 8

    race(prepare, losers={1009})
    assert sql("SELECT live_projects FROM users") == [(1000,)]


# Counters: one event is left, and eight come. Each request is made from the round and a number.


def mail(user, ip=""):
    return "/auth-code", {"user_name": f"u{user}", "email": f"u{user}@126.com"}, "", ip


def boxes(n, k):
    """Return a request for a mail; the addresses of a round are one mailbox."""
    email = f"{'uU'[k % 2]}{n}+{k}@126.com"
    return "/auth-code", {"user_name": f"u{n}x{k}", "email": email}


# counter: (events that it allows, request, code of the winner)
LAST = {
    "login-network": (5, lambda n, _: login(f"nobody{n}", network(n), WRONG), 1002),
    "login-day": (100, lambda n, k: login(f"nobody{n}", network(n, k), WRONG), 1002),
    "login-ip": (50, lambda n, k: login(f"nobody{n}x{k}", network(n), WRONG), 1002),
    "right-password": (60, lambda n, _: login("lory", network(n)), 0),
    "mail-ip": (MANY, lambda n, k: mail(f"{n}x{k}", network(n)), 0),
    "mail-all": (MANY, lambda n, k: mail(f"{n}x{k}", network(n, k)), 0),
    "mail-day": (5, boxes, 0),
    "mail-minute": (1, boxes, 0),
}


@pytest.mark.parametrize("counter", LAST)
def test_last_event(race, service, sql, counter):
    limit, request, winner = LAST[counter]
    service.sign_up("lory")

    def prepare(n):
        sql("DELETE FROM throttle_counts")
        if limit > 1:
            assert service.post(*request(n, 8))[1] == winner
            update = "UPDATE throttle_counts SET count = :count WHERE name = :name"
            sql(update, count=limit - 1, name=counter)
            sql("DELETE FROM throttle_counts WHERE name = 'mail-minute'")
        return [request(n, k) for k in range(8)]

    race(prepare, winner=winner, losers={429})


def test_last_creation_of_a_day(race, service, sql):
    token = service.sign_up("lory")
    create = "/project/create", {"project_type": 1, "project_name": "x"}, token

    def prepare(n):
        sql("DELETE FROM throttle_counts")
        sql("UPDATE users SET live_projects = 0")
        assert service.post(*create)[1] == 0
        sql("UPDATE throttle_counts SET count = 999 WHERE name = 'project-create'")
        return [create] * 8

    race(prepare, losers={1009})


def test_right_passwords_of_one_client(race, service):
    service.sign_up("lory")
    race(lambda n: [login("lory", network(n))] * 8, winners=8)
