"""doctor finds each fault and names it, and no fault hides another."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from support.helpers import SECRET_KEY, sqlite_only

from gateway.db import db
from gateway.ops.cli import main

END_POINTS = ["https://api.example.com/{pool_name}/rpc"]


@pytest.fixture
def examine(make_app, tmp_path, monkeypatch):
    """Return a function that runs doctor on a good installation with changed settings."""
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(tmp_path / "instance"))
    (tmp_path / "instance").mkdir(mode=0o700)
    for file in tmp_path.glob("*.db"):
        file.chmod(0o600)

    def run(**settings):
        app = make_app(**{"END_POINTS": END_POINTS, "TRUSTED_PROXIES": 1, **settings})
        result = app.test_cli_runner().invoke(main, args=["doctor", "--json"])
        findings = json.loads(result.output)
        faults = [finding for finding in findings if finding["state"] == "FAULT"]
        assert result.exit_code == (1 if faults else 0)
        assert SECRET_KEY not in result.output
        assert all(f["fix"] for f in findings if f["state"] != "ok")
        with app.app_context():
            db.engine.dispose()
        return {(f["state"], f["name"]): f["what"] for f in findings if f["state"] != "ok"}

    run.instance = tmp_path / "instance"
    return run


def test_good_installation_has_no_findings(examine, database_uri, make_app):
    assert examine() == {}
    app = make_app(END_POINTS=END_POINTS, TRUSTED_PROXIES=1)
    result = app.test_cli_runner().invoke(main, args=["doctor"])
    names = [line.split()[1] for line in result.output.splitlines()]
    expected = ["settings", "database", "schema", "relay", "clock", "sqlite", "files", "disk"]
    if database_uri.startswith("postgres"):
        expected = [name for name in expected if name not in ("sqlite", "disk")]
    assert names == expected
    assert {line.split()[0] for line in result.output.splitlines()} == {"ok"}
    assert (result.exit_code, "password" in result.output) == (0, False)


@sqlite_only
def test_finds_faulty_settings(examine, monkeypatch):
    monkeypatch.setenv("GATEWAY_MAIL_SERVR", "smtp.example.com")
    assert examine() == {
        ("warning", "settings"): "GATEWAY_MAIL_SERVR: there is no such setting"
        " (did you mean GATEWAY_MAIL_SERVER?)"
    }
    monkeypatch.delenv("GATEWAY_MAIL_SERVR")
    assert "would count as one" in examine(TRUSTED_PROXIES=0)["warning", "settings"]
    hobby = ["https://api.hobbychain.org/{pool_name}/rpc"]
    assert "example's" in examine(END_POINTS=hobby)["warning", "settings"]


@sqlite_only
def test_finds_a_missing_database(examine):
    found = examine(SQLALCHEMY_DATABASE_URI="postgresql://u:the-password@127.0.0.1:1/x")
    assert "postgresql+psycopg://u:***@127.0.0.1:1/x" in found["FAULT", "database"]
    assert "the-password" not in str(found)
    assert [key for key in found if key[0] == "FAULT"] == [("FAULT", "database")]


def test_finds_an_old_schema(examine, command):
    assert command("db", "downgrade", "0004").exit_code == 0
    assert examine()["FAULT", "schema"] == "not this version's"


@sqlite_only
def test_finds_a_faulty_relay(examine, relay):
    assert ("FAULT", "relay") in examine(MAIL_PORT=1)
    assert "STARTTLS" in examine(MAIL_USE_TLS=True)["FAULT", "relay"]
    assert ("warning", "relay") in examine(MAIL_SERVER=None)
    assert ("warning", "relay") in examine(MAIL_SUPPRESS_SEND=True)
    assert relay.mails == []


@sqlite_only
def test_asks_the_public_url(examine):
    answers = [
        (200, b'{"header": {"code": 0}, "data": {}}', "warning", "not encrypted"),
        (503, b'{"header": {"code": 501}, "data": {}}', "warning", "not encrypted"),
        (200, b'{"some": "API"}', "FAULT", "another program"),
        (200, b"<html>", "warning", "cannot be read"),
        (404, b"", "FAULT", "another program"),
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/console/readyz" else 500)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            """Write nothing between doctor's lines."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/console"
        for status, body, state, words in answers:  # noqa: B007 - the handler reads them
            threading.Thread(target=server.handle_request).start()
            assert words in examine(PUBLIC_URL=url)[state, "public URL"]


@sqlite_only
def test_finds_database_files_that_others_can_read(examine, tmp_path, person):
    for name in ("gateway.db-wal", "gateway.db"):
        path = tmp_path / name
        path.touch()
        path.chmod(0o640)
        assert examine()["FAULT", "files"] == f"others may read {path}"
        path.chmod(0o600)


@sqlite_only
def test_finds_a_secret_file_that_others_can_read(examine):
    secret = examine.instance / "secret_key"
    secret.touch(0o644)
    assert examine() == {}  # nobody else can enter the folder
    examine.instance.chmod(0o755)
    assert examine() == {("FAULT", "files"): f"others may read {secret}"}
    secret.chmod(0o600)
    assert examine() == {}


@sqlite_only
def test_finds_a_full_disk(examine, monkeypatch):
    monkeypatch.setattr("gateway.ops.doctor.MIN_FREE_BYTES", 2**62)
    assert ("warning", "disk") in examine()


@sqlite_only
def test_finds_a_damaged_database(examine, tmp_path, person):
    for _ in range(50):
        person.create_project("x" * 100)
    with (tmp_path / "gateway.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 4096)
    (tmp_path / "gateway.db-wal").unlink(missing_ok=True)
    assert ("FAULT", "database") in examine()


@sqlite_only
def test_looks_at_the_last_backup(examine, command, tmp_path, clock, monkeypatch):
    folder = tmp_path / "backups"
    folder.mkdir()
    assert ("ok", "backup") not in examine()
    assert command("backup", "--keep", 2, folder).exit_code == 0
    assert examine() == {}
    clock.advance(days=2, hours=1)
    found = examine()["warning", "backup"]
    assert found == f"the last one is 2 days old, in {folder}"
    assert command("backup", "--keep", 2, folder).exit_code == 0
    (folder / ".gateway.draft-journal").touch()
    clock.advance(minutes=1)
    assert "left by a backup that was killed" in examine()["warning", "backup"]
    assert command("backup", "--keep", 2, folder).exit_code == 0
    assert examine() == {}
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=0))
    assert "the next backup takes" in examine()["warning", "backup"]
