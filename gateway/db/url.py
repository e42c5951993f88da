"""Show the URL of a database without its secrets."""

from __future__ import annotations

import re

from sqlalchemy import URL

HIDDEN = "***"
_SECRET_OPTIONS = re.compile("pass(word|wd|phrase)|secret|_key$", re.IGNORECASE)


def shown(url: URL) -> str:
    """Return a URL for people; options such as ``?password=`` and ``sslpassword=`` are hidden."""
    options = {
        name: HIDDEN if _SECRET_OPTIONS.search(name) else value for name, value in url.query.items()
    }
    return url.set(query=options).render_as_string(hide_password=True)
