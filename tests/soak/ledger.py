"""Clients that record what the service promised them, to compare it with the database."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count

from support.helpers import PASSWORD, basic
from support.nginx_front import ask_node

CLIENTS = 6
number = count()


class Ledger:
    """What the service has promised: each reply with code 0, noted by its client."""

    def __init__(self, *, expected=()):
        self.expected = expected  # failures that the test itself causes
        self.tried = {}  # e-mail: user name, noted before registering
        self.registered, self.created, self.deleted, self.revoked = {}, {}, set(), set()
        self.asked, self.passed = Counter(), Counter()  # requests of a project, by key
        self.faults = []
        self.answers = 0
        self.changed = threading.Condition()
        self.up = threading.Event()  # whether clients send requests
        self.up.set()

    def note(self, path, status, code, seconds):
        with self.changed:
            self.answers += 1
            self.changed.notify_all()
        if (code != 0 and (status, code) not in self.expected) or seconds > 10:
            self.faults.append((path, status, code, seconds))

    def wait_for_answers(self, more):
        with self.changed:
            until = self.answers + more
            assert self.changed.wait_for(lambda: self.answers >= until, timeout=60)

    def promises(self):
        kinds = (self.registered, self.created, self.deleted, self.revoked)
        return sum(map(len, kinds)) + self.passed.total()


class NoAnswer(Exception):
    """The request was not answered, or not with code 0; it promised nothing."""


def live_once(service, ledger):
    """Register, make two projects, use one, delete one, log out; note what was promised."""

    def post(path, body, token=""):
        start = time.monotonic()
        try:
            status, code, data = service.post(path, body, token)
        except (OSError, HTTPException):
            raise NoAnswer from None
        ledger.note(path, status, code, time.monotonic() - start)
        if code != 0:
            raise NoAnswer
        return data

    def verify(key, secret):
        ledger.asked[key] += 1
        start = time.monotonic()
        try:
            status = ask_node(service.port, basic(key, secret))
        except (OSError, HTTPException):
            raise NoAnswer from None
        code = {204: 0, 503: 501}.get(status, status)
        ledger.note("/project/verify", status, code, time.monotonic() - start)
        if code != 0:
            raise NoAnswer
        ledger.passed[key] += 1

    n = next(number)
    user_name, email = f"u{n}", f"u{n}@126.com"
    post("/auth-code", {"user_name": user_name, "email": email})
    ledger.tried[email] = user_name
    account = {"user_name": user_name, "password": PASSWORD}
    post("/register", {**account, "email": email, "reg_code": service.relay.codes[email]})
    ledger.registered[email] = user_name
    token = post("/login", account)["auth_token"]
    for name in ("kept", "deleted"):
        made = post("/project/create", {"project_type": 1, "project_name": name}, token)
        ledger.created[made["project_key"]] = made["project_secret"]
    for _ in range(3):
        verify(made["project_key"], made["project_secret"])
    last = post("/project/list", {}, token)["list"][-1]
    post("/project/delete", {"id": last["id"]}, token)
    ledger.deleted.add(last["project_key"])
    post("/platform/logout", {}, token)
    ledger.revoked.add(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["jti"])


@contextmanager
def load(service, ledger):
    """Run clients in threads; a request without an answer promised nothing."""
    ended = threading.Event()

    def live():
        while not ended.is_set():
            ledger.up.wait(60)
            try:
                live_once(service, ledger)
            except NoAnswer:
                continue
            except Exception as error:
                ledger.faults.append(repr(error))
                raise

    threads = [threading.Thread(target=live) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        ledger.up.set()
        for thread in threads:
            thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)


def broken_promises(ledger, sql):
    """Compare the database with the ledger; return what is missing or incomplete."""
    users = dict(sql("SELECT email, user_name FROM users"))
    codes = {email for (email,) in sql("SELECT email_key FROM mail_codes")}
    rows = sql("SELECT project_key, secret_hash, deleted FROM projects")
    projects = {key: (secret_hash, deleted) for key, secret_hash, deleted in rows}
    revoked = {jti for (jti,) in sql("SELECT jti FROM revoked_tokens")}
    lost = [f"user {e}" for e, name in ledger.registered.items() if users.get(e) != name]
    for email in ledger.tried:
        if (email in users) == (email in codes):
            lost.append(f"registration of {email} is half-made")
    ledger.tried.clear()
    for key, secret in ledger.created.items():
        stored, deleted = projects.get(key, (None, False))
        # A deletion wipes the secret, also one whose answer was lost.
        if stored != ("" if deleted else hashlib.sha256(secret.encode()).hexdigest()):
            lost.append(f"project {key}")
    lost += [f"deletion of {key}" for key in ledger.deleted if not projects[key][1]]
    for key, total in sql("SELECT project_key, request_total FROM projects"):
        if not ledger.passed[key] <= total <= ledger.asked[key]:
            lost.append(
                f"{key} passed {ledger.passed[key]}, asked {ledger.asked[key]}, has {total}"
            )
    lost += [f"revocation of {jti}" for jti in ledger.revoked - revoked]
    lost += sql(
        "SELECT id, live_projects FROM users WHERE live_projects <> (SELECT count(*) FROM projects"
        " WHERE projects.user_id = users.id AND NOT deleted)"
    )
    lost += ledger.faults
    ledger.faults = []
    return lost
