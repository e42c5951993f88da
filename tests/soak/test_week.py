"""A week of a node, hour by hour: at its end every count and every mail is as a ledger says."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, timedelta

import psutil
import pytest
from support.helpers import empty

from gateway.db import db
from gateway.db.purge import purge_expired
from gateway.mail import outbox
from gateway.ops.cli import main
from gateway.testing.mailbox import wait_for_background

FIRST_DAY = date(2026, 2, 26)  # so that a month ends in this week
QUOTA = 40  # requests a day
MEMORY = 12  # MiB that a process may grow by after its first day


class Person:
    """Somebody with one project; ``passed`` is its count by day, as it must be."""

    def __init__(self, account):
        self.account = account
        made = account.create_project()
        self.id = account.projects()[0]["id"]
        self.key, self.secrets = made["project_key"], [made["project_secret"]]
        self.passed = Counter()

    def ask(self, cost, day):
        """Ask for one request with any valid secret; compare the verdict; return what it passed."""
        headers = {"X-API-Key": f"{self.key}.{random.choice(self.secrets)}"}
        path = f"/api/v1/project/verify?cost={cost}"
        has_room = self.passed[day] + cost <= QUOTA
        status = self.account.client.get(path, headers=headers).status_code
        assert status == (204 if has_room else 403)
        before = self.passed[day]
        self.passed[day] += cost * has_room
        return [share for share in (80, 100) if before < share * QUOTA / 100 <= self.passed[day]]

    def rotate(self):
        """Get a new secret; the old one is valid for two hours more."""
        self.account.sign_in()
        body = {"id": self.id, "grace_hours": 2}
        self.secrets.append(
            self.account.post("/project/rotate", body).json["data"]["project_secret"]
        )

    def counts(self):
        """Return the count of each day that the service knows, and its total."""
        self.account.sign_in()
        usage = self.account.post("/project/usage", {"id": self.id, "days": 30}).json["data"]
        days = {each["day"]: each["requests"] for each in usage["list"] if each["requests"]}
        return days, self.account.projects()[0]["request_total"]


@pytest.fixture
def app(make_app):
    return make_app(REQUEST_MAX=QUOTA, MAILS_PER_IP=10**6, MAILS_PER_HOUR=10**6)


@pytest.fixture
def run(command):
    """Return a function that runs an operator's command on a database; none may fail."""

    def run(*words, command=command):
        result = command(*words)
        assert result.exit_code == 0, result.output

    return run


@pytest.fixture
def back_up(app, run, make_app, tmp_path):
    """Return a function that copies the database into a new file, and returns its URL."""
    file = tmp_path / "backup.db"

    def back_up():
        file.unlink(missing_ok=True)
        other = make_app(SQLALCHEMY_DATABASE_URI=f"sqlite:///{file}")
        for words in (
            ("db", "upgrade", "--new"),
            ("copy-from", app.config["SQLALCHEMY_DATABASE_URI"]),
        ):
            run(*words, command=lambda *each: other.test_cli_runner().invoke(main, args=each))
        with other.app_context():
            db.engine.dispose()
        return f"sqlite:///{file}"

    return back_up


@pytest.fixture
def live(app, sign_up, clock):
    """Return a function that lives through one day; ``live.people`` are those who do."""
    people, mails = [], Counter()

    def live(day, requests, costs):
        clock.freeze(day.year, day.month, day.day, 0, 30)
        people.append(Person(sign_up(f"person{len(people)}")))
        mails[people[-1].account.email, "code"] += 1
        for _ in range(23):
            for person in random.choices(people, k=requests):
                for share in person.ask(random.choice(costs), day):
                    mails[person.account.email, share] += 1
                with app.app_context():
                    outbox.send_due()
                wait_for_background()
            with app.app_context():
                purge_expired()
            clock.advance(hours=1)
            for person in people:
                del person.secrets[:-1]  # the grace is over
        people[0].rotate()

    live.people, live.mails = people, mails
    return live


def test_a_week_ends_as_its_ledger_says(
    live, back_up, run, sql, sign_up, relay, scale, tally, request
):
    random.seed(7)
    days, requests, process = scale(2, 7), scale(2, 40), psutil.Process()
    since, sizes, expected = FIRST_DAY, [], {}
    for number in range(days):
        day = FIRST_DAY + timedelta(days=number)
        live(day, requests, costs=[1, 3, 7] if since > FIRST_DAY else [1])
        if number == days // 3:
            run("db", "downgrade", "0004")  # which knows only today, and no cost
            run("db", "upgrade")
            since = day
        copy = back_up()
        if number == days // 2:
            sign_up("unknown")  # to the backup
            live.mails["unknown@126.com", "code"] += 1
            empty(sql)
            run("copy-from", copy)
        for person in live.people:
            expected = {str(d): n for d, n in person.passed.items() if n and d >= since}
            assert person.counts() == (expected, person.passed.total())
        sizes.append((process.memory_info().rss / 2**20, process.num_fds()))
    got = Counter()
    for mail in relay.mails:
        share = next((share for share in (80, 100) if f" {share} % " in mail["Subject"]), "code")
        got[mail["To"], share] += 1
    lost = [(live.mails - got), (got - live.mails)]
    total = sum(person.passed.total() for person in live.people)
    kind = request.node.callspec.id
    tally(
        "week", f"requests of {days} days, and their mails, {kind}", total, [x for x in lost if x]
    )
    assert sql("SELECT count(*) FROM owed_mails") == [(0,)]
    assert sizes[-1][0] - sizes[0][0] < MEMORY
    assert sizes[-1][1] - sizes[0][1] <= 2
