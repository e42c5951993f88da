"""Many requests at once: a limit is never passed, and nobody is refused without need."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from conftest import PASSWORD

AT_ONCE = 10


@pytest.fixture
def at_once(app):
    """Return a function that sends many requests at the same moment and returns their codes."""

    def send(path, body_of, headers=None):
        gate = Barrier(AT_ONCE)

        def one(number):
            client = app.test_client()
            gate.wait(timeout=30)
            reply = client.post(f"/api/v1{path}", json=body_of(number), headers=headers)
            return reply.json["header"]["code"]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return Counter(pool.map(one, range(AT_ONCE)))

    return send


def account(number, **changes):
    return {"user_name": f"user{number}", "password": PASSWORD, "email": "a@126.com", **changes}


def test_one_code_makes_one_account(api, outbox, at_once, sql):
    api("/auth-code", {"user_name": "lory", "email": "a@126.com"})
    codes = at_once("/register", lambda number: account(number, reg_code=outbox.code()))
    assert codes[0] == 1
    assert set(codes) <= {0, 1018, 1005, 1008}
    assert sql("SELECT count(*) FROM users") == [(1,)]


def test_one_name_makes_one_account(client, get_code, at_once, sql):
    reg_codes = [get_code(client, "lory", f"a{n}@126.com") for n in range(AT_ONCE)]

    def body(n):
        return account(n, user_name="lory", email=f"a{n}@126.com", reg_code=reg_codes[n])

    codes = at_once("/register", body)
    assert codes == {0: 1, 1005: AT_ONCE - 1}
    assert sql("SELECT count(*) FROM users") == [(1,)]
    assert sql("SELECT count(*), max(tries) FROM mail_codes") == [(AT_ONCE - 1, 0)]  # not burnt


def test_a_code_has_five_tries_however_they_come(api, outbox, at_once):
    api("/auth-code", {"user_name": "lory", "email": "a@126.com"})
    right = outbox.code()
    wrong = str((int(right) + 1) % 10000).zfill(4)
    assert at_once("/register", lambda n: account(n, reg_code=wrong)) == {1008: AT_ONCE}
    assert api("/register", account(0, reg_code=right)).json["header"]["code"] == 1008


def test_one_mail_per_address(outbox, at_once):
    codes = at_once("/auth-code", lambda n: {"user_name": f"user{n}", "email": "a@126.com"})
    assert codes == {0: 1, 429: AT_ONCE - 1}
    assert len(outbox.mails) == 1


def test_five_wrong_passwords(person, at_once):
    body = {"user_name": "lory", "password": "wrong password"}
    assert at_once("/login", lambda _: body) == {1002: 5, 429: AT_ONCE - 5}


def test_right_passwords_are_not_throttled(person, at_once):
    body = {"user_name": "lory", "password": PASSWORD}
    assert at_once("/login", lambda _: body) == {0: AT_ONCE}


def test_projects_per_user(app, person, at_once, sql):
    app.config["PROJECTS_PER_USER"] = 3
    body = {"project_type": 1, "project_name": "x"}
    codes = at_once("/project/create", lambda _: body, {"Authorization": person.token})
    assert codes == {0: 3, 1009: AT_ONCE - 3}
    assert sql("SELECT count(*) FROM projects") == [(3,)]


def test_a_project_is_deleted_once(person, at_once, sql):
    person.create_project()
    codes = at_once("/project/delete", lambda _: {"id": 1}, {"Authorization": person.token})
    assert codes == {0: 1, 1006: AT_ONCE - 1}
    assert sql("SELECT live_projects FROM users") == [(0,)]


def test_a_token_is_revoked_once(person, at_once):
    codes = at_once("/platform/logout", lambda _: {}, {"Authorization": person.token})
    assert codes == {0: 1, 1001: AT_ONCE - 1}
