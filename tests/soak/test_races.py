"""Many requests at once: no limit is exceeded, and nobody is refused without a reason.

Eight processes send at the same moment to gunicorn with four workers. Each round of a race has new
users and codes; exactly one of its requests may succeed.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import count

import pytest
from support.helpers import PASSWORD, TIMEOUT, other_code

number = count()
TWINS = ["straße", "STRASSE", "strasse", "Straẞe", "ſtraße", "ﬆrasse", "ｓｔｒａßｅ", "STRAßE"]


def registration(user_name, email, reg_code):
    body = {"user_name": user_name, "password": PASSWORD, "email": email, "reg_code": reg_code}
    return "/register", body


def login(user_name, ip, password=PASSWORD):
    return "/login", {"user_name": user_name, "password": password}, "", ip


def reset_code(service, sql, email):
    """Request a code for a new password, and wait until it is valid."""
    sql("DELETE FROM throttle_counts")
    sql("DELETE FROM mail_codes")
    service.relay.codes.pop(email, None)
    assert service.post("/reset-code", {"email": email})[1] == 0
    until = time.monotonic() + TIMEOUT
    while not sql("SELECT 1 FROM mail_codes"):
        assert time.monotonic() < until
    return service.relay.codes[email]


@pytest.fixture
def service(start_service):
    return start_service(PROJECTS_PER_USER=1)


@pytest.fixture
def race(parallel_clients, service, scale, tally, request):
    """Return a function that runs all rounds of a race."""
    title = request.node.originalname.removeprefix("test_").replace("_", " ")
    database = request.node.callspec.id

    def run(prepare, *, winner=0, winners=1, losers=(), then=lambda n: True):
        """Send the requests of ``prepare(n)`` at once; ``then(n)`` checks the result."""
        lost = []
        rounds = scale(3, 200)
        for _ in range(rounds):
            n = next(number)
            answers = parallel_clients.send(run.port, prepare(n))
            codes = Counter(code for _, code, _ in answers)
            if codes[winner] != winners or set(codes) - {winner, *losers} or not then(n):
                lost.append(codes)
        tally("rounds of 8 at once", f"{title}, {database}", rounds, lost)

    run.port = service.port
    return run


@pytest.fixture
def emails_of(parallel_clients, service):
    """Return a function that makes eight addresses and requests a code for each."""

    def make(n):
        emails = [f"u{n}x{k}@126.com" for k in range(8)]
        parallel_clients.send(
            service.port,
            [("/auth-code", {"user_name": f"u{n}", "email": email}) for email in emails],
        )
        return emails

    return make


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


def test_same_name_with_eight_addresses(race, service, emails_of, sql):
    def prepare(n):
        return [registration(f"u{n}", email, service.relay.codes[email]) for email in emails_of(n)]

    def the_losers_codes_are_not_burnt(n):
        left = sql("SELECT tries FROM mail_codes WHERE email_key LIKE :like", like=f"u{n}x%")
        return left == [(0,)] * 7

    race(prepare, losers={1005}, then=the_losers_codes_are_not_burnt)


def test_eight_spellings_of_one_name(race, service, emails_of):
    def prepare(n):
        return [
            registration(f"{twin}{n}", email, service.relay.codes[email])
            for twin, email in zip(TWINS, emails_of(n), strict=True)
        ]

    race(prepare, losers={1005})


def test_last_try_of_a_code(race, service):
    def prepare(n):
        email = f"u{n}@126.com"
        code = service.code_for(f"u{n}", email)
        for _ in range(4):
            assert service.post(*registration(f"u{n}", email, other_code(code)))[1] == 1008
        return [registration(f"u{n}x{k}", email, code) for k in range(8)]

    race(prepare, losers={1018, 1008})


def test_at_most_five_tries_of_a_code(race, service, sql):
    def prepare(n):
        code = service.code_for(f"u{n}", f"u{n}@126.com")
        return [registration(f"u{n}", f"u{n}@126.com", other_code(code))] * 8

    def the_code_is_dead(n):
        email = f"u{n}@126.com"
        right = registration(f"u{n}", email, service.relay.codes[email])
        query = "SELECT tries FROM mail_codes WHERE email_key = :email"
        return service.post(*right)[1] == 1008 and sql(query, email=email) == [(5,)]

    race(prepare, winner=1008, winners=8, then=the_code_is_dead)


def test_one_mail_per_minute(race, service):
    def prepare(n):
        return [
            ("/auth-code", {"user_name": f"u{n}x{k}", "email": f"{'uU'[k % 2]}{n}@126.com"})
            for k in range(8)
        ]

    def one_mail_was_sent(n):
        addresses = [f"u{n}@126.com", f"U{n}@126.com"]
        return sum(mail["To"] in addresses for mail in service.relay.mails) == 1

    race(prepare, losers={429}, then=one_mail_was_sent)


def test_same_reset_code_eight_times(race, service, sql):
    service.sign_up("lory")

    def prepare(n):
        code = reset_code(service, sql, "lory@126.com")
        return [
            (
                "/reset-password",
                {"email": "lory@126.com", "reg_code": code, "password": f"race {n} password {k}"},
            )
            for k in range(8)
        ]

    race(prepare, losers={1008})


def test_last_try_of_a_reset_code(race, service, sql):
    service.sign_up("lory")

    def prepare(n):
        code = reset_code(service, sql, "lory@126.com")
        body = {"email": "lory@126.com", "reg_code": code, "password": PASSWORD}
        for _ in range(4):
            assert (
                service.post("/reset-password", {**body, "reg_code": other_code(code)})[1] == 1008
            )
        return [("/reset-password", body)] * 8

    race(prepare, losers={1008})


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


def test_same_logout_eight_times(race, service):
    service.sign_up("lory")

    def prepare(n):
        return [("/platform/logout", {}, service.log_in("lory"))] * 8

    race(prepare, losers={1001})


def test_same_deletion_eight_times(race, service, sql):
    token = service.sign_up("lory")

    def prepare(n):
        sql("DELETE FROM throttle_counts")  # an account creates only as many in a day
        service.post("/project/create", {"project_type": 1, "project_name": f"p{n}"}, token)
        ((newest,),) = sql("SELECT max(id) FROM projects")
        return [("/project/delete", {"id": newest}, token)] * 8

    race(prepare, losers={1006})
    assert sql("SELECT live_projects FROM users") == [(0,)]


def test_last_project_of_an_account(race, service, sql):
    token = service.sign_up("lory")

    def prepare(n):
        for (live,) in sql("SELECT id FROM projects WHERE NOT deleted"):
            assert service.post("/project/delete", {"id": live}, token)[1] == 0
        sql("DELETE FROM throttle_counts")  # an account creates only as many in a day
        return [("/project/create", {"project_type": 1, "project_name": f"p{n}"}, token)] * 8

    race(prepare, losers={1009})
    assert sql("SELECT live_projects FROM users") == [(1,)]


def test_last_creation_of_a_day(race, start_service, sql):
    service = start_service(PROJECTS_PER_USER=100)
    race.port = service.port
    token = service.sign_up("lory")

    def prepare(n):
        service.post("/project/create", {"project_type": 1, "project_name": "first"}, token)
        sql("UPDATE projects SET deleted = true")
        sql("UPDATE users SET live_projects = 0")
        sql("UPDATE throttle_counts SET count = 99 WHERE name = 'project-create'")
        return [("/project/create", {"project_type": 1, "project_name": f"p{n}"}, token)] * 8

    def only_the_next_round_starts_anew(n):
        sql("DELETE FROM throttle_counts")
        return sql("SELECT live_projects FROM users") == [(1,)]

    race(prepare, losers={1009}, then=only_the_next_round_starts_anew)


def test_last_free_failure_of_account_and_client(race, service):
    accounts = set()

    def prepare(n):
        user_name = f"lory{n // 10}"  # an account allows a hundred failures a day
        if user_name not in accounts:
            service.sign_up(user_name)
            accounts.add(user_name)
        ip = f"2001:db8:{n:x}::1"
        guess = login(user_name, ip, "a wrong password")
        assert [service.post(*guess)[1] for _ in range(4)] == [1002] * 4
        return [guess] * 8

    race(prepare, winner=1002, losers={429})


def test_last_free_failure_of_an_account(race, service, sql):
    def prepare(n):
        service.post(*login(f"nobody{n}", f"2001:db8:{n:x}::1", "a wrong password"))
        sql("UPDATE throttle_counts SET count = 99 WHERE name = 'login-day'")
        clients = [f"2001:db8:{n:x}:{k}::1" for k in range(2, 10)]
        return [login(f"nobody{n}", client, "a wrong password") for client in clients]

    race(prepare, winner=1002, losers={429})


def test_last_free_failure_of_a_client(race, service, sql):
    def prepare(n):
        ip = f"2001:db8:{n:x}::1"
        service.post(*login(f"nobody{n}", ip, "a wrong password"))
        sql("UPDATE throttle_counts SET count = 49 WHERE name = 'login-ip'")
        return [login(f"nobody{n}x{k}", ip, "a wrong password") for k in range(8)]

    race(prepare, winner=1002, losers={429})


def test_last_mail_of_a_client(race, start_service):
    race.port = start_service(MAILS_PER_IP=1).port

    def prepare(n):
        people = [{"user_name": f"u{n}x{k}", "email": f"u{n}x{k}@126.com"} for k in range(8)]
        return [("/auth-code", person, "", f"2001:db8:{n:x}::1") for person in people]

    race(prepare, losers={429})


def test_last_mail_in_all(race, start_service, sql):
    race.port = start_service(MAILS_PER_HOUR=1).port

    def prepare(n):
        sql("DELETE FROM throttle_counts")
        people = [{"user_name": f"u{n}x{k}", "email": f"u{n}x{k}@126.com"} for k in range(8)]
        return [
            ("/auth-code", person, "", f"2001:db8:{n:x}:{k}::1") for k, person in enumerate(people)
        ]

    race(prepare, losers={429})


def test_one_mail_per_mailbox_and_minute(race, service):
    def prepare(n):
        return [
            ("/auth-code", {"user_name": f"u{n}x{k}", "email": f"u{n}+{k}@126.com"})
            for k in range(8)
        ]

    race(prepare, losers={429})


def test_eight_guesses_by_name_and_by_address(race, service, sql):
    """Name and address are counted apart; by each, exactly the last free one is answered."""

    def prepare(n):
        service.sign_up(f"lory{n}")
        ip = f"2001:db8:{n:x}::1"
        both = [login(who, ip, "a wrong password") for who in (f"lory{n}", f"lory{n}@126.com")]
        for guess in both:
            assert [service.post(*guess)[1] for _ in range(4)] == [1002] * 4
        return both * 4

    race(prepare, winner=1002, winners=2, losers={429})


def test_right_passwords_of_one_client(race, service):
    service.sign_up("lory")
    race(lambda n: [login("lory", f"2001:db8:{n:x}::1")] * 8, winners=8)


def test_last_right_password_of_a_client(race, service, sql):
    service.sign_up("lory")

    def prepare(n):
        ip = f"2001:db8:{n:x}::1"
        assert service.post(*login("lory", ip))[1] == 0
        sql("UPDATE throttle_counts SET count = 59 WHERE name = 'right-password'")
        return [login("lory", ip)] * 8

    race(prepare, losers={429})


def test_last_try_of_strangers_and_of_the_owner(race, service, sql):
    """Strangers and the owner have one try left each, and only the owner has the right code."""
    service.sign_up("lory")

    def prepare(n):
        code = reset_code(service, sql, "lory@126.com")
        sql("UPDATE mail_codes SET tries = 4, other_tries = 4")
        right = {"email": "lory@126.com", "reg_code": code, "password": PASSWORD}
        wrong = {**right, "reg_code": other_code(code)}
        strangers = [("/reset-password", wrong, "", f"2001:db8:{n:x}::1")] * 4
        return strangers + [("/reset-password", right)] * 4

    race(prepare, losers={1008})


def test_codes_of_many_clients_and_one_right_one(race, service, sql):
    """Rows of many clients are locked in one order, so nobody waits for ever."""
    service.sign_up("lory")

    def prepare(n):
        code = reset_code(service, sql, "lory@126.com")
        sql(
            "INSERT INTO mail_codes SELECT purpose, email_key, k.name, 'another', 0, 0, expires_at"
            " FROM mail_codes, (SELECT '' AS name UNION SELECT 'a' UNION SELECT 'z') AS k"
        )
        right = {"email": "lory@126.com", "reg_code": code, "password": PASSWORD}
        clients = ["", "", *(f"2001:db8:{n:x}:{k}::1" for k in range(6))]
        return [("/reset-password", right, "", client) for client in clients]

    race(prepare, losers={1008})
