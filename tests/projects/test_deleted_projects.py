"""A deleted project keeps no secret, and its row goes after 30 days."""

from support.helpers import code_of

from gateway.db import db
from gateway.db.purge import purge_expired
from gateway.project import admin

SECRETS = "secret_hash, sealed_secret, old_secret_hash, old_secret_until"


def test_deleted_project_keeps_no_secret(app, person, command, sql):
    made = [person.create_project() for _ in range(2)]
    for number in (1, 2):
        person.post("/project/rotate", {"id": number, "grace_hours": 24})
    person.post("/project/delete", {"id": 1})
    command("project", "delete", 2, "--yes")
    assert sql(f"SELECT {SECRETS} FROM projects") == [("", "", None, None)] * 2
    assert [person.verify(project).status_code for project in made] == [401, 401]
    person.create_project()
    with app.app_context(), db.engine.connect() as connection:
        assert admin.try_secrets(connection) == (1, 0)  # none of those that are gone


def test_row_is_purged_after_thirty_days_and_its_id_is_never_used_again(person, app, clock):
    def purge():
        with app.app_context():
            return purge_expired()["projects"]

    for number in (1, 2, 3):
        person.create_project()
        if number > 1:
            person.post("/project/delete", {"id": number})
    clock.advance(days=30, minutes=-5)
    assert purge() == 0
    clock.advance(minutes=6)
    assert purge() == 2
    clock.advance(days=4000)
    assert purge() == 0
    person.sign_in()
    person.create_project()
    assert [project["id"] for project in person.projects()] == [1, 4]


def test_an_account_creates_only_so_many_projects_in_a_day(start, sql, clock):
    person, _ = start(PROJECTS_PER_USER=3)

    def create():
        reply = person.post("/project/create", {"project_type": 1, "project_name": "x"})
        return reply.status_code, code_of(reply)

    created = "SELECT count FROM throttle_counts WHERE name = 'project-create'"
    assert [create() for _ in range(4)] == [(200, 0), (200, 0), (200, 1009), (200, 1009)]
    assert sql(created) == [(3,)]  # what was refused does not count
    for number in (1, 2, 3):
        person.post("/project/delete", {"id": number})
    assert create() == (200, 1009)
    assert sql("SELECT live_projects FROM users") == [(0,)]
    clock.advance(hours=23, minutes=50)
    person.sign_in()
    assert create() == (200, 1009)
    clock.advance(minutes=20)
    assert create() == (200, 0)


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
