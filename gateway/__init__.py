"""Accounts, API keys and exact daily quotas, behind nginx.

To follow one request, read in this order: a view in a feature's ``routes`` receives the checked
body from ``web.body`` and calls one function of the feature's rules (``auth.accounts``,
``auth.passwords``, ``project.service``, ``project.verify``). ``web.reply`` writes the answer. When
the rules raise an error, the error handlers in ``web.reply`` write the answer instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(config: Mapping[str, Any] | None = None, *, make_key: bool = True) -> Flask:
    """Build the application.

    :param config: settings that override every other source, for tests and embedding.
    :param make_key: whether to make a secret key if there is none.
    :raises ConfigError: when a setting is invalid.
    """
    # Loaded only now, because pytest loads this package for its plugin in every run.
    from gateway import auth, db, log, mail, project
    from gateway.auth import tokens
    from gateway.server import metrics
    from gateway.settings import load
    from gateway.web import access_log, health, pages, reply

    app = load(config, make_key=make_key)
    log.start()
    access_log.init_app(app)
    reply.init_app(app)
    db.init_app(app)
    mail.init_app(app)
    metrics.init_app(app)
    tokens.init_app(app)
    pages.init_app(app)
    app.register_blueprint(health.bp)
    app.register_blueprint(auth.bp)
    app.register_blueprint(project.bp)
    return app
