"""Accounts, API keys and exact daily allowances, to stand behind nginx.

Follow one request: a blueprint's ``routes`` reads it with ``envelope.takes``, calls one function
of its ``service``, and answers with ``envelope.reply``; whatever raises is answered by the error
handlers of ``envelope``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from gateway import auth, cli, config, docs, envelope, extensions, health, log, mail, project


class _Synchronous(Flask):
    """Flask without the look, for each function it calls, whether that might be async."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function; there are no others."""
        return func


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """Build the application.

    :param overrides: settings that go before every other source, for tests and embedding.
    :raises gateway.config.ConfigError: when a setting makes no sense.
    """
    app = _Synchronous(
        __name__,
        instance_path=config.instance_path(),
        instance_relative_config=True,
        static_folder=None,
    )
    config.load(app, overrides)
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
