"""The floor: the same answers from bare WSGI functions, the plain driver, PyJWT and json.

It has no framework, no validation, no log, no time limits, and one connection for each thread. No
Python service with HTTP and these databases can cost less.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import sqlite3
import threading
import uuid
from datetime import datetime, timedelta, timezone

import jwt
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.crypto import derive_key
from gateway.version import __version__

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
END_POINTS = [
    "https://api.hobbychain.org/{pool_name}/rpc",
    "wss://api.hobbychain.org/{pool_name}/ws",
]

VERIFY = """
UPDATE projects SET request_total = request_total + 1,
  request_day = CASE WHEN request_day BETWEEN :today AND :latest THEN request_day ELSE :today END,
  request_count = CASE WHEN request_day BETWEEN :today AND :latest THEN request_count ELSE 0 END + 1
WHERE project_key = :key AND deleted = FALSE
  AND (secret_hash = :given OR (old_secret_hash = :given AND old_secret_until > :now))
  AND EXISTS (SELECT 1 FROM users WHERE users.id = projects.user_id AND is_banned = FALSE)
  AND (CAST(:pool AS VARCHAR) IS NULL OR coalesce(
    (SELECT pool_name FROM pools WHERE pools.id = projects.pool_id), '') = :pool)
  AND (request_max = 0 OR CASE WHEN request_day BETWEEN :today AND :latest
    THEN request_count ELSE 0 END < request_max)
RETURNING id, project_key,
  coalesce((SELECT pool_name FROM pools WHERE pools.id = projects.pool_id), '') AS pool_name,
  request_max, request_count, request_day
"""
CALLER = """
SELECT id, is_admin, password_hash, token_generation FROM users
WHERE id = :id AND is_banned = FALSE AND (token_generation = :generation OR kept_jti = :jti)
  AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = :jti)
"""
PAGE = """
SELECT users.live_projects, page.* FROM users LEFT JOIN (
  SELECT id, project_name, project_type, project_key, sealed_secret, deleted, created_at,
    request_total, request_day, request_count, request_max, pool_id,
    coalesce((SELECT pool_name FROM pools WHERE pools.id = projects.pool_id), '') AS pool_name
  FROM projects WHERE user_id = :owner AND deleted = FALSE
  ORDER BY id LIMIT :size OFFSET :skipped
) AS page ON TRUE WHERE users.id = :owner ORDER BY page.id
"""
COUNT_ONE = """
UPDATE users SET live_projects = live_projects + 1
WHERE id = :owner AND live_projects < :most RETURNING id
"""
ADD = """
INSERT INTO projects (user_id, project_name, project_type, project_key, secret_hash, sealed_secret,
  deleted, created_at, request_total, request_count, request_max)
VALUES (:owner, :name, :type, :key, :hash, :sealed, FALSE, :now, 0, 0, :max) RETURNING id
"""
PERSON = """
SELECT id, user_name, password_hash, is_admin, is_banned, token_generation FROM users
WHERE name_key = :name
"""
FAILURES = """
SELECT key, count, expires_at FROM throttle_counts
WHERE key IN (:a, :b, :c) AND expires_at > :now
"""
FORGET = "DELETE FROM throttle_counts WHERE key = :key"
PURGES = (
    "DELETE FROM throttle_counts WHERE expires_at <= :now",
    "DELETE FROM mail_codes WHERE expires_at <= :now",
    "DELETE FROM revoked_tokens WHERE expires_at <= :now",
)


class Sqlite:
    """One connection for each thread, with the pragmas of the service."""

    def __init__(self, file):
        self.file = file
        self.local = threading.local()

    def connection(self):
        if not hasattr(self.local, "connection"):
            self.local.connection = sqlite3.connect(self.file, timeout=5, isolation_level=None)
            self.local.connection.execute("PRAGMA foreign_keys = ON")
            self.local.synchronous = ""
        return self.local.connection

    def sql(self, text):
        return text

    def day(self, day):
        return day.isoformat()

    def moment(self, moment):
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f")

    def shown(self, moment):
        return moment[:19]

    def begin(self, connection, synchronous="FULL"):
        if self.local.synchronous != synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            self.local.synchronous = synchronous
        connection.execute("BEGIN IMMEDIATE")


class Postgres:
    """One connection for each thread, in autocommit; psycopg prepares frequent statements."""

    def __init__(self, uri):
        self.uri = uri
        self.local = threading.local()

    def connection(self):
        if not hasattr(self.local, "connection"):
            import psycopg  # noqa: PLC0415 - an extra

            self.local.connection = psycopg.connect(self.uri, autocommit=True)
        return self.local.connection

    def sql(self, text):
        return re.sub(r":(\w+)", r"%(\1)s", text)

    def day(self, day):
        return day

    def moment(self, moment):
        return moment

    def shown(self, moment):
        return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")

    def begin(self, connection, synchronous=None):
        if synchronous is None:
            connection.execute("BEGIN")


def body(environ):
    return json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))


def reply(data, total=1, count=1):
    header = {"code": 0, "message": "OK", "total": total, "count": count}
    text = json.dumps({"header": header, "data": data}, ensure_ascii=False, separators=(",", ":"))
    content = text.encode() + b"\n"
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
    ]
    return "200 OK", headers, content


def random_text(length):
    # Of 512 bytes, at least 64 are usable with near certainty.
    fair = [ALPHABET[byte % 62] for byte in secrets.token_bytes(2 * length) if byte < 248]
    return "".join(fair[:length])


class Floor:
    """The WSGI application for a database and a SECRET_KEY."""

    def __init__(self, uri, secret_key):
        self.sqlite = uri.startswith("sqlite")
        self.store = Sqlite(uri.removeprefix("sqlite:///")) if self.sqlite else Postgres(uri)
        self.token_key = derive_key(secret_key, "jwt")
        self.box = AESGCM(derive_key(secret_key, "project-secret-2"))
        self.hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        names = ("VERIFY", "CALLER", "PAGE", "COUNT_ONE", "ADD", "PERSON", "FAILURES", "FORGET")
        self.statements = {name: self.store.sql(globals()[name]) for name in names}
        self.purges = [self.store.sql(text) for text in PURGES]
        self.paths = {
            "/api/v1/project/verify": self.verify,
            "/api/v1/project/list": self.list_projects,
            "/api/v1/project/create": self.create,
            "/api/v1/login": self.login,
        }

    def __call__(self, environ, start_response):
        status, headers, content = self.paths[environ["PATH_INFO"]](environ)
        start_response(status, headers)
        return [content]

    def verify(self, environ):
        given = base64.b64decode(environ["HTTP_AUTHORIZATION"].partition(" ")[2]).decode()
        key, _, secret = given.partition(":")
        now = datetime.now(timezone.utc)
        today = now.date()
        values = {
            "key": key,
            "given": hashlib.sha256(secret.encode()).hexdigest(),
            "pool": environ["QUERY_STRING"].partition("pool=")[2] or "",
            "now": self.store.moment(now),
            "today": self.store.day(today),
            "latest": self.store.day((now + timedelta(seconds=10)).date()),
        }
        connection = self.store.connection()
        if self.sqlite:
            self.store.begin(connection, "NORMAL")
        (row,) = connection.execute(self.statements["VERIFY"], values).fetchall()
        if self.sqlite:
            connection.execute("COMMIT")
        midnight = datetime(now.year, now.month, now.day, tzinfo=timezone.utc) + timedelta(days=1)
        headers = [
            ("X-Gateway-Project", str(row[0])),
            ("X-Gateway-Key", row[1]),
            ("X-Gateway-Pool", row[2]),
        ]
        if row[3]:
            headers += [
                ("RateLimit-Limit", str(row[3])),
                ("RateLimit-Remaining", str(row[3] - row[4])),
                ("RateLimit-Reset", str(int((midnight - now).total_seconds()) + 1)),
            ]
        return "204 NO CONTENT", headers, b""

    def caller(self, environ):
        token = environ["HTTP_AUTHORIZATION"].partition(" ")[2]
        claims = jwt.decode(
            token,
            self.token_key,
            algorithms=["HS256"],
            leeway=10,
            options={"require": ["exp", "iat", "jti", "sub"]},
        )
        values = {
            "id": int(claims["sub"]),
            "generation": claims["generation"],
            "jti": claims["jti"],
        }
        (row,) = self.store.connection().execute(self.statements["CALLER"], values).fetchall()
        return row[0]

    def list_projects(self, environ):
        owner, asked = self.caller(environ), body(environ)
        size = asked.get("page_size", 20)
        values = {"owner": owner, "size": size, "skipped": asked.get("page_no", 0) * size}
        rows = self.store.connection().execute(self.statements["PAGE"], values).fetchall()
        now = datetime.now(timezone.utc)
        days = (self.store.day(now.date()), self.store.day((now + timedelta(seconds=10)).date()))
        items = [
            {
                "id": row[1],
                "project_name": row[2],
                "project_type": row[3],
                "project_key": row[4],
                "project_secret": self.unseal(row[5]),
                "end_points": [text.replace("{pool_name}", row[13]) for text in END_POINTS],
                "deleted": bool(row[6]),
                "created_time": self.store.shown(row[7]),
                "request_total": row[8],
                "request_today": row[10] if row[9] in days else 0,
                "request_max": row[11],
                "pool_id": row[12] or 0,
                "pool_name": row[13],
            }
            for row in rows
        ]
        return reply({"list": items}, rows[0][0], len(items))

    def unseal(self, sealed):
        content = base64.b64decode(sealed[2:])
        return self.box.decrypt(content[:12], content[12:], None).decode()

    def seal(self, secret):
        nonce = os.urandom(12)
        return (
            "2:" + base64.b64encode(nonce + self.box.encrypt(nonce, secret.encode(), None)).decode()
        )

    def create(self, environ):
        owner, asked = self.caller(environ), body(environ)
        key, secret = random_text(16), random_text(48)
        project = {
            "owner": owner,
            "name": asked["project_name"],
            "type": asked["project_type"],
            "key": key,
            "hash": hashlib.sha256(secret.encode()).hexdigest(),
            "sealed": self.seal(secret),
            "now": self.store.moment(datetime.now(timezone.utc)),
            "max": 30,
        }
        connection = self.store.connection()
        self.store.begin(connection)
        connection.execute(self.statements["COUNT_ONE"], {"owner": owner, "most": 10**9}).fetchall()
        connection.execute(self.statements["ADD"], project).fetchall()
        connection.execute("COMMIT")
        return reply({"project_key": key, "project_secret": secret})

    def login(self, environ):
        asked, ip = body(environ), environ["HTTP_X_FORWARDED_FOR"]
        connection = self.store.connection()
        (user,) = connection.execute(
            self.statements["PERSON"], {"name": asked["user_name"]}
        ).fetchall()
        now = datetime.now(timezone.utc)
        counters = [f"login-account-ip\0user {user[0]} {ip}", f"login-account\0user {user[0]}"]
        keys = [
            hashlib.sha256(text.encode()).hexdigest() for text in (*counters, f"login-ip\0{ip}")
        ]
        failures = {"a": keys[0], "b": keys[1], "c": keys[2], "now": self.store.moment(now)}
        connection.execute(self.statements["FAILURES"], failures).fetchall()
        self.hasher.verify(user[2], asked["password"])
        connection.execute(self.statements["FAILURES"], failures).fetchall()
        self.store.begin(connection)
        for key in keys[:2]:
            connection.execute(self.statements["FORGET"], {"key": key})
        connection.execute("COMMIT")
        for purge in self.purges:
            connection.execute(purge, {"now": self.store.moment(now)})
        iat = int(now.timestamp())
        claims = {
            "fresh": False,
            "iat": iat,
            "jti": str(uuid.uuid4()),
            "type": "access",
            "sub": str(user[0]),
            "exp": iat + 43200,
            "claim_alias": user[1],
            "claim_expire": iat + 43200,
            "claim_iat": iat,
            "claim_id": user[0],
            "claim_is_admin": bool(user[3]),
            "claim_phone_number": "",
            "claim_username": user[1],
            "generation": user[5],
        }
        return reply(
            {
                "version": f"v{__version__}",
                "user_name": user[1],
                "auth_token": jwt.encode(claims, self.token_key, "HS256"),
                "login_ip": ip,
                "login_time": iat,
                "role": "",
                "privilege": [],
            }
        )


def app():
    """Make the floor for gunicorn, with the settings of the service."""
    return Floor(os.environ["GATEWAY_SQLALCHEMY_DATABASE_URI"], os.environ["GATEWAY_SECRET_KEY"])
