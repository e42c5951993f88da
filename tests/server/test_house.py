"""Traps that the code once had: each test fails when one of them comes back."""

import pytest
from marshmallow import EXCLUDE
from sqlalchemy.exc import DBAPIError

from gateway import throttle
from gateway.auth import admin, schemas
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.project.verify import COUNT_REQUEST
from gateway.throttle import Counter
from gateway.web.fields import Request


def test_check_looks_at_every_counter(app):
    counters = [Counter(f"counter-{n}", "somebody", 1, 60) for n in range(6)]
    with app.app_context():
        throttle.hit(counters[-1])
        db.session.commit()
        with pytest.raises(ApiError) as refusal:
            throttle.check(*counters)
    assert refusal.value.code is Code.TOO_MANY_REQUESTS


def test_clear_looks_at_every_counter(app):
    counters = [Counter(f"counter-{n}", "somebody", 1, 60) for n in range(6)]
    with app.app_context():
        throttle.hit(counters[-1])
        db.session.commit()
        throttle.clear(*counters)
        db.session.commit()
        throttle.check(*counters)


@pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)
def test_an_error_of_a_hot_statement_names_the_statement(app, sql):
    sql("DROP TABLE projects")
    with app.app_context(), pytest.raises(DBAPIError) as error:
        COUNT_REQUEST.all(
            dict.fromkeys(("key", "secret_hash", "pool", "now", "today", "latest_day"))
        )
    assert error.value.statement.startswith("UPDATE projects SET")


def test_a_connection_that_cannot_be_made_has_no_statement(make_app):
    app = make_app(SQLALCHEMY_DATABASE_URI="sqlite:////nowhere/at/all.db")
    with app.app_context(), pytest.raises(DBAPIError) as error:
        COUNT_REQUEST.all({})
    assert error.value.statement is None


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (lambda who: admin.set_banned(who, True), (True, False)),
        (lambda who: admin.set_admin(who, True), (False, True)),
    ],
)
def test_a_changed_account_is_returned_as_it_is_now(app, person, change, flags):
    with app.app_context():
        admin.find("lory")
        user = change("lory")
        assert (user.is_banned, user.is_admin) == flags


def test_a_new_password_is_returned_with_the_new_generation(app, person):
    with app.app_context():
        before = admin.find("lory").token_generation
        assert admin.set_password("lory", "another password").token_generation == before + 1


def test_request_schemas_drop_unknown_fields_by_themselves():
    assert Request.Meta.unknown == EXCLUDE
    assert schemas.LogoutRequest().load({"x": 1}) == {}
