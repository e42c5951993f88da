"""The file of an SQLite database: odd names, links, files that move, a log that grows."""

import re
import shutil
import sqlite3
from contextlib import closing

import pytest
from support.helpers import code_of, sqlite_only

from gateway import create_app
from gateway.db import db, sqlite
from gateway.ops.cli import main


@pytest.fixture
def instance(tmp_path, monkeypatch):
    """Return a function that makes an instance folder of a name, the one of the settings."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(folder))
        return folder

    return make


def gateway(*arguments):
    app = create_app()
    result = app.test_cli_runner().invoke(main, args=arguments)
    with app.app_context():
        db.engine.dispose()  # or the garbage collector complains, from Python 3.13 on
    return result.exit_code, result.output


@pytest.mark.parametrize("name", ["what?", "%41", "a b#c", "x?mode=memory&y", "ü%"])
def test_odd_names_of_the_folder(instance, name):
    folder = instance(name)
    assert gateway("db", "upgrade")[0] == 0
    assert {file.name for file in folder.iterdir()} == {"gateway.db", "secret_key"}
    assert (folder / "gateway.db").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert gateway("user", "list")[0] == 0


def test_a_new_file_elsewhere_is_closed_to_others(tmp_path, instance, monkeypatch):
    instance("instance")
    monkeypatch.setenv("GATEWAY_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    assert gateway("db", "upgrade")[0] == 0
    assert (tmp_path / "elsewhere.db").stat().st_mode & 0o777 == 0o600


def test_a_database_that_is_lost_is_put_back_or_made_anew(instance, tmp_path):
    folder = instance("instance")
    assert gateway("db", "upgrade")[0] == 0
    (folder / "gateway.db").rename(tmp_path / "away.db")
    code, said = gateway("db", "upgrade")
    assert (code, said.count("\n")) == (3, 1)
    assert f"there is no database {folder}/gateway.db" in said
    assert f"the key of one is in {folder}/secret_key" in said
    for command in (["user", "list"], ["purge"]):
        code, said = gateway(*command)
        assert (code, said.count("\n")) == (1, 1)
        assert "there is no database" in said
    assert not (folder / "gateway.db").exists()
    (tmp_path / "away.db").rename(folder / "gateway.db")
    assert gateway("db", "upgrade")[0] == 0
    (folder / "gateway.db").unlink()
    _, said = gateway("db", "upgrade")
    way_out = re.search("gateway (db upgrade --new)", said)[1]
    assert gateway(*way_out.split())[0] == 0
    assert gateway("user", "list")[0] == 0


@sqlite_only
def test_a_file_that_goes_and_comes_back(app, person, tmp_path):
    project = person.create_project()
    file, away = tmp_path / "gateway.db", tmp_path / "away.db"
    file.rename(away)
    assert person.verify(project).status_code == 503
    assert person.client.get("/readyz").status_code == 503
    assert not file.exists()
    away.rename(file)
    assert person.verify(project).status_code == 204


@sqlite_only
@pytest.mark.parametrize("by_link", [False, True])
def test_a_replaced_file_is_used_at_once(app, person, tmp_path, by_link, make_app, sql):
    file = tmp_path / "gateway.db"
    if by_link:
        (tmp_path / "there").mkdir()
        shutil.copy(file, tmp_path / "there" / "1.db")
        link = tmp_path / "link.db"
        link.symlink_to(tmp_path / "there" / "1.db")
        app = make_app(SQLALCHEMY_DATABASE_URI=f"sqlite:///{link}")
    with app.app_context():
        engine = db.engine
        connections = [engine.raw_connection() for _ in range(3)]
        for connection in connections:
            connection.close()
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO pools (pool_name) VALUES ('old')")
    new = tmp_path / "new.db"
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(new)) as copy:
        source.backup(copy)
        copy.execute("DELETE FROM pools")
        copy.execute("INSERT INTO pools (pool_name) VALUES ('new')")
        copy.commit()
    if by_link:
        link.unlink()
        link.symlink_to(new)
    else:
        new.rename(file)
    with app.app_context():
        for connection in [engine.raw_connection() for _ in range(3)]:
            rows = connection.dbapi_connection.execute("SELECT pool_name FROM pools").fetchall()
            connection.close()
            assert rows == [("new",)]
        engine.dispose()


@sqlite_only
@pytest.mark.parametrize("by_purge", [False, True])
def test_the_log_shrinks_again_after_a_long_reader(app, person, tmp_path, monkeypatch, by_purge):
    monkeypatch.setattr(sqlite, "LOG_BYTES", 200_000)
    log = tmp_path / "gateway.db-wal"
    with app.app_context():
        db.engine.dispose()
    project = person.create_project()
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM users").fetchone()
        with app.app_context(), db.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE filler (x)")
            connection.exec_driver_sql(
                "INSERT INTO filler WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                " FROM n WHERE i < 3000) SELECT randomblob(2000) FROM n"
            )
        assert person.verify(project).status_code == 204
        assert log.stat().st_size > 4_000_000
    if by_purge:
        assert app.test_cli_runner().invoke(main, args=["purge"]).exit_code == 0
        assert log.stat().st_size == 0
    for _ in range(3):  # the first writes the log into the database, the next starts it anew
        assert person.verify(project).status_code == 204
    assert log.stat().st_size <= 300_000


@sqlite_only
def test_a_folder_that_may_not_be_written_is_not_ready(app, person, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "closed_files", lambda name: [name])
    reply = person.client.get("/readyz")
    assert (reply.status_code, code_of(reply)) == (503, 501)
    assert "cannot be written" in reply.json["header"]["message"]
