"""The application that gunicorn loads: ``wsgi:app``."""

from gateway import config, create_app
from gateway.errors import ConfigError

try:
    app = create_app()
except ConfigError as error:
    config.stop(error)
