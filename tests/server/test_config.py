"""Settings: where they come from, and which values stop the start."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flask_jwt_extended
import flask_mail
import flask_sqlalchemy
import pytest
from click.testing import CliRunner
from flask import Flask
from support.helpers import TIMEOUT, mounted, sqlite_only
from support.servers import GUNICORN

from gateway import create_app, settings
from gateway.db import db
from gateway.errors import ConfigError
from gateway.ops.cli import main
from gateway.server import gunicorn
from gateway.settings import SETTINGS, instance
from gateway.settings.instance import create_file, read_keys

ROOT = Path(__file__).parents[2]
GOOD = {"SECRET_KEY": "x" * 32, "SQLALCHEMY_DATABASE_URI": "sqlite:////tmp/unused.db"}
NONSENSE = {
    "SECRET_KEY": ["x" * 31],
    "SECRET_KEY_FALLBACKS": ["not a list", '["too short"]'],
    "SQLALCHEMY_DATABASE_URI": [
        "not a url",
        "mysql://a/b",
        "postgresql+psycopg2://a/b",
        "postgresql://a:port/b",
        "sqlite://",
        "sqlite:///file::memory:?uri=true",
        "sqlite://tmp/two-slashes.db",
    ],
    "SQLALCHEMY_ENGINE_OPTIONS": ["foo", '{"pool_sise": 3}'],
    "MAIL_SERVER": ["smtp.example.com:587", "smtp://example.com"],
    "MAIL_PORT": ["0"],
    "MAIL_USE_TLS": ["maybe"],
    "MAIL_USE_SSL": ["1"],
    "MAIL_PASSWORD": ["without a user name"],
    "MAIL_USERNAME": ["without a password"],
    "MAIL_DEFAULT_SENDER": [
        "nobody",
        "a@b.com\nBcc: x@y.com",
        "a@bücher.de",
        "a@.x..com",
        "a@b.com, c@d.com",
    ],
    "MAILS_PER_HOUR": ["0"],
    "PUBLIC_URL": [
        "console.example.com",
        "ftp://example.com",
        "https://user:hunter2@example.com",
        "https://example.com/?a=hunter2",
        'https://example.com/"><script>',
    ],
    "REGISTRATION": ["Open"],
    "MAIL_DOMAINS": ["example.com", '["@example.com"]', '["localhost"]'],
    "REG_CODE_DIGITS": ["3", "11", "4.0"],
    "MAILS_PER_IP": ["0"],
    "REQUEST_MAX": ["-1"],
    "PROJECTS_PER_USER": ["1e3"],
    "END_POINTS": ["https://example.com", '{"a": "b"}', r'["\ud800"]', "[" * 100_000],
    "TIMEZONE": ["Mars/Olympus", "../../etc/passwd"],
    "TRUSTED_PROXIES": ["-1"],
    "BIND": ["localhost", "http://localhost:8082", "127.0.0.1:99999"],
    "MAIL_SERVER__X": ["1"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The instance folder that the service finds by itself."""
    monkeypatch.setattr("flask.Flask.auto_find_instance_path", lambda _: str(tmp_path / "new"))
    return tmp_path / "new"


@pytest.fixture
def make(monkeypatch):
    """Return a function that builds the application with settings from the environment only."""

    def make(**environment):
        for name, value in {**GOOD, **environment}.items():
            monkeypatch.setenv(f"GATEWAY_{name}", value)
        return create_app()

    return make


@pytest.fixture
def command(monkeypatch):
    """Return a function that runs a command as the console script does."""
    apps = []

    def make(**options):
        apps.append(create_app(**options))
        return apps[-1]

    monkeypatch.setattr("gateway.ops.cli.create_app", make)
    yield lambda *arguments: CliRunner().invoke(main, arguments)
    for app in apps:
        with app.app_context():
            db.engine.dispose()


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in NONSENSE for value in NONSENSE[name]]
)
def test_invalid_setting_stops_the_start_and_is_named(make, name, value):
    more = {"MAIL_USE_TLS": "1"} if name == "MAIL_USE_SSL" else {}  # both exclude each other
    with pytest.raises(ConfigError) as stop:
        make(**{name: value, **more})
    message = str(stop.value)
    assert name in message
    assert "\n" not in message
    assert value not in message or value.isdecimal()  # it may be a secret


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "http://[::1]:8082"),
        ("PUBLIC_URL", "https://example.com/a/b"),
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


OPERATOR = [sys.executable, "-m", "flask", "--app", "wsgi"]


@pytest.mark.parametrize(
    ("command", "name", "value", "line"),
    [
        ([*OPERATOR, "routes"], "WEB_CONCURRENCY", "x", "WEB_CONCURRENCY must be an integer"),
        (GUNICORN, "GATEWAY_REG_CODE_DIGITS", "abc", "REG_CODE_DIGITS must be an integer from 4"),
        (GUNICORN, "GATEWAY_SQLALCHEMY_DATABASE_URI", "sqlite:////no/x.db", "SQLALCHEMY_DATABASE_"),
        (GUNICORN, "GATEWAY_BIND", "8082", "BIND must be an address like 127.0.0.1:8082"),
        (GUNICORN, "GATEWAY_BIND", "unix:/no/such/folder.sock", "BIND: cannot listen at unix:/no/"),
        (GUNICORN, "GATEWAY_INSTANCE_PATH", "/dev/null/x", "INSTANCE_PATH must be a folder that"),
    ],
)
def test_a_bad_start_ends_with_one_line(tmp_path, command, name, value, line):
    environment = {"GATEWAY_INSTANCE_PATH": str(tmp_path), "GATEWAY_BIND": "127.0.0.1:0"}
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment, name: value},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    said = [each for each in result.stderr.splitlines() if "Starting gunicorn" not in each]
    assert (len(said), result.returncode) == (1, 3), result.stderr
    assert said[0].startswith(f"gateway cannot start: {line}")


def test_an_address_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as stop:
            gunicorn.check_address(f"127.0.0.1:{port}")
    taken = "another program listens there; stop it, or set GATEWAY_BIND to another address"
    assert str(stop.value) == f"BIND: cannot listen at 127.0.0.1:{port}: {taken}"
    gunicorn.check_address(f"127.0.0.1:{port}")

    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ConfigError) as stop:
            gunicorn.check_address(f"unix:{path}")
        assert str(stop.value) == f"BIND: cannot listen at unix:{path}: {taken}"
        assert path.is_socket()
    gunicorn.check_address(f"unix:{path}")  # its server has ended
    assert not path.exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:80", "Cannot assign requested address"),
        ("no-such-host.invalid:80", "there is no such host"),
        ("unix:/dev/null", "this file is no socket"),
        ("unix:/no/x.sock", "No such file or directory"),
        (f"unix:/{200 * 'x'}", "AF_UNIX path too long"),
    ],
)
def test_an_address_where_nobody_can_listen(address, reason):
    said = f"BIND: cannot listen at {address}: {reason}; set GATEWAY_BIND to another address"
    with pytest.raises(ConfigError, match=f"^{said}$"):
        gunicorn.check_address(address)


def test_an_ipv6_address_that_is_taken():
    try:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with other, pytest.raises(ConfigError, match=r"cannot listen at \[::1\]:\d+: another program"):
        gunicorn.check_address("[{}]:{}".format(*other.getsockname()))


@pytest.mark.parametrize(
    ("listener", "url"),
    [
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("http://[::]:80", "http://[::1]:80"),
        ("unix:/run/x.sock", None),  # no browser opens it
    ],
)
def test_where_a_browser_finds_the_pages(listener, url):
    pages = f", console at {url}/, documented at {url}/docs" if url else ""
    assert gunicorn.describe_listener(listener) == listener + pages
    assert gunicorn.describe_listener(listener, has_pages=False) == listener


def test_defaults(make):
    expected = {
        "REGISTRATION": "open",
        "MAIL_DOMAINS": [],
        "REG_CODE_DIGITS": 6,
        "MAILS_PER_IP": 100,
        "MAILS_PER_HOUR": 1000,
        "REQUEST_MAX": 30,
        "PROJECTS_PER_USER": 1000,
        "TIMEZONE": "UTC",
        "TRUSTED_PROXIES": 0,
        "MAIL_SUPPRESS_SEND": False,
        "PASSWORD_MD5": True,
    }
    assert make().config.items() >= expected.items()


def test_values_from_the_environment(make):
    config = make(
        MAIL_USERNAME="0123",
        MAIL_PASSWORD="true",
        MAIL_USE_TLS="true",
        REGISTRATION="invited",
        MAIL_DOMAINS='["Example.COM", "a-b.example.org"]',
        REG_CODE_DIGITS="7",
        END_POINTS='["https://example.com/{pool_name}"]',
        SQLALCHEMY_ENGINE_OPTIONS='{"pool_size": 3}',
        MAIL_SERVER="",
    ).config
    expected = {
        "MAIL_USERNAME": "0123",
        "MAIL_PASSWORD": "true",
        "MAIL_USE_TLS": True,
        "REGISTRATION": "invited",
        "MAIL_DOMAINS": ["example.com", "a-b.example.org"],
        "REG_CODE_DIGITS": 7,
        "END_POINTS": ["https://example.com/{pool_name}"],
        "MAIL_SERVER": None,  # empty is unset
    }
    assert config.items() >= expected.items()
    assert config["SQLALCHEMY_ENGINE_OPTIONS"]["pool_size"] == 3


def test_environment_overrides_file_and_file_overrides_defaults(start_with, monkeypatch):
    monkeypatch.setenv("GATEWAY_REG_CODE_DIGITS", "6")
    monkeypatch.setenv("GATEWAY_MAIL_PORT", "6")
    content = b"REQUEST_MAX = 5\nREG_CODE_DIGITS = 5\nMAIL_PORT = 5\n"
    config = start_with(content, MAIL_PORT=7).config
    assert (config["REQUEST_MAX"], config["REG_CODE_DIGITS"], config["MAIL_PORT"]) == (5, 6, 7)


@pytest.fixture
def start_with(folder):
    """Return a function that builds the application with a config.py of the test's own."""
    folder.mkdir()

    def start_with(content, **settings):
        (folder / "config.py").write_bytes(content)
        return create_app({"SECRET_KEY": "x" * 32, **settings})

    return start_with


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"MAIL_PORT = 25\nREQUEST_MAX =\n", ", line 2: SyntaxError: invalid syntax"),
        (b"\n\nSECRET_KEY = hunter2\n", ", line 3: NameError; put texts in quotes"),
        (b"TIMEZONE = Asia/Shanghai\n", ", line 1: NameError; put texts in quotes"),
        (b"def f():\n    return 1 / 0\nf()\n", ", line 2: ZeroDivisionError"),
        (b"import json\njson.loads('hunter2')\n", ", line 2: JSONDecodeError"),
        (b"REQUEST_MAX = 5\nSECRET_KEY = open('/no/such/file').read()\n", ", line 2: FileNotFound"),
        (b"import sys\nsys.exit('hunter2')\n", ", line 2: SystemExit"),
        (b"SERVICE_NAME = '\xff'\n", ""),
        (b"REQUEST_MAX = 5\0\n", ""),
    ],
)
def test_a_fault_in_config_py_is_told_with_file_and_line(start_with, folder, content, where):
    with pytest.raises(ConfigError) as stop:
        start_with(content)
    message = str(stop.value)
    assert message.startswith(f"{folder}/config.py{where}")
    assert "\n" not in message
    assert "hunter2" not in message


def test_names_that_set_nothing_are_told(start_with, monkeypatch, folder):
    for name in (
        *("REQEST_MAX", "PORT", "XYZZY", "timezone", "JWT_TOKEN_LOCATON", "FOO__BAR", "MAIL_SERVR"),
        *("MAX_FORM_PARTS", "JWT_ACCESS_COOKIE_NAME", "SQLALCHEMY_ECHO", "MAIL_ASCII_ATTACHMENTS"),
        *("REQUEST_MAX", "SQLALCHEMY_ENGINE_OPTIONS__pool_size"),
    ):
        monkeypatch.setenv(f"GATEWAY_{name}", "3")
    app = start_with(
        b"TIMZONE = 'UTC'\nBIND = '0.0.0.0:80'\nSESSION_COOKIE_NAME = 'x'\nlower = 1\npages = 0\n"
    )
    file = folder / "config.py"
    nothing = "there is no such setting"
    assert app.config["UNKNOWN_NAMES"] == [
        f"BIND in {file} has no effect; set GATEWAY_BIND",
        f"TIMZONE in {file}: {nothing} (did you mean TIMEZONE?)",
        f"pages in {file}: {nothing} (did you mean PAGES?)",
        f"GATEWAY_FOO__BAR: {nothing}",
        f"GATEWAY_JWT_TOKEN_LOCATON: {nothing}",
        f"GATEWAY_MAIL_SERVR: {nothing} (did you mean GATEWAY_MAIL_SERVER?)",
        f"GATEWAY_PORT: {nothing} (did you mean GATEWAY_BIND?)",
        f"GATEWAY_REQEST_MAX: {nothing} (did you mean GATEWAY_REQUEST_MAX?)",
        f"GATEWAY_XYZZY: {nothing}",
        f"GATEWAY_timezone: {nothing} (did you mean GATEWAY_TIMEZONE?)",
    ]
    assert app.config["SQLALCHEMY_ENGINE_OPTIONS"]["pool_size"] == 3


@pytest.mark.parametrize("library", [flask_mail, flask_sqlalchemy, flask_jwt_extended])
def test_no_setting_of_a_library_is_told(monkeypatch, library):
    source = "".join(path.read_text() for path in Path(library.__file__).parent.rglob("*.py"))
    names = set(re.findall(r"""["']((?:MAIL|SQLALCHEMY|JWT)_[A-Z_]+)["']""", source))
    assert len(names) > 5
    for name in names:
        monkeypatch.setenv(f"GATEWAY_{name}", "")
    assert settings.load(GOOD).config["UNKNOWN_NAMES"] == []


def test_one_start_leaves_the_defaults_to_the_next(make, monkeypatch):
    monkeypatch.setenv("GATEWAY_SQLALCHEMY_ENGINE_OPTIONS__pool_size", "3")
    make()
    monkeypatch.delenv("GATEWAY_SQLALCHEMY_ENGINE_OPTIONS__pool_size")
    assert make().config["SQLALCHEMY_ENGINE_OPTIONS"]["pool_size"] == 12


@pytest.mark.parametrize("value", ["x", "0", "1001"])
def test_a_number_of_workers_that_makes_no_sense_stops_the_start(make, monkeypatch, value):
    monkeypatch.setenv("WEB_CONCURRENCY", value)
    with pytest.raises(ConfigError, match="WEB_CONCURRENCY must be an integer from 1 to 1000"):
        make()


@pytest.fixture
def nobody():
    """A folder that the user nobody may look into, in a process that acts for nobody."""
    if os.geteuid() != 0:
        pytest.skip("only root may act for another user")
    folder = Path(tempfile.mkdtemp(prefix="gateway-nobody-"))  # pytest's own is closed to nobody
    folder.chmod(0o755)
    (folder / "secret_key").write_text("x" * 48)
    (folder / "config.py").write_text("REQUEST_MAX = 5\n")
    (folder / "gateway.db").touch()
    for path in folder.iterdir():
        path.chmod(0o644)
    os.seteuid(65534)
    yield folder
    os.seteuid(0)
    shutil.rmtree(folder)


def as_root(function, *arguments):
    os.seteuid(0)
    try:
        function(*arguments)
    finally:
        os.seteuid(65534)


@pytest.fixture
def load(nobody, monkeypatch):
    """Return a function that does as nobody what the master process does before it serves."""
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(nobody))
    return lambda: instance.check_database_folder(settings.load())


CURE = "{} cannot be {} by the user nobody; run this as root, or run: chown nobody {}"


@pytest.mark.parametrize(("name", "setting"), [("secret_key", "SECRET_KEY: "), ("config.py", "")])
def test_a_file_of_another_user_is_told_with_its_cure(nobody, load, name, setting):
    as_root((nobody / name).chmod, 0o600)
    with pytest.raises(ConfigError) as stop:
        load()
    assert str(stop.value) == setting + CURE.format(nobody / name, "read", nobody / name)


def test_a_folder_of_another_user_is_told_with_its_cure(nobody, load):
    as_root((nobody / "secret_key").unlink)
    with pytest.raises(ConfigError) as stop:
        load()
    assert str(stop.value) == "SECRET_KEY: " + CURE.format(nobody, "written", nobody)
    as_root(nobody.chmod, 0o700)
    with pytest.raises(ConfigError) as stop:
        load()
    assert str(stop.value) == CURE.format(nobody, "read", nobody)  # config.py may not be there


def test_a_database_of_another_user_is_told_with_its_cure(nobody, load, monkeypatch):
    def said():
        with pytest.raises(ConfigError) as stop:
            load()
        return str(stop.value)

    assert said() == "SQLALCHEMY_DATABASE_URI: " + CURE.format(nobody, "written", nobody)
    as_root(nobody.chmod, 0o777)
    file = nobody / "gateway.db"
    assert said() == "SQLALCHEMY_DATABASE_URI: " + CURE.format(file, "written", file)
    as_root(file.chmod, 0o666)
    load()
    monkeypatch.setenv("GATEWAY_SQLALCHEMY_DATABASE_URI", f"sqlite:///{nobody}/none/x.db")
    assert said() == f"SQLALCHEMY_DATABASE_URI: there is no folder {nobody}/none; make it"
    monkeypatch.setenv("GATEWAY_SQLALCHEMY_DATABASE_URI", "sqlite:///in-the-instance-folder.db")
    load()


def test_a_read_only_file_system_is_no_matter_of_its_owner(tmp_path, monkeypatch, command):
    with mounted(tmp_path / "disk") as disk:
        monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(disk))
        (disk / "secret_key").write_text("x" * 48)
        (disk / "gateway.db").touch()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(ConfigError) as stop:
            instance.check_database_folder(settings.load())
        assert "its file system is read-only; see why (dmesg)" in str(stop.value)
        assert "chown" not in str(stop.value)
        findings = json.loads(command("doctor", "--json").stdout)
        assert "mount it for writing" in str([each["fix"] for each in findings])
        assert "chown" not in str(findings)


def test_instance_path_can_be_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(tmp_path / "data"))
    with pytest.raises(ConfigError, match="INSTANCE_PATH must be a folder that is there"):
        create_app()
    (tmp_path / "data").mkdir()
    app = create_app()
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"secret_key"}
    assert str(app.config["SQLALCHEMY_DATABASE_URI"]) == f"sqlite:///{tmp_path}/data/gateway.db"
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", "data")
    with pytest.raises(ConfigError, match="INSTANCE_PATH must be a folder that is there"):
        create_app()


@pytest.mark.parametrize("is_new", [True, False])
def test_an_instance_folder_is_private_and_gets_a_secret_key(folder, is_new):
    if not is_new:
        folder.mkdir(mode=0o755)
    config = create_app().config
    assert str(config["SQLALCHEMY_DATABASE_URI"]) == f"sqlite:///{folder}/gateway.db"
    secret = (folder / "secret_key").read_text()
    assert config["SECRET_KEY"] == secret
    assert len(secret) >= 32
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert create_app().config["SECRET_KEY"] == secret


def test_nothing_is_written_if_all_settings_are_given(folder, make):
    make()
    assert not folder.exists()


def keys(folder):
    return read_keys(Flask("gateway", instance_path=str(folder)), make=True)


def test_workers_that_start_at_once_share_one_secret(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: keys(tmp_path / "new"), range(16)))
    assert len({key for (key,) in made}) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret_key"]
    assert stat.S_IMODE((tmp_path / "new" / "secret_key").stat().st_mode) == 0o600


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    for name in (".gateway.draft", ".gateway.draft-journal"):
        (tmp_path / name).write_text("half")
    (key,) = keys(tmp_path)
    assert len(key) >= 32
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_a_file_is_made_whole_or_not_at_all(tmp_path):
    def fail(draft):
        draft.write_text("half")
        raise OSError(28, "No space left on device", str(draft))

    with pytest.raises(OSError, match="No space left"):
        create_file(tmp_path / "x", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_key_is_made_only_for_a_new_installation(tmp_path, monkeypatch, command):
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(tmp_path))
    for name in ("doctor", "purge"):
        assert (command(name).exit_code, list(tmp_path.iterdir())) == (3, [])
    assert command("db", "upgrade").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"gateway.db", "secret_key"}


def test_lines_below_the_key_are_fallbacks(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_INSTANCE_PATH", str(tmp_path))
    (tmp_path / "secret_key").write_text("\n".join([40 * "a", 40 * "b", 40 * "c"]))
    config = create_app().config
    assert config["SECRET_KEY"] == 40 * "a"
    assert config["SECRET_KEY_FALLBACKS"] == [40 * "b", 40 * "c"]


@pytest.mark.parametrize(
    ("content", "what"), [(b"short", "is too short"), (b"\xff", "is not text")]
)
def test_a_damaged_secret_file_is_named(tmp_path, content, what):
    (tmp_path / "secret_key").write_bytes(content)
    with pytest.raises(ConfigError, match=f"SECRET_KEY in {tmp_path}/secret_key {what}"):
        keys(tmp_path)


def test_each_purpose_has_its_own_key(make):
    config = make().config
    assert config["JWT_SECRET_KEY"] != config["SECRET_KEY"].encode()
    assert len(config["JWT_SECRET_KEY"]) == 32


@pytest.mark.parametrize(
    ("proxies", "header", "seen"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "10.9.9.9, 203.0.113.9", "203.0.113.9"),
        (2, "203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "127.0.0.1"),
        (1, "not an address", "127.0.0.1"),
        (1, "203.0.113.9:1234", "203.0.113.9"),
        (1, "[2001:db8::1]", "2001:db8::1"),
        (1, "[2001:DB8::1]:443", "2001:db8::1"),
        (1, "[fe80::1%25eth0]:443", "fe80::1"),
        (1, "10.9.9.9:1, [2001:db8::1]:2", "2001:db8::1"),
        (1, "2001:db8::1:443", "2001:db8::1:443"),  # a whole address, not one with a port
        (1, "[]:443", "127.0.0.1"),
        (1, "unix:", "127.0.0.1"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "64:ff9b::203.0.113.9", "203.0.113.9"),
        (1, "64:ff9b:1::203.0.113.9", "64:ff9b:1::cb00:7109"),
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


LOGIN = {"MAIL_USERNAME": "gateway", "MAIL_PASSWORD": "of the mail server"}


@pytest.mark.parametrize("security", ["MAIL_USE_TLS", "MAIL_USE_SSL", "MAIL_SUPPRESS_SEND"])
@pytest.mark.parametrize("server", ["smtp.example.com", "10.0.0.5", "2001:db8::1"])
def test_mail_password_does_not_cross_a_network_readable(make, server, security):
    with pytest.raises(ConfigError, match="MAIL_USERNAME"):
        make(**LOGIN, MAIL_SERVER=server)
    assert make(**{security: "1"})


@pytest.mark.parametrize("server", ["LOCALHOST", "127.1.2.3", "::1", ""])
def test_mail_password_may_go_to_this_machine(make, server):
    assert make(**LOGIN, MAIL_SERVER=server)
