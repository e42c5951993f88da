"""Accounts, API keys and exact daily allowances, to stand behind nginx.

Follow one request: a blueprint's ``routes`` reads it with ``envelope.takes``, calls one function
of its ``service``, and answers with ``envelope.reply``; whatever raises is answered by the error
handlers of ``envelope``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from gateway import auth, cli, config, docs, envelope, extensions, health, log, mail, project


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """Build the application.

    :param overrides: settings that go before every other source, for tests and embedding.
    :raises gateway.config.ConfigError: when a setting makes no sense.
    """
    app = Flask(
        __name__,
        instance_path=config.instance_path(),
        instance_relative_config=True,
        static_folder=None,
    )
    config.load(app, overrides)
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        app.wsgi_app, x_for=app.config["TRUSTED_PROXIES"], x_proto=0
    )
    log.init_app(app)
    extensions.init_app(app)
    envelope.init_app(app)
    mail.check_config(app)
    cli.init_app(app)
    app.register_blueprint(health.bp)
    app.register_blueprint(auth.bp)
    app.register_blueprint(project.bp)
    app.register_blueprint(docs.bp)
    return app
