"""What has expired goes away in batches; so do the days of an erased account."""

import pytest
from sqlalchemy import text
from support.helpers import PASSWORD, code_of
from support.sql_log import sql_log

from gateway.db import db, purge

FAR = "2099-11-24 00:00:00.000000"
PAST = "2000-11-24 00:00:00.000000"


@pytest.fixture
def run(app):
    """Return a function that purges, and returns the deleted rows by table and all statements."""

    def purge_now():
        with app.app_context(), sql_log(db.engine) as read_log:
            return purge.purge_expired(), list(read_log())

    return purge_now


@pytest.fixture
def add_days(app):
    """Return a function that stores days of usage."""
    insert = "INSERT INTO project_days (project_id, user_id, day, requests, expires_at)"
    insert += " VALUES (:id, :user_id, '2024-03-07', 1, :end)"

    def add(user_id, number, end=FAR):
        rows = [{"id": 1000 * user_id + n, "user_id": user_id, "end": end} for n in range(number)]
        with app.app_context(), db.engine.begin() as connection:
            if rows:
                connection.execute(text(insert), rows)

    return add


@pytest.mark.parametrize("number", [0, 1, 500, 501, 1203])
def test_expired_rows_go_in_short_transactions(run, add_days, person, sql, number):
    add_days(1, number, PAST)
    deleted, statements = run()
    assert deleted["project_days"] == number
    assert sql("SELECT * FROM project_days") == []
    batches = [each for each in statements if each.startswith("DELETE FROM project_days")]
    assert len(batches) == -(-number // 500)


def test_what_has_not_expired_stays(run, add_days, person, sql):
    add_days(1, 700)
    assert run()[0]["project_days"] == 0
    assert sql("SELECT count(*) FROM project_days") == [(700,)]


def test_days_of_an_erased_account_go_in_batches(run, add_days, sign_up, sql):
    lory, other = sign_up("lory"), sign_up("other")
    add_days(1, 999)
    add_days(2, 3)
    add_days(77, 3)  # of another one, erased long ago
    assert code_of(lory.post("/platform/delete-account", {"password": PASSWORD})) == 0
    assert sql("SELECT count(*) FROM project_days WHERE user_id = 1") == [(499,)]
    assert run()[0]["project_days"] == 502
    assert sql("SELECT DISTINCT user_id FROM project_days") == [(2,)]
    assert code_of(other.post("/project/list")) == 0


def test_no_request_deletes_what_has_expired(app, api, add_days, person, sql):
    add_days(1, 3, PAST)
    api("/login", {"user_name": "lory", "password": "wrong password"})
    api("/login", {"user_name": "lory", "password": PASSWORD})
    api("/auth-code", {"user_name": "new", "email": "new@126.com"})
    api("/reset-code", {"email": person.email})
    assert sql("SELECT count(*) FROM project_days") == [(3,)]
