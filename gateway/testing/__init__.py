"""A plugin of pytest for those whose tests need a gateway: real, in the process, without servers.

pytest loads this module in every run, so it loads no other part of the service; the first fixture
does. What the fixtures are made of:

apps.py         applications, each on a database of its own
databases.py    copies of a migrated template, on SQLite or Postgres
mailbox.py      the mails of a test and their codes
people.py       accounts and projects, made through HTTP
moving_clock.py the clock that a test moves
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

    from gateway.testing.databases import Databases
    from gateway.testing.mailbox import Mailbox
    from gateway.testing.moving_clock import MovingClock
    from gateway.testing.people import Account


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses the database."""
    parser.getgroup("gateway").addoption(
        "--gateway-database",
        metavar="URL",
        help="make the databases of gateway_app on this Postgres server, whose user may create"
        " databases; without it they are files of SQLite",
    )


@pytest.fixture(scope="session")
def gateway_databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Where gateway_app makes its databases, each a copy of a template migrated once a session.

    By default they are files of SQLite; with --gateway-database URL, databases on that server.
    """
    from gateway.errors import ConfigError
    from gateway.testing.databases import PostgresDatabases, SqliteDatabases

    url, folder = request.config.getoption("gateway_database"), tmp_path_factory.mktemp("gateway")
    try:
        databases = PostgresDatabases(url) if url else SqliteDatabases(folder)
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)
    yield databases
    databases.close()


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    """Return settings of every application of a test; override it to set some for many tests.

    Those given to gateway_app go before them.
    """
    return {}


@pytest.fixture
def gateway_cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with the cheapest parameters, because a real hash takes 20 ms and 19 MiB."""
    from argon2 import PasswordHasher

    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("gateway.crypto.hasher", cheap)


@pytest.fixture
def gateway_codes() -> Mailbox:
    """The codes that the applications of this test have mailed: gateway_codes["lory@example.com"].

    This is the newest code of the address, for registration, a new password or anything else; a
    LookupError says who got mails instead. It first waits for mails that are sent behind an answer.
    gateway_codes.mails are all mails. No relay is needed: MAIL_SUPPRESS_SEND is set.
    """
    from gateway.testing.mailbox import Mailbox

    return Mailbox()


@pytest.fixture
def gateway_app(
    *,
    gateway_databases: Databases,
    gateway_codes: Mailbox,
    gateway_settings: dict[str, Any],
    gateway_cheap_passwords: None,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Flask]]:
    """Return a function that builds the service: gateway_app(REQUEST_MAX=5).

    Arguments are settings. Each call returns a migrated Flask application on an empty database
    that nobody else uses until the end of the test. GATEWAY_ variables and config.py of this
    machine have no effect. Nothing listens on a port: send requests with app.test_client().

    Its scope is the test, because counts, locks and the clock of one test must not reach the next.
    An application costs about 10 ms. Fixtures of a wider scope cannot use it.
    """
    from gateway import log
    from gateway.testing.apps import applications

    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    # pytest shows the log by itself; the service's own handler would show it a second time.
    monkeypatch.setattr(log.logger, "handlers", [logging.NullHandler()])
    folder = tmp_path_factory.getbasetemp() / "gateway-instance"
    with applications(gateway_databases, gateway_codes, gateway_settings, folder) as make:
        yield make


@pytest.fixture
def gateway_client(gateway_app: Callable[..., Flask]) -> FlaskClient:
    """A test client of one application, which gateway_account and gateway_sign_up use, too."""
    return gateway_app().test_client()


@pytest.fixture
def gateway_sign_up(gateway_client: FlaskClient, gateway_codes: Mailbox) -> Callable[..., Account]:
    """Return a function that registers somebody and signs in: gateway_sign_up("mary").

    More arguments: email, password; client, for another application than that of gateway_client.
    The result is as in gateway_account.
    """
    from gateway.testing.people import PASSWORD, Account

    def sign_up(
        user_name: str,
        email: str = "",
        password: str = PASSWORD,
        client: FlaskClient = gateway_client,
    ) -> Account:
        email = email or f"{user_name}@example.com"
        return Account.register(client, gateway_codes, user_name, email, password)

    return sign_up


@pytest.fixture
def gateway_account(gateway_sign_up: Callable[..., Account]) -> Account:
    """The account "lory", registered and signed in at the application of gateway_client.

    It has headers (with the token), user_name, email, password, user_id; sign_in() for a new
    token; ask("project/list", {}) for the data of an answer; project() for a new project, which has
    id, project_key, project_secret, credential, headers, auth and verify(). gateway_sign_up makes
    more accounts.
    """
    return gateway_sign_up("lory")


@pytest.fixture
def gateway_clock(monkeypatch: pytest.MonkeyPatch) -> MovingClock:
    """The clock of every gateway in this process: gateway_clock.advance(hours=1).

    now() is the moment that the service takes for the present one. It begins with the system's time
    and runs on with it. freeze(2026, 1, 31, 23, 59) stops it at a moment in UTC. The clock of your
    own code stays as it is.
    """
    from gateway.testing.moving_clock import MovingClock

    clock = MovingClock()
    monkeypatch.setattr("gateway.clock.now", clock.now)
    return clock
