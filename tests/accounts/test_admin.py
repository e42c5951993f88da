"""What an admin does over the API: find accounts, ban them, limit their projects."""

import re

import pytest
from support.helpers import code_of, login, on_both


@pytest.fixture
def admin(sign_up, make_admin):
    """The account 1, boss; 2 is lory_1 and 3 is Zo%é."""
    boss = sign_up("boss", "boss@one.example")
    make_admin(boss)
    boss.lory = sign_up("lory_1", "Lory@two.example")
    boss.zoe = sign_up("Zoe-Ä", "z%x@three.example")
    return boss


def found(admin, query, **page):
    reply = admin.post("/admin/user-list", {"query": query, **page})
    assert code_of(reply) == 0
    return [user["id"] for user in reply.json["data"]["list"]], reply.json["header"]["total"]


FOUND = {"": [1, 2, 3], "LORY": [2], "ä": [3], ".EXAMPLE": [1, 2, 3], "%": [3], "y_1": [2]}
FOUND |= {"_": [2], "2": [2], " 3 ": [3], "99999999999": [], "nobody": []}


@on_both
def test_an_admin_finds_accounts(admin):
    expected = {query: (ids, len(ids)) for query, ids in FOUND.items()}
    assert {query: found(admin, query) for query in FOUND} == expected


@on_both
def test_pages_and_fields(admin):
    admin.lory.create_project()
    assert found(admin, "", page_no=1, page_size=2) == ([3], 3)
    (user,) = admin.post("/admin/user-list", {"query": "lory"}).json["data"]["list"]
    created = user.pop("created_time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", created)
    shown = {"id": 2, "user_name": "lory_1", "email": "Lory@two.example", "role": ""}
    assert user == {**shown, "banned": False, "projects": 1}


def test_others_are_refused(admin):
    for path, body in [("user-list", {}), ("user-edit", {"id": 1, "banned": True})]:
        assert code_of(admin.lory.post(f"/admin/{path}", body)) == 1000
    assert code_of(admin.post("/admin/user-list")) == 0


@on_both
def test_a_ban_stops_tokens_and_keys(admin, api):
    project = admin.lory.create_project()
    assert code_of(admin.post("/admin/user-edit", {"id": 2, "banned": True})) == 0
    assert code_of(admin.lory.post("/project/list")) == 1001
    assert admin.verify(project).status_code == 401
    assert admin.post("/admin/user-list", {"query": "2"}).json["data"]["list"][0]["banned"]
    assert code_of(admin.post("/admin/user-edit", {"id": 2, "banned": False})) == 0
    assert code_of(admin.lory.post("/project/list")) == 1001
    assert admin.verify(project).status_code == 204
    assert code_of(login(api, "lory_1")) == 0


def test_what_an_edit_refuses(admin):
    refused = [
        ({"id": 1, "banned": True}, 1000),  # himself, who is the last admin, too
        *[({"id": 0, "banned": True}, 1006), ({"id": 99, "projects_max": 1}, 1006)],
        *[({"id": 2, "banned": 1}, 1003), ({"id": 2, "projects_max": -1}, 1003)],
        *[({"banned": True}, 1004), ({"id": 2}, 0)],
    ]
    for body, code in refused:
        assert code_of(admin.post("/admin/user-edit", body)) == code
    assert code_of(admin.post("/project/list")) == 0


def test_a_limit_of_projects(admin):
    admin.lory.create_project()
    body = {"project_type": 1, "project_name": "another"}
    for limit, code in ((0, 1009), (1, 1009), (2, 0), (None, 0)):
        assert code_of(admin.post("/admin/user-edit", {"id": 2, "projects_max": limit})) == 0
        assert code_of(admin.lory.post("/project/create", body)) == code


def test_who_did_it_stands_in_the_log(admin, caplog):
    admin.post("/admin/user-edit", {"id": 3, "banned": True})
    assert caplog.messages[-1] == "auth.edit_user user=1 ip=127.0.0.1 code=0 account=3 status=200"
