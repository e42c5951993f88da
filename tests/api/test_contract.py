"""The examples of the reference document; every expected reply is written by hand."""

import base64
import json
import re
from datetime import datetime, timezone

from support.helpers import OK, PASSWORD


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_auth_code(api):
    reply = api("/auth-code", {"user_name": "lory", "email": "civet148@126.com"})
    assert reply.status_code == 200
    assert reply.json == OK


def test_register(api, relay):
    api("/auth-code", {"user_name": "lory", "email": "civet148@126.com"})
    body = {
        "user_name": "lory",
        "password": "e10adc3949ba59abbe56e057f20f883e",
        "email": "civet148@126.com",
        "reg_code": relay.code(),
    }
    reply = api("/register", body)
    assert reply.status_code == 200
    assert reply.json == OK


def test_register_the_same_address_twice(api, person):
    body = {"user_name": "x", "password": PASSWORD, "email": person.email, "reg_code": "6328"}
    reply = api("/register", body)
    assert reply.status_code == 200
    assert reply.json == {
        "header": {"code": 1018, "message": "Email already exist", "total": 0, "count": 0},
        "data": {},
    }


def test_login(api, sign_up):
    libin = sign_up("libin")
    before = datetime.now(timezone.utc).timestamp()
    reply = api("/login", {"user_name": "libin", "password": PASSWORD})
    assert reply.status_code == 200
    token = reply.json["data"]["auth_token"]
    login_time = reply.json["data"]["login_time"]
    assert reply.json == {
        "header": {"code": 0, "message": "OK", "total": 1, "count": 1},
        "data": {
            "version": "v0.1.0",
            "user_name": "libin",
            "auth_token": token,
            "login_ip": "127.0.0.1",
            "login_time": login_time,
            "role": "",
            "privilege": [],
        },
    }
    assert int(before) <= login_time <= before + 60
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "HS256", "typ": "JWT"}
    claims = claims_of(token)
    assert {name: claims[name] for name in claims if name.startswith("claim_")} == {
        "claim_alias": "libin",
        "claim_expire": login_time + 43200,
        "claim_iat": login_time,
        "claim_id": libin.user_id,
        "claim_is_admin": False,
        "claim_phone_number": "",
        "claim_username": "libin",
    }
    assert claims["sub"] == str(libin.user_id)
    assert claims["iat"] == login_time
    assert claims["exp"] == login_time + 43200
    assert re.fullmatch(r"[0-9a-f-]{36}", claims["jti"])
    assert "csrf" not in claims  # Flask-JWT-Extended adds it unless it is told not to


def test_login_of_an_admin(api, person, make_admin):
    make_admin(person)
    data = api("/login", {"user_name": "lory", "password": PASSWORD}).json["data"]
    assert data["role"] == "admin"
    assert data["privilege"] == [
        "ProjectListAny",
        "ProjectDeleteAny",
        "ProjectRotateAny",
        "ProjectEditAny",
        "UserManage",
    ]
    assert claims_of(data["auth_token"])["claim_is_admin"] is True


def test_create(person):
    reply = person.post("/project/create", {"project_type": 1, "project_name": "我的ChatGPT项目"})
    assert reply.status_code == 200
    data = reply.json["data"]
    assert reply.json == {
        "header": {"code": 0, "message": "OK", "total": 1, "count": 1},
        "data": {"project_key": data["project_key"], "project_secret": data["project_secret"]},
    }
    assert re.fullmatch("[A-Za-z0-9]{16}", data["project_key"])
    assert re.fullmatch("[A-Za-z0-9]{48}", data["project_secret"])


def test_list(clock, sign_up):
    clock.freeze(2024, 3, 7, 15, 44, 43)
    person = sign_up()
    first = person.create_project()
    clock.freeze(2024, 3, 7, 15, 47, 2)
    second = person.create_project()
    body = {"user_id": person.user_id, "page_no": 0, "page_size": 20}
    reply = person.post("/project/list", body)
    assert reply.status_code == 200
    shown = {
        "id": 1,
        "project_name": "我的ChatGPT项目",
        "project_type": 1,
        "project_key": first["project_key"],
        "project_secret": first["project_secret"],
        "end_points": ["https://api.hobbychain.org//rpc", "wss://api.hobbychain.org//ws"],
        "deleted": False,
        "created_time": "2024-03-07 15:44:43",
        "request_total": 0,
        "request_today": 0,
        "request_max": 30,
        "pool_id": 0,
        "pool_name": "",
    }
    assert reply.json == {
        "header": {"code": 0, "message": "OK", "total": 2, "count": 2},
        "data": {
            "list": [shown, {**shown, "id": 2, "created_time": "2024-03-07 15:47:02", **second}]
        },
    }


def test_delete(person):
    person.create_project()
    person.create_project()
    reply = person.post("/project/delete", {"id": 2})
    assert reply.status_code == 200
    assert reply.json == OK
    assert [project["id"] for project in person.projects()] == [1]


def test_logout(person):
    reply = person.post("/platform/logout", {})
    assert reply.status_code == 200
    assert reply.json == OK
    assert person.post("/project/list").status_code == 401
