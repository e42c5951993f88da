"""Who leaves, and who moves to another address: erased accounts leave nothing, in any race."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from support.helpers import (
    OK,
    PASSWORD,
    assert_failure,
    code_of,
    forms,
    login,
)

from gateway import crypto, mail, throttle
from gateway.auth import admin
from gateway.db import db
from gateway.project import routes
from gateway.testing.mailbox import wait_for_background

OTHER = "another digest of a password"
NEW = "new@example.com"
NEW_PROJECT = {"project_type": 1, "project_name": "x"}


def leave(person, password=PASSWORD, **kwargs):
    return person.post("/platform/delete-account", {"password": password}, **kwargs)


def is_in(person):
    return person.post("/project/list").status_code == 200


def elsewhere(act):
    """Call a function in another thread, because a nested request would share the session."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def traces(sql, *words):
    """Return the values in any column of any table that hold one of the words."""
    found = []
    for table in db.metadata.sorted_tables:
        for row in sql(f"SELECT * FROM {table.name}"):
            found += [
                (table.name, name, value)
                for name, value in row._mapping.items()
                if any(word.lower() in str(value).lower() for word in words)
            ]
    return found


def key(name, subject):
    """Return the key of a counter: a hash of what is counted, and for whom."""
    return hashlib.sha256(f"{name}\0{subject}".encode()).hexdigest()


def hashes_of(user_id, user_name, address, ip="127.0.0.1"):
    """Return the key of every counter whose subject names the account."""
    subjects = [str(user_id), f"user {user_id}", user_name, address]
    subjects += [f"{subject} {ip}" for subject in subjects]
    subjects += [f"{purpose} {address}" for purpose in ("register", "reset", "email")]
    names = ["login-network", "login-day", "token-network", "token-day", "right-password"]
    names += ["project-create", "mail-minute", "mail-day", "email-hour", "email-day", "mail-own"]
    return [key(name, subject) for name in names for subject in subjects]


def rows_of(sql, user_id):
    """Return the rows of every table that belong to an account's id."""
    found = []
    for table in db.metadata.sorted_tables:
        for column in {"user_id", "account"} & set(table.c.keys()):
            query = f"SELECT * FROM {table.name} WHERE {column} = :id"
            found += sql(query, id=user_id)
    return found


# An account that is erased


def test_delete_account(api, person, sql):
    project = person.create_project()
    assert person.verify(project).status_code == 204
    assert leave(person).json == OK
    assert_failure(person.post("/project/list"), 401, 1001)
    assert_failure(leave(person), 401, 1001)
    assert_failure(login(api), 200, 1002)
    assert_failure(login(api, "lory@126.com"), 200, 1002)
    for headers in forms(project).values():
        assert person.client.get("/api/v1/project/verify", headers=headers).status_code == 401
    assert sql("SELECT * FROM users") == sql("SELECT * FROM projects") == []


def test_nothing_names_an_erased_account(api, command, sign_up, make_admin, sql, clock, caplog):
    """Every table had a row of it, and none has one afterwards."""
    clock.freeze(2024, 3, 7, 12)
    person, admin = sign_up("lory"), sign_up("boss")
    make_admin(admin)
    project, gone = person.create_project("of lory"), person.create_project("erased before")
    ids = [item["id"] for item in person.projects()]
    person.post("/project/delete", {"id": ids[1]})
    for _ in range(2):  # on two days
        assert person.verify(project).status_code == 204
        clock.advance(hours=13)
        person = sign_in(api, person)
    api("/login", {"user_name": "lory", "password": "wrong password"})
    elsewhere = {"REMOTE_ADDR": "10.0.0.9"}
    wrong = {"user_name": "Lory@126.com", "password": "wrong password"}
    api("/login", wrong, environ_base=elsewhere)
    person.post("/platform/change-password", {"old_password": "wrong one", "new_password": OTHER})
    assert code_of(api("/reset-code", {"email": "lory@126.com"})) == 0
    wait_for_background()
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 0
    admin.post("/project/list", {"user_id": person.user_id})
    owe(sql)
    words = ["lory", "126.com", project["project_key"], gone["project_key"]]
    words += hashes_of(person.user_id, "lory", "lory@126.com")
    tables = {table for table, *_ in traces(sql, *words)}
    assert tables == {"users", "projects", "mail_codes", "throttle_counts", "owed_mails"}
    assert sql("SELECT * FROM project_days") != []
    assert len(rows_of(sql, person.user_id)) > 5

    assert code_of(leave(person)) == 0
    caplog.clear()
    boss = ["boss", *hashes_of(admin.user_id, "boss", "boss@126.com")]
    left = [t for t in traces(sql, *words) if not any(word in str(t[2]) for word in boss)]
    assert left == []
    assert rows_of(sql, person.user_id) == []
    assert sql("SELECT * FROM project_days") == []
    assert sql("SELECT * FROM mail_codes") == sql("SELECT * FROM owed_mails") == []

    assert not is_in(person)
    person.verify(project)
    login(api)
    admin.post("/project/list", {"user_id": person.user_id})
    command("user", "list")
    for word in ["lory", *words[2:4]]:
        assert word not in caplog.text


def sign_in(api, person):
    person.token = login(api, person.user_name).json["data"]["auth_token"]
    return person


def owe(sql):
    """Owe three mails to the account 1, lory: by key, by address, and by id."""
    mails = {
        "lory@126.com": '{"ip": "127.0.0.1"}',
        "a project": '{"email": "Lory@126.com"}',
        "old@lory.com": '{"user_id": 1, "email": "old@lory.com"}',
    }
    for about, details in mails.items():
        sql(
            "INSERT INTO owed_mails (kind, key, language, details, tries, next_try, expires_at)"
            " VALUES ('x', :about, 'en', :details, 0, :later, :later)",
            about=about,
            details=details,
            later="2099-01-01 00:00:00",
        )


def test_neighbour_keeps_everything(sign_up, person, sql):
    neighbour = sign_up("libin")
    project = neighbour.create_project()
    assert neighbour.verify(project).status_code == 204
    before = rows_of(sql, neighbour.user_id)
    person.create_project()
    assert code_of(leave(person)) == 0
    assert rows_of(sql, neighbour.user_id) == before
    assert neighbour.verify(project).status_code == 204
    assert is_in(neighbour)


def test_id_is_never_given_again(sign_up, sql):
    lory = sign_up("lory")
    lory.create_project()
    assert code_of(leave(lory)) == 0
    again = sign_up("lory")
    assert again.user_id > lory.user_id
    assert not is_in(lory)
    again.create_project()
    assert [item["id"] for item in again.projects()] == [2]


@pytest.mark.parametrize("kind", ["user", "project"])
def test_ids_of_the_last_rows_are_not_given_again_after_a_copy_or_restart(sign_up, make_app, kind):
    lory = sign_up("lory")
    lory.create_project()
    leave(lory)
    client = make_app().test_client()
    again = sign_up("libin", client=client)
    again.create_project()
    found = again.user_id if kind == "user" else again.projects()[0]["id"]
    assert found == 2


def test_wrong_password_erases_nothing_and_counts(person):
    for _ in range(10):  # 5 of the device, and 5 as a stranger
        reply = leave(person, "not the password")
        assert_failure(reply, 200, 1002)
    assert reply.json["header"]["message"] == "The password is wrong"
    assert_failure(leave(person), 429, 429)
    assert is_in(person)


@pytest.mark.parametrize(
    ("body", "code"),
    [({}, 1004), ({"password": None}, 1003), ({"password": 1}, 1003), ({"password": ""}, 1003)],
)
def test_bad_request_erases_nothing(person, body, code):
    assert_failure(person.post("/platform/delete-account", body), 400, code)
    assert is_in(person)


def test_last_admin_stays(sign_up, make_admin, command, sql):
    boss = sign_up("boss")
    sign_up("lory")
    make_admin(boss)
    reply = leave(boss)
    assert_failure(reply, 200, 1000)
    assert reply.json["header"]["message"] == (
        "You are the last admin; let another account become one first"
    )
    assert_failure(leave(boss, "not the password"), 200, 1002)
    command("user", "promote", "lory")
    command("user", "ban", "lory")
    assert code_of(leave(boss)) == 1000  # a banned admin cannot act
    command("user", "unban", "lory")
    assert code_of(leave(boss)) == 0
    assert sql("SELECT user_name FROM users") == [("lory",)]


def test_two_admins_cannot_both_leave(sign_up, make_admin, sql):
    for n in range(5):
        people = [sign_up(f"boss{n}x{k}") for k in range(2)]
        sql("UPDATE users SET is_admin = :no", no=False)
        for person in people:
            make_admin(person)
        with ThreadPoolExecutor(2) as pool:
            codes = sorted(code_of(reply) for reply in pool.map(leave, people))
        assert codes == [0, 1000]


# Commands


def test_user_delete_asks(command, api, person, sql):
    person.create_project()
    result = command("user", "delete", "lory@126.com", input="n\n")
    assert result.exit_code == 1
    assert result.output.startswith("Erase lory with 1 project, for good? [y/N]: n\n")
    assert is_in(person)
    result = command("user", "delete", "lory", input="y\n")
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "lory is erased"
    assert not is_in(person)
    assert sql("SELECT * FROM users") == sql("SELECT * FROM projects") == []
    result = command("user", "delete", "lory")
    assert result.output == "Error: There is no such account; see: user list\n"


def test_user_delete_without_a_question(command, person, caplog):
    caplog.clear()
    result = command("user", "delete", "lory", "--yes")
    assert (result.exit_code, result.output) == (0, "lory is erased\n")
    assert [record.getMessage() for record in caplog.records] == [
        f"operator user={person.user_id} is erased",
        "command=user.delete outcome=done",
    ]


def test_user_delete_refuses_the_last_admin(command, sign_up, make_admin, sql):
    make_admin(sign_up("boss"))
    result = command("user", "delete", "boss", input="y\n")
    assert result.exit_code == 1
    # It asks no question whose answer it would not take.
    assert result.output == "Error: boss is the last admin; give --yes to do it anyway\n"
    assert command("user", "delete", "boss", "--yes").exit_code == 0
    assert sql("SELECT * FROM users") == []


def test_user_delete_of_a_banned_account(command, person, sql):
    command("user", "ban", "lory")
    assert command("user", "delete", "lory", "--yes").exit_code == 0
    assert sql("SELECT * FROM users") == []


def test_commands_that_come_too_late(command, app, person, monkeypatch):
    """The account is erased between the look-up and the change."""
    for arguments in (["ban"], ["promote"], ["logout"], ["set-email", NEW], ["delete", "--yes"]):
        again = arguments[0] != "ban"
        if again:
            command("user", "create", "lory", "a@126.com", "--password-stdin", input=PASSWORD)
        erase_after_look_up(monkeypatch, command)
        result = command("user", arguments[0], "lory", *arguments[1:])
        assert result.output == "Error: There is no such account; see: user list\n"


def erase_after_look_up(monkeypatch, command):
    find = admin.find

    def find_and_erase(who):
        user = find(who)
        monkeypatch.setattr(admin, "find", find)
        assert elsewhere(lambda: command("user", "delete", who, "--yes")).exit_code == 0
        return user

    monkeypatch.setattr(admin, "find", find_and_erase)


def test_user_export(api, command, sign_up, sql, clock):
    clock.freeze(2024, 3, 7, 12)
    person = sign_up()
    sign_up("libin").create_project()
    project = person.create_project("mine")
    person.verify(project)
    clock.advance(days=1)
    person = sign_in(api, person)
    for _ in range(2):
        person.verify(project)
    person.create_project("gone")
    person.post("/project/delete", {"id": 3})
    api("/login", {"user_name": "lory", "password": "wrong password"})
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 0
    owe(sql)
    sql("UPDATE users SET projects_max = 7 WHERE id = 1")
    sql("UPDATE projects SET month_max = 900, per_minute = 60, rate_moment = 0 WHERE id = 2")
    result = command("user", "export", "LORY@126.com")
    found = json.loads(result.output)
    assert found["account"] == {
        "id": 1,
        "user_name": "lory",
        "email": "lory@126.com",
        "language": "en",
        "role": "",
        "admin": False,
        "banned": False,
        "live_projects": 1,
        "projects_max": 7,
        "token_generation": 0,
        "created": "2024-03-07 12:00:00",
    }
    assert [p["project_name"] for p in found["projects"]] == ["mine", "gone"]
    assert found["projects"][0] == {
        "id": 2,
        "user_id": 1,
        "project_name": "mine",
        "project_type": 1,
        "project_key": project["project_key"],
        "old_secret_until": None,
        "deleted": False,
        "expires": None,
        "created": "2024-03-07 12:00:00",
        "active_until": None,
        "blocked": False,
        "pool_id": None,
        "pool_name": "",
        "request_max": 30,
        "month_max": 900,
        "per_minute": 60,
        "rate_moment": 0,
        "request_total": 3,
        "request_day": "2024-03-08",
        "request_count": 2,
        "extra_count": 0,
        "month_count": 3,
        "requests": {"2024-03-07": 1, "2024-03-08": 2},
    }
    assert found["codes"] == [
        {"purpose": "email", "email": NEW, "valid_until": "2024-03-08 12:10:00"}
    ]
    assert {"name": "device", "count": 1, "until": "2024-03-08 12:15:00"} in (found["limits"])
    assert [mail["to"] for mail in found["owed_mails"]] == [
        "lory@126.com",
        "Lory@126.com",
        "old@lory.com",
    ]
    for table, columns in SECRETS.items():
        for row in sql(f"SELECT {columns} FROM {table}"):
            assert not any(value and value in result.output for value in row)
    assert project["project_secret"] not in result.output
    assert "libin" not in result.output


SECRETS = {
    "users": "password_hash",
    "projects": "secret_hash, sealed_secret, old_secret_hash",
    "mail_codes": "code_hash",
    "throttle_counts": "key",
}


def test_export_of_a_new_account_and_of_nobody(command, sql):
    command("user", "create", "lory", "lory@126.com", "--password-stdin", input=PASSWORD)
    found = json.loads(command("user", "export", "lory").output)
    assert [found[name] for name in list(found)[1:]] == [[], [], [], []]
    result = command("user", "export", "nobody")
    assert result.output == "Error: There is no such account; see: user list\n"


@pytest.mark.parametrize("call", ["invite", "set-email", "delete", "export"])
def test_help_fits_a_terminal(command, call):
    help_text = command("user", call, "--help").output
    assert max(map(len, help_text.splitlines())) <= 80


# Races in which the order is known: somebody is erased in the middle of a request


def during(monkeypatch, module, name, act):
    """Send a request once, right after ``module.name`` has been called."""
    original = getattr(module, name)

    def call(*args, **kwargs):
        monkeypatch.setattr(module, name, original)
        answer = original(*args, **kwargs)
        assert code_of(elsewhere(act)) == 0
        return answer

    monkeypatch.setattr(module, name, call)


def erase_during(monkeypatch, module, name, person):
    during(monkeypatch, module, name, lambda: leave(person))


@pytest.fixture
def nothing_is_left(sql):
    def check(person):
        words = [person.user_name, person.email]
        words += hashes_of(person.user_id, person.user_name, person.email)
        assert traces(sql, *words) == []
        assert rows_of(sql, person.user_id) == []

    return check


@pytest.mark.parametrize("password", [PASSWORD, "not the password"])
def test_login(api, person, monkeypatch, nothing_is_left, password):
    erase_during(monkeypatch, crypto, "password_matches", person)
    assert_failure(login(api, password=password), 200, 1002)
    nothing_is_left(person)


def test_login_after_the_password_was_right(api, person, monkeypatch, nothing_is_left):
    """The password was right before the account was erased, so the token is refused at once."""
    erase_during(monkeypatch, crypto, "password_needs_rehash", person)
    reply = login(api, headers={"Accept-Language": "zh"})
    assert code_of(api("/project/list", headers=token_of(reply))) == 1001
    nothing_is_left(person)


def token_of(reply):
    return {"Authorization": reply.json["data"]["auth_token"]}


def test_login_that_comes_in_with_the_address(api, person, monkeypatch, nothing_is_left):
    erase_during(monkeypatch, crypto, "password_matches", person)
    assert_failure(login(api, "lory@126.com", "not the password"), 200, 1002)
    nothing_is_left(person)


@pytest.mark.parametrize("password", [PASSWORD, "not the password"])
@pytest.mark.parametrize("path", ["change-password", "change-email", "delete-account"])
def test_request_with_a_password(person, relay, monkeypatch, nothing_is_left, path, password):
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 0
    bodies = {
        "change-password": {"old_password": password, "new_password": OTHER},
        "change-email": {"password": password, "email": NEW, "reg_code": relay.code()},
        "delete-account": {"password": password},
    }
    erase_during(monkeypatch, crypto, "password_matches", person)
    assert_failure(person.post(f"/platform/{path}", bodies[path]), 401, 1001)
    nothing_is_left(person)


@pytest.mark.parametrize("path", ["change-email", "delete-account"])
def test_password_that_is_changed_meanwhile_no_longer_allows_anything(
    api, person, relay, monkeypatch, path
):
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 0
    body = {"password": PASSWORD, "email": NEW, "reg_code": relay.code()}
    change = {"old_password": PASSWORD, "new_password": OTHER}
    during(
        monkeypatch,
        crypto,
        "password_matches",
        lambda: person.post("/platform/change-password", change),
    )
    assert_failure(person.post(f"/platform/{path}", body), 200, 1002)
    assert code_of(login(api, "lory@126.com", OTHER)) == 0


def test_new_password(person, monkeypatch, nothing_is_left):
    erase_during(monkeypatch, crypto, "hash_password", person)
    body = {"old_password": PASSWORD, "new_password": OTHER}
    assert_failure(person.post("/platform/change-password", body), 401, 1001)
    nothing_is_left(person)


def test_reset(api, person, relay, monkeypatch, nothing_is_left):
    assert code_of(api("/reset-code", {"email": person.email})) == 0
    wait_for_background()
    body = {"email": person.email, "reg_code": relay.code(), "password": OTHER}
    erase_during(monkeypatch, crypto, "hash_password", person)
    assert_failure(api("/reset-password", body), 200, 1008)
    nothing_is_left(person)


def test_mail_with_a_code_for_a_new_password(api, person, monkeypatch, nothing_is_left):
    erase_during(monkeypatch, mail, "send", person)
    assert code_of(api("/reset-code", {"email": person.email})) == 0
    wait_for_background()
    nothing_is_left(person)


def test_count_of_a_mail_for_a_new_address(person, monkeypatch, nothing_is_left):
    erase_during(monkeypatch, throttle, "check", person)
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 1001
    nothing_is_left(person)


def test_mail_with_a_code_for_a_new_address(person, monkeypatch, nothing_is_left, sql):
    erase_during(monkeypatch, mail, "send", person)
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 1001
    nothing_is_left(person)
    assert sql("SELECT * FROM mail_codes") == []


@pytest.mark.parametrize("path", ["create", "delete", "rotate", "edit", "usage"])
def test_project(person, monkeypatch, nothing_is_left, path):
    person.create_project()
    bodies = {"create": {"project_type": 1, "project_name": "x"}}
    codes = {"create": 1001}
    erase_during(monkeypatch, routes, "caller", person)
    reply = person.post(f"/project/{path}", bodies.get(path, {"id": 1}))
    assert code_of(reply) == codes.get(path, 1006)
    nothing_is_left(person)


def test_name_and_address_are_free_at_once(sign_up, person, relay):
    assert code_of(leave(person)) == 0
    again = sign_up("lory")
    assert again.email == person.email
    assert is_in(again)
    assert not is_in(person)


# Races in which any order is possible, against four workers


@pytest.fixture
def service(start_service):
    return start_service()


def at_once(*requests):
    """Send requests at the same moment; return their answers in order."""
    start = threading.Barrier(len(requests))

    def send(request):
        start.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return [answer.result() for answer in [pool.submit(send, r) for r in requests]]


def verify(service, project):
    """Ask as nginx does; return the status."""
    header = {"X-API-Key": f"{project['project_key']}.{project['project_secret']}"}
    url = f"http://127.0.0.1:{service.port}/api/v1/project/verify"
    try:
        with urlopen(Request(url, headers=header), timeout=30) as reply:
            return reply.status
    except HTTPError as error:
        return error.code


def test_races_against_everything(service, sql, scale, tally, request):
    rounds, lost = scale(4, 200), []
    for n in range(rounds):
        name = f"lory{n}"
        tokens = [service.sign_up(name), service.log_in(name)]
        project = service.post("/project/create", NEW_PROJECT, tokens[0])[2]
        ((user_id,),) = sql("SELECT id FROM users WHERE user_name = :name", name=name)
        ((id_,),) = sql("SELECT id FROM projects WHERE user_id = :id", id=user_id)

        def post(path, body, token=tokens[0], ip=""):
            return lambda: service.post(path, body, token, ip)[:2]

        body = {"user_name": name, "password": PASSWORD}
        erased, *others = at_once(
            post("/platform/delete-account", {"password": PASSWORD}),
            post("/platform/delete-account", {"password": PASSWORD}, tokens[1]),
            post("/project/create", NEW_PROJECT),
            post("/project/delete", {"id": id_}),
            post("/project/rotate", {"id": id_, "grace_hours": 1}, tokens[1]),
            post("/login", body, ""),
            post("/login", {**body, "password": "not the password"}, "", f"2001:db8:{n:x}::1"),
            post("/platform/email-code", {"email": f"new{n}@example.com"}),
            lambda project=project: (verify(service, project), None),
        )
        allowed = {(200, c) for c in (0, 1002, 1006)} | {(401, 1001), (204, None), (401, None)}
        if erased[1] not in (0, 1001) or {*others} - allowed:
            lost.append((erased, others))
        # A login that begins after the erasure is a guess at a name that nobody has.
        guesses = {key("login-day", name), key("login-network", f"{name} 127.0.0.1")}
        words = {*hashes_of(user_id, name, f"{name}@126.com")} - guesses
        lost += traces(sql, name, *words) + rows_of(sql, user_id)
        lost += [status for status in [verify(service, project)] if status != 401]
        lost += [t for t in tokens if service.post("/project/list", {}, t)[:2] != (401, 1001)]
    tally("rounds of 9 at once", f"erasure, {request.node.callspec.id}", rounds, lost)


def test_races_against_changes(service, relay, sql, scale, tally, request):
    """Whoever changes the password first stops the erasure; nothing is left by halves."""
    rounds, lost = scale(4, 200), []
    for n in range(rounds):
        name = f"lory{n}"
        token = service.sign_up(name)
        ((user_id,),) = sql("SELECT id FROM users WHERE user_name = :name", name=name)
        assert service.post("/platform/email-code", {"email": f"n{n}@a.com"}, token)[1] == 0
        code = relay.codes[f"n{n}@a.com"]
        taken = service.code_for(f"other{n}", f"other{n}@126.com")
        change = {"old_password": PASSWORD, "new_password": OTHER}
        move = {"password": PASSWORD, "email": f"n{n}@a.com", "reg_code": code}
        account = {"user_name": name, "password": PASSWORD, "email": f"other{n}@126.com"}
        answers = at_once(
            lambda: service.post("/platform/delete-account", {"password": PASSWORD}, token)[1],  # noqa: B023
            lambda: service.post("/platform/change-password", change, token)[1],  # noqa: B023
            lambda: service.post("/platform/change-email", move, token)[1],  # noqa: B023
            lambda: service.post("/register", {**account, "reg_code": taken})[1],  # noqa: B023
        )
        erased, changed, moved, registered = answers
        is_there = sql("SELECT id FROM users WHERE id = :id", id=user_id) != []
        if {erased, changed, moved} - {0, 1001, 1002, 1008} or registered not in (0, 1005):
            lost.append(answers)
        if is_there == (erased == 0) or (is_there and registered == 0):
            lost.append((answers, is_there))
        if not is_there:
            lost += rows_of(sql, user_id)
            lost += traces(sql, f"{name}@126.com", f"n{n}@a.com")
    tally("rounds of 4 at once", f"erasure and changes, {request.node.callspec.id}", rounds, lost)
