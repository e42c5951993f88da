"""Projects: keys, lists, limits and owners."""

import base64
import hashlib
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.helpers import PASSWORD, SECRET_KEY, code_of, sqlite_only


def test_what_is_made_is_listed_as_it_was_sent(person):
    assert person.post("/project/list").json == {
        "header": {"code": 0, "message": "OK", "total": 0, "count": 0},
        "data": {"list": []},
    }
    sent = [("  x ", 0), ("x", 1), ("y" * 128, 2**31 - 1), *[("z", 1)] * 18]
    made = [person.create_project(*each) for each in sent]
    assert len({data["project_key"] for data in made}) == 21
    assert len({data["project_secret"] for data in made}) == 21
    listed = person.projects()
    assert len(listed) == 20  # a page, where nothing else is asked for
    seen = [(project["project_name"], project["project_type"]) for project in listed[:3]]
    assert seen == [("x", 0), ("x", 1), ("y" * 128, 2**31 - 1)]
    for user_id in (0, 1):
        assert person.projects(user_id=user_id) == listed


def test_pages_of_the_list(person):
    for number in range(5):
        person.create_project(str(number))

    def page(**body):
        reply = person.post("/project/list", body).json
        names = [project["project_name"] for project in reply["data"]["list"]]
        return names, reply["header"]["total"], reply["header"]["count"]

    assert page() == (["0", "1", "2", "3", "4"], 5, 5)
    assert page(page_size=2) == (["0", "1"], 5, 2)
    assert page(page_no=1, page_size=2) == (["2", "3"], 5, 2)
    assert page(page_no=2, page_size=2) == (["4"], 5, 1)
    assert page(page_no=3, page_size=2) == ([], 5, 0)
    assert page(page_no=2**31 - 1, page_size=100) == ([], 5, 0)


def test_only_admins_reach_projects_of_others(sign_up, make_admin):
    lory, libin = sign_up("lory"), sign_up("libin")
    lory.create_project()
    assert code_of(libin.post("/project/list", {"user_id": lory.user_id})) == 1000
    assert code_of(libin.post("/project/list", {"user_id": 999})) == 1000
    assert code_of(libin.post("/project/delete", {"id": 1})) == 1006
    assert len(lory.projects()) == 1
    make_admin(libin)
    assert len(libin.projects(user_id=lory.user_id)) == 1
    assert libin.projects() == []
    assert libin.projects(user_id=999) == []
    assert code_of(libin.post("/project/delete", {"id": 1})) == 0
    assert lory.projects() == []


def test_project_is_deleted_once(person, sql):
    person.create_project()
    assert code_of(person.post("/project/delete", {"id": 1})) == 0
    assert code_of(person.post("/project/delete", {"id": 1})) == 1006
    assert code_of(person.post("/project/delete", {"id": 2})) == 1006
    assert code_of(person.post("/project/delete", {"id": 0})) == 1006
    assert sql("SELECT deleted FROM projects") == [(True,)]  # the row is kept


def test_number_of_projects_is_limited(start, sql):
    person, _ = start(PROJECTS_PER_USER=2)

    def create(times):
        body = {"project_type": 1, "project_name": "x"}
        return [code_of(person.post("/project/create", body)) for _ in range(times)]

    assert create(2) == [0, 1009]
    for _ in range(2):
        person.post("/project/delete", {"id": 1})
    sql("DELETE FROM throttle_counts")  # an account creates only as many in a day
    assert create(2) == [0, 1009]


def test_secret_is_stored_sealed_and_hashed(person, sql):
    data = person.create_project()
    (row,) = sql("SELECT * FROM projects")
    assert data["project_secret"] not in " ".join(str(value) for value in row)
    assert row.secret_hash == hashlib.sha256(data["project_secret"].encode()).hexdigest()


@sqlite_only
def test_secrets_after_a_change_of_secret_key(make_app, sign_up, caplog):
    person = sign_up()
    secret = person.create_project()["project_secret"]

    def seen_with(**settings):
        client = make_app(**settings).test_client()
        account = {"user_name": "lory", "password": PASSWORD}
        old = client.post("/api/v1/project/list", headers={"Authorization": person.token})
        token = client.post("/api/v1/login", json=account).json["data"]["auth_token"]
        new = client.post("/api/v1/project/list", headers={"Authorization": token})
        return code_of(old), new.json["data"]["list"][0]["project_secret"]

    other = "another secret of the tests, just as long"
    assert seen_with(SECRET_KEY=other, SECRET_KEY_FALLBACKS=[SECRET_KEY]) == (1001, secret)
    assert "SECRET_KEY_FALLBACKS" not in caplog.text
    assert seen_with(SECRET_KEY=other) == (1001, "")
    assert "SECRET_KEY_FALLBACKS" in caplog.text


@sqlite_only
@pytest.mark.parametrize("change", [{}, {"SECRET_KEY_FALLBACKS": [SECRET_KEY]}])
def test_secrets_of_earlier_versions_are_shown_until_a_rotation_seals_anew(
    make_app, sign_up, sql, change
):
    """They sealed with Fernet, under a key derived by HKDF (RFC 5869)."""
    person = sign_up()
    secret = person.create_project()["project_secret"]
    hkdf = HKDF(SHA256(), 32, None, b"gateway/project-secret")
    fernet = Fernet(base64.urlsafe_b64encode(hkdf.derive(SECRET_KEY.encode())))
    sql(
        "UPDATE projects SET sealed_secret = :sealed",
        sealed=fernet.encrypt(secret.encode()).decode(),
    )
    if change:
        client = make_app(
            SECRET_KEY="another secret of the tests, just as long", **change
        ).test_client()
        account = {"user_name": "lory", "password": PASSWORD}
        token = client.post("/api/v1/login", json=account).json["data"]["auth_token"]
        person = replace(person, client=client, token=token)
    assert person.projects()[0]["project_secret"] == secret
    rotated = person.post("/project/rotate", {"id": 1, "grace_hours": 1}).json["data"]
    assert rotated["project_secret"][:12] == secret[:12]
    ((sealed,),) = sql("SELECT sealed_secret FROM projects")
    assert sealed.startswith("2:")
    assert person.projects()[0]["project_secret"] == rotated["project_secret"]


@sqlite_only
def test_damaged_secret_is_not_shown(person, sql):
    person.create_project()
    ((sealed,),) = sql("SELECT sealed_secret FROM projects")
    damaged = ["gAAAA damaged", "2:", "2:damaged", "2:" + "A" * 104, "é"]
    for at in (2, 20, 50, 100):
        other = "A" if sealed[at] != "A" else "B"
        damaged.append(sealed[:at] + other + sealed[at + 1 :])
    for each in damaged:
        sql("UPDATE projects SET sealed_secret = :sealed", sealed=each)
        assert person.projects()[0]["project_secret"] == "", each


def test_settings_change_the_list(start, command):
    end_points = ["https://{pool_name}.example.com", "https://example.com/%s"]
    settings = {"REQUEST_MAX": 7, "TIMEZONE": "Asia/Shanghai", "END_POINTS": end_points}
    person, _ = start(2024, 3, 7, 15, 44, 43, **settings)
    for pool in ("red", "blue"):
        command("pool", "add", pool)
    command("project", "assign", 1, "blue")
    (project,) = person.projects()
    assert project["request_max"] == 7
    assert project["created_time"] == "2024-03-07 23:44:43"
    assert project["end_points"] == ["https://blue.example.com", "https://example.com/%s"]
    assert (project["pool_id"], project["pool_name"]) == (2, "blue")


def test_request_today_resets_at_midnight_of_the_time_zone(start, clock, sql):
    person, _ = start(TIMEZONE="Asia/Shanghai")
    sql(
        "UPDATE projects SET request_total = 5000000000, request_count = 9,"
        " request_day = '2024-03-07'"
    )
    clock.freeze(2024, 3, 7, 15, 59, 59)  # 23:59:59 in Shanghai
    assert person.projects()[0]["request_today"] == 9
    clock.freeze(2024, 3, 7, 16, 0, 0)
    (project,) = person.projects()
    assert (project["request_today"], project["request_total"]) == (0, 5000000000)


@pytest.mark.parametrize("end", ["logout", "ban", "erase"])
def test_a_dead_token_is_told_before_anything_else(sign_up, sql, end):
    person, other = sign_up("lory"), sign_up("other")
    assert code_of(person.post("/project/list", {"user_id": 2})) == 1000
    if end == "ban":
        sql("UPDATE users SET is_banned = TRUE WHERE id = 1")
    elif end == "erase":
        person.post("/platform/delete-account", {"password": PASSWORD})
    else:
        person.post("/platform/logout")
    bodies = [{}, {"user_id": 1}, {"user_id": 2}, {"page_size": 0}, {"page_no": "1"}]
    for body in (*bodies, {"x": "x" * 20_000}):
        refused = person.post("/project/list", body)
        assert (refused.status_code, code_of(refused)) == (401, 1001), body
    assert code_of(other.post("/project/list", {"user_id": 2})) == 0
