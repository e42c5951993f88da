"""rotate: which secrets work afterwards, and for how long."""

import pytest
from support.helpers import OK, code_of


@pytest.fixture
def person(sign_up, clock):
    clock.freeze(2024, 3, 7, 12)
    return sign_up()


@pytest.fixture
def secrets(person):
    """The secrets of project 1 in the order in which it got them."""
    return [person.create_project()["project_secret"]]


@pytest.fixture
def rotate(person, secrets):
    """Return a function that rotates once for each grace, in hours."""

    def rotate(*graces):
        for grace in graces:
            reply = person.post("/project/rotate", {"id": 1, "grace_hours": grace})
            secrets.append(reply.json["data"]["project_secret"])

    return rotate


@pytest.fixture
def working(person, secrets):
    """Return a function that returns the numbers of the secrets that work."""
    (project,) = person.projects()
    return lambda: [
        n for n, secret in enumerate(secrets) if person.verify(project, secret).status_code == 204
    ]


def test_rotate_replaces_the_secret(person, secrets, rotate, working):
    (before,) = person.projects()
    reply = person.post("/project/rotate", {"id": 1})
    fresh = reply.json["data"]
    assert reply.json["header"] == OK["header"]
    assert fresh.keys() == {"project_key", "project_secret"}
    assert fresh["project_key"] == before["project_key"]
    assert len(fresh["project_secret"]) == 48
    secrets.append(fresh["project_secret"])
    assert working() == [1]
    (shown,) = person.projects()
    assert (shown["id"], shown["project_secret"]) == (1, fresh["project_secret"])
    assert (shown["request_total"], shown["request_today"]) == (1, 1)


def test_only_owner_and_admins_can_rotate(person, sign_up, secrets, make_admin):
    libin = sign_up("libin")

    def code(who, project_id=1):
        return code_of(who.post("/project/rotate", {"id": project_id}))

    assert code(libin) == 1006
    make_admin(libin)
    assert [code(libin), code(person), code(person, 2)] == [0, 0, 1006]
    person.post("/project/delete", {"id": 1})
    assert code(person) == 1006


def test_a_retry_after_a_lost_reply_keeps_what_is_deployed(rotate, working, clock):
    for retries in range(1, 5):
        rotate(24)
        assert working() == [0, retries]
        clock.advance(seconds=1)
    clock.advance(hours=24, seconds=-2)
    assert working() == [0, 4]
    clock.advance(seconds=1)
    assert working() == [4]


def test_a_rotation_without_grace_keeps_only_the_new_secret(rotate, working):
    rotate(24, 0)
    assert working() == [2]
    rotate(24, 24, 0)
    assert working() == [5]


@pytest.mark.parametrize(("first", "second"), [(168, 1), (1, 168), (2, 2)])
def test_the_latest_rotation_decides_when_the_old_secret_ends(
    rotate, working, clock, first, second
):
    rotate(first)
    clock.advance(minutes=30)
    rotate(second)
    clock.advance(hours=second, seconds=-1)
    assert working() == [0, 2]
    clock.advance(seconds=1)
    assert working() == [2]


def test_after_the_grace_the_next_rotation_keeps_the_secret_before_it(rotate, working, clock):
    rotate(1)
    clock.advance(hours=1)  # to the second
    rotate(1)
    assert working() == [1, 2]
    clock.advance(minutes=59)
    rotate(1)
    assert working() == [1, 3]
