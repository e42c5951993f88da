"""What gunicorn and the flask command load: ``wsgi:app``."""

import sys

from gateway import create_app
from gateway.config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    print(f"gateway cannot start: {error}", file=sys.stderr)
    sys.exit(3)  # what gunicorn takes as "do not start this worker again"
