"""doctor tells what a database is, and what of it would keep the service from serving."""

import json

from support.helpers import SECRET_KEY, sqlite_only, until
from support.postgres_cluster import make_cluster, pooler

from gateway import create_app
from gateway.db import db
from gateway.ops import doctor
from gateway.ops.cli import main


def findings(uri, **settings):
    """Return doctor's findings: for each name its state, what was seen, and the fix."""
    app = create_app({"SQLALCHEMY_DATABASE_URI": uri, "SECRET_KEY": SECRET_KEY, **settings})
    result = app.test_cli_runner().invoke(main, args=["doctor", "--json"])
    assert isinstance(result.exception, SystemExit | None), result.exception
    with app.app_context():
        db.engine.dispose()
    return {f["name"]: (f["state"], f["what"], f["fix"]) for f in json.loads(result.output)}


def test_a_read_only_server_is_a_fault(cluster):
    cluster.set(default_transaction_read_only="on")
    try:
        state, what, _ = findings(cluster.uri())["database"]
        assert (state, "the server only reads" in what) == ("FAULT", True)
    finally:
        cluster.reset()
    assert findings(cluster.uri())["database"][0] == "ok"


def test_standbys(cluster, postgres_server):
    standby = make_cluster(postgres_server)
    try:
        standby.copy_of(cluster)
        standby.start()
        state, what, _ = findings(standby.uri())["database"]
        assert (state, "the server is a standby" in what) == ("FAULT", True)
        until(lambda: "standby" in findings(cluster.uri()))
        state, what, _ = findings(cluster.uri())["standby"]
        assert (state, what.startswith("standby (async) is ")) == ("ok", True)
        standby.stop()
        cluster.set(synchronous_standby_names="*")
        until(lambda: findings(cluster.uri()).get("standby", [""])[0] == "FAULT")
    finally:
        standby.remove()
        cluster.reset()


def test_encoding_and_pooler_are_told(cluster):
    assert findings(cluster.uri())["database"][1].endswith(", UTF8, no pooler")
    for mode in ("session", "transaction"):
        with pooler(cluster, mode) as port:
            uri = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            assert findings(uri)["database"][1].endswith(", UTF8, a pooler")
    with pooler(cluster, "statement") as port:
        uri = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        assert findings(uri)["database"][0] == "FAULT"


def test_another_encoding_is_a_fault(cluster):
    for encoding in ("SQL_ASCII", "LATIN1"):
        cluster.sql("DROP DATABASE IF EXISTS other WITH (FORCE)")
        cluster.sql(f"CREATE DATABASE other ENCODING '{encoding}' TEMPLATE template0")
        state, what, _ = findings(cluster.uri("other"))["database"]
        assert (state, f"the encoding {encoding}" in what) == ("FAULT", True)


def test_passwords_in_the_url_are_not_shown(cluster):
    uri = f"{cluster.uri()}?password=one-secret&sslpassword=two-secret"
    assert "secret" not in findings(uri)["database"][1]
    dead = findings("postgresql://127.0.0.1:1/x?password=one-secret&sslpassword=two-secret")
    assert "secret" not in str(dead["database"])


def test_a_secret_key_that_opens_nothing(app, person, database_uri):
    assert "secret key" not in findings(database_uri)
    for _ in range(3):
        person.create_project()
    assert "secret key" not in findings(database_uri)
    state, what, _ = findings(database_uri, SECRET_KEY="another" * 8)["secret key"]
    assert (state, what) == ("FAULT", "SECRET_KEY opens 0 of 3 secrets of projects tried")
    fallbacks = {"SECRET_KEY": "another" * 8, "SECRET_KEY_FALLBACKS": [SECRET_KEY]}
    assert "secret key" not in findings(database_uri, **fallbacks)


def test_another_time_zone(app, database_uri, sql):
    sql("INSERT INTO stored_values (name, value) VALUES ('TIMEZONE', 'Asia/Shanghai')")
    state, what, fix = findings(database_uri)["TIMEZONE"]
    assert (state, "TIMEZONE is UTC here, but Asia/Shanghai" in what) == ("FAULT", True)
    assert "gateway set-timezone" in fix
    assert "TIMEZONE" not in findings(database_uri, TIMEZONE="Asia/Shanghai")


@sqlite_only
def test_a_large_log(app, database_uri, monkeypatch):
    monkeypatch.setattr(doctor, "MAX_LOG_BYTES", -1)
    state, what, fix = findings(database_uri)["sqlite"]
    assert (state, "MiB in gateway.db-wal" in what) == ("warning", True)
    assert fix.endswith("then run: gateway purge")


@sqlite_only
def test_doctor_looks_behind_a_link(app, tmp_path, database_uri):
    (tmp_path / "there").mkdir(mode=0o755)
    file = tmp_path / "there" / "real.db"
    (tmp_path / "gateway.db").rename(file)
    link = tmp_path / "gateway.db"
    link.symlink_to(file)
    file.chmod(0o644)
    assert f"others may read {file}" in findings(database_uri)["files"][1]
    file.chmod(0o600)
    assert findings(database_uri)["files"][0] == "ok"
