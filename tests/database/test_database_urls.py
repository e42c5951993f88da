"""URLs of databases as people write them are taken, and their passwords are never shown."""

import pytest
from sqlalchemy.engine import make_url

from gateway.ops.doctor.database import shown
from gateway.settings import database_url

PASSWORDS = ["p/w", "p#w", "p?w", "p:w", "p@w", "p@h/x", "100%", "ü", "a b", "%2F", "p[w]", "p,w"]


def arguments(text):
    url = make_url(database_url.check(text))
    (_, found) = url.get_dialect()().create_connect_args(url)
    return found


@pytest.mark.parametrize("password", PASSWORDS)
def test_passwords_need_no_encoding(password):
    expected = {"%2F": "/"}.get(password, password)
    assert arguments(f"postgresql://lory:{password}@db.example.com:5433/gateway") == {
        "user": "lory",
        "password": expected,
        "host": "db.example.com",
        "port": 5433,
        "dbname": "gateway",
    }


@pytest.mark.parametrize(
    ("place", "host", "port"),
    [
        ("h1:1,h2:2", "h1,h2", "1,2"),
        ("h1,h2:6432,h3", "h1,h2,h3", "5432,6432,5432"),
        ("[::1]:1,10.0.0.2", "::1,10.0.0.2", "1,5432"),
        ("[::1]:1", "::1", 1),
        ("%2Frun%2Fpostgresql", "/run/postgresql", "5432"),
    ],
)
@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_hosts(scheme, place, host, port):
    found = arguments(f"{scheme}://lory:p@{place}/gateway?sslmode=verify-full")
    assert (found["host"], found.get("port"), found["sslmode"]) == (host, port, "verify-full")


@pytest.mark.parametrize(
    "form", ["postgresql:///x?host=h1:1&host=h2:2", "postgresql:///x?host=h1,h2&port=1,2"]
)
def test_hosts_as_options(form):
    found = arguments(form)
    assert (found["host"], found["port"]) == ("h1,h2", "1,2")


def test_a_user_name_and_an_option_may_hold_an_at_sign():
    assert arguments("postgresql://lory@server:pw@h/x")["user"] == "lory@server"
    assert arguments("postgresql://h/x?user=lory@server&password=p@w")["password"] == "p@w"


@pytest.mark.parametrize(
    "wrong", ["postgresql://h:port/x", "postgresql://u:p@h:1:2/x", "postgresql//h", "sqlite//x"]
)
def test_what_is_no_url_is_told_with_an_example(wrong):
    with pytest.raises(ValueError, match="like sqlite:////path or postgresql://user:password@host"):
        database_url.check(wrong)


@pytest.mark.parametrize("name", ["password", "sslpassword", "oauth_client_secret", "PASSWORD"])
def test_passwords_are_hidden(name):
    url = make_url(database_url.check(f"postgresql://u:one-secret@h/x?{name}=two-secret&a=b"))
    assert "secret" not in shown(url).replace("oauth_client_secret", "")
    assert "a=b" in shown(url)
