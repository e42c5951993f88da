"""Small helpers that many tests share: constants, bodies of requests, parts of replies."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

from gateway.db import db
from gateway.testing.mailbox import wait_for_background

TIMEOUT = 60  # seconds; only a broken server needs as many
PASSWORD = "e10adc3949ba59abbe56e057f20f883e"  # what clients send for 123456
TYPED = "seven green bottles"  # what a person types
OTHER = "another password"  # that a person changes to
SECRET_KEY = "a secret of the tests, long enough to be one"

# URLs of databases that cannot be reached: nothing listens on port 1.
NO_POSTGRES = "postgresql://nobody@127.0.0.1:1/nothing"
NO_SQLITE = "sqlite:////nowhere/at/all.db"

# Tests with a database run on SQLite and on Postgres; these marks keep one of the two. In folders
# that have SQLite for all, ``on_both`` adds Postgres.
sqlite_only = pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)
on_both = pytest.mark.parametrize("database_uri", ["sqlite", "postgres"], indirect=True)
postgres_only = pytest.mark.parametrize("database_uri", ["postgres"], indirect=True)

# A successful reply without data.
OK = {"header": {"code": 0, "message": "OK", "total": 1, "count": 1}, "data": {}}


def until(check, seconds=TIMEOUT):
    """Wait until a check succeeds; fail if that takes longer than ``seconds``."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.001)


def empty(sql):
    """Delete every row, but what all nodes of a database must share."""
    for table in reversed(db.metadata.sorted_tables):
        if table.name != "stored_values":
            sql(f"DELETE FROM {table.name}")


def add_people(sql, names):
    """Create accounts without mails and passwords; return their addresses."""
    columns = (
        "user_name, name_key, email, email_key, password_hash, is_admin, is_banned, live_projects,"
        " token_generation, created_at"
    )
    for name in names:
        sql(
            f"INSERT INTO users ({columns}) VALUES (:name, :name, :email, :email, '', false,"
            " false, 0, 0, '2024-01-01 00:00:00')",
            name=name,
            email=f"{name}@126.com",
        )
    return [f"{name}@126.com" for name in names]


def run_program(command, folder, seconds, **kwargs):
    """Run a command in a folder; return how it ended, with all that it said as ``stdout``."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
        **kwargs,
    )


def basic(key, secret):
    """Return the Authorization header of a project."""
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()


def forms(project):
    """Return the headers of each form in which a client can send a project's credentials."""
    key, secret = project["project_key"], project["project_secret"]
    return {
        "basic": {"Authorization": basic(key, secret)},
        "bearer": {"Authorization": f"Bearer {key}.{secret}"},
        "x-api-key": {"X-API-Key": f"{key}.{secret}"},
    }


def code_of(reply):
    """Return the code in the header of a reply."""
    return reply.json["header"]["code"]


def other_code(code):
    """Return a mailed code of the same length that is not the right one."""
    return str((int(code) + 1) % 10 ** len(code)).zfill(len(code))


def login(api, user_name="lory", password=PASSWORD, **kwargs):
    """Log in through the ``api`` fixture; return the reply."""
    return api("/login", {"user_name": user_name, "password": password}, **kwargs)


def at(ip):
    """Return the arguments of a request from an address."""
    return {"environ_base": {"REMOTE_ADDR": ip}}


def register(api, reg_code, user_name="lory", email="lory@126.com", password=PASSWORD, **kwargs):
    """Register through the ``api`` fixture; return the reply."""
    account = {"user_name": user_name, "email": email, "password": password}
    return api("/register", {**account, "reg_code": reg_code}, **kwargs)


def ask_reset(api, email="lory@126.com", **kwargs):
    """Ask for a code for a new password, and wait for the mail; return the code of the reply."""
    reply = api("/reset-code", {"email": email}, **kwargs)
    wait_for_background()
    return code_of(reply)


def reset(api, reg_code, email="lory@126.com", password=OTHER, **kwargs):
    """Set a new password with a code; return the reply."""
    return api(
        "/reset-password", {"email": email, "reg_code": reg_code, "password": password}, **kwargs
    )


def change_password(person, old=PASSWORD, new=OTHER, **kwargs):
    """Change a person's password; return the reply."""
    body = {"old_password": old, "new_password": new}
    return person.post("/platform/change-password", body, **kwargs)


def is_in(person):
    """Tell whether a person's token is valid."""
    return person.post("/project/list").status_code == 200


def elsewhere(act):
    """Call a function in another thread, because a nested request would share the session."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def assert_failure(reply, status, code):
    """Check that a reply is the envelope of a failure."""
    assert reply.status_code == status
    assert reply.content_type == "application/json"
    assert reply.json.keys() == {"header", "data"}
    assert reply.json["data"] == {}
    header = reply.json["header"]
    assert header.keys() == {"code", "message", "total", "count"}
    assert (header["code"], header["total"], header["count"]) == (code, 0, 0)
    assert len(header["message"]) > 1


@contextmanager
def mounted(folder):
    """Mount a file system of 4 MiB, or skip the test if that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("only a user who may mount can have a file system of a test's own")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def chromium():
    """Run Chromium; skip the test where there is none."""
    path = shutil.which("chromium")
    if not path:
        refuse = pytest.fail if os.environ.get("SKIP_NOTHING") else pytest.skip
        refuse("there is no chromium here; Debian's package has one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
