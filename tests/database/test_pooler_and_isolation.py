"""PgBouncer, isolation levels and encodings: the service serves, or says in words why not."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text
from support.helpers import SECRET_KEY, postgres_only
from support.postgres_cluster import pooler

from gateway import create_app
from gateway.db import db
from gateway.db.hot_sql import HotStatement
from gateway.ops.cli import main
from gateway.testing.databases import migrated

pytestmark = postgres_only
# What a single statement without BEGIN, such as verify's, runs at.
LEVEL = HotStatement(select(func.current_setting("transaction_isolation").label("level")))


@pytest.fixture
def database(cluster):
    """The name of a new database with tables."""
    name = "pooled"
    cluster.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    cluster.sql(f"CREATE DATABASE {name}")
    migrated(cluster.uri(name))
    return name


def command(uri, *arguments, **settings):
    app = create_app({"SQLALCHEMY_DATABASE_URI": uri, "SECRET_KEY": SECRET_KEY, **settings})
    result = app.test_cli_runner().invoke(main, args=arguments)
    with app.app_context():
        db.engine.dispose()
    return result


def verify_together(person, project, count=200, threads=8):
    """Ask from several threads at once; return the HTTP statuses."""
    with ThreadPoolExecutor(threads) as pool:
        asked = [pool.submit(person.verify, project) for _ in range(count)]
        return {status.result().status_code for status in asked}


def a_project(make_app, sign_up, uri, **settings):
    app = make_app(SQLALCHEMY_DATABASE_URI=uri, REQUEST_MAX=0, **settings)
    person = sign_up(client=app.test_client())
    return app, person, person.create_project()


@pytest.mark.parametrize(
    ("mode", "isolation"), [("session", "read committed"), ("transaction", "serializable")]
)
def test_pgbouncer(cluster, database, make_app, sign_up, mode, isolation):
    cluster.sql(f"ALTER DATABASE {database} SET default_transaction_isolation = '{isolation}'")
    with pooler(cluster, mode) as port:
        uri = f"postgresql://postgres@127.0.0.1:{port}/{database}"
        assert command(uri, "db", "upgrade").exit_code == 0
        app, person, project = a_project(make_app, sign_up, uri)
        assert verify_together(person, project) == {204}
        for _ in range(10):  # psycopg prepares a statement at its fifth use
            assert person.projects()[0]["request_today"] == 200
        assert person.client.get("/readyz").status_code == 200
        with app.app_context():
            assert LEVEL.first({}).level == "read committed"
            db.engine.dispose()


@pytest.mark.parametrize(
    ("where", "isolation"),
    [("DATABASE pooled", "repeatable read"), ("ROLE postgres", "serializable")],
)
def test_another_default_isolation(cluster, database, make_app, sign_up, isolation, where):
    cluster.sql(f"ALTER {where} SET default_transaction_isolation = '{isolation}'")
    try:
        app, person, project = a_project(make_app, sign_up, cluster.uri(database))
        assert verify_together(person, project) == {204}
        with app.app_context():
            assert db.session.scalar(text("SHOW transaction_isolation")) == "read committed"
            assert LEVEL.first({}).level == "read committed"
    finally:
        cluster.sql(f"ALTER {where} RESET default_transaction_isolation")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "EUC_JP"])
def test_another_encoding_is_refused_in_one_line(cluster, make_app, encoding):
    cluster.sql("DROP DATABASE IF EXISTS other WITH (FORCE)")
    cluster.sql(f"CREATE DATABASE other ENCODING '{encoding}' TEMPLATE template0")
    result = command(cluster.uri("other"), "db", "upgrade")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert f"the database has the encoding {encoding}" in result.output
    client = make_app(SQLALCHEMY_DATABASE_URI=cluster.uri("other")).test_client()
    assert client.get("/readyz").status_code == 503


def test_a_client_encoding_in_the_url_does_not_matter(cluster, database, make_app, sign_up):
    uri = cluster.uri(database) + "?client_encoding=LATIN1"
    _, person, _ = a_project(make_app, sign_up, uri)
    assert person.projects()[0]["project_name"] == "我的ChatGPT项目"
