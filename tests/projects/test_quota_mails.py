"""Mails to owners at 80 % and 100 % of the daily quota. On both databases."""

import threading

import pytest
from support.helpers import code_of, login

from gateway import mail
from gateway.mail import outbox as owed
from gateway.ops.cli import main
from gateway.project.quota_mails import share_reached
from gateway.testing.mailbox import wait_for_background


@pytest.fixture
def start(make_app, sign_up, clock, relay):
    """Return a function that makes a person and a project, early on a day in Shanghai."""

    def start(**settings):
        clock.freeze(2024, 3, 7, 16, 0, 5)  # 2024-03-08 00:00:05 in Shanghai
        app = make_app(**{"TIMEZONE": "Asia/Shanghai", "REQUEST_MAX": 5, **settings})
        person = sign_up(client=app.test_client())
        relay.reset()
        return person, person.create_project()

    return start


def use(person, project, times):
    statuses = [person.verify(project).status_code for _ in range(times)]
    wait_for_background()
    return statuses


def subjects(relay):
    return [mail["Subject"] for mail in relay.mails]


AT_80 = "gateway: 我的ChatGPT项目 has used 80 % of its daily requests"
AT_100 = "gateway: 我的ChatGPT项目 has used 100 % of its daily requests"


def test_each_share_is_mailed_once_a_day(start, relay, clock):
    person, project = start()
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


def test_the_mail_says_what_was_used_and_when_it_goes_on(start, relay):
    person, project = start()
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


def test_the_mail_is_in_the_language_of_the_last_login_that_named_one(start, relay):
    person, project = start()

    def log_in(language):
        headers = {"Accept-Language": language} if language else {}
        reply = login(
            lambda path, body: person.client.post(f"/api/v1{path}", json=body, headers=headers)
        )
        assert code_of(reply) == 0

    log_in("zh-CN,en;q=0.5")
    log_in(None)
    use(person, project, 4)
    assert subjects(relay) == ["gateway：我的ChatGPT项目 已使用今日请求额度的 80%"]
    log_in("en")
    use(person, project, 1)
    assert subjects(relay)[1:] == [AT_100]


def test_the_language_of_the_registration_counts(start, relay, sign_up):
    person, _ = start()
    body = {"user_name": "wang", "email": "wang@126.com"}
    chinese = {"Accept-Language": "zh"}
    person.client.post("/api/v1/auth-code", json=body, headers=chinese)
    body |= {"password": "e10adc3949ba59abbe56e057f20f883e", "reg_code": relay.code()}
    assert code_of(person.client.post("/api/v1/register", json=body, headers=chinese)) == 0
    body = {"user_name": "wang", "password": body["password"]}
    reply = person.client.post("/api/v1/login", json=body)
    person.token = reply.json["data"]["auth_token"]
    relay.reset()
    use(person, person.create_project(), 4)
    assert relay.mails[0]["To"] == "wang@126.com"
    assert "额度" in subjects(relay)[0]


@pytest.mark.parametrize(
    ("limit", "at"),
    [(0, {}), (1, {1: 100}), (2, {2: 100}), (5, {4: 80, 5: 100}), (30, {24: 80, 30: 100})],
)
def test_shares_are_rounded_up(limit, at):
    """80 % of 2 is 1.6, so the second request reaches it; that is 100 %, and one mail says so."""
    reached = {count: share_reached(limit, count, 1) for count in range(1, 40)}
    assert {count: share for count, share in reached.items() if share} == at


def test_a_quota_that_an_operator_changes_mails_no_share_twice(start, relay):
    person, project = start()
    use(person, project, 4)
    runner = person.client.application.test_cli_runner()
    assert runner.invoke(main, args=["project", "allow", "1", "10"]).exit_code == 0
    use(person, project, 6)
    assert subjects(relay) == [AT_80, AT_100]


@pytest.mark.parametrize("call", ["user unlock lory", "user set-password lory --password-stdin"])
def test_to_unlock_an_account_mails_no_share_twice(start, relay, sql, call):
    person, project = start()
    use(person, project, 4)
    creations = "SELECT count FROM throttle_counts WHERE name = 'project-create'"
    runner = person.client.application.test_cli_runner()
    assert runner.invoke(main, call.split(), input="another password").exit_code == 0
    assert sql(creations) == [(1,)]
    assert runner.invoke(main, ["project", "allow", "1", "--day", "5"]).exit_code == 0
    with person.client.application.app_context():
        owed.send_due()
    wait_for_background()
    assert subjects(relay) == [AT_80]


def test_a_quota_below_what_is_used_is_told(start, relay):
    person, project = start(REQUEST_MAX=30)
    use(person, project, 10)
    runner = person.client.application.test_cli_runner()
    assert runner.invoke(main, args=["project", "allow", "1", "20"]).exit_code == 0
    assert runner.invoke(main, args=["project", "allow", "1", "12"]).exit_code == 0
    assert runner.invoke(main, args=["project", "allow", "1", "4"]).exit_code == 0
    assert use(person, project, 2) == [403] * 2
    with person.client.application.app_context():
        owed.send_due()
    wait_for_background()
    assert sorted(subjects(relay)) == [AT_100, AT_80]
    bodies = [mail.get_body(("plain",)).get_content() for mail in relay.mails]
    assert any("has used 10 of its 12" in body for body in bodies)
    assert any("has used 10 of its 4" in body for body in bodies)


def test_racing_requests_get_one_mail_for_each_share(start, relay):
    person, project = start(REQUEST_MAX=20)
    app = person.client.application

    def ask():
        client = app.test_client()
        headers = {"X-API-Key": f"{project['project_key']}.{project['project_secret']}"}
        for _ in range(5):
            client.get("/api/v1/project/verify", headers=headers)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for_background()
    # The mail of 80 % is dropped when that of 100 % is owed before it was sent.
    assert subjects(relay) in ([AT_80, AT_100], [AT_100])


def test_no_mail_when_the_setting_says_so(start, relay):
    person, project = start(QUOTA_MAILS=False)
    use(person, project, 5)
    assert relay.mails == []


def test_an_account_gets_no_more_than_a_hundred_mails_a_day(start, relay, monkeypatch):
    monkeypatch.setattr("gateway.project.quota_mails.MAILS_OF_ACCOUNT", 3)
    person, _ = start(REQUEST_MAX=1)
    for _ in range(4):
        use(person, person.create_project(), 1)
    assert len(relay.mails) == 3


def test_a_relay_that_fails_gets_the_mail_later(start, relay, clock):
    person, project = start()
    relay.refuse_data = "451 4.3.0 later"
    assert use(person, project, 4) == [204] * 4
    assert relay.mails == []
    relay.refuse_data = None
    clock.advance(seconds=3)
    assert relay.wait_for_mails(1)
    assert subjects(relay) == [AT_80]


def test_a_month_is_mailed_as_a_day_is(start, relay, clock):
    """80 % of 11 is 8.8, so the request that counts from 8 to 9 reaches it."""
    person, project = start(REQUEST_MAX=0, REQUESTS_PER_MONTH=11)
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
    runner = person.client.application.test_cli_runner()
    assert runner.invoke(main, args=["project", "allow", "1", "--month", "12"]).exit_code == 0
    use(person, project, 1)
    assert len(relay.mails) == 2  # no share of a month is mailed twice


def test_a_month_below_what_is_used_is_told(start, relay):
    person, project = start(REQUEST_MAX=0)
    use(person, project, 9)
    runner = person.client.application.test_cli_runner()
    assert runner.invoke(main, args=["project", "allow", "1", "--month", "10"]).exit_code == 0
    with person.client.application.app_context():
        owed.send_due()
    assert subjects(relay) == [AT_80.replace("daily", "monthly")]


def test_the_mail_at_80_is_dropped_when_it_is_late(start, relay, clock):
    person, project = start()
    relay.refuse_data = "451 4.3.0 later"
    use(person, project, 4)
    relay.refuse_data = None
    use(person, project, 1)
    clock.advance(seconds=3)
    with person.client.application.app_context():
        owed.send_due()
    assert subjects(relay) == [AT_100]


def test_the_mail_at_100_waits_for_the_one_at_80(start, relay):
    person, project = start()
    relay.pause = 1
    assert [person.verify(project).status_code for _ in range(4)] == [204] * 4
    assert relay.wait_until_taken(1)
    relay.pause = 0
    use(person, project, 1)
    assert subjects(relay) == [AT_80, AT_100]


def test_a_project_that_was_deleted_meanwhile_gets_no_mail(start, relay, clock):
    person, project = start()
    relay.refuse_data = "451 4.3.0 later"
    use(person, project, 4)
    assert code_of(person.post("/project/delete", {"id": 1})) == 0
    relay.refuse_data = None
    clock.advance(seconds=3)
    other = person.create_project("other")
    use(person, other, 4)
    assert relay.wait_for_mails(1)
    wait_for_background()
    assert [subject for subject in subjects(relay) if "我的" in subject] == []


def test_a_database_that_fails_behind_the_response_hurts_no_request(start, relay, monkeypatch):
    person, project = start()

    def fail(*_args, **_kwargs):
        raise mail.MailError("no")

    monkeypatch.setattr("gateway.mail.outbox.promise", fail)
    assert use(person, project, 5) == [204] * 5
    assert relay.mails == []
