"""The plugin of pytest for those who embed the service."""

import re
import subprocess
import sys
import textwrap
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import create_engine, text
from support.helpers import code_of
from support.packages import environment
from support.servers import ROOT

import gateway.testing
from gateway.db import db
from gateway.testing.databases import PostgresDatabases

FIXTURES = sorted(
    name for name, value in vars(gateway.testing).items() if name.startswith("gateway_")
)


@pytest.fixture(params=["sqlite", "postgres"])
def database_kind(request):
    return request.param


@pytest.fixture
def gateway_databases(request, database_kind):
    """In this file gateway_app makes its databases on SQLite and on Postgres."""
    return request.getfixturevalue(f"{database_kind}_databases")


on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def pytest_run(tmp_path):
    """Return a function that runs pytest in a process of its own; it returns output and status."""

    def run(*files, arguments=(), python=sys.executable):
        for number, content in enumerate(files):
            (tmp_path / f"test_{number}.py").write_text(textwrap.dedent(content))
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        result.counts = result.stdout.splitlines()[-1].strip("= ").partition(" in ")[0]
        return result

    return run


# Applications


def test_an_application_is_ready(gateway_app):
    app = gateway_app()
    assert app.test_client().get("/readyz").status_code == 200
    assert app.config["REQUEST_MAX"] == 30


def test_two_applications_are_separate(gateway_app, gateway_sign_up):
    small, large = gateway_app(REQUEST_MAX=1), gateway_app(REQUEST_MAX=2)
    projects = [
        gateway_sign_up("lory", client=app.test_client()).project() for app in (small, large)
    ]
    assert [project.id for project in projects] == [1, 1]
    passed = [[project.verify().status_code for _ in range(3)] for project in projects]
    assert passed == [[204, 403, 403], [204, 204, 403]]
    assert (
        large.test_client().get("/api/v1/project/verify", auth=projects[0].auth).status_code == 401
    )


def test_a_template_is_migrated_once(gateway_app, monkeypatch):
    gateway_app()
    monkeypatch.delattr("gateway.testing.databases.migrated")
    ready = [gateway_app().test_client().get("/readyz").status_code for _ in range(3)]
    assert ready == [200, 200, 200]


@on_sqlite
def test_this_machine_has_no_effect(database_kind, tmp_path, monkeypatch, request):
    (tmp_path / "config.py").write_text("REQUEST_MAX = 5\n")
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path))
    monkeypatch.setenv("GATEWAY_REG_CODE_DIGITS", "7")
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(tmp_path))
    config = request.getfixturevalue("gateway_app")().config
    assert (config["REQUEST_MAX"], config["REG_CODE_DIGITS"]) == (30, 6)


class TestSettingsOfManyTests:
    @pytest.fixture
    def gateway_settings(self):
        return {"REQUEST_MAX": 3, "REG_CODE_DIGITS": 8}

    def test_are_those_of_each_application(self, gateway_app, gateway_client):
        assert gateway_client.application.config["REQUEST_MAX"] == 3
        config = gateway_app(REQUEST_MAX=4).config
        assert (config["REQUEST_MAX"], config["REG_CODE_DIGITS"]) == (4, 8)


def test_a_given_database_is_used_as_it_is(gateway_app, gateway_sign_up):
    first = gateway_app()
    url = first.config["SQLALCHEMY_DATABASE_URI"]
    lory = gateway_sign_up("lory", client=first.test_client())
    second = gateway_app(SQLALCHEMY_DATABASE_URI=url).test_client()
    assert code_of(second.post("/api/v1/project/list", headers=lory.headers)) == 0


# People and codes


def test_an_account_is_signed_in_at_the_application_of_the_client(gateway_account, gateway_client):
    account = gateway_account
    assert (account.user_name, account.email) == ("lory", "lory@example.com")
    assert account.user_id == 1
    reply = gateway_client.post("/api/v1/project/list", headers=account.headers)
    assert reply.json["header"] == {"code": 0, "message": "OK", "total": 0, "count": 0}
    login = {"user_name": account.user_name, "password": account.password}
    assert code_of(gateway_client.post("/api/v1/login", json=login)) == 0


def test_a_project_can_be_used_at_once(gateway_account, gateway_client):
    projects = [gateway_account.project(f"number {n}") for n in range(3)]
    assert [project.id for project in projects] == [1, 2, 3]
    listed = gateway_account.ask("project/list", {})["list"]
    assert [project.project_key for project in projects] == [p["project_key"] for p in listed]
    (_, project, _) = projects
    key, secret = project.auth
    assert (key, secret) == (project.project_key, project.project_secret)
    assert project.credential == f"{key}.{secret}"
    reply = project.verify()
    assert (reply.status_code, reply.headers["X-Gateway-Project"]) == (204, "2")
    for how in ({"headers": project.headers}, {"auth": project.auth}):
        assert gateway_client.get("/api/v1/project/verify", **how).status_code == 204


def test_a_project_beyond_the_first_page_is_found(gateway_account):
    assert [gateway_account.project().id for _ in range(101)][-1] == 101


def test_a_second_account_is_somebody_else(gateway_account, gateway_sign_up):
    mary = gateway_sign_up("mary", email="m@example.org", password="eight green bottles")
    assert (mary.email, mary.password) == ("m@example.org", "eight green bottles")
    assert mary.user_id == gateway_account.user_id + 1
    with pytest.raises(AssertionError, match="project/list: code 1000: "):
        mary.ask("project/list", {"user_id": gateway_account.user_id})


def test_passwords_are_hashed_cheaply(gateway_account):
    with gateway_account.client.application.app_context():
        stored = db.session.scalar(text("SELECT password_hash FROM users"))
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")


def test_representations_hold_no_secrets(gateway_account):
    project = gateway_account.project()
    said = f"{gateway_account} {project}"
    for secret in (gateway_account.token, gateway_account.password, project.project_secret):
        assert secret not in said


def test_the_newest_code_is_that_of_the_last_mail(gateway_account, gateway_client, gateway_codes):
    """The mail for a new password is sent behind the answer, so the code is waited for."""
    email = gateway_account.email
    first = gateway_codes[email]
    assert re.fullmatch(r"\d{6}", first)
    assert code_of(gateway_client.post("/api/v1/reset-code", json={"email": email})) == 0
    assert re.fullmatch(r"\d{8}", gateway_codes[email.upper()])
    body = {"email": email, "reg_code": gateway_codes[email], "password": "eight green bottles"}
    assert code_of(gateway_client.post("/api/v1/reset-password", json=body)) == 0
    gateway_account.password = "eight green bottles"
    gateway_account.sign_in()
    assert gateway_account.ask("project/list", {})["list"] == []
    subjects = [mail.subject for mail in gateway_codes.mails]
    assert subjects == [
        f"gateway: your registration code is {first}",
        f"gateway: your code for a new password is {body['reg_code']}",
    ]


def test_work_behind_an_answer_begins_at_once(gateway_account, gateway_client, gateway_codes):
    gateway_client.post("/api/v1/reset-code", json={"email": gateway_account.email})
    assert len(gateway_codes[gateway_account.email]) == 8


def test_the_service_may_have_a_number_in_its_name(gateway_app, gateway_sign_up, gateway_codes):
    app = gateway_app(SERVICE_NAME="Studio 20260131")
    gateway_sign_up("lory", client=app.test_client())
    assert len(gateway_codes["lory@example.com"]) == 6


def test_an_address_without_a_code_is_named(gateway_account, gateway_codes):
    with pytest.raises(LookupError) as error:
        gateway_codes["nobody@example.com"]
    assert str(error.value) == (
        "no code was mailed to nobody@example.com; mails went to: lory@example.com"
    )


# The clock


def test_the_clock_runs_on_until_it_is_stopped(gateway_clock):
    before = datetime.now(timezone.utc)
    shown = gateway_clock.now()
    assert before <= shown <= datetime.now(timezone.utc)
    gateway_clock.advance(hours=1)
    assert gateway_clock.now() >= shown + timedelta(hours=1)
    gateway_clock.freeze(2026, 1, 31, 23, 59)
    gateway_clock.advance(seconds=90)
    expected = datetime(2026, 2, 1, 0, 0, 30, tzinfo=timezone.utc)
    assert (gateway_clock.now(), gateway.clock.now()) == (expected, expected)


def test_the_clock_moves_the_day_of_a_quota(gateway_app, gateway_sign_up, gateway_clock):
    gateway_clock.freeze(2026, 1, 31, 23, 59)
    client = gateway_app(REQUEST_MAX=2).test_client()
    project = gateway_sign_up("lory", client=client).project()
    assert [project.verify().status_code for _ in range(3)] == [204, 204, 403]
    gateway_clock.advance(minutes=2)
    assert project.verify().status_code == 204


def test_the_clock_moves_the_end_of_tokens_and_codes(
    gateway_account, gateway_client, gateway_clock, gateway_codes
):
    email = gateway_account.email
    gateway_client.post("/api/v1/reset-code", json={"email": email})
    body = {"email": email, "reg_code": gateway_codes[email], "password": "eight green bottles"}
    gateway_clock.advance(hours=11, minutes=59)
    assert gateway_account.ask("project/list", {})["list"] == []
    assert code_of(gateway_client.post("/api/v1/reset-password", json=body)) == 1008
    gateway_clock.advance(minutes=2)
    with pytest.raises(AssertionError, match="project/list: code 1001: "):
        gateway_account.ask("project/list", {})
    gateway_account.sign_in()
    assert gateway_account.ask("project/list", {})["list"] == []


FROZEN = """
    from freezegun import freeze_time

    def test_frozen(gateway_account):
        with freeze_time("2031-05-05"):
            gateway_account.sign_in()
            assert gateway_account.ask("project/list", {})["list"] == []
        assert gateway_account.client.get("/readyz").status_code == 200
"""
MOVED = """
    import pytest
    from freezegun import freeze_time

    @pytest.mark.parametrize("frozen", [False, True])
    def test_moved(gateway_account, gateway_clock, frozen):
        if frozen:  # freezegun then puts back what it found in the modules of the first test
            with freeze_time("2031-05-05"):
                pass
        gateway_clock.advance(hours=13)
        with pytest.raises(AssertionError, match="project/list: code 1001: "):
            gateway_account.ask("project/list", {})
"""


def test_freezegun_and_the_order_of_tests_change_nothing(pytest_run):
    assert pytest_run(FROZEN, MOVED, FROZEN, MOVED).counts == "6 passed"


# What a test leaves behind


LEAVES = """
    import threading
    import pytest
    from gateway.testing.mailbox import wait_for_background

    @pytest.fixture(autouse=True)
    def nothing_is_left(gateway_databases, tmp_path_factory):
        yield
        names = [thread.name for thread in threading.enumerate()]
        assert not {"outbox", "mail"} & set(names)
        folder = tmp_path_factory.getbasetemp()
        assert {path.name for path in folder.rglob("*.db*")} <= {"template.db"}

    def test_much(gateway_app, gateway_account, gateway_client):
        gateway_app()
        gateway_account.project().verify()
        gateway_client.post("/api/v1/reset-code", json={"email": gateway_account.email})

    def test_a_relay_that_fails(gateway_app):
        # A thread goes on trying.
        relay = {"MAIL_SUPPRESS_SEND": False, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": 1}
        client = gateway_app(**relay).test_client()
        client.post("/api/v1/reset-code", json={"email": "lory@example.com"})
        wait_for_background()
        assert "outbox" in [thread.name for thread in threading.enumerate()]
"""


def test_nothing_is_left_on_sqlite(pytest_run):
    assert pytest_run(LEAVES).counts == "2 passed"


def test_the_log_is_left_to_pytest(pytest_run):
    """Otherwise a test that fails would show each line twice."""
    result = pytest_run("def test_one(gateway_account): pass", arguments=["-s"])
    assert (result.counts, result.stderr) == ("1 passed", "")
    result = pytest_run("def test_one(gateway_account): assert 0")
    assert result.stdout.count("auth.login user=1 ip=127.0.0.1 code=0 status=200") == 1


# The plugin


UNUSED = """
    import sys

    def test_nothing_of_the_service_is_loaded():
        ours = {name for name in sys.modules if name.partition(".")[0] == "gateway"}
        assert ours == {"gateway", "gateway.testing"}
        heavy = {"flask", "sqlalchemy", "jwt", "cryptography", "argon2", "marshmallow", "alembic"}
        assert not heavy & set(sys.modules)
"""


def test_unused_it_costs_nothing(pytest_run):
    assert pytest_run(UNUSED).counts == "1 passed"


def test_every_fixture_is_described(pytest_run):
    shown = pytest_run("", arguments=["--fixtures"]).stdout
    assert len(FIXTURES) == 9
    for name in FIXTURES:
        (found,) = re.findall(rf"^{name}\b.* -- .+\n    (.+)", shown, re.MULTILINE)
        assert "no docstring" not in found


MANY = """
    import os, pytest

    @pytest.mark.parametrize("number", range(6))
    def test_some(gateway_account, number):
        name = os.environ["PYTEST_XDIST_WORKER"]
        url = gateway_account.client.application.config["SQLALCHEMY_DATABASE_URI"]
        assert gateway_account.user_id == 1
        assert url.startswith("postgresql") or f"/popen-{name}/" in url
"""


def test_workers_of_xdist_have_databases_of_their_own(pytest_run):
    assert pytest_run(MANY, arguments=["-n", "2"]).counts == "6 passed"


# Postgres


def databases_of(server):
    engine = create_engine(server.get_uri().replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        names = connection.scalars(text("SELECT datname FROM pg_database")).all()
    engine.dispose()
    return set(names)


def test_the_option_chooses_postgres(pytest_run, postgres_server):
    """Every worker makes a template of its own, and the databases are dropped."""
    before = databases_of(postgres_server)
    on_postgres = """
    def test_kind(gateway_app):
        assert gateway_app().config["SQLALCHEMY_DATABASE_URI"].startswith("postgresql+psycopg://")
    """
    option = f"--gateway-database={postgres_server.get_uri()}"
    result = pytest_run(MANY, on_postgres, LEAVES, arguments=["-n", "2", option])
    assert result.counts == "9 passed", result.stdout
    assert databases_of(postgres_server) == before


def test_a_database_is_dropped_although_somebody_uses_it(postgres_server):
    before = databases_of(postgres_server)
    databases = PostgresDatabases(postgres_server.get_uri())
    given_back, kept = databases.new(), databases.new()
    engines = [create_engine(given_back), create_engine(kept)]
    with engines[0].connect(), engines[1].connect():
        databases.give_back(given_back)
        assert engines[0].url.database not in databases_of(postgres_server)
        databases.close()
    for engine in engines:
        engine.dispose()
    assert databases_of(postgres_server) == before


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "sqlite:////tmp/x.db",
            "--gateway-database must name a Postgres server; SQLite needs none",
        ),
        ("postgresql://u:geheim@127.0.0.1:1/x", "--gateway-database cannot be used: .*refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_named(pytest_run, url, words):
    test = "def test_one(gateway_app): gateway_app()"
    result = pytest_run(test, arguments=[f"--gateway-database={url}"])
    assert result.counts == "1 error"
    assert re.search(rf"^{words}", result.stdout, re.MULTILINE)
    assert ("geheim" in result.stdout, "Traceback" in result.stdout) == (False, False)


# The example of the README


def test_the_example_of_the_readme_in_a_fresh_environment(packages, tmp_path, pytest_run):
    """Only the package, what it asks for, and plugins that teams use are installed.

    One test, because making the environment takes longer than the rest.
    """
    readme = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"^```python\n(.+?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert len(example.splitlines()) == 10
    wheel = f"{packages[1]}[test]"
    python = environment(tmp_path / "venv", wheel, "pytest-cov", "pytest-xdist")

    def run(content, *arguments):
        result = pytest_run(content, python=python, arguments=["-W", "error", *arguments])
        assert result.counts == "1 passed", result.stdout
        return result.stdout

    run(UNUSED)
    run(example)
    # pytest loads the package before the measurement begins.
    shown = run(example, "-n", "2", "--cov=test_0", "--cov=gateway")
    percent = {
        name: int(covered)
        for name, covered in re.findall(r"(\w+/\w+\.py) +\d+ +\d+ +(\d+)%", shown)
    }
    assert percent["auth/routes.py"] > 50
    assert percent["testing/people.py"] > 50
