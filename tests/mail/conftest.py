"""What the tests of mails share: one database, relays with faults, requests for a code."""

import time

import pytest
from support import faulty_smtp
from support.helpers import code_of


@pytest.fixture
def database_uri(request):
    """SQLite, unless a test has the mark ``both``, because these tests are about mail."""
    return request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_uri")


@pytest.fixture
def relay_with():
    """Return a function that starts a relay with faults in its next connections."""
    relays = []

    def make(*faults, security="", contexts=None):
        relays.append(faulty_smtp.FaultyRelay(security, contexts))
        relays[-1].faults.extend(faults)
        return relays[-1]

    yield make
    for relay in relays:
        relay.close()


@pytest.fixture
def faulty(relay_with):
    return relay_with()


@pytest.fixture
def contexts(tmp_path, monkeypatch):
    trusted, contexts = faulty_smtp.certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return contexts


@pytest.fixture
def post():
    """Return a function that asks for a registration code; it returns the reply, in time."""

    def post(app, number=0):
        person = {"user_name": f"user{number}", "email": f"user{number}@126.com"}
        start = time.monotonic()
        reply = app.test_client().post("/api/v1/auth-code", json=person)
        assert time.monotonic() - start < 10
        return reply

    return post


@pytest.fixture
def ask(post):
    """Return a function that asks for a registration code; it returns the code of the reply."""
    return lambda *args: code_of(post(*args))
