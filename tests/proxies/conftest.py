"""What the tests of proxies share: one kind of database, and nginx in front of a stand-in."""

import pytest
from support.nginx_front import NO_RATE, NginxFront


@pytest.fixture
def database_uri(request):
    """SQLite, because these tests are about the way to it; the mark ``on_both`` adds Postgres."""
    return request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_uri")


@pytest.fixture
def stand_in(three_upstreams, upstreams):
    """A server in the place of gateway; it lets everything pass, unless a test says otherwise."""
    return three_upstreams[2]


@pytest.fixture(scope="session")
def shared_front(tmp_path_factory, three_upstreams):
    main, blue, stand_in = (each.port for each in three_upstreams)
    front = NginxFront(tmp_path_factory.mktemp("nginx"), [stand_in], main, blue, NO_RATE)
    yield front
    front.end()


@pytest.fixture
def front(shared_front, stand_in):
    """nginx in front of the stand-in, with large limits; many tests use it, one after another."""
    return shared_front
