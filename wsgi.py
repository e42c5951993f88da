"""The application that gunicorn and the operator commands load: ``wsgi:app``."""

from gateway import config, create_app

try:
    app = create_app()
except config.ConfigError as error:
    config.stop(error)
