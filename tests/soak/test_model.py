"""Any history of accounts, tokens, projects and time gets the answers of the contract.

Hypothesis makes the histories up. A model of the contract in plain Python says what each request
must answer. Time moves only when the model moves it, so every border is met exactly. Each request
has a client and each registration an address of its own, because other tests try the limits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import count

import jwt
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.helpers import code_of, empty, forms

from gateway.ops.cli import main

QUOTA = 7
END_POINTS = ["https://api.hobbychain.org//rpc", "wss://api.hobbychain.org//ws"]
SHANGHAI = timedelta(hours=8)
TOKEN_LIFE, LEEWAY = timedelta(hours=12), timedelta(seconds=10)
MICROSECOND = timedelta(microseconds=1)
STATUS = {0: 200, 1000: 200, 1001: 401, 1002: 200, 1005: 200, 1006: 200, 1012: 200}
VERIFY = [204, 401, "403 1000", "403 429"]

# What is sent, and whose it is. NFKC, the space around a name and its case make no difference.
NAMES = {"lory": "lory", " LORY": "lory", "ｌｏｒｙ": "lory", "straße": "strasse"}
NAMES |= {"STRASSE ": "strasse", "李斌-1": "李斌-1", "李斌-１": "李斌-1"}
# Each with one that is nearly it: passwords are taken as received.
PASSWORDS = {" of my own ": "of my own", "１２３４５６７８x": "12345678x"}


def chosen(choices):
    """Draw one of what the machine offers at the moment."""
    return st.runner().flatmap(lambda machine: st.sampled_from(choices(machine)))


names = st.sampled_from(list(NAMES))
passwords = st.sampled_from(list(PASSWORDS))
tokens = chosen(lambda machine: machine.good() * 5 + machine.tokens)
projects = chosen(lambda machine: machine.live() * 4 + machine.projects)
somebody_was_in = precondition(lambda machine: machine.tokens)
something_was_made = precondition(lambda machine: machine.tokens and machine.projects)


@dataclass(eq=False)
class Account:
    """A registered person."""

    key: str
    user_name: str
    email: str
    password: str = field(repr=False)
    user_id: int = 0  # clients learn it from a token
    is_admin: bool = False
    is_banned: bool = False
    is_gone: bool = False


@dataclass(eq=False)
class Token:
    """What a login gave."""

    owner: Account
    text: str = field(repr=False)
    expires_at: datetime
    revoked: bool = False


@dataclass(eq=False)
class Project:
    """What project/create made."""

    owner: Account
    project_name: str
    project_type: int
    project_key: str
    project_secret: str = field(repr=False)
    created_time: str
    id: int = 0  # learned from the list
    deleted: bool = False
    old_secret: str = field(default="", repr=False)
    old_secret_until: datetime | None = None
    active_until: int = 0  # unix seconds
    requests: Counter = field(default_factory=Counter)  # by day


class Contract(RuleBasedStateMachine):
    """One history: each rule predicts the answer of one request, sends it, and compares."""

    def __init__(self, app, relay, clock, sql, seen):
        super().__init__()
        self.relay, self.clock, self.seen = relay, clock, seen
        self.http = app.test_client(use_cookies=False)
        self.operator = app.test_cli_runner()
        self.numbers = count(1)
        clock.freeze(2024, 3, 7, 15, 59, 30)  # nearly midnight in Shanghai
        relay.reset()
        empty(sql)
        self.accounts = {}  # by name
        self.tokens = []
        self.projects = []  # in the order of their ids

    @property
    def now(self):
        return self.clock.now()

    @property
    def today(self):
        return (self.now + SHANGHAI).date()

    def post(self, path, body, expect, *, token="", total=1, count=1):
        """Send a request; return ``data`` of the answer, which is exactly what was expected."""
        number = next(self.numbers)
        headers = {"X-Forwarded-For": f"192.0.{number // 256}.{number % 256}"}
        reply = self.http.post(
            f"/api/v1{path}", json=body, headers={**headers, "Authorization": token}
        )
        header = reply.json["header"]
        self.seen[header["code"]] += 1
        (total, count) = (total, count) if expect == 0 else (0, 0)
        found = (reply.status_code, header["code"], header["total"], header["count"])
        assert found == (STATUS[expect], expect, total, count), header["message"]
        assert (header["message"] == "OK") == (expect == 0)
        assert expect == 0 or reply.json["data"] == {}
        return reply.json["data"]

    def post_with(self, token, path, body, expect=0, **kwargs):
        """Send a request with a token; return its code and ``data``. A dead token gets 1001."""
        expect = expect if self.is_good(token) else 1001
        scheme = "" if next(self.numbers) % 2 else "Bearer "  # a client may leave it out
        return expect, self.post(path, body, expect, token=scheme + token.text, **kwargs)

    def is_good(self, token):
        owner = token.owner
        in_time = self.now < token.expires_at + LEEWAY
        return in_time and not (token.revoked or owner.is_banned or owner.is_gone)

    def good(self):
        return [token for token in self.tokens if self.is_good(token)]

    def live(self, owner=None):
        return [p for p in self.projects if not p.deleted and owner in (None, p.owner)]

    def revoke_all(self, account, but=None):
        for token in self.tokens:
            token.revoked |= token.owner is account and token is not but

    # Accounts

    @rule(name=names, password=passwords)
    def somebody_registers(self, name, password):
        email = f"somebody-{next(self.numbers)}@126.com"
        person = {"user_name": name, "email": email}
        taken = 1005 if NAMES[name] in self.accounts else 0
        self.post("/auth-code", person, taken)
        code = self.relay.codes.get(email, "0000000000")
        self.post("/register", {**person, "password": password, "reg_code": code}, taken)
        if not taken:
            shown = {"ｌｏｒｙ": "lory", "李斌-１": "李斌-1"}.get(name, name.strip())
            self.accounts[NAMES[name]] = Account(NAMES[name], shown, email, password)
        self.somebody_logs_in(name, password, by_address=False, nearly=False)

    @rule(name=names, password=passwords, by_address=st.booleans(), nearly=st.booleans())
    def somebody_logs_in(self, name, password, by_address, nearly):
        account = self.accounts.get(NAMES[name])
        if account and not nearly:
            password = account.password
        sent = account.email.upper() if account and by_address else name
        given = PASSWORDS[password] if nearly else password
        expect = 1002 if not account or nearly else 1012 if account.is_banned else 0
        data = self.post("/login", {"user_name": sent, "password": given}, expect)
        if expect == 0:
            claims = jwt.decode(data["auth_token"], options={"verify_signature": False})
            account.user_id = claims["claim_id"]
            issued = self.now.replace(microsecond=0)
            assert claims["exp"] == (issued + TOKEN_LIFE).timestamp()
            assert (data["user_name"], data["role"]) == (
                account.user_name,
                "admin" if account.is_admin else "",
            )
            self.tokens.append(Token(account, data["auth_token"], issued + TOKEN_LIFE))

    @somebody_was_in
    @rule(token=tokens)
    def somebody_logs_out(self, token):
        expect, _ = self.post_with(token, "/platform/logout", {})
        token.revoked |= expect == 0

    @somebody_was_in
    @rule(token=tokens, new=passwords, nearly=st.booleans())
    def somebody_changes_the_password(self, token, new, nearly):
        old = token.owner.password
        body = {"old_password": PASSWORDS[old] if nearly else old, "new_password": new}
        expect, _ = self.post_with(token, "/platform/change-password", body, 1002 if nearly else 0)
        if expect == 0:
            token.owner.password = new
            self.revoke_all(token.owner, but=token)

    @somebody_was_in
    @rule(token=tokens, nearly=st.booleans())
    def somebody_leaves(self, token, nearly):
        owner = token.owner
        password = PASSWORDS[owner.password] if nearly else owner.password
        refusal = 1002 if nearly else 1000 if self.is_last_admin(owner) else 0
        expect, _ = self.post_with(
            token, "/platform/delete-account", {"password": password}, refusal
        )
        if expect == 0:
            owner.is_gone = True
            del self.accounts[owner.key]
            for project in self.live(owner):
                project.deleted = True

    def is_last_admin(self, account):
        admins = [a for a in self.accounts.values() if a.is_admin and not a.is_banned]
        return admins == [account]

    @rule(command=st.sampled_from(["ban", "unban", "promote", "demote"]), name=names)
    def an_operator_says(self, command, name):
        account = self.accounts.get(NAMES[name])
        result = self.operator.invoke(main, args=["user", command, name.strip()])
        removes = command in ("ban", "demote")
        if account is None or (removes and self.is_last_admin(account)):
            assert result.exit_code == 1
        else:
            assert result.exit_code == 0
            if command in ("ban", "unban"):
                account.is_banned = command == "ban"
            else:
                account.is_admin = command == "promote"
            if account.is_banned:
                self.revoke_all(account)

    # Projects

    @somebody_was_in
    @rule(token=tokens, project_name=st.sampled_from(["我的", " a\u3000"]))
    def somebody_creates_a_project(self, token, project_name):
        body = {"project_type": 1, "project_name": project_name}
        expect, data = self.post_with(token, "/project/create", body)
        if expect == 0:
            created = (self.now + SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
            made = Project(token.owner, project_name.strip(), 1, created_time=created, **data)
            self.projects.append(made)
            self.somebody_lists(token, token.owner.key)
            self.verify(made, made.project_secret)

    @somebody_was_in
    @rule(token=tokens, whose=chosen(lambda machine: [*machine.accounts] or ["lory"]))
    def somebody_lists(self, token, whose):
        account = self.accounts.get(whose, token.owner)
        may = account is token.owner or token.owner.is_admin
        listed = self.live(account)
        total = len(listed)
        body = {"user_id": account.user_id, "page_size": 100}
        expect, data = self.post_with(
            token, "/project/list", body, 0 if may else 1000, total=total, count=total
        )
        if expect == 0 and account.user_id:
            for project, shown in zip(listed, data["list"], strict=True):
                project.id = project.id or shown["id"]
                key = project.project_key
                assert shown == {
                    **{name: getattr(project, name) for name in ("id", "project_name")},
                    **{name: getattr(project, name) for name in ("project_type", "created_time")},
                    "project_key": key,
                    "project_secret": project.project_secret,
                    "end_points": END_POINTS,
                    "deleted": False,
                    "request_total": sum(project.requests.values()),
                    "request_today": project.requests[self.today],
                    "request_max": QUOTA,
                    "pool_id": 0,
                    "pool_name": "",
                }

    def change(self, token, project, path, body, **kwargs):
        """Ask for a change of a project; return the code and ``data``."""
        may = token.owner is project.owner or token.owner.is_admin
        expect = 0 if may and not project.deleted else 1006
        return self.post_with(token, path, {"id": project.id, **body}, expect, **kwargs)

    @something_was_made
    @rule(token=tokens, project=projects)
    def somebody_deletes(self, token, project):
        expect, _ = self.change(token, project, "/project/delete", {})
        project.deleted |= expect == 0
        self.verify(project, project.project_secret)

    @something_was_made
    @rule(token=tokens, project=projects, hours=st.sampled_from([0, 1, 168]))
    def somebody_rotates(self, token, project, hours):
        expect, data = self.change(token, project, "/project/rotate", {"grace_hours": hours})
        if expect == 0:
            has_grace = project.old_secret and self.now < project.old_secret_until
            oldest = project.old_secret if has_grace else project.project_secret
            project.old_secret = oldest if hours else ""
            project.old_secret_until = self.now + timedelta(hours=hours)
            assert data["project_key"] == project.project_key
            replaced, project.project_secret = project.project_secret, data["project_secret"]
            self.verify(project, replaced)

    @something_was_made
    @rule(
        token=tokens,
        project=projects,
        change=st.fixed_dictionaries(
            {},
            optional={
                "project_name": st.sampled_from([" 新 ", "y"]),
                "project_type": st.sampled_from([0, 7]),
                "active_until": st.sampled_from([0, -60, 60, 100_000]),
            },
        ),
    )
    def somebody_edits(self, token, project, change):
        if change.get("active_until"):
            change["active_until"] += int(self.now.timestamp())
        expect, _ = self.change(token, project, "/project/edit", change)
        if expect == 0:
            for name, value in change.items():
                setattr(project, name, value.strip() if isinstance(value, str) else value)

    @something_was_made
    @rule(token=tokens, project=projects, days=st.sampled_from([1, 2, 400]))
    def somebody_looks_at_the_usage(self, token, project, days):
        expect, data = self.change(
            token, project, "/project/usage", {"days": days}, total=days, count=days
        )
        if expect == 0:
            used = [day for day, requests in project.requests.items() if requests]
            shown = [self.today - timedelta(days=days - 1 - n) for n in range(days)]
            assert data["active_until"] == project.active_until
            assert data["last_used"] == (str(max(used)) if used else "")
            assert data["list"] == [
                {"day": str(day), "requests": project.requests[day]} for day in shown
            ]

    def verify(self, project, secret):
        """Ask as nginx does whether a request may pass; expect what the contract says."""
        credentials = {"project_key": project.project_key, "project_secret": secret}
        form = list(forms(credentials).values())
        reply = self.http.get(
            "/api/v1/project/verify", headers=form[next(self.numbers) % len(form)]
        )
        is_old = secret == project.old_secret and self.now < project.old_secret_until
        is_right = secret == project.project_secret or is_old
        used = project.requests[self.today]
        if project.deleted or project.owner.is_banned or not is_right:
            expect = 401
        elif project.active_until and self.now.timestamp() >= project.active_until:
            expect = "403 1000"
        elif used >= QUOTA:
            expect = "403 429"
        else:
            expect = 204
            project.requests[self.today] += 1
            assert reply.headers["RateLimit-Remaining"] == str(QUOTA - used - 1)
        self.seen[expect] += 1
        if isinstance(expect, str):
            assert f"{reply.status_code} {reply.headers['X-Gateway-Code']}" == expect
            assert str(code_of(reply)) == expect[4:]
        else:
            assert reply.status_code == expect

    @something_was_made
    @rule(project=projects, which=st.sampled_from(["project", "project", "old"]), times=st.just(3))
    def requests_come(self, project, which, times):
        for _ in range(times):
            self.verify(project, getattr(project, f"{which}_secret") or "x" * 48)

    # Time

    @rule(seconds=st.sampled_from([1, 60, 3600]))
    def time_passes(self, seconds):
        self.clock.advance(seconds=seconds)

    @rule(off=st.sampled_from([-MICROSECOND, timedelta(), timedelta(seconds=1)]), data=st.data())
    def a_border_is_reached(self, off, data):
        """Go to the end of some term, or to just before or after it, and look at everything."""
        day = (self.now + SHANGHAI + MICROSECOND).date() + timedelta(days=1)
        midnight = datetime.combine(day, datetime.min.time(), timezone.utc) - SHANGHAI
        ends = {
            midnight,
            *(project.old_secret_until for project in self.live() if project.old_secret),
            *(datetime.fromtimestamp(p.active_until, timezone.utc) for p in self.live()),
            *(token.expires_at + LEEWAY for token in self.good()),
        }
        ahead = sorted(end for end in ends if end + off > self.now)
        to = data.draw(st.sampled_from([ahead[0], *ahead]))
        self.clock.advance(microseconds=(to + off - self.now) // MICROSECOND)
        for token in self.tokens[-3:]:
            self.somebody_lists(token, token.owner.key)
        for project in self.projects[-3:]:
            self.verify(project, project.project_secret)
            self.verify(project, project.old_secret or "x" * 48)

    @invariant()
    def every_count_is_shown(self):
        for token in self.good()[-1:]:
            self.somebody_lists(token, token.owner.key)


@pytest.fixture
def app(make_app):
    unlimited = {"MAILS_PER_HOUR": 10**6, "TRUSTED_PROXIES": 1}
    return make_app(**unlimited, TIMEZONE="Asia/Shanghai", REQUEST_MAX=QUOTA)


def test_any_history_gets_the_answers_of_the_contract(
    app, relay, clock, sql, database_uri, scale, tally
):
    seen = Counter(dict.fromkeys([*STATUS, *VERIFY], 0))
    run_state_machine_as_test(
        lambda: Contract(app, relay, clock, sql, seen),
        settings=settings(
            max_examples=scale(6, 200),
            stateful_step_count=scale(30, 50),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    tally("model", f"requests, {database_uri.partition(':')[0]}", sum(seen.values()))
    # A soak that met no banned user, say, would show nothing about them.
    never = [what for what, times in seen.items() if not times]
    assert not scale([], never), "no history came to these; try again, or give them more weight"
