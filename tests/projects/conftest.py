"""Projects of tests that choose the settings and the moment."""

import pytest


@pytest.fixture
def start(make_app, sign_up, clock):
    """Return a function that makes a person and a project, at noon of a day in 2024."""

    def start(*moment, **settings):
        clock.freeze(*(moment or (2024, 3, 7, 12)))
        person = sign_up(client=make_app(**{"REQUEST_MAX": 0, **settings}).test_client())
        return person, person.create_project()

    return start


@pytest.fixture
def project(person):
    return person.create_project()


@pytest.fixture
def counts(sql):
    """Return a function that returns request_total and request_count of project 1."""
    return lambda: tuple(sql("SELECT request_total, request_count FROM projects WHERE id = 1")[0])
