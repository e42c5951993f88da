"""Any history of accounts, codes, logins, projects and time gets the answers of the contract.

Hypothesis makes the histories up. A model of the contract in plain Python says what each request
must answer, so this file is also the contract's rules about state, written a second time. Time
moves only when the model moves it, so that every border is met exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import jwt
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.helpers import code_of, forms

from gateway.db import db
from gateway.mail import senders
from gateway.ops.cli import main
from gateway.testing.mailbox import wait_for_background
from gateway.version import __version__

SETTINGS = {
    "TRUSTED_PROXIES": 1,
    "MAILS_PER_IP": 4,
    "MAILS_PER_HOUR": 10,
    "PROJECTS_PER_USER": 3,
    "REQUEST_MAX": 7,
    "TIMEZONE": "Asia/Shanghai",
}
SHANGHAI = timedelta(hours=8)
NEARLY_MIDNIGHT = (2024, 3, 7, 15, 59, 30)  # in Shanghai

KNOWN_FOR = timedelta(days=90)  # a client from which an account logged in
CODE_LIFE = timedelta(minutes=10)
CODE_TRIES = 5
TOKEN_LIFE = timedelta(hours=12)
LEEWAY = timedelta(seconds=10)  # two nodes' clocks may differ by as much
MICROSECOND = timedelta(microseconds=1)

OK = 0
ACCESS_DENIED = 1000
UNAUTHENTICATED = 1001
WRONG_CREDENTIALS = 1002
INVALID_PARAMETER = 1003
MALFORMED_REQUEST = 1004
USER_NAME_EXISTS = 1005
NOT_FOUND = 1006
WRONG_CODE = 1008
LIMIT_REACHED = 1009
BANNED = 1012
EMAIL_EXISTS = 1018
MAIL_NOT_SENT = 1029
TOO_MANY_REQUESTS = 429

STATUS = {
    OK: 200,
    ACCESS_DENIED: 200,
    UNAUTHENTICATED: 401,
    WRONG_CREDENTIALS: 200,
    INVALID_PARAMETER: 400,
    MALFORMED_REQUEST: 400,
    USER_NAME_EXISTS: 200,
    NOT_FOUND: 200,
    WRONG_CODE: 200,
    LIMIT_REACHED: 200,
    BANNED: 200,
    EMAIL_EXISTS: 200,
    MAIL_NOT_SENT: 503,
    TOO_MANY_REQUESTS: 429,
}

# It has as many digits as a code for a new password, because another number costs no try.
WRONG_RESET_CODE = "00000000"

VERIFY = ["verify 204", "verify 401", "verify 403"]

# What is sent, whose it is, how it is shown. The spellings of one person are one name: NFKC, the
# space around it and the case make no difference.
NAMES = {
    "lory": ("lory", "lory"),
    "LORY": ("lory", "LORY"),
    "ｌｏｒｙ": ("lory", "lory"),
    "straße": ("straße", "straße"),
    " STRASSE ": ("straße", "STRASSE"),
    "李斌-1": ("李斌-1", "李斌-1"),
    "李斌-１": ("李斌-1", "李斌-1"),
    "d.j_fi": ("d.j_fi", "d.j_fi"),
    "Ｄ.j_ﬁ": ("d.j_fi", "D.j_fi"),
}
ADDRESSES = {
    "civet148@126.com": "civet148@126.com",
    "Civet148@126.COM": "civet148@126.com",
    "lory@126.com": "lory@126.com",
    "LORY@126.com": "lory@126.com",
    "a@mail.example.com": "a@mail.example.com",
    "a+b@mail.example.com": "a+b@mail.example.com",
    "li.bin@example.org": "li.bin@example.org",
    "x@y.example": "x@y.example",
}
PEOPLE = sorted({whose for whose, _ in NAMES.values()})
# Each with one that is nearly it: passwords are taken as received.
PASSWORDS = {
    "e10adc3949ba59abbe56e057f20f883e": "E10ADC3949BA59ABBE56E057F20F883E",
    " of my own ": "of my own",
    "１２３４５６７８": "12345678",
}
# X-Forwarded-For: the client's address, and what it is counted as. Only the last word is the
# proxy's; an IPv6 client owns a /64.
CLIENTS = {
    "192.0.2.1": ("192.0.2.1", "192.0.2.1"),
    "198.51.100.7, 192.0.2.1": ("192.0.2.1", "192.0.2.1"),
    "192.0.2.2": ("192.0.2.2", "192.0.2.2"),
    "2001:db8::1": ("2001:db8::1", "2001:db8::/64"),
    "2001:DB8:0:0::2": ("2001:db8::2", "2001:db8::/64"),
}
NO_ID = 2**31 - 1
PRIVILEGES = ["ProjectListAny", "ProjectDeleteAny", "ProjectRotateAny"]


def chosen(choices):
    """Draw one of what the machine offers at the moment; what is there twice is twice as likely."""
    return st.runner().flatmap(lambda machine: st.sampled_from(choices(machine)))


names = chosen(lambda machine: [*NAMES, *machine.free_names() * 2])
addresses = chosen(lambda machine: [*ADDRESSES, *machine.free_addresses() * 2])
logins = chosen(lambda machine: [*NAMES, *ADDRESSES, *machine.known_logins() * 3])
passwords = st.sampled_from(list(PASSWORDS))
clients = st.sampled_from(list(CLIENTS))
offs = st.sampled_from([-MICROSECOND, timedelta(), timedelta(seconds=1)])
requests_with_a_token = st.sampled_from(
    [
        ("/platform/logout", {}),
        ("/project/create", {"project_type": 1, "project_name": "x"}),
        ("/project/list", {}),
        ("/project/delete", {"id": 1}),
        ("/project/rotate", {"id": 1}),
        ("/project/edit", {"id": 1}),
        ("/project/usage", {"id": 1}),
        ("/platform/change-password", {"old_password": "x" * 8, "new_password": "x" * 8}),
    ]
)
good_tokens = chosen(lambda machine: machine.good())
dead_tokens = chosen(lambda machine: machine.dead())
projects = chosen(
    lambda machine: [p for p in machine.projects if not p.deleted] * 2 + machine.projects
)
somebody_is_in = precondition(lambda machine: machine.good())
somebody_was_in = precondition(lambda machine: machine.dead())
something_was_made = precondition(lambda machine: machine.projects)

# Nothing of these is done or counted; in each, the last member names what is wrong.
NOT_UNDERSTOOD = [
    ("/auth-code", {"user_name": "a@b", "email": "lory@126.com"}, 1003, "user_name"),
    ("/auth-code", {"user_name": "lory", "email": "lory@"}, 1003, "email"),
    ("/auth-code", {"user_name": "lory"}, 1004, "email"),
    (
        "/register",
        {
            "user_name": "lory",
            "email": "lory@126.com",
            "password": "7 chars",
            "reg_code": "0000000000",
        },
        1003,
        "password",
    ),
    ("/login", {"user_name": "lory", "password": 12345678}, 1003, "password"),
    ("/login", {"user_name": "lory"}, 1004, "password"),
    ("/reset-code", {"email": "lory@"}, 1003, "email"),
    ("/reset-code", {}, 1004, "email"),
    (
        "/reset-password",
        {"email": "lory@126.com", "reg_code": 1, "password": "8 or more"},
        1003,
        "reg_code",
    ),
]
NOT_UNDERSTOOD_WITH_A_TOKEN = [
    ("/project/create", {"project_type": "1", "project_name": "x"}, 1003, "project_type"),
    ("/project/create", {"project_type": 1, "project_name": "  "}, 1003, "project_name"),
    ("/project/list", {"page_size": 0}, 1003, "page_size"),
    ("/project/list", {"page_no": -1}, 1003, "page_no"),
    ("/project/delete", {"id": True}, 1003, "id"),
    ("/project/delete", {}, 1004, "id"),
    ("/project/rotate", {"id": 1, "grace_hours": 169}, 1003, "grace_hours"),
    ("/project/rotate", {"grace_hours": 1}, 1004, "id"),
    ("/project/edit", {"id": 1, "active_until": -1}, 1003, "active_until"),
    ("/project/edit", {"id": 1, "project_name": " "}, 1003, "project_name"),
    ("/project/usage", {"id": 1, "days": 401}, 1003, "days"),
    ("/project/usage", {"days": 1}, 1004, "id"),
    (
        "/platform/change-password",
        {"old_password": "8 or more", "new_password": "7 chars"},
        1003,
        "new_password",
    ),
]


@dataclass(eq=False)
class Account:
    """A registered person."""

    key: str
    user_name: str = field(repr=False)
    email: str
    password: str = field(repr=False)
    user_id: int | None = None  # clients learn it from a token
    is_admin: bool = False
    is_banned: bool = False


@dataclass
class MailedCode:
    """The one open code of an address."""

    text: str
    expires_at: datetime
    tries: int = 0  # by the client that it is for
    other_tries: int = 0


@dataclass(eq=False)
class Token:
    """What a login gave."""

    owner: Account
    text: str = field(repr=False)
    expires_at: datetime
    revoked: bool = False


@dataclass(eq=False)
class Border:
    """The end of some term, and the request that shows on which side of it one is."""

    kind: str
    at: datetime
    subject: object
    request: Callable = field(repr=False)


@dataclass(eq=False)
class Project:
    """What project/create made."""

    owner: Account
    project_name: str
    project_type: int
    project_key: str
    project_secret: str = field(repr=False)
    created_time: str
    id: int | None = None  # learned from the list
    deleted: bool = False
    old_secret: str = field(default="", repr=False)
    old_secret_until: datetime | None = None
    request_max: int = 7
    request_total: int = 0
    requests: Counter = field(default_factory=Counter)  # by day
    active_until: int = 0  # unix seconds
    mailed: set = field(default_factory=set)  # days and shares of the quota

    def share_used(self, day):
        """Return 100 or 80 when as many percent of the quota are used, or 0."""
        shares = [
            s for s in (100, 80) if self.requests[day] >= math.ceil(self.request_max * s / 100)
        ]
        return shares[0] if shares and self.request_max else 0

    def share_reached(self, day):
        """Return the share that the last request reached, or 0."""
        shares = [
            s for s in (100, 80) if self.requests[day] == math.ceil(self.request_max * s / 100)
        ]
        return shares[0] if shares and self.request_max else 0


class Limit:
    """At most so many events in a time that begins with the first of them."""

    def __init__(self, name, most, **length):
        self.name = name
        self.most = most
        self.length = timedelta(**length)
        self.windows = {}

    def add(self, subject, now, account=None):
        """Count an event; ``account`` is the one that a full window keeps out."""
        if subject not in self.windows or self.windows[subject].ends <= now:
            self.windows[subject] = SimpleNamespace(count=0, ends=now + self.length)
        self.windows[subject].count += 1
        self.windows[subject].account = account

    def forget(self, subject):
        self.windows.pop(subject, None)

    def forget_account(self, account):
        self.windows = {s: w for s, w in self.windows.items() if w.account is not account}

    def wait(self, subject, now):
        """Return the whole seconds until there is room again; 0 when there is now."""
        window = self.windows.get(subject)
        if window is None or window.ends <= now or window.count < self.most:
            return 0
        return math.ceil((window.ends - now).total_seconds())


def mailbox(address):
    local, _, domain = address.partition("@")
    return f"{local.partition('+')[0]}@{domain}"


def network_of(client):
    return CLIENTS.get(client, (client, client))[1]


def client_of(network):
    return next((client for client in CLIENTS if CLIENTS[client][1] == network), network)


class Contract(RuleBasedStateMachine):
    """One history: each rule predicts the answer of one request, sends it, and compares."""

    def __init__(self, service):
        super().__init__()
        self.service = service
        self.http = service.app.test_client(use_cookies=False)
        self.operator = service.app.test_cli_runner()
        self.asked = 0  # requests to verify; they take turns in the forms of credentials
        service.clock.freeze(*NEARLY_MIDNIGHT)
        service.outbox.reset()
        for table in reversed(db.metadata.sorted_tables):
            service.sql(f"DELETE FROM {table.name}")

        self.accounts = {}  # by name
        self.owners = {}  # of addresses
        self.tokens = []
        self.projects = []  # in the order of their ids
        self.open_codes = {}  # by address
        self.mailed = []  # (address, code), the newest last
        self.reset_mails = 0
        self.quota_mails = 0
        # By address, then by client, "" for all that the account does not know. An address that has
        # no account has a code nobody knows.
        self.reset_codes = {}
        self.known_until = {}  # by account and client

        self.mails_of_address = Limit("mails of address", 1, seconds=60)
        self.mails_of_address_in_a_day = Limit("mails of address in a day", 5, days=1)
        self.mails_of_client = Limit("mails of client", 4, hours=1)
        self.mails_of_strangers = Limit("mails of strangers", 10, hours=1)
        self.mails_in_all = Limit("mails in all", 10, hours=1)
        self.failures = Limit("failures of account and client", 5, minutes=15)
        self.failures_of_account = Limit("failures of account", 100, days=1)
        self.failures_as_written = Limit("failures of name and client", 5, minutes=15)
        self.failures_of_written = Limit("failures of name", 100, days=1)
        self.failures_of_client = Limit("failures of client", 50, minutes=15)
        self.failures_with_token = Limit("failures with token of client", 5, minutes=15)
        self.failures_of_tokens = Limit("failures with token", 100, days=1)
        self.right_passwords = Limit("right passwords", 60, minutes=15)
        self.creations = Limit("creations", 3, days=1)
        self.floods = 0
        for limit in vars(self).values():
            if isinstance(limit, Limit):
                service.seen[limit.name] += 0

    @property
    def now(self):
        return self.service.clock.now()

    @property
    def today(self):
        return (self.now + SHANGHAI).date()

    # How a request is sent and its answer compared.

    def post(self, path, body, expect, *, client="192.0.2.1", token=None, total=1, count=1):
        """Send a request; return the answer, which is exactly what the contract says."""
        headers = {"X-Forwarded-For": client}
        if token is not None:
            headers["Authorization"] = token
        reply = self.http.post(f"/api/v1{path}", json=body, headers=headers)
        header = reply.json["header"]
        self.service.seen[header["code"]] += 1
        if expect != OK:
            total = count = 0
        assert (reply.status_code, header) == (
            STATUS[expect],
            {"code": expect, "message": header["message"], "total": total, "count": count},
        )
        assert (header["message"] == "OK") == (expect == OK)
        assert expect == OK or reply.json["data"] == {}
        assert reply.headers.get("WWW-Authenticate") == (
            "Bearer" if expect == UNAUTHENTICATED else None
        )
        assert ("Retry-After" in reply.headers) == (expect in (MAIL_NOT_SENT, TOO_MANY_REQUESTS))
        return reply

    def post_with(self, token, path, body, expect, **kwargs):
        """Send a request with a token; a token that is no good any more explains a 1001."""
        if not self.is_good(token):
            expect = UNAUTHENTICATED
        # A client may leave "Bearer" out.
        text = token.text if len(token.text) % 2 else f"Bearer {token.text}"
        return expect, self.post(path, body, expect, token=text, **kwargs)

    def is_good(self, token):
        in_time = self.now < token.expires_at + LEEWAY
        return in_time and not token.revoked and not token.owner.is_banned

    def refused(self, limits, path, body, client):
        """Send the request and return True if a limit is reached."""
        waits = {limit.name: limit.wait(subject, self.now) for limit, subject in limits}
        full = {name: wait for name, wait in waits.items() if wait}
        if full:
            reply = self.post(path, body, TOO_MANY_REQUESTS, client=client)
            assert int(reply.headers["Retry-After"]) == max(full.values())
        self.service.seen.update(full.keys())
        return bool(full)

    def wait(self, time):
        self.service.clock.advance(microseconds=time // MICROSECOND)

    # What the rules choose from.

    def free_names(self):
        return [name for name, (whose, _) in NAMES.items() if whose not in self.accounts]

    def free_addresses(self):
        return [email for email, address in ADDRESSES.items() if address not in self.owners]

    def known_logins(self):
        return [login for login in (*NAMES, *ADDRESSES) if self.account_of(login)]

    def good(self):
        return [token for token in self.tokens if self.is_good(token)]

    def dead(self):
        return [token for token in self.tokens if not self.is_good(token)]

    # Registration.

    def taken(self, user_name, email):
        """Return why nobody can register so; the address goes first."""
        if ADDRESSES[email] in self.owners:
            return EMAIL_EXISTS
        if NAMES[user_name][0] in self.accounts:
            return USER_NAME_EXISTS
        return OK

    def ask_for_a_code(self, user_name, email, client, refusal=None):
        body = {"user_name": user_name, "email": email}
        if taken := self.taken(user_name, email):
            self.post("/auth-code", body, taken, client=client)
            return
        address = ADDRESSES[email]
        limits = self.limits_of_mail("register", address, client, "")
        if self.refused(limits, "/auth-code", body, client):
            return
        if refusal:
            # Counts for nothing: no limit is nearer, and an earlier code stays good. Only a refused
            # address counts for the client and in all, because others can be made up without end.
            expect = INVALID_PARAMETER if refusal == "refuse_recipient" else MAIL_NOT_SENT
            setattr(self.service.outbox, refusal, "550 5.7.1 no")
            self.post("/auth-code", body, expect, client=client)
            setattr(self.service.outbox, refusal, None)
            if expect == INVALID_PARAMETER:
                for limit, subject in limits:
                    if limit not in (self.mails_of_address, self.mails_of_address_in_a_day):
                        limit.add(subject, self.now)
            return
        for limit, subject in limits:
            limit.add(subject, self.now)
        self.post("/auth-code", body, OK, client=client)
        code = self.service.outbox.codes[email]
        self.open_codes[address] = MailedCode(code, self.now + CODE_LIFE)
        self.mailed.append((address, code))

    def limits_of_mail(self, purpose, address, client, known):
        subject = (purpose, mailbox(address), known)
        of_address = [(self.mails_of_address, subject), (self.mails_of_address_in_a_day, subject)]
        if known:
            return [*of_address, (self.mails_in_all, "")]
        return [
            *of_address,
            (self.mails_of_client, network_of(client)),
            (self.mails_of_strangers, ""),
            (self.mails_in_all, ""),
        ]

    def register(self, user_name, email, password, reg_code):
        account = {"user_name": user_name, "password": password, "email": email}
        address = ADDRESSES[email]
        expect = self.taken(user_name, email)
        if expect == OK:
            code = self.open_codes.get(address)
            is_open = code and self.now < code.expires_at and code.tries < CODE_TRIES
            if not is_open:
                expect = WRONG_CODE
            elif reg_code != code.text:
                code.tries += 1
                expect = WRONG_CODE
            else:
                del self.open_codes[address]
                key, shown = NAMES[user_name]
                self.accounts[key] = self.owners[address] = Account(key, shown, email, password)
                for spelling in (key, address):
                    self.failures_as_written.forget((spelling, "192.0.2.1"))
                    self.failures_of_written.forget(spelling)
        self.post("/register", {**account, "reg_code": reg_code}, expect)

    def code_for(self, address, kind):
        """Return a code of a kind, as far as there is one."""
        own = [code for whose, code in self.mailed if whose == address]
        others = [code for whose, code in self.mailed if whose != address]
        choices = {"right": own[-1:], "old": own[-2:-1], "another's": others[-1:]}
        return next(iter(choices.get(kind, [])), "0000000000")

    @initialize(people=st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True))
    def some_people_are_there(self, people):
        for user_name in people:
            email = self.free_addresses()[0]
            self.ask_for_a_code(user_name, email, "192.0.2.1")
            code = self.code_for(ADDRESSES[email], "right")
            self.register(user_name, email, "e10adc3949ba59abbe56e057f20f883e", code)
            self.log_in(user_name, "e10adc3949ba59abbe56e057f20f883e", "192.0.2.1")

    @rule(user_name=names, email=addresses, client=clients)
    def somebody_asks_for_a_code(self, user_name, email, client):
        self.ask_for_a_code(user_name, email, client)

    @rule(
        user_name=names,
        email=addresses,
        clients=st.lists(clients, min_size=2, max_size=7),
        pause=st.sampled_from([59, 60, 61]),
    )
    def somebody_asks_again_and_again(self, user_name, email, clients, pause):
        for client in clients:
            self.ask_for_a_code(user_name, email, client)
            self.wait(timedelta(seconds=pause))

    @rule(
        user_name=names,
        email=addresses,
        client=clients,
        refusal=st.sampled_from(["refuse_recipient", "refuse_data"]),
    )
    def the_relay_refuses(self, user_name, email, client, refusal):
        self.ask_for_a_code(user_name, email, client, refusal)

    @rule(
        user_name=names,
        email=addresses,
        password=passwords,
        kind=st.sampled_from(["right", "wrong", "old", "another's"]),
        times=st.sampled_from([1, 1, 1, 4, 5]),
    )
    def somebody_registers(self, user_name, email, password, kind, times):
        for _ in range(times):
            self.register(user_name, email, password, self.code_for(ADDRESSES[email], kind))

    @precondition(lambda self: self.mailed)
    @rule(user_name=names, password=passwords)
    def the_newest_code_is_used(self, user_name, password):
        """Uses it up, tries one that was used, or is too late."""
        address, code = self.mailed[-1]
        self.register(user_name, address, password, code)

    @rule(user_name=names, email=addresses, password=passwords, client=clients, off=offs)
    def somebody_takes_ten_minutes(self, user_name, email, password, client, off):
        self.ask_for_a_code(user_name, email, client)
        self.wait(CODE_LIFE + off)
        self.register(user_name, email, password, self.code_for(ADDRESSES[email], "right"))

    # Login.

    def account_of(self, login):
        """Find the account of a name or an address in any spelling."""
        if login in ADDRESSES:
            return self.owners.get(ADDRESSES[login])
        return self.accounts.get(NAMES[login][0]) if login in NAMES else None

    def log_in(self, login, password, client):
        body = {"user_name": login, "password": password}
        address, network = CLIENTS.get(client, (client, client))
        account = self.account_of(login)
        # An unknown name has counters as well: nobody may learn whether it exists.
        written = ADDRESSES.get(login) or NAMES.get(login, (login,))[0]
        who = account or ("nobody", written)
        is_known = self.knows(account, network)
        told = [(self.failures, (who, network))]
        silent = []
        if not is_known:
            silent = [*told, (self.failures_of_account, who)]
            told = [
                (self.failures_as_written, (written, network)),
                (self.failures_of_written, written),
                (self.failures_of_client, network),
            ]
        right = (self.right_passwords, (who, network))
        if self.refused([*told, right], "/login", body, client):
            return
        full = [limit.name for limit, subject in silent if limit.wait(subject, self.now)]
        if account is None or password != account.password or full:
            self.service.seen.update(full)
            for limit, subject in [*told, *silent]:
                of_client = limit is self.failures_of_client
                limit.add(subject, self.now, None if of_client else account)
            self.post("/login", body, WRONG_CREDENTIALS, client=client)
            return
        self.right_passwords.add((who, network), self.now, account)
        if account.is_banned:  # said to the right password only
            self.post("/login", body, BANNED, client=client)
            return
        self.failures.forget((account, network))
        if not is_known:  # the client's own failures stay
            self.failures_of_account.forget(account)
            for spelling in (account.key, ADDRESSES[account.email]):
                self.failures_as_written.forget((spelling, network))
                self.failures_of_written.forget(spelling)
        self.known_until[account, network] = self.now + KNOWN_FOR
        data = self.post("/login", body, OK, client=client).json["data"]
        iat = int(self.now.timestamp())
        assert data == {
            "version": f"v{__version__}",
            "user_name": account.user_name,
            "auth_token": data["auth_token"],
            "login_ip": address,
            "login_time": iat,
            "role": "admin" if account.is_admin else "",
            "privilege": PRIVILEGES if account.is_admin else [],
        }
        claims = jwt.decode(data["auth_token"], options={"verify_signature": False})
        account.user_id = account.user_id or claims["claim_id"]
        assert [a for a in self.accounts.values() if a.user_id == claims["claim_id"]] == [account]
        expected = {
            "claim_alias": account.user_name,
            "claim_expire": iat + 43200,
            "claim_iat": iat,
            "claim_id": account.user_id,
            "claim_is_admin": account.is_admin,
            "claim_phone_number": "",
            "claim_username": account.user_name,
            "sub": str(account.user_id),
            "iat": iat,
            "exp": iat + 43200,
        }
        assert expected.items() <= claims.items()
        expires_at = datetime.fromtimestamp(iat, timezone.utc) + TOKEN_LIFE
        self.tokens.append(Token(account, data["auth_token"], expires_at))

    def knows(self, account, network):
        return self.now < self.known_until.get((account, network), self.now)

    def right_password(self, login):
        account = self.account_of(login)
        return account.password if account else "of nobody"

    @rule(login=logins, client=clients)
    def somebody_logs_in(self, login, client):
        self.log_in(login, self.right_password(login), client)

    @rule(login=logins, client=clients, times=st.integers(1, 6))
    def somebody_guesses(self, login, client, times):
        password = self.right_password(login)
        for _ in range(times):
            self.log_in(login, PASSWORDS.get(password, password), client)

    @precondition(lambda self: self.floods < 1)
    @rule(login=logins, times=st.sampled_from([94, 99, 100]))
    def many_clients_guess_one_password(self, login, times):
        self.floods += 1
        for number in range(times):
            self.log_in(login, "somebody else's", f"203.0.113.{number // 5}")
        account = self.account_of(login)
        for spelling in (account.key, ADDRESSES[account.email]) if account else ():
            self.log_in(spelling, account.password, "203.0.113.99")

    @precondition(lambda self: self.floods < 1 and self.accounts)
    @rule(data=st.data(), client=clients, times=st.sampled_from([59, 60, 61]))
    def somebody_logs_in_again_and_again(self, data, client, times):
        self.floods += 1
        login = data.draw(st.sampled_from(sorted(self.accounts)))
        for _ in range(times):
            self.log_in(login, self.right_password(login), client)

    @precondition(lambda self: self.floods < 1)
    @somebody_is_in
    @rule(token=good_tokens, times=st.sampled_from([99, 100, 101]))
    def a_thief_of_a_token_guesses_the_password(self, token, times):
        self.floods += 1
        for number in range(times):
            self.change_password(token, "not the old one", "x" * 9, f"203.0.113.{number // 5}")

    @precondition(lambda self: self.floods < 1)
    @rule(client=clients, times=st.sampled_from([48, 49, 50]), login=logins)
    def one_client_guesses_many_names(self, client, times, login):
        self.floods += 1
        for number in range(times):
            self.log_in(f"nobody{number // 5}", "of nobody", client)
        self.log_in(login, self.right_password(login), client)  # does not make up for them
        for number in range(50, 53):
            self.log_in(f"nobody{number}", "of nobody", client)

    @somebody_is_in
    @rule(token=good_tokens)
    def somebody_logs_out(self, token):
        self.post_with(token, "/platform/logout", {}, OK)
        token.revoked = True

    # Passwords.

    def failures_of(self, account, network):
        if self.knows(account, network):
            return [(self.failures, (account, network))]
        return [
            (self.failures_with_token, (account, network)),
            (self.failures_of_tokens, account),
        ]

    def lift_locks(self, account):
        for limit in (
            self.failures,
            self.failures_of_account,
            self.failures_as_written,
            self.failures_of_written,
            self.failures_with_token,
            self.failures_of_tokens,
            self.right_passwords,
        ):
            limit.forget_account(account)

    def revoke_all(self, account, but=None):
        for token in self.tokens:
            if token.owner is account and token is not but:
                token.revoked = True

    @somebody_is_in
    @rule(
        token=good_tokens,
        new_password=passwords,
        client=clients,
        times=st.sampled_from([0, 0, 1, 4, 5]),
    )
    def somebody_changes_the_password(self, token, new_password, client, times):
        """After some wrong old ones; the last one is right."""
        for old_password in ["not the old one"] * times + [token.owner.password]:
            self.change_password(token, old_password, new_password, client)

    def change_password(self, token, old_password, new_password, client):
        account, network = token.owner, network_of(client)
        body = {"old_password": old_password, "new_password": new_password}
        limits = self.failures_of(account, network)
        right = (self.right_passwords, (account, network))
        waits = {limit.name: limit.wait(subject, self.now) for limit, subject in [*limits, right]}
        if any(waits.values()):
            expect = TOO_MANY_REQUESTS
            self.service.seen.update(name for name, wait in waits.items() if wait)
        elif old_password != account.password:
            expect = WRONG_CREDENTIALS
            for limit, subject in limits:
                limit.add(subject, self.now, account)
        else:
            expect = OK
            self.right_passwords.add((account, network), self.now, account)
            for limit, subject in limits:
                limit.forget(subject)
        self.post_with(token, "/platform/change-password", body, expect, client=client)
        if expect == OK:
            account.password = new_password
            self.revoke_all(account, but=token)

    @rule(email=addresses, client=clients)
    def somebody_forgot_the_password(self, email, client):
        self.ask_for_a_reset_code(email, client)

    def ask_for_a_reset_code(self, email, client):
        body, address = {"email": email}, ADDRESSES[email]
        account = self.owners.get(address)
        known = self.known_name(account, client)
        limits = self.limits_of_mail("reset", address, client, known)
        if self.refused(limits, "/reset-code", body, client):
            return
        for limit, subject in limits:
            of_address = limit in (self.mails_of_address, self.mails_of_address_in_a_day)
            limit.add(subject, self.now, account if of_address else None)
        self.post("/reset-code", body, OK, client=client)
        wait_for_background()
        self.reset_mails += 1 if account else 0
        code = self.service.outbox.codes[account.email] if account else None
        codes = self.reset_codes.setdefault(address, {})
        codes[known] = MailedCode(code, self.now + CODE_LIFE)

    def known_name(self, account, client):
        """Return the client's network if the account knows it, else ""."""
        network = network_of(client)
        return network if self.knows(account, network) else ""

    @precondition(lambda self: self.reset_codes)
    @rule(
        data=st.data(),
        password=passwords,
        client=clients,
        times=st.sampled_from([0, 0, 0, 1, 4, 5]),
    )
    def somebody_resets_the_password(self, data, password, client, times):
        """After some wrong codes, with the right one, if there is one still."""
        address = data.draw(st.sampled_from(sorted(self.reset_codes)))
        whose = data.draw(st.sampled_from(sorted(self.reset_codes[address])))
        text = self.reset_codes[address][whose].text or WRONG_RESET_CODE
        for _ in range(times):
            self.reset_password(address, WRONG_RESET_CODE, password, client)
        self.reset_password(address, text, password, client)

    def reset_password(self, address, reg_code, password, client):
        codes, account = self.reset_codes[address], self.owners.get(address)
        body = {"email": address, "reg_code": reg_code, "password": password}
        known = self.known_name(account, client)
        is_right = False
        for whose, code in codes.items():
            kind = "tries" if whose == known else "other_tries"
            if self.now < code.expires_at and getattr(code, kind) < CODE_TRIES:
                setattr(code, kind, getattr(code, kind) + 1)
                is_right |= reg_code == code.text
        if not is_right:
            self.post("/reset-password", body, WRONG_CODE, client=client)
            return
        self.post("/reset-password", body, OK, client=client)
        for code in codes.values():
            code.tries = code.other_tries = CODE_TRIES  # it is used
        account.password = password
        self.revoke_all(account)
        self.lift_locks(account)

    @rule(request=requests_with_a_token, token=st.sampled_from([None, "", "Bearer", "a.b.c"]))
    def somebody_has_no_token(self, request, token):
        self.post(*request, UNAUTHENTICATED, token=token)

    @somebody_was_in
    @rule(request=requests_with_a_token, token=dead_tokens)
    def somebody_has_a_dead_token(self, request, token):
        self.post_with(token, *request, OK)

    # Projects.

    def live(self, account):
        return [p for p in self.projects if p.owner is account and not p.deleted]

    def item(self, project):
        """Return a project as the list shows it now."""
        return {
            "id": project.id,
            "project_name": project.project_name,
            "project_type": project.project_type,
            "project_key": project.project_key,
            "project_secret": project.project_secret,
            "end_points": ["https://api.hobbychain.org//rpc", "wss://api.hobbychain.org//ws"],
            "deleted": False,
            "created_time": project.created_time,
            "request_total": project.request_total,
            "request_today": project.requests[self.today],
            "request_max": project.request_max,
            "pool_id": 0,
            "pool_name": "",
        }

    def list_all(self, token):
        live = self.live(token.owner)
        expect, reply = self.post_with(
            token, "/project/list", {}, OK, total=len(live), count=len(live)
        )
        if expect == OK:
            listed = reply.json["data"]["list"]
            for project, item in zip(live, listed, strict=True):
                project.id = project.id or item["id"]
            assert listed == [self.item(project) for project in live]

    @somebody_is_in
    @rule(
        token=good_tokens,
        project_type=st.sampled_from([0, 1, 2**31 - 1]),
        project_name=st.sampled_from(["我的ChatGPT项目", " x ", "x"]),
        times=st.sampled_from([1, 2, 4]),
    )
    def somebody_makes_projects(self, token, project_type, project_name, times):
        for _ in range(times):
            self.create_project(token, project_type, project_name, requests=9 - 2 * times)

    def create_project(self, token, project_type=1, project_name="x", requests=1):
        is_full = self.creations.wait(token.owner, self.now)
        self.service.seen.update([self.creations.name] if is_full else [])
        expect = LIMIT_REACHED if is_full or len(self.live(token.owner)) >= 3 else OK
        body = {"project_type": project_type, "project_name": project_name}
        expect, reply = self.post_with(token, "/project/create", body, expect)
        if expect == OK:
            self.creations.add(token.owner, self.now, token.owner)
            project = Project(
                token.owner,
                project_name.strip(),
                project_type,
                **reply.json["data"],
                created_time=(self.now + SHANGHAI).strftime("%Y-%m-%d %H:%M:%S"),
            )
            self.projects.append(project)
            self.list_all(token)
            for _ in range(requests):
                self.verify(project, project.project_secret)
            assert all(earlier.id < project.id for earlier in self.projects[:-1])

    @somebody_is_in
    @rule(
        token=good_tokens,
        whose=st.sampled_from([None, None, "nobody", *PEOPLE]),
        page_no=st.sampled_from([0, 0, 1, 2, 2**31 - 1]),
        page_size=st.sampled_from([1, 2, 100]),
    )
    def somebody_lists(self, token, whose, page_no, page_size):
        body = {"page_no": page_no, "page_size": page_size}
        owner = self.accounts.get(whose) if whose else token.owner
        if whose:
            body["user_id"] = (owner and owner.user_id) or NO_ID
        own = owner is token.owner
        if own and page_no:
            body["user_id"] = 0
        expect = OK if own or token.owner.is_admin else ACCESS_DENIED
        everything = self.live(owner) if body.get("user_id") != NO_ID else []
        page = everything[page_no * page_size :][:page_size]
        expect, reply = self.post_with(
            token, "/project/list", body, expect, total=len(everything), count=len(page)
        )
        if expect == OK:
            assert reply.json["data"] == {"list": [self.item(project) for project in page]}

    @somebody_is_in
    @something_was_made
    @rule(token=good_tokens, project=projects)
    def somebody_deletes(self, token, project):
        may = token.owner is project.owner or token.owner.is_admin
        expect = OK if may and not project.deleted else NOT_FOUND
        expect, _ = self.post_with(token, "/project/delete", {"id": project.id}, expect)
        if expect == OK:
            project.deleted = True
        self.verify(project, project.project_secret)

    @somebody_is_in
    @rule(token=good_tokens, project_id=st.sampled_from([0, NO_ID]))
    def somebody_deletes_what_never_was(self, token, project_id):
        self.post_with(token, "/project/delete", {"id": project_id}, NOT_FOUND)

    @somebody_is_in
    @something_was_made
    @rule(token=good_tokens, project=projects, grace_hours=st.sampled_from([0, 0, 1, 168]))
    def somebody_rotates(self, token, project, grace_hours):
        may = token.owner is project.owner or token.owner.is_admin
        expect = OK if may and not project.deleted else NOT_FOUND
        body = {"id": project.id, "grace_hours": grace_hours}
        expect, reply = self.post_with(token, "/project/rotate", body, expect)
        if expect == OK:
            assert reply.json["data"]["project_key"] == project.project_key
            replaced = project.project_secret
            in_grace = project.old_secret and self.now < project.old_secret_until
            if not (in_grace and grace_hours):
                project.old_secret = replaced
            project.old_secret_until = self.now + timedelta(hours=grace_hours)
            project.project_secret = reply.json["data"]["project_secret"]
            for secret in (project.old_secret, replaced, project.project_secret):
                self.verify(project, secret)

    @somebody_is_in
    @something_was_made
    @rule(
        token=good_tokens,
        project=projects,
        change=st.fixed_dictionaries(
            {},
            optional={
                "project_name": st.sampled_from([" 新 ", "y"]),
                "project_type": st.sampled_from([0, 7]),
                "active_until": st.sampled_from([0, 0, -60, 0.5, 60, 100_000]),
            },
        ),
    )
    def somebody_edits(self, token, project, change):
        if change.get("active_until"):
            change["active_until"] = int(self.now.timestamp() + change["active_until"])
        may = token.owner is project.owner or token.owner.is_admin
        expect = OK if may and not project.deleted else NOT_FOUND
        expect, _ = self.post_with(token, "/project/edit", {"id": project.id, **change}, expect)
        if expect == OK:
            for name, value in change.items():
                setattr(project, name, value.strip() if isinstance(value, str) else value)
            self.list_all(token)
        self.verify(project, project.project_secret)

    @somebody_is_in
    @something_was_made
    @rule(token=good_tokens, project=projects, days=st.sampled_from([None, 1, 2, 400]))
    def somebody_looks_at_the_usage(self, token, project, days):
        may = token.owner is project.owner or token.owner.is_admin
        expect = OK if may and not project.deleted else NOT_FOUND
        body = {"id": project.id, **({"days": days} if days else {})}
        days = days or 30
        expect, reply = self.post_with(
            token, "/project/usage", body, expect, total=days, count=days
        )
        if expect == OK:
            used = [day for day, requests in project.requests.items() if requests]
            shown = [self.today - timedelta(days=days - 1 - n) for n in range(days)]
            assert reply.json["data"] == {
                "active_until": project.active_until,
                "last_used": str(max(used)) if used else "",
                "list": [{"day": str(day), "requests": project.requests[day]} for day in shown],
            }

    def expect_quota_mail(self, project, share):
        """Expect a mail about a share of the quota, unless it was mailed on this day before."""
        if not share or (self.today, share) in project.mailed:
            return
        project.mailed.add((self.today, share))
        self.quota_mails += 1
        wait_for_background()
        mail = self.service.outbox.mails[-1]
        assert mail["To"] == project.owner.email
        assert f" {share} % " in mail["Subject"]

    def verify(self, project, secret):
        """Ask as nginx does whether a request may pass; expect what the contract says."""
        self.asked += 1
        form = list(forms({"project_key": project.project_key, "project_secret": secret}).values())
        is_old = secret == project.old_secret and self.now < project.old_secret_until
        is_known = not project.deleted and not project.owner.is_banned
        reply = self.http.get(
            "/api/v1/project/verify",
            headers=form[self.asked % len(form)],
        )
        self.service.seen[f"verify {reply.status_code}"] += 1
        if not is_known or not (secret == project.project_secret or is_old):
            assert (reply.status_code, code_of(reply)) == (401, UNAUTHENTICATED)
            assert reply.headers["WWW-Authenticate"].startswith("Basic")
            return
        passes = project.request_max == 0 or project.requests[self.today] < project.request_max
        if project.active_until and self.now.timestamp() >= project.active_until:
            assert (reply.status_code, reply.headers["X-Gateway-Code"]) == (403, "1000")
            assert code_of(reply) == ACCESS_DENIED
            return
        if passes:
            project.request_total += 1
            project.requests[self.today] += 1
            assert (reply.status_code, reply.data) == (204, b"")
            self.expect_quota_mail(project, project.share_reached(self.today))
        else:
            assert (reply.status_code, reply.headers["X-Gateway-Code"]) == (403, "429")
            assert code_of(reply) == TOO_MANY_REQUESTS
        assert reply.headers["X-Gateway-Project"] == str(project.id)
        if project.request_max:
            left = max(0, project.request_max - project.requests[self.today])
            assert reply.headers["RateLimit-Limit"] == str(project.request_max)
            assert reply.headers["RateLimit-Remaining"] == str(left)
        else:
            assert "RateLimit-Limit" not in reply.headers

    @something_was_made
    @rule(
        project=projects,
        which=st.sampled_from(["project_secret"] * 3 + ["old_secret"]),
        times=st.sampled_from([1, 2, 8]),
    )
    def requests_come(self, project, which, times):
        for _ in range(times):
            self.verify(project, getattr(project, which) or "x" * 48)

    @something_was_made
    @rule(project=projects, request_max=st.sampled_from([0, 1, 7]), by=st.sampled_from("ik"))
    def an_operator_allows(self, project, request_max, by):
        project_name = str(project.id) if by == "i" else project.project_key
        result = self.operator.invoke(
            main, args=["project", "allow", project_name, str(request_max)]
        )
        assert result.exit_code == (1 if project.deleted else 0)
        if not project.deleted:
            project.request_max = request_max
            with self.service.app.app_context():
                senders.send_due()  # as the service does every two seconds
            self.expect_quota_mail(project, project.share_used(self.today))
        self.verify(project, project.project_secret)

    # Requests that say nothing sensible, an operator, and time.

    @rule(request=st.sampled_from(NOT_UNDERSTOOD), client=clients)
    def a_request_is_not_understood(self, request, client):
        path, body, expect, culprit = request
        assert culprit in self.post(path, body, expect, client=client).json["header"]["message"]

    @somebody_is_in
    @rule(request=st.sampled_from(NOT_UNDERSTOOD_WITH_A_TOKEN), token=good_tokens)
    def a_request_with_a_token_is_not_understood(self, request, token):
        path, body, expect, culprit = request
        answer, reply = self.post_with(token, path, body, expect)
        assert answer == UNAUTHENTICATED or culprit in reply.json["header"]["message"]

    @rule(
        command=st.sampled_from(["ban", "unban", "promote", "demote", "unlock"]),
        who=logins,
        client=clients,
        yes=st.booleans(),
    )
    def an_operator_says(self, command, who, client, yes):
        removes = command in ("ban", "demote")
        result = self.operator.invoke(
            main, args=["user", command, who, *(["--yes"] if yes and removes else [])]
        )
        account = self.account_of(who)
        admins = [a for a in self.accounts.values() if a.is_admin and not a.is_banned]
        refused = account is None or (removes and not yes and admins == [account])
        assert result.exit_code == (1 if refused else 0)
        if refused:
            pass
        elif command in ("ban", "unban"):
            account.is_banned = command == "ban"
            if account.is_banned:
                self.revoke_all(account)
        elif command == "unlock":
            for limit in vars(self).values():
                if isinstance(limit, Limit):
                    limit.forget_account(account)
        else:
            account.is_admin = command == "promote"
        # It is so at once, for who is in and for who comes, and for the projects.
        for project in self.live(account)[:2]:
            self.verify(project, project.project_secret)
        for token in [token for token in self.tokens if token.owner is account][-1:]:
            self.list_all(token)
        self.log_in(who, self.right_password(who), client)

    @rule(seconds=st.sampled_from([1, 30, 60, 300, 3600]))
    def time_passes(self, seconds):
        self.wait(timedelta(seconds=seconds))

    def borders(self):
        """Return the end of every term, with a request that shows which side of it one is on."""
        name = (self.free_names() or ["lory"])[0]
        email = (self.free_addresses() or ["lory@126.com"])[0]

        def use_code(address):
            self.register(name, address, " of my own ", self.code_for(address, "right"))

        def use_reset_code(address_and_client):
            address, whose = address_and_client
            text = self.reset_codes[address][whose].text or WRONG_RESET_CODE
            self.reset_password(address, text, " of my own ", client_of(whose or "192.0.2.1"))

        def ask(subject):
            purpose, address, network = subject
            if purpose == "reset":
                self.ask_for_a_reset_code(address, client_of(network or "192.0.2.1"))
            else:
                self.ask_for_a_code(name, address, "192.0.2.1")

        def ask_new(network):
            self.ask_for_a_code(name, email, client_of(network))

        def log_in(who, network="192.0.2.1"):
            login = who.key if isinstance(who, Account) else who
            login = login[1] if isinstance(login, tuple) else login
            self.log_in(login, self.right_password(login), client_of(network))

        def change(account, network="192.0.2.1"):
            for token in [token for token in self.good() if token.owner is account][-1:]:
                self.change_password(token, account.password, "x" * 9, client_of(network))

        def create(account):
            for token in [token for token in self.good() if token.owner is account][-1:]:
                self.create_project(token)

        def look(_subject):
            for project in self.projects[-1:]:
                self.verify(project, project.project_secret)
            for token in self.good()[-1:]:
                self.list_all(token)

        def use_secret(project):
            self.verify(project, project.project_secret)

        def use_old_secret(project):
            self.verify(project, project.old_secret)

        limits = {
            self.mails_of_address: ask,
            self.mails_of_address_in_a_day: ask,
            self.mails_of_client: ask_new,
            self.mails_of_strangers: lambda _: ask_new("192.0.2.1"),
            self.mails_in_all: lambda _: ask_new("192.0.2.2"),
            self.failures: lambda subject: log_in(*subject),
            self.failures_of_account: log_in,
            self.failures_as_written: lambda subject: log_in(*subject),
            self.failures_of_written: log_in,
            self.failures_with_token: lambda subject: change(*subject),
            self.failures_of_tokens: change,
            self.right_passwords: lambda subject: log_in(*subject),
            self.creations: create,
            self.failures_of_client: lambda network: log_in("nobody", network),
        }
        # Past the midnight that is a microsecond away.
        day = (self.now + SHANGHAI + MICROSECOND).date() + timedelta(days=1)
        midnight = datetime.combine(day, datetime.min.time(), timezone.utc) - SHANGHAI
        return [
            Border("midnight", midnight, "", look),
            *[
                Border("grace", project.old_secret_until, project, use_old_secret)
                for project in self.projects
                if project.old_secret
            ],
            *[
                Border("pause", datetime.fromtimestamp(p.active_until, timezone.utc), p, use_secret)
                for p in self.projects
                if p.active_until
            ],
            *[Border("token", t.expires_at + LEEWAY, t, self.list_all) for t in self.tokens],
            *[Border("code", code.expires_at, a, use_code) for a, code in self.open_codes.items()],
            *[
                Border("reset code", code.expires_at, (address, whose), use_reset_code)
                for address, codes in self.reset_codes.items()
                for whose, code in codes.items()
            ],
            *[
                Border("known client", until, subject, lambda subject: log_in(*subject))
                for subject, until in self.known_until.items()
            ],
            *[
                Border(limit.name, window.ends, subject, request)
                for limit, request in limits.items()
                for subject, window in limit.windows.items()
            ],
        ]

    def reach(self, border, off):
        self.wait(border.at + off - self.now)
        border.request(border.subject)

    @rule(off=offs)
    def the_next_border_is_reached(self, off):
        """Go to the end of the term that ends first, or to just before or after it, and look."""
        ahead = [border for border in self.borders() if border.at + off > self.now]
        self.reach(min(ahead, key=lambda border: border.at), off)

    @rule(data=st.data(), off=offs)
    def a_border_is_reached(self, data, off):
        ahead = [border for border in self.borders() if border.at + off > self.now]
        kind = data.draw(st.sampled_from(sorted({border.kind for border in ahead})))
        self.reach(data.draw(st.sampled_from([b for b in ahead if b.kind == kind])), off)

    # What the database and the relay hold after every step.

    @invariant()
    def the_database_agrees(self):
        rows = self.service.sql(
            "SELECT user_name, email, is_admin, is_banned, live_projects, (SELECT count(*)"
            " FROM projects WHERE user_id = users.id AND NOT deleted) FROM users"
        )
        predicted = [
            (a.user_name, a.email, a.is_admin, a.is_banned, len(self.live(a)), len(self.live(a)))
            for a in self.accounts.values()
        ]
        assert sorted(tuple(row) for row in rows) == sorted(predicted)

    @invariant()
    def every_mail_is_accounted_for(self):
        mailed = len(self.mailed) + self.reset_mails + self.quota_mails
        assert len(self.service.outbox.mails) == mailed


@pytest.fixture
def app(make_app):
    return make_app(**SETTINGS)


@pytest.fixture
def service(app, outbox, clock, sql):
    """What the machine plays against; ``seen`` counts the codes of its answers."""
    seen = Counter(dict.fromkeys([*STATUS, *VERIFY], 0))
    return SimpleNamespace(app=app, outbox=outbox, clock=clock, sql=sql, seen=seen)


def test_any_history_gets_the_answers_of_the_contract(service, database_uri, scale, tally):
    run_state_machine_as_test(
        lambda: Contract(service),
        settings=settings(
            max_examples=scale(6, 200),
            stateful_step_count=scale(30, 50),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    kind = database_uri.partition(":")[0]
    # A soak that met no banned user, say, would show nothing about them.
    answers = [*STATUS, *VERIFY]
    tally("model", f"requests, {kind}", sum(service.seen[answer] for answer in answers))
    never = [what for what, times in service.seen.items() if not times]
    assert not scale([], never), "no history came to these; try again, or give them more weight"
