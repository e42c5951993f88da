"""The application that gunicorn loads: ``wsgi:app``."""

from gateway import create_app, settings
from gateway.errors import ConfigError

try:
    app = create_app()
except ConfigError as error:
    settings.stop(error)
