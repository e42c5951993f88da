"""A deleted project keeps no secret, and its row goes after 30 days."""

from __future__ import annotations

import pytest
from support.helpers import code_of, login

from gateway.db import db
from gateway.db.purge import purge_expired
from gateway.project import admin

SECRETS = "secret_hash, sealed_secret, old_secret_hash, old_secret_until"


@pytest.fixture
def purge(app):
    def run():
        with app.app_context():
            return purge_expired()["projects"]

    return run


@pytest.mark.parametrize("by", ["owner", "operator"])
def test_deleted_project_keeps_no_secret(person, command, sql, by):
    made = person.create_project()
    person.post("/project/rotate", {"id": 1, "grace_hours": 24})
    if by == "owner":
        person.post("/project/delete", {"id": 1})
    else:
        command("project", "delete", 1, "--yes")
    assert sql(f"SELECT {SECRETS} FROM projects") == [("", "", None, None)]
    assert person.verify(made).status_code == 401
    assert person.verify(made, secret="x" * 48).status_code == 401


def test_row_is_purged_after_thirty_days_and_its_id_is_never_used_again(
    api, person, sql, clock, purge
):
    for _ in range(2):
        person.create_project()
    for number in (1, 2):
        person.post("/project/delete", {"id": number})
    clock.advance(days=30, minutes=-5)
    assert purge() == 0
    clock.advance(minutes=6)
    assert purge() == 2
    person.token = login(api).json["data"]["auth_token"]
    person.create_project()
    assert [project["id"] for project in person.projects()] == [3]


def test_live_projects_are_never_purged(person, sql, clock, purge):
    person.create_project()
    clock.advance(days=4000)
    assert purge() == 0
    assert len(sql("SELECT * FROM projects")) == 1


def test_an_account_creates_only_so_many_projects_in_a_day(make_app, sign_up, sql, clock):
    person = sign_up(client=make_app(PROJECTS_PER_USER=3).test_client())
    body = {"project_type": 1, "project_name": "x"}
    codes = []
    for number in range(5):
        codes.append(code_of(person.post("/project/create", body)))
        person.post("/project/delete", {"id": number + 1})
    assert codes == [0, 0, 0, 1009, 1009]
    reply = person.post("/project/create", body)
    assert (reply.status_code, code_of(reply)) == (200, 1009)
    assert sql("SELECT live_projects FROM users") == [(0,)]
    clock.advance(hours=11, minutes=50)
    assert code_of(person.post("/project/create", body)) == 1009
    clock.advance(hours=12, minutes=20)
    body = {"user_name": "lory", "password": "e10adc3949ba59abbe56e057f20f883e"}
    reply = person.client.post("/api/v1/login", json=body)
    person.token = reply.json["data"]["auth_token"]
    assert "project_key" in person.create_project()


def test_refused_creation_does_not_count(make_app, sign_up, sql):
    person = sign_up(client=make_app(PROJECTS_PER_USER=1).test_client())
    person.create_project()
    for _ in range(3):
        assert (
            code_of(person.post("/project/create", {"project_type": 1, "project_name": "x"}))
            == 1009
        )
    assert sql("SELECT count FROM throttle_counts WHERE name = 'project-create'") == [(1,)]


def test_upgrade_wipes_secrets_and_keeps_codes(command, person, relay, sql, api, client):
    for _ in range(2):
        person.create_project()
    body = {"user_name": "new", "email": "new@126.com"}
    api("/auth-code", body)
    code = relay.code()
    sql("UPDATE mail_codes SET asker = ''")  # as those of 0004 are
    before = sql("SELECT purpose, email_key, code_hash, tries, expires_at FROM mail_codes")
    assert command("db", "downgrade", "0004").exit_code == 0
    assert sql("SELECT * FROM mail_codes") == before
    sql("UPDATE projects SET deleted = (id = 2)")
    sql("UPDATE users SET live_projects = 1")
    assert command("db", "upgrade").exit_code == 0
    rows = sql(f"SELECT id, {SECRETS}, expires_at IS NULL FROM projects ORDER BY id")
    assert rows[1] == (2, "", "", None, None, False)
    assert rows[0][1]
    assert rows[0][-1]
    (project,) = person.projects()
    assert project["project_secret"]
    account = {**body, "password": "another digest", "reg_code": code}
    assert code_of(api("/register", account)) == 0


def test_secrets_that_are_gone_are_not_tried(app, person):
    for _ in range(2):
        person.create_project()
    person.post("/project/delete", {"id": 2})
    with app.app_context(), db.engine.connect() as connection:
        assert admin.try_secrets(connection) == (1, 0)
