"""Who leaves, and who moves to another address: erased accounts leave nothing, in any race."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.helpers import (
    OK,
    OTHER,
    PASSWORD,
    ask_reset,
    assert_failure,
    at,
    change_password,
    code_of,
    elsewhere,
    forms,
    is_in,
    login,
    on_both,
    reset,
)

from gateway import crypto, mail, throttle
from gateway.auth import admin
from gateway.db import db
from gateway.project import routes
from gateway.testing.mailbox import wait_for_background

WRONG = "not the password"
NEW = "new@example.com"
NEW_PROJECT = {"project_type": 1, "project_name": "x"}


def leave(person, password=PASSWORD, **kwargs):
    return person.post("/platform/delete-account", {"password": password}, **kwargs)


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


@on_both
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


@on_both
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
        person.sign_in()
    login(api, "lory", WRONG)
    login(api, "Lory@126.com", WRONG, **at("10.0.0.9"))
    change_password(person, WRONG)
    assert ask_reset(api) == 0
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


@on_both
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


@pytest.mark.parametrize("restarted", [False, True])
@on_both
def test_what_is_free_again_and_what_is_not(sign_up, make_app, person, restarted):
    """The name and the address are free at once; no id is ever given again."""
    person.create_project()
    assert code_of(leave(person)) == 0
    again = sign_up(
        "lory", client=(make_app() if restarted else person.client.application).test_client()
    )
    assert (again.email, again.user_id) == (person.email, 2)
    assert is_in(again)
    assert not is_in(person)
    again.create_project()
    assert [item["id"] for item in again.projects()] == [2]


@pytest.mark.parametrize("path", ["change-password", "change-email", "delete-account"])
def test_wrong_password_changes_nothing_and_counts(person, sql, path):
    before = sql("SELECT * FROM users")
    body = {"password": WRONG, "old_password": WRONG, "new_password": OTHER}
    body |= {"email": NEW, "reg_code": "1234567890"}
    for _ in range(10):  # 5 of the device, and 5 as a stranger
        reply = person.post(f"/platform/{path}", body)
        assert_failure(reply, 200, 1002)
        words = (
            "The old password is wrong" if "change-password" in path else "The password is wrong"
        )
        assert reply.json["header"]["message"] == words
    body |= {"password": PASSWORD, "old_password": PASSWORD}
    assert_failure(person.post(f"/platform/{path}", body), 429, 429)
    assert is_in(person)
    assert sql("SELECT * FROM users") == before


def test_bad_request_erases_nothing(person):
    assert_failure(person.post("/platform/delete-account"), 400, 1004)
    for password in (None, 1, ""):
        assert_failure(leave(person, password), 400, 1003)
    assert is_in(person)


@on_both
def test_last_admin_stays(sign_up, make_admin, command, sql):
    boss = sign_up("boss")
    sign_up("lory")
    make_admin(boss)
    reply = leave(boss)
    assert_failure(reply, 200, 1000)
    assert reply.json["header"]["message"] == (
        "You are the last admin; let another account become one first"
    )
    assert_failure(leave(boss, WRONG), 200, 1002)
    command("user", "promote", "lory")
    command("user", "ban", "lory")
    assert code_of(leave(boss)) == 1000  # a banned admin cannot act
    command("user", "unban", "lory")
    assert code_of(leave(boss)) == 0
    assert sql("SELECT user_name FROM users") == [("lory",)]


@on_both
def test_two_admins_cannot_both_leave(sign_up, make_admin, sql):
    for n in range(3):
        people = [sign_up(f"boss{n}x{k}") for k in range(2)]
        sql("UPDATE users SET is_admin = :no", no=False)
        for person in people:
            make_admin(person)
        with ThreadPoolExecutor(2) as pool:
            codes = sorted(code_of(reply) for reply in pool.map(leave, people))
        assert codes == [0, 1000]


# Commands


def test_user_delete(command, person, sql, caplog):
    """It asks, unless --yes is given; also of a banned account."""
    person.create_project()
    result = command("user", "delete", "lory@126.com", input="n\n")
    assert result.exit_code == 1
    assert result.output.startswith("Erase lory with 1 project, for good? [y/N]: n\n")
    assert is_in(person)
    result = command("user", "delete", "lory", input="y\n")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "lory is erased")
    assert sql("SELECT * FROM users") == sql("SELECT * FROM projects") == []
    result = command("user", "delete", "lory")
    assert result.output == "Error: There is no such account; see: user list\n"
    command("user", "create", "lory", "lory@126.com", "--password-stdin", input=PASSWORD)
    command("user", "ban", "lory")
    caplog.clear()
    result = command("user", "delete", "lory", "--yes")
    assert (result.exit_code, result.output) == (0, "lory is erased\n")
    lines = ["operator user=2 is erased", "command=user.delete outcome=done"]
    assert caplog.messages == lines


@on_both
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


@on_both
def test_user_export(api, command, sign_up, sql, clock):
    clock.freeze(2024, 3, 7, 12)
    person = sign_up()
    sign_up("libin").create_project()
    project = person.create_project("mine")
    person.verify(project)
    clock.advance(days=1)
    person.sign_in()
    for _ in range(2):
        person.verify(project)
    person.create_project("gone")
    person.post("/project/delete", {"id": 3})
    login(api, "lory", WRONG)
    assert code_of(person.post("/platform/email-code", {"email": NEW})) == 0
    owe(sql)
    sql("UPDATE users SET projects_max = 7 WHERE id = 1")
    sql("UPDATE projects SET month_max = 900, per_minute = 60, rate_moment = 0 WHERE id = 2")
    result = command("user", "export", "LORY@126.com")
    found = json.loads(result.output)
    shown = {"id": 1, "user_name": "lory", "email": "lory@126.com", "language": "en", "role": ""}
    shown |= {"admin": False, "banned": False, "live_projects": 1, "projects_max": 7}
    assert found["account"] == {**shown, "token_generation": 0, "created": "2024-03-07 12:00:00"}
    assert [p["project_name"] for p in found["projects"]] == ["mine", "gone"]
    shown = {"id": 2, "user_id": 1, "project_key": project["project_key"], "deleted": False}
    shown |= {"old_secret_until": None, "pool_name": "", "request_max": 30, "month_max": 900}
    shown |= {"request_total": 3, "request_day": "2024-03-08", "request_count": 2, "blocked": False}
    shown |= {"created": "2024-03-07 12:00:00", "requests": {"2024-03-07": 1, "2024-03-08": 2}}
    assert found["projects"][0].items() >= shown.items()
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


def log_in(*arguments):
    return lambda person: login(person.client.api, *arguments)


def ask_for_a_new_password(person):
    return person.client.api("/reset-code", {"email": person.email})


def ask_for_a_new_address(person):
    return person.post("/platform/email-code", {"email": NEW})


def of_project(path, **body):
    return lambda person: person.post(f"/project/{path}", body)


@pytest.mark.parametrize(
    ("module", "name", "send", "code"),
    [
        (crypto, "password_matches", log_in(), 1002),
        (crypto, "password_matches", log_in("lory", WRONG), 1002),
        (crypto, "password_matches", log_in("lory@126.com", WRONG), 1002),
        (crypto, "hash_password", change_password, 1001),
        (mail, "send", ask_for_a_new_password, 0),
        (mail, "send", ask_for_a_new_address, 1001),
        (throttle, "check", ask_for_a_new_address, 1001),
        (routes, "caller", of_project("create", **NEW_PROJECT), 1001),
        *[(routes, "caller", of_project(path, id=1), 1006) for path in ("delete", "rotate")],
        *[(routes, "caller", of_project(path, id=1), 1006) for path in ("edit", "usage")],
    ],
)
@on_both
def test_request_of_who_is_erased_meanwhile(
    person, monkeypatch, nothing_is_left, sql, module, name, send, code
):
    person.create_project()
    erase_during(monkeypatch, module, name, person)
    assert code_of(send(person)) == code
    wait_for_background()
    nothing_is_left(person)
    assert sql("SELECT * FROM mail_codes") == []


@on_both
def test_login_after_the_password_was_right(api, person, monkeypatch, nothing_is_left):
    """The password was right before the account was erased, so the token is refused at once."""
    erase_during(monkeypatch, crypto, "password_needs_rehash", person)
    person.token = login(api, headers={"Accept-Language": "zh"}).json["data"]["auth_token"]
    assert not is_in(person)
    nothing_is_left(person)


@pytest.mark.parametrize("password", [PASSWORD, WRONG])
@pytest.mark.parametrize("path", ["change-password", "change-email", "delete-account"])
@on_both
def test_request_with_a_password(person, relay, monkeypatch, nothing_is_left, path, password):
    assert code_of(ask_for_a_new_address(person)) == 0
    body = {"email": NEW, "reg_code": relay.code(), "password": password}
    erase_during(monkeypatch, crypto, "password_matches", person)
    body |= {"old_password": password, "new_password": OTHER}
    assert_failure(person.post(f"/platform/{path}", body), 401, 1001)
    nothing_is_left(person)


@pytest.mark.parametrize("path", ["change-email", "delete-account"])
@on_both
def test_password_that_is_changed_meanwhile_no_longer_allows_anything(
    api, person, relay, monkeypatch, path
):
    assert code_of(ask_for_a_new_address(person)) == 0
    body = {"password": PASSWORD, "email": NEW, "reg_code": relay.code()}
    during(monkeypatch, crypto, "password_matches", lambda: change_password(person))
    assert_failure(person.post(f"/platform/{path}", body), 200, 1002)
    assert code_of(login(api, "lory@126.com", OTHER)) == 0


@on_both
def test_reset(api, person, relay, monkeypatch, nothing_is_left):
    assert ask_reset(api) == 0
    erase_during(monkeypatch, crypto, "hash_password", person)
    assert_failure(reset(api, relay.code()), 200, 1008)
    nothing_is_left(person)


# Races in which any order is possible, against four workers


def at_once(*requests):
    """Send requests at the same moment; return their answers in order."""
    start = threading.Barrier(len(requests))

    def send(request):
        start.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def race_against_everything(service, sql, name):
    """Return what is left of an account, or answered wrongly."""
    tokens = [service.sign_up(name), service.log_in(name)]
    project = service.post("/project/create", NEW_PROJECT, tokens[0])[2]
    ((user_id,),) = sql("SELECT id FROM users WHERE user_name = :name", name=name)
    ((id_,),) = sql("SELECT id FROM projects WHERE user_id = :id", id=user_id)

    def post(path, body, token=tokens[0], ip=""):
        return lambda: service.post(path, body, token, ip)[:2]

    passed = f"/project/check/-/1/{project['project_key']}.{project['project_secret']}"
    body = {"user_name": name, "password": PASSWORD}
    erased, *others = at_once(
        post("/platform/delete-account", body),
        post("/platform/delete-account", body, tokens[1]),
        post("/project/create", NEW_PROJECT),
        post("/project/delete", {"id": id_}),
        post("/project/rotate", {"id": id_, "grace_hours": 1}, tokens[1]),
        post("/login", body, ""),
        post("/login", {**body, "password": WRONG}, "", "2001:db8::1"),
        post("/platform/email-code", {"email": f"new-{name}@example.com"}),
        post(passed, {}, ""),
    )
    allowed = {(200, c) for c in (0, 1002, 1006)} | {(401, 1001)}
    lost = [] if erased[1] in (0, 1001) and {*others} <= allowed else [(erased, others)]
    # A login that begins after the erasure is a guess at a name that nobody has.
    guesses = {key("login-day", name), key("login-network", f"{name} 127.0.0.1")}
    words = {*hashes_of(user_id, name, f"{name}@126.com")} - guesses
    lost += traces(sql, name, *words) + rows_of(sql, user_id)
    later = [("/project/list", {}, token) for token in tokens] + [(passed, {})]
    return lost + [each for each in later if service.post(*each)[:2] != (401, 1001)]


def race_against_changes(service, sql, name):
    """Whoever changes the password first stops the erasure; nothing is left by halves."""
    token = service.sign_up(name)
    ((user_id,),) = sql("SELECT id FROM users WHERE user_name = :name", name=name)
    new = {"password": PASSWORD, "email": f"new-{name}@a.com"}
    assert service.post("/platform/email-code", new, token)[1] == 0
    move = {**new, "reg_code": service.relay.codes[new["email"]]}
    other = {"user_name": name, "password": PASSWORD, "email": f"other-{name}@a.com"}
    taken = service.code_for(f"other-{name}", other["email"])
    change = {"old_password": PASSWORD, "new_password": OTHER}
    erased, changed, moved, registered = answers = at_once(
        lambda: service.post("/platform/delete-account", new, token)[1],
        lambda: service.post("/platform/change-password", change, token)[1],
        lambda: service.post("/platform/change-email", move, token)[1],
        lambda: service.post("/register", {**other, "reg_code": taken})[1],
    )
    is_there = sql("SELECT id FROM users WHERE id = :id", id=user_id) != []
    is_right = {erased, changed, moved} <= {0, 1001, 1002, 1008} and registered in (0, 1005)
    is_right &= is_there != (erased == 0) and not (is_there and registered == 0)
    left = [] if is_there else traces(sql, f"{name}@126.com", new["email"]) + rows_of(sql, user_id)
    return left if is_right else [answers, *left]


@on_both
def test_races(start_service, sql, scale, tally, request):
    service, rounds = start_service(workers=4), scale(4, 200)
    for race in (race_against_everything, race_against_changes):
        lost = [each for n in range(rounds) for each in race(service, sql, f"{race.__name__}{n}")]
        tally("rounds at once", f"{race.__name__}, {request.node.callspec.id}", rounds, lost)
