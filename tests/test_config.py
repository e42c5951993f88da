"""Settings: where they come from, and which values stop the start."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import sqlite_only

from gateway import create_app
from gateway.config import SETTINGS, ConfigError, secret_from_file

ROOT = Path(__file__).parent.parent
GOOD = {"SECRET_KEY": "x" * 32, "SQLALCHEMY_DATABASE_URI": "sqlite:////tmp/unused.db"}
NONSENSE = [
    ("SECRET_KEY", "tiny"),
    ("SECRET_KEY", "x" * 31),
    ("SECRET_KEY_FALLBACKS", "not a list"),
    ("SECRET_KEY_FALLBACKS", "[1]"),
    ("SQLALCHEMY_DATABASE_URI", "not a url"),
    ("SECRET_KEY_FALLBACKS", '["too short"]'),
    ("SQLALCHEMY_DATABASE_URI", "mysql://a/b"),
    ("SQLALCHEMY_DATABASE_URI", "postgresql+psycopg2://a/b"),
    ("SQLALCHEMY_DATABASE_URI", "postgresql+nonsense://a/b"),
    ("SQLALCHEMY_DATABASE_URI", "postgresql://a:port/b"),
    ("SQLALCHEMY_DATABASE_URI", "sqlite://"),
    ("SQLALCHEMY_DATABASE_URI", "sqlite:///:memory:"),
    ("SQLALCHEMY_DATABASE_URI", "sqlite:///file::memory:?uri=true"),
    ("SQLALCHEMY_DATABASE_URI", "sqlite://tmp/two-slashes.db"),
    ("SQLALCHEMY_ENGINE_OPTIONS", "foo"),
    ("SQLALCHEMY_ENGINE_OPTIONS", "[1]"),
    ("SQLALCHEMY_ENGINE_OPTIONS", '{"pool_sise": 3}'),
    ("SQLALCHEMY_ENGINE_OPTIONS", '{"pool_size": "x"}'),
    ("MAIL_SERVER", "smtp.example.com:587"),
    ("MAIL_SERVER", "smtp://example.com"),
    ("MAIL_SERVER", "two words"),
    ("MAIL_PORT", "0"),
    ("MAIL_PORT", "smtp"),
    ("MAIL_USE_TLS", "maybe"),
    ("MAIL_USE_SSL", "2"),
    ("MAIL_PASSWORD", "without a user name"),
    ("MAIL_USERNAME", "without a password"),
    ("MAIL_DEFAULT_SENDER", "nobody"),
    ("MAIL_DEFAULT_SENDER", "a@b.com\nBcc: x@y.com"),
    ("MAIL_DEFAULT_SENDER", "ü@b.com"),
    ("MAIL_DEFAULT_SENDER", "a@bücher.de"),
    ("MAIL_DEFAULT_SENDER", "a@.x..com"),
    ("MAIL_DEFAULT_SENDER", "a b@c d"),
    ("MAIL_DEFAULT_SENDER", "a@b.com, c@d.com"),
    ("MAIL_SUPPRESS_SEND", "x"),
    ("REG_CODE_DIGITS", "3"),
    ("REG_CODE_DIGITS", "11"),
    ("REG_CODE_DIGITS", "4.0"),
    ("MAILS_PER_IP", "0"),
    ("MAILS_PER_IP", "-1"),
    ("REQUEST_MAX", "-1"),
    ("REQUEST_MAX", "many"),
    ("PROJECTS_PER_USER", "1e3"),
    ("END_POINTS", "https://example.com"),
    ("END_POINTS", '{"a": "b"}'),
    ("TIMEZONE", "Mars/Olympus"),
    ("TIMEZONE", "../../etc/passwd"),
    ("TRUSTED_PROXIES", "all"),
    ("TRUSTED_PROXIES", "-1"),
    ("BIND", "8082"),
    ("BIND", "localhost"),
    ("BIND", "http://localhost:8082"),
    ("BIND", "127.0.0.1:99999"),
    ("END_POINTS", r'["\ud800"]'),
]


@pytest.fixture
def make(monkeypatch):
    """Return a function that builds the application with settings from the environment only."""

    def make(**environment):
        for name, value in {**GOOD, **environment}.items():
            monkeypatch.setenv(f"GATEWAY_{name}", value)
        return create_app()

    return make


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_invalid_setting_stops_the_start_and_is_named(make, name, value):
    with pytest.raises(ConfigError) as stop:
        make(**{name: value})
    message = str(stop.value)
    assert name in message
    assert "\n" not in message
    assert value not in message or value.isdecimal()  # it may be a secret


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_SERVER", "smtp.example.com"),
        ("MAIL_SERVER", "::1"),
        ("MAIL_SERVER", "192.0.2.1"),
        ("MAIL_DEFAULT_SENDER", "gateway@localhost"),
        ("MAIL_DEFAULT_SENDER", "名称 <no-reply@example.com>"),
        ("MAIL_DEFAULT_SENDER", '"Acme, Inc." <no-reply@example.com>'),
        ("BIND", "[::1]:8082"),
        ("BIND", "unix:/run/gateway.sock"),
        ("BIND", "0.0.0.0:80"),
    ],
)
def test_valid_setting_is_accepted(make, name, value):
    assert make(**{name: value}).config[name] == value


def test_nested_variable_stops_the_start(make):
    with pytest.raises(ConfigError, match="GATEWAY_MAIL_SERVER__X"):
        make(MAIL_SERVER__X="1")


def test_settings_of_the_wrong_type_stop_the_start():
    for setting in SETTINGS:
        with pytest.raises(ConfigError, match=setting.name):
            create_app({**GOOD, setting.name: object()})


def test_engine_options_can_be_changed(make):
    options = make(SQLALCHEMY_ENGINE_OPTIONS='{"pool_pre_ping": false, "hide_parameters": false}')
    assert options.config["SQLALCHEMY_ENGINE_OPTIONS"] == {
        "pool_size": 12,
        "max_overflow": 3,
        "pool_use_lifo": True,
        "pool_pre_ping": False,
        "hide_parameters": True,  # not changeable, because it keeps secrets out of the log
    }


def test_starttls_and_tls_at_once_are_refused(make):
    with pytest.raises(ConfigError, match="MAIL_USE_TLS"):
        make(MAIL_USE_TLS="1", MAIL_USE_SSL="1")


@pytest.mark.parametrize(
    "command", [["flask", "--app", "wsgi", "routes"], ["gunicorn", "wsgi:app"]]
)
def test_failed_start_prints_one_line(command):
    result = subprocess.run(
        [Path(sys.prefix) / "bin" / command[0], *command[1:]],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_REG_CODE_DIGITS": "abc", "GATEWAY_BIND": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if "REG_CODE_DIGITS" in line]
    assert lines == ["gateway cannot start: REG_CODE_DIGITS must be an integer from 4 to 10"]
    assert "Traceback" not in result.stderr


def test_defaults(make):
    config = make().config
    assert config["REG_CODE_DIGITS"] == 4
    assert config["MAILS_PER_IP"] == 100
    assert config["REQUEST_MAX"] == 30
    assert config["PROJECTS_PER_USER"] == 1000
    assert config["TIMEZONE"] == "UTC"
    assert config["TRUSTED_PROXIES"] == 0
    assert config["MAIL_SUPPRESS_SEND"] is False
    assert config["END_POINTS"] == [
        "https://api.hobbychain.org/{pool_name}/rpc",
        "wss://api.hobbychain.org/{pool_name}/ws",
    ]


def test_values_from_the_environment(make):
    config = make(
        MAIL_USERNAME="0123",
        MAIL_PASSWORD="true",
        MAIL_USE_TLS="true",
        REG_CODE_DIGITS="6",
        END_POINTS='["https://example.com/{pool_name}"]',
        SQLALCHEMY_ENGINE_OPTIONS='{"pool_size": 3}',
        MAIL_SERVER="",
    ).config
    assert (config["MAIL_USERNAME"], config["MAIL_PASSWORD"]) == ("0123", "true")
    assert config["MAIL_USE_TLS"] is True
    assert config["REG_CODE_DIGITS"] == 6
    assert config["END_POINTS"] == ["https://example.com/{pool_name}"]
    assert config["SQLALCHEMY_ENGINE_OPTIONS"]["pool_size"] == 3
    assert config["MAIL_SERVER"] is None  # empty is unset


def test_environment_overrides_file_and_file_overrides_defaults(tmp_path, monkeypatch):
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path))
    (tmp_path / "config.py").write_text("REQUEST_MAX = 5\nREG_CODE_DIGITS = 5\nMAIL_PORT = 5\n")
    monkeypatch.setenv("GATEWAY_REG_CODE_DIGITS", "6")
    monkeypatch.setenv("GATEWAY_MAIL_PORT", "6")
    config = create_app({"MAIL_PORT": 7}).config
    assert (config["REQUEST_MAX"], config["REG_CODE_DIGITS"], config["MAIL_PORT"]) == (5, 6, 7)


def test_config_file_with_a_syntax_error_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path))
    (tmp_path / "config.py").write_text("REQUEST_MAX =\n")
    with pytest.raises(ConfigError, match=r"instance/config\.py"):
        create_app()


def test_instance_path_can_be_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(tmp_path / "data"))
    app = create_app()
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"secret_key"}
    assert app.config["SQLALCHEMY_DATABASE_URI"] == f"sqlite:///{tmp_path}/data/gateway.db"
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", "data")
    with pytest.raises(ConfigError, match="INSTANCE_PATH must be an absolute path"):
        create_app()


def test_new_instance_folder_gets_a_secret_key(tmp_path, monkeypatch):
    folder = tmp_path / "new"
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(folder))
    config = create_app().config
    assert config["SQLALCHEMY_DATABASE_URI"] == f"sqlite:///{folder}/gateway.db"
    secret = (folder / "secret_key").read_text()
    assert config["SECRET_KEY"] == secret
    assert len(secret) >= 32
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert create_app().config["SECRET_KEY"] == secret


def test_instance_folder_is_made_private(tmp_path, monkeypatch):
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path))
    tmp_path.chmod(0o755)
    create_app()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_nothing_is_written_if_all_settings_are_given(tmp_path, monkeypatch, make):
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path / "none"))
    make()
    assert not (tmp_path / "none").exists()


def test_workers_that_start_at_once_share_one_secret(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(lambda _: secret_from_file(tmp_path / "new"), range(16)))
    assert len(secrets) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret_key"]


def test_damaged_secret_file_is_named(tmp_path):
    (tmp_path / "secret_key").write_text("short")
    with pytest.raises(ConfigError, match="SECRET_KEY in instance/secret_key is too short"):
        secret_from_file(tmp_path)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_all_spellings_of_postgres_urls_work(make, scheme):
    config = make(SQLALCHEMY_DATABASE_URI=f"{scheme}://user:p%40ss@host/name").config
    assert config["SQLALCHEMY_DATABASE_URI"] == "postgresql+psycopg://user:p%40ss@host/name"


def test_each_purpose_has_its_own_key(make):
    config = make().config
    assert config["JWT_SECRET_KEY"] != config["SECRET_KEY"].encode()
    assert len(config["JWT_SECRET_KEY"]) == 32


def test_start_warns_that_no_mail_can_be_sent(make, caplog):
    make()
    assert "MAIL_SERVER" in caplog.text
    caplog.clear()
    make(MAIL_SUPPRESS_SEND="1")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("proxies", "header", "seen"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "10.9.9.9, 203.0.113.9", "203.0.113.9"),
        (2, "203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "127.0.0.1"),
        (1, "not an address", "127.0.0.1"),
        (1, "203.0.113.9:1234", "127.0.0.1"),
        (1, "2001:DB8::0:1", "2001:db8::1"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "", "127.0.0.1"),
    ],
)
@sqlite_only
def test_client_address_behind_trusted_proxies(make_app, sign_up, proxies, header, seen):
    client = make_app(TRUSTED_PROXIES=proxies).test_client()
    person = sign_up(client=client)
    body = {"user_name": person.user_name, "password": "e10adc3949ba59abbe56e057f20f883e"}
    reply = client.post("/api/v1/login", json=body, headers={"X-Forwarded-For": header})
    assert reply.json["data"]["login_ip"] == seen
