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


def test_only_admins_reach_projects_of_others(sign_up, make_admin, sql):
    lory, libin = sign_up("lory"), sign_up("libin")
    lory.create_project()

    def delete(person, project_id):
        return code_of(person.post("/project/delete", {"id": project_id}))

    for user_id in (lory.user_id, 999):
        assert code_of(libin.post("/project/list", {"user_id": user_id})) == 1000
    assert delete(libin, 1) == 1006
    assert len(lory.projects()) == 1
    make_admin(libin)
    assert len(libin.projects(user_id=lory.user_id)) == 1
    assert libin.projects() == libin.projects(user_id=999) == []
    assert [delete(libin, 1), delete(libin, 1), delete(lory, 1)] == [0, 1006, 1006]
    assert [delete(lory, 0), delete(lory, 2)] == [1006, 1006]
    assert lory.projects() == []
    assert sql("SELECT deleted FROM projects") == [(True,)]  # the row is kept


def test_secret_is_stored_sealed_and_hashed(person, sql):
    data = person.create_project()
    (row,) = sql("SELECT * FROM projects")
    assert data["project_secret"] not in " ".join(str(value) for value in row)
    assert row.secret_hash == hashlib.sha256(data["project_secret"].encode()).hexdigest()


def with_another_key(person, make_app, **settings):
    """Return the person as a client of a node with another SECRET_KEY."""
    app = make_app(SECRET_KEY="another secret of the tests, just as long", **settings)
    return replace(person, client=app.test_client())


@sqlite_only
def test_secrets_after_a_change_of_secret_key(make_app, person, caplog):
    secret = person.create_project()["project_secret"]
    for settings, shown in (({"SECRET_KEY_FALLBACKS": [SECRET_KEY]}, secret), ({}, "")):
        there = with_another_key(person, make_app, **settings)
        assert code_of(there.post("/project/list")) == 1001
        there.sign_in()
        assert there.projects()[0]["project_secret"] == shown
        assert ("SECRET_KEY_FALLBACKS" in caplog.text) is (shown == "")


@sqlite_only
def test_secrets_of_earlier_versions_are_shown_until_a_rotation_seals_anew(make_app, person, sql):
    """They sealed with Fernet, under a key derived by HKDF (RFC 5869)."""
    secret = person.create_project()["project_secret"]
    hkdf = HKDF(SHA256(), 32, None, b"gateway/project-secret")
    fernet = Fernet(base64.urlsafe_b64encode(hkdf.derive(SECRET_KEY.encode())))
    sealed = fernet.encrypt(secret.encode()).decode()
    sql("UPDATE projects SET sealed_secret = :sealed", sealed=sealed)
    assert person.projects()[0]["project_secret"] == secret
    there = with_another_key(person, make_app, SECRET_KEY_FALLBACKS=[SECRET_KEY])
    there.sign_in()
    assert there.projects()[0]["project_secret"] == secret
    rotated = there.post("/project/rotate", {"id": 1, "grace_hours": 1}).json["data"]
    ((sealed,),) = sql("SELECT sealed_secret FROM projects")
    assert sealed.startswith("2:")
    assert there.projects()[0]["project_secret"] == rotated["project_secret"]


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
