"""Applications of a test, each on a database of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from flask import Flask
from flask.testing import FlaskClient

from gateway import create_app
from gateway.db import db
from gateway.testing.databases import SECRET_KEY, Databases
from gateway.testing.mailbox import Mailbox, wait_for_background
from gateway.web import background


class Client(FlaskClient):
    """A test client that closes each reply, as servers do: work behind an answer begins then."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("buffered", True)
        return super().open(*args, **kwargs)


@contextmanager
def applications(
    databases: Databases, mailbox: Mailbox, settings: dict[str, Any], folder: Path
) -> Iterator[Callable[..., Flask]]:
    """Return a function that makes applications of one test; clean up after them.

    Its arguments are settings, as in the instance's ``config.py``; it raises ``ConfigError`` when
    one is invalid. With SQLALCHEMY_DATABASE_URI the application uses that database as it is, and
    does not delete it.

    :param settings: of every application; those of the function go before them.
    :param folder: an empty instance folder; it is made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    apps: list[Flask] = []
    urls: list[str] = []

    def make(**more: Any) -> Flask:
        given = {"SECRET_KEY": SECRET_KEY, "MAIL_SUPPRESS_SEND": True, **settings, **more}
        # No config.py of this machine is under test, unless the test names its folder.
        with mock.patch.dict(os.environ, {"GATEWAY_INSTANCE_PATH": str(folder), **os.environ}):
            if "SQLALCHEMY_DATABASE_URI" not in given:
                urls.append(databases.new())
                given["SQLALCHEMY_DATABASE_URI"] = urls[-1]
            apps.append(create_app(given))
        apps[-1].test_client_class = Client
        mailbox.watch(apps[-1])
        return apps[-1]

    yield make
    wait_for_background()
    for app in apps:
        background.stop(app)
        with app.app_context():
            db.engine.dispose()
    for url in urls:
        databases.give_back(url)
