"""Mails to owners at 80 % and 100 % of the daily quota. On both databases."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from support.helpers import TYPED, code_of, sqlite_only

from gateway import mail
from gateway.mail import outbox as owed
from gateway.project.quota_mails import share_reached
from gateway.testing.mailbox import wait_for_background

AT_80 = "gateway: 我的ChatGPT项目 has used 80 % of its daily requests"
AT_100 = "gateway: 我的ChatGPT项目 has used 100 % of its daily requests"


@pytest.fixture
def begin(start, relay):
    """Return a function that makes a person and a project, early on a day in Shanghai."""

    def begin(**settings):
        settings = {"TIMEZONE": "Asia/Shanghai", "REQUEST_MAX": 5, **settings}
        made = start(2024, 3, 7, 16, 0, 5, **settings)  # 2024-03-08 00:00:05 there
        relay.reset()
        return made

    return begin


def use(person, project, times):
    statuses = [person.verify(project).status_code for _ in range(times)]
    wait_for_background()
    return statuses


def send_due(person):
    with person.client.application.app_context():
        owed.send_due()


def subjects(relay):
    return [mail["Subject"] for mail in relay.mails]


def test_each_share_is_mailed_once_a_day(begin, relay, clock):
    person, project = begin()
    assert use(person, project, 3) == [204] * 3
    assert subjects(relay) == []
    use(person, project, 1)
    assert subjects(relay) == [AT_80]
    use(person, project, 1)
    assert subjects(relay) == [AT_80, AT_100]
    assert use(person, project, 3) == [403] * 3
    assert len(relay.mails) == 2
    clock.advance(days=1)
    use(person, project, 5)
    assert sorted(subjects(relay)[2:]) == [AT_100, AT_80]


@sqlite_only
def test_the_mail_says_what_was_used_and_when_it_goes_on(begin, relay):
    person, project = begin()
    use(person, project, 4)
    use(person, project, 1)
    (first, second) = relay.mails
    assert first["To"] == person.email
    for kind in ("plain", "html"):
        text = first.get_body((kind,)).get_content()
        for word in ("我的ChatGPT项目", "2024-03-08", "Asia/Shanghai", "80 %", "(id 1)"):
            assert word in text
    assert "has used 4 of its 5" in first.get_body(("plain",)).get_content()
    assert "Requests go on until all are used" in first.get_body(("plain",)).get_content()
    assert "has used 5 of its 5" in second.get_body(("plain",)).get_content()
    assert "refused with code 429 until the day ends" in second.get_body(("plain",)).get_content()


@sqlite_only
def test_the_mail_is_in_the_language_of_the_last_request_that_named_one(begin, relay):
    person, _ = begin()
    account = {"user_name": "wang", "email": "wang@126.com"}

    def ask(path, body, language):
        headers = {"Accept-Language": language} if language else {}
        reply = person.client.post(f"/api/v1/{path}", json=body, headers=headers)
        assert code_of(reply) == 0
        return reply.json["data"]

    def told(*languages):
        for language in languages:
            body = {"user_name": "wang", "password": TYPED}
            person.token = ask("login", body, language)["auth_token"]
        use(person, person.create_project(), 4)
        assert relay.mails[-1]["To"] == "wang@126.com"
        return subjects(relay)[-1]

    ask("auth-code", account, "zh")
    ask("register", {**account, "password": TYPED, "reg_code": relay.code()}, "zh")
    in_chinese = "gateway：我的ChatGPT项目 已使用今日请求额度的 80%"
    assert told(None) == in_chinese
    assert told("en", None) == AT_80
    assert told("zh-CN,en;q=0.5", None) == in_chinese


@pytest.mark.parametrize(
    ("limit", "at"),
    [(0, {}), (1, {1: 100}), (2, {2: 100}), (5, {4: 80, 5: 100}), (30, {24: 80, 30: 100})],
)
def test_shares_are_rounded_up(limit, at):
    """80 % of 2 is 1.6, so the second request reaches it; that is 100 %, and one mail says so."""
    reached = {count: share_reached(limit, count, 1) for count in range(1, 40)}
    assert {count: share for count, share in reached.items() if share} == at


def test_a_quota_that_an_operator_changes_mails_no_share_twice(begin, relay):
    person, project = begin()
    use(person, project, 4)
    person.operate("project", "allow", 1, 10)
    use(person, project, 6)
    assert subjects(relay) == [AT_80, AT_100]


def test_the_share_of_80_is_not_mailed_after_that_of_100(begin, relay):
    person, project = begin(REQUEST_MAX=4)
    assert person.verify(project, cost=4).status_code == 204
    wait_for_background()
    person.operate("project", "allow", 1, 5)
    send_due(person)
    assert subjects(relay) == [AT_100]


def test_to_unlock_an_account_mails_no_share_twice(begin, relay, sql, command):
    person, project = begin()
    use(person, project, 4)
    assert command("user", "unlock", "lory").exit_code == 0
    call = ("user", "set-password", "lory", "--password-stdin")
    assert command(*call, input="another password").exit_code == 0
    assert sql("SELECT count FROM throttle_counts WHERE name = 'project-create'") == [(1,)]
    person.operate("project", "allow", 1, "--day", 5)
    send_due(person)
    assert subjects(relay) == [AT_80]


def test_a_quota_below_what_is_used_is_told(begin, relay):
    person, project = begin(REQUEST_MAX=30)
    use(person, project, 10)
    for quota in (20, 12):
        person.operate("project", "allow", 1, quota)
    send_due(person)
    person.operate("project", "allow", 1, 4)
    assert use(person, project, 2) == [403] * 2
    person.operate("project", "allow", 1, "--month", 11)
    send_due(person)
    assert subjects(relay) == [AT_80, AT_100, AT_80.replace("daily", "monthly")]
    texts = [mail.get_body(("plain",)).get_content() for mail in relay.mails]
    for text, quota in zip(texts, (12, 4, 11), strict=True):
        assert f"has used 10 of its {quota}" in text


def test_racing_requests_get_one_mail_for_each_share(begin, relay):
    person, project = begin(REQUEST_MAX=20)

    def ask(_number):
        racer = replace(person, client=person.client.application.test_client())
        for _ in range(5):
            racer.verify(project)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(ask, range(8)))
    wait_for_background()
    # The mail of 80 % is dropped when that of 100 % is owed before it was sent.
    assert subjects(relay) in ([AT_80, AT_100], [AT_100])


@sqlite_only
def test_no_mail_when_the_setting_says_so(begin, relay):
    person, project = begin(QUOTA_MAILS=False)
    use(person, project, 5)
    assert relay.mails == []


def test_an_account_gets_no_more_than_a_hundred_mails_a_day(begin, relay, monkeypatch):
    monkeypatch.setattr("gateway.project.quota_mails.MAILS_OF_ACCOUNT", 3)
    person, _ = begin(REQUEST_MAX=1)
    for _ in range(4):
        use(person, person.create_project(), 1)
    assert len(relay.mails) == 3


def test_a_month_is_mailed_as_a_day_is(begin, relay, clock):
    """80 % of 11 is 8.8, so the request that counts from 8 to 9 reaches it."""
    person, project = begin(REQUEST_MAX=0, REQUESTS_PER_MONTH=11)
    use(person, project, 8)
    assert subjects(relay) == []
    clock.advance(days=20)
    use(person, project, 1)
    use(person, project, 2)
    assert subjects(relay) == [
        AT_80.replace("daily", "monthly"),
        AT_100.replace("daily", "monthly"),
    ]
    text = relay.mails[1].get_body(("plain",)).get_content()
    assert "has used 11 of its 11" in text
    assert "for 2024-03 (Asia/Shanghai)" in text
    assert "until the month ends" in text
    assert use(person, project, 1) == [403]
    clock.advance(days=5)
    person.operate("project", "allow", 1, "--month", 12)
    use(person, project, 1)
    assert len(relay.mails) == 2  # no share of a month is mailed twice


def test_the_mail_at_80_is_dropped_when_it_is_late(begin, relay, clock):
    person, project = begin()
    relay.refuse_data = "451 4.3.0 later"
    use(person, project, 4)
    relay.refuse_data = None
    use(person, project, 1)
    clock.advance(seconds=3)
    send_due(person)
    assert subjects(relay) == [AT_100]


def test_the_mail_at_100_waits_for_the_one_at_80(begin, relay):
    person, project = begin()
    relay.pause = 1
    assert [person.verify(project).status_code for _ in range(4)] == [204] * 4
    assert relay.wait_until_taken(1)
    relay.pause = 0
    use(person, project, 1)
    assert subjects(relay) == [AT_80, AT_100]


def test_a_relay_that_fails_gets_the_mail_later_unless_the_project_is_gone(begin, relay, clock):
    person, project = begin()
    other = person.create_project("other")
    relay.refuse_data = "451 4.3.0 later"
    assert use(person, project, 4) == use(person, other, 4) == [204] * 4
    assert code_of(person.post("/project/delete", {"id": 1})) == 0
    assert relay.mails == []
    relay.refuse_data = None
    clock.advance(seconds=3)
    send_due(person)
    assert relay.wait_for_mails(1)  # a thread of the service may have taken it
    wait_for_background()
    assert subjects(relay) == [AT_80.replace("我的ChatGPT项目", "other")]


@sqlite_only
def test_a_database_that_fails_behind_the_response_hurts_no_request(begin, relay, monkeypatch):
    person, project = begin()

    def fail(*_args, **_kwargs):
        raise mail.MailError("no")

    monkeypatch.setattr("gateway.mail.outbox.promise", fail)
    assert use(person, project, 5) == [204] * 5
    assert relay.mails == []
