"""Requests of one project that meet: one statement counts them all. On Postgres."""

import re
import threading
from contextlib import contextmanager

import psycopg
import pytest
from support.helpers import TIMEOUT, basic, code_of, postgres_only, until
from support.sql_log import sql_log

from gateway.db import db, deadline, postgres
from gateway.testing.mailbox import wait_for_background

pytestmark = postgres_only


@pytest.fixture
def meet(postgres_uri, monkeypatch):
    """Return a function that asks questions at once, in their order.

    The first statement waits for the project's row until all others wait, too. It returns the
    replies and how many statements there were.
    """
    waiting = []

    @contextmanager
    def note():
        waiting.append(1)
        yield

    def meet(person, project, questions, meanwhile=psycopg.Connection.rollback, longest=TIMEOUT):
        replies, app = {}, person.client.application

        def ask(number, secret=project["project_secret"], **question):
            client = app.test_client(use_cookies=False)
            headers = {"Authorization": basic(project["project_key"], secret)}
            path = "/api/v1/project/verify"
            replies[number] = client.get(path, query_string=question, headers=headers)

        threads = []
        waiting.clear()
        monkeypatch.setattr(deadline, "aside", note)
        monkeypatch.setattr(deadline, "REQUEST_TIMEOUT", TIMEOUT)
        monkeypatch.setattr(postgres, "ANSWER_TIMEOUT", longest)
        with app.app_context():
            engine = db.engine
        with psycopg.connect(postgres_uri) as holder, sql_log(engine) as read_log:
            holder.execute("UPDATE projects SET project_type = 1")
            for number, question in enumerate(questions):
                threads.append(threading.Thread(target=ask, args=(number,), kwargs=question))
                threads[-1].start()
                until(lambda: len(waiting) == len(threads))
            meanwhile(holder)
            for thread in threads:
                thread.join()
            counts = [query for query in read_log() if query.startswith("UPDATE projects SET")]
        return [replies[number] for number in range(len(questions))], len(counts) - 1

    return meet


def remaining(replies):
    return [int(reply.headers["RateLimit-Remaining"]) for reply in replies]


def test_one_statement_counts_all_that_wait(start, meet, relay):
    """Each learns what it has left, and the one that reaches a share causes the mail."""
    person, project = start(REQUEST_MAX=30, REQUESTS_PER_MONTH=100)
    replies, counts = meet(person, project, [{"cost": 3}] * 9)
    assert counts == 2
    assert remaining(replies) == list(range(27, 0, -3))
    assert [re.search(r'"month";r=(\d+)', reply.headers["RateLimit"])[1] for reply in replies] == [
        str(left) for left in range(97, 70, -3)
    ]
    wait_for_background()
    (_, mail) = relay.mails  # the first was a code
    assert "has used 24 of its 30" in mail.get_body(("plain",)).get_content()
    (listed,) = person.projects()
    assert (listed["request_today"], listed["request_total"]) == (27, 27)


def test_each_asks_alone_when_there_is_not_room_for_all(start, meet):
    person, project = start(REQUEST_MAX=5)
    replies, _ = meet(person, project, [{}] * 8)
    passed = [reply for reply in replies if reply.status_code == 204]
    assert sorted(remaining(passed)) == [0, 1, 2, 3, 4]
    assert {reply.headers["X-Gateway-Code"] for reply in replies if reply not in passed} == {"429"}
    assert person.projects()[0]["request_today"] == 5


def test_a_project_with_a_rate_is_asked_alone(start, meet):
    person, project = start(REQUESTS_PER_MINUTE=30)
    replies, counts = meet(person, project, [{}] * 7)
    assert counts == 7
    assert [reply.status_code for reply in replies].count(204) == 5


def test_only_equal_questions_are_counted_together(start, meet):
    person, project = start(REQUEST_MAX=100)
    questions = [{}, {"cost": 7}, {"secret": "x" * 48}, {"pool": ""}, {"pool": "blue"}] * 2
    replies, _ = meet(person, project, questions)
    assert [reply.status_code for reply in replies] == [204, 204, 401, 204, 401] * 2
    assert person.projects()[0]["request_today"] == 2 * (1 + 7 + 1)


def test_who_waited_asks_alone_when_the_statement_fails(start, meet, monkeypatch):
    person, project = start()
    monkeypatch.setattr(deadline, "MAX_WAITED", TIMEOUT)

    def lose_the_connection(holder):
        holder.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )
        holder.rollback()

    (first, *others), _ = meet(person, project, [{}] * 5, lose_the_connection)
    assert (first.status_code, code_of(first)) == (503, 501)
    assert [reply.status_code for reply in others] == [204] * 4
    assert person.projects()[0]["request_today"] == 4


def test_who_waited_for_a_server_that_hangs_does_not_wait_again(start, meet, monkeypatch):
    person, project = start()
    monkeypatch.setattr(deadline, "MAX_WAITED", 0)
    replies, counts = meet(person, project, [{}] * 2, lambda holder: None, longest=2)
    assert [(reply.status_code, code_of(reply)) for reply in replies] == [(503, 501)] * 2
    assert counts == 1
