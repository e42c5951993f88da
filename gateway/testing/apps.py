"""Applications of a test, each on a database of its own."""

from __future__ import annotations

import os
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
        """Send a request; return the reply."""
        kwargs.setdefault("buffered", True)
        return super().open(*args, **kwargs)


class Apps:
    """Makes the applications of one test, and cleans up after them.

    :param settings: of every application; those of ``make`` go before them.
    :param folder: an empty instance folder.
    """

    def __init__(
        self, databases: Databases, mailbox: Mailbox, settings: dict[str, Any], folder: Path
    ) -> None:
        self._databases = databases
        self._mailbox = mailbox
        self._settings = settings
        self._folder = folder
        self._apps: list[Flask] = []
        self._urls: list[str] = []

    def make(self, **settings: Any) -> Flask:
        """Build a migrated application.

        :param settings: as in the instance's ``config.py``. With SQLALCHEMY_DATABASE_URI it uses
            that database as it is, and does not delete it.
        :raises ConfigError: when a setting is invalid.
        """
        given = {
            "SECRET_KEY": SECRET_KEY,
            "MAIL_SUPPRESS_SEND": True,
            **self._settings,
            **settings,
        }
        # No config.py of this machine is under test, unless the test names its folder.
        folder = {"GATEWAY_INSTANCE_PATH": str(self._folder), **os.environ}
        with mock.patch.dict(os.environ, folder):
            if "SQLALCHEMY_DATABASE_URI" not in given:
                given["SQLALCHEMY_DATABASE_URI"] = self._databases.new()
                self._urls.append(given["SQLALCHEMY_DATABASE_URI"])
            app = create_app(given)
        app.test_client_class = Client
        self._mailbox.watch(app)
        self._apps.append(app)
        return app

    def close(self) -> None:
        """Wait for work behind answers, stop threads, close connections, give databases back."""
        wait_for_background()
        for app in self._apps:
            background.stop(app)
            with app.app_context():
                db.engine.dispose()
        for url in self._urls:
            self._databases.give_back(url)
