"""Fixtures: two real databases, an SMTP server, the test client.

Applications, databases, accounts, the clock and cheap passwords are those of ``gateway.testing``.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from email import message_from_bytes, policy

import pytest
from sqlalchemy import create_engine, text
from support import interrupts, openapi_check
from support.faulty_smtp import FaultyRelay
from support.helpers import PASSWORD, SECRET_KEY, TIMEOUT, basic
from support.leak_check import leak_check
from support.packages import build
from support.postgres_cluster import cluster  # noqa: F401 - a fixture
from support.servers import ParallelClients, postgres
from support.services import services
from support.sql_log import sql_log
from werkzeug.routing import Rule

from gateway import log
from gateway.db import db
from gateway.ops.cli import main
from gateway.settings import database_url
from gateway.testing import apps as testkit
from gateway.testing.databases import PostgresDatabases, SqliteDatabases
from gateway.testing.mailbox import code_in
from gateway.testing.people import Account

pytest_plugins = ["support.nginx_front"]
TALLY = pytest.StashKey[dict]()
LEAKS = pytest.StashKey[list]()

for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
    del os.environ[name]  # a developer's own settings are not under test
# Without these files every server and every process of pytest-xdist compiles all modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

builders, compile_builder = {}, Rule._compile_builder


def compile_once(rule, append_unknown=True):
    """Compile what builds a rule's URLs once; this is most of what an application costs."""
    key = (*rule._trace, append_unknown)
    if key not in builders:
        builders[key] = compile_builder(rule, append_unknown)
    return builders[key]


Rule._compile_builder = compile_once


class Relay(FaultyRelay):
    """A relay that keeps the mails it accepts, and refuses mails if a test asks for it."""

    def __init__(self):
        self.codes = {}  # the newest of each address
        super().__init__()
        self.reset()

    def reset(self):
        self.mails.clear()
        self.codes.clear()
        self.taken = 0  # mails that it has read, accepted or not
        self.refuse_recipient = self.refuse_data = None  # what it says then
        self.refuse_late = None  # what it says once, after the pause
        self.pause = 0  # seconds before it accepts a mail
        self.holds = False  # it accepts no mail until this is False again

    def answer(self, session):
        refusal = None
        if session.step == "RCPT":
            refusal = self.refuse_recipient
        elif session.step == "dot" and not (refusal := self.refuse_data):
            with self.changed:
                self.taken += 1
                self.changed.notify_all()
            session.wait(self.pause)
            while self.holds:
                session.wait(0.01)
            refusal, self.refuse_late = self.refuse_late, None
        return refusal and f"{refusal}\r\n".encode()

    def keep(self, session):
        mail = message_from_bytes(session.mail, policy=policy.default)
        if code := code_in(mail["Subject"]):
            self.codes[session.address] = code
            leak_check.add_secret(code)
        with self.changed:
            self.mails.append(mail)
            self.changed.notify_all()

    def wait_for_mails(self, number):
        """Wait until so many mails were accepted; return False after a minute."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.mails) >= number, timeout=TIMEOUT)

    def wait_until_taken(self, number):
        """Wait until it has read so many mails; return False after a minute."""
        with self.changed:
            return self.changed.wait_for(lambda: self.taken >= number, timeout=TIMEOUT)

    def code(self):
        """Return the code in the newest mail."""
        return self.codes[self.mails[-1]["To"].addresses[0].addr_spec]


class Client(testkit.Client):
    """A test client that adds what it sends and receives to the leak check.

    It compares each reply with the API's description.
    """

    def open(self, *args, **kwargs):
        leak_check.add_secrets_in(kwargs.get("json"))
        reply = super().open(*args, **kwargs)
        leak_check.add_secrets_in(reply.get_json(silent=True))
        openapi_check.check_reply(self.application, kwargs.get("method", "GET"), reply)
        return reply

    def api(self, path, body=None, **kwargs):
        """Post to an endpoint."""
        return self.post(f"/api/v1{path}", json=body or {}, **kwargs)


class Person(Account):
    """A user with an account and a token."""

    def post(self, path, body=None, **kwargs):
        return self.client.api(path, body, headers=self.headers, **kwargs)

    def create_project(self, project_name="我的ChatGPT项目", project_type=1):
        body = {"project_type": project_type, "project_name": project_name}
        return self.post("/project/create", body).json["data"]

    def verify(self, project, secret=None, **query):
        """Ask, as nginx does, whether a request of a project may pass."""
        header = basic(project["project_key"], secret or project["project_secret"])
        return self.client.get(
            "/api/v1/project/verify", headers={"Authorization": header}, query_string=query
        )

    def projects(self, **body):
        return self.post("/project/list", body).json["data"]["list"]

    def operate(self, *words):
        """Run an operator's command on this person's application; return what it prints."""
        runner = self.client.application.test_cli_runner()
        result = runner.invoke(main, args=[str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.output


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="the large counts, and a table of them")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.stash[TALLY] = {}
    config.stash[LEAKS] = []
    interrupts.install()
    if config.getoption("soak") and not config.option.basetemp:
        config.option.basetemp = tempfile.mkdtemp(prefix="gateway-soak-")
        interrupts.add_folder(config.option.basetemp)


def pytest_keyboard_interrupt():
    interrupts.ignore()  # from here on pytest only runs the finalizers of fixtures


def pytest_collection_modifyitems(items):
    """Mark everything below soak/."""
    for item in items:
        if "soak" in item.path.parts:
            item.add_marker(pytest.mark.soak)


def pytest_sessionstart():
    logging.getLogger().addHandler(leak_check)


def pytest_sessionfinish(session):
    """Look for secrets in the log; a worker of pytest-xdist reports to the main process."""
    config = session.config
    config.stash[LEAKS] += leak_check.leaks()
    if hasattr(config, "workeroutput"):
        config.workeroutput["leaks"] = config.stash[LEAKS]
        config.workeroutput["tally"] = [[*k, *v] for k, v in config.stash[TALLY].items()]
    elif config.stash[LEAKS]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take over the results of a worker of pytest-xdist."""
    output = getattr(node, "workeroutput", {})  # a worker that crashed fails the run anyway
    node.config.stash[LEAKS] += output.get("leaks", [])
    for part, what, tried, lost in output.get("tally", []):
        add_to_tally(node.config, part, what, tried, lost)


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("soak"):
        terminalreporter.section("what was tried, how often, what was lost")
        for (part, what), (tried, lost) in config.stash[TALLY].items():
            terminalreporter.line(f"| {part} | {what} | {tried:,} | {lost} |")
    for line in config.stash[LEAKS]:
        terminalreporter.line(f"A LOG HOLDS A SECRET: {line}", red=True)


def add_to_tally(config, part, what, tried, lost):
    before = config.stash[TALLY].get((part, what), (0, 0))
    config.stash[TALLY][part, what] = (before[0] + tried, before[1] + lost)


@pytest.fixture(autouse=True)
def gateway_cheap_passwords(request):
    """Hash passwords with the cheapest parameters, because hashing would take most of the time.

    Tests of hashing itself have the mark ``real_argon2``; servers in processes of their own hash
    with the real parameters, too.
    """
    if "real_argon2" not in request.keywords:
        request.getfixturevalue("gateway_cheap_passwords")


@pytest.fixture(scope="session")
def scale(pytestconfig):
    """Return a function that picks a count: its first for ``make test``, else its second."""
    return lambda test, soak: soak if pytestconfig.getoption("soak") else test


@pytest.fixture(scope="session")
def tally(pytestconfig):
    """Return a function that adds to a row of the soak's table, and fails if something was lost."""

    def add(part, what, tried, lost=()):
        add_to_tally(pytestconfig, part, what, tried, len(lost))
        assert not lost, lost[:10]

    return add


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """The paths of the sdist and of the wheel."""
    return build(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def relay_server():
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def relay(relay_server):
    """The relay that gets the application's mails, empty at the start of each test."""
    relay_server.reset()
    return relay_server


@pytest.fixture
def clock(gateway_clock):
    return gateway_clock


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory):
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_server():
    with postgres() as server:
        engine = create_engine(database_url.check(server.get_uri()), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # tests kill servers, but cut no power
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield server
        for line in server.log.read_text(errors="replace").splitlines():
            leak_check.add_log(line)


@pytest.fixture(scope="session")
def postgres_databases(postgres_server):
    databases = PostgresDatabases(postgres_server.get_uri())
    yield databases
    databases.close()


@pytest.fixture
def postgres_uri(postgres_databases):
    url = postgres_databases.new()
    yield url.replace("postgresql+psycopg://", "postgresql://")
    postgres_databases.give_back(url)


@pytest.fixture
def sqlite_uri(sqlite_databases, tmp_path):
    return f"sqlite:///{shutil.copy(sqlite_databases.template, tmp_path / 'gateway.db')}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_uri(request):
    """An empty database with tables; each test that uses it runs on SQLite and on Postgres."""
    return request.getfixturevalue(f"{request.param}_uri")


@pytest.fixture
def make_app(gateway_app, database_uri, relay, monkeypatch):
    """Return a function that builds the application with the settings of a test."""
    monkeypatch.setattr(log.logger, "handlers", [])  # the service adds its own

    def make(**settings):
        ours = {
            "SQLALCHEMY_DATABASE_URI": database_uri,
            "SECRET_KEY": SECRET_KEY,
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": relay.port,
            "MAIL_SUPPRESS_SEND": False,
            "REG_CODE_DIGITS": 10,  # four digits could stand in a log by chance
        }
        app = gateway_app(**{**ours, **settings})
        app.test_client_class = Client
        return app

    return make


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def api(client):
    """Return a function that posts to an endpoint without a token."""
    return client.api


@pytest.fixture
def get_code(relay):
    """Return a function that requests a code and reads it from the mail."""

    def get(client, user_name, email):
        client.post("/api/v1/auth-code", json={"user_name": user_name, "email": email})
        return relay.code()

    return get


@pytest.fixture
def sign_up(client, relay):
    """Return a function that registers a user and logs in, through HTTP."""

    def sign_up(user_name="lory", email=None, client=client):
        email = email or f"{user_name}@126.com"
        return Person.register(client, relay.codes, user_name, email, PASSWORD)

    return sign_up


@pytest.fixture
def person(sign_up):
    return sign_up()


@pytest.fixture
def make_admin(command):
    """Return a function that makes a person an admin with the operator's command."""
    return lambda person: command("user", "promote", person.user_name)


@pytest.fixture
def command(app):
    """Return a function that runs an operator command; its result has output and exit_code."""
    return lambda *arguments, **kwargs: app.test_cli_runner().invoke(
        main, args=[str(argument) for argument in arguments], **kwargs
    )


@pytest.fixture
def sql(app):
    """Return a function that runs one SQL statement directly on the database."""

    def run(statement, **values):
        with app.app_context(), db.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else None

    return run


@pytest.fixture
def statements(app):
    """Return a function that returns the SQL statements sent since its last call."""
    with app.app_context():
        engine = db.engine
    with sql_log(engine) as read_log:
        yield read_log


@pytest.fixture
def start_service(database_uri, relay, tmp_path):
    """Return a function that starts gunicorn with the settings of a test."""
    with services(database_uri, relay, tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
def parallel_clients():
    parallel_clients = ParallelClients(8)
    yield parallel_clients
    parallel_clients.close()
