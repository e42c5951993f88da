"""The requests that the bench sends, and the databases for them."""

import base64
import io
import json
import sys

from sqlalchemy import text

from gateway import clock, create_app, crypto
from gateway.auth import admin, limits, tokens
from gateway.auth.fields import Password
from gateway.auth.models import User
from gateway.db import db
from gateway.ops.cli import main

SECRET_KEY = "a secret of the bench, long enough to be one"
PASSWORD = "e10adc3949ba59abbe56e057f20f883e"
SECRET = "s" * 48
PER_USER = 1000  # projects of an account

PEOPLE = """
INSERT INTO users (user_name, name_key, email, email_key, password_hash, is_admin, is_banned,
  live_projects, created_at, token_generation)
SELECT 'u' || i, 'u' || i, 'u' || i, 'u' || i, 'x', FALSE, FALSE, 0, :now, 0 FROM n WHERE i > 1
"""
PROJECTS = """
INSERT INTO projects (user_id, project_name, project_type, project_key, secret_hash, sealed_secret,
  deleted, created_at, request_total, request_count, request_max)
SELECT 1 + (i - 1) / :each, '我的ChatGPT项目', 1,
  substr('000000000000000' || i, -16), :hash, :sealed, FALSE, :now, 0, 0, 1000000000 FROM n
"""
COUNT = "UPDATE users SET live_projects = (SELECT count(*) FROM projects WHERE user_id = users.id)"


def settings(uri):
    return {
        "SQLALCHEMY_DATABASE_URI": uri,
        "SECRET_KEY": SECRET_KEY,
        "PROJECTS_PER_USER": 10**9,
        "MAIL_SUPPRESS_SEND": True,
        "TRUSTED_PROXIES": 1,
    }


def make_app(uri, projects):
    """Return the application on a new database with ``projects`` projects, and a token."""
    limits.LIMITS["right-password"] = limits.Limit(
        10**9, limits.QUARTER
    )  # it logs in more often than a client may
    app = create_app(settings(uri))
    assert app.test_cli_runner().invoke(main, args=["db", "upgrade"]).exit_code == 0
    with app.app_context():
        admin.create("lory", "civet148@126.com", Password("", PASSWORD), is_admin=False)
        token = tokens.issue(db.session.get(User, 1), clock.now())
        db.session.remove()
        sqlite = db.engine.dialect.name == "sqlite"
        now = clock.now()
        values = {
            "now": now.strftime("%Y-%m-%d %H:%M:%S.%f") if sqlite else now,
            "each": PER_USER,
            "hash": crypto.secret_hash(SECRET),
            "sealed": crypto.seal(SECRET),
        }
        with db.engine.begin() as connection:
            for insert, rows in ((PEOPLE, max(2, projects // PER_USER)), (PROJECTS, projects)):
                connection.execute(text(numbered(insert, rows, sqlite)), values)
            connection.execute(text(COUNT))
        borrowed = db.engine.raw_connection()  # in autocommit mode, because VACUUM needs it
        borrowed.driver_connection.execute("ANALYZE" if sqlite else "VACUUM ANALYZE")
        borrowed.close()
        db.engine.dispose()
    return app, token


def numbered(insert, rows, sqlite):
    """Give an INSERT ... SELECT its table n of the numbers from 1."""
    if sqlite:
        numbers = f"RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    else:
        numbers = f"n(i) AS (SELECT generate_series(1, {rows}))"
        insert = insert.replace("substr('000000000000000' || i, -16)", "lpad(i::text, 16, '0')")
    return insert.replace("SELECT", f"WITH {numbers} SELECT", 1)


class Asked:
    """A request, as a WSGI environment and as the bytes that nginx would send."""

    def __init__(self, path, body=None, authorization="", query=""):
        self.content = b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        headers = {
            "Host": "api.example.com",
            "Authorization": authorization,
            "X-Request-ID": "0b2721feeb2d45e79a445ac47205b3cd",
            "X-Forwarded-For": "203.0.113.7",
        }
        self.environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": f"/api/v1{path}",
            "QUERY_STRING": query,
            "SERVER_NAME": "api.example.com",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(self.content)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.errors": sys.stderr,
            **{f"HTTP_{k.upper().replace('-', '_')}": v for k, v in headers.items()},
        }
        headers["Content-Length"] = len(self.content)
        lines = [f"{method} /api/v1{path}?{query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.raw_request = "\r\n".join([*lines, "", ""]).encode() + self.content

    def call(self, app):
        """Call a WSGI application; return status, headers and body."""
        answer = []
        environ = {**self.environ, "wsgi.input": io.BytesIO(self.content)}
        chunks = app(environ, lambda *told: answer.extend(told))
        content = b"".join(chunks)
        if hasattr(chunks, "close"):
            chunks.close()
        return answer[0], dict(answer[1]), content


def verify(number):
    given = base64.b64encode(f"{number:016d}:{SECRET}".encode()).decode()
    return Asked("/project/verify", authorization=f"Basic {given}", query="pool=")


def page(token, size, number=0):
    return Asked("/project/list", {"page_size": size, "page_no": number}, f"Bearer {token}")


def requests(token):
    """Return the requests of the table: {row: request}."""
    project = {"project_type": 1, "project_name": "x"}
    return {
        "verify": verify(7),
        **{f"list({size})": page(token, size) for size in (1, 20, 100)},
        "create": Asked("/project/create", project, f"Bearer {token}"),
        "login": Asked("/login", {"user_name": "lory", "password": PASSWORD}),
    }


CHANGING = ("auth_token", "login_time", "project_key", "project_secret")


def check_same(name, ours, floors):
    """Check that both replies are the same; of random values, compare the length."""

    def shape(status, headers, content):
        if name.startswith("list"):
            return status, content
        if name == "verify":
            # The floor knows only the quota of the day.
            names = ("X-Gateway", "RateLimit-Limit", "RateLimit-Re")
            told = {k: v for k, v in headers.items() if k.startswith(names)}
            # Different, because the first request was counted and time has passed.
            told["RateLimit-Remaining"] = told["RateLimit-Reset"] = ""
            return status, told, content
        reply = json.loads(content)
        data = {k: len(str(v)) if k in CHANGING else v for k, v in reply["data"].items()}
        return status, reply["header"], data

    assert shape(*ours) == shape(*floors), (name, shape(*ours), shape(*floors))
