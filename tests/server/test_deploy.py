"""The systemd unit, and the package as pip installs it."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from email import message_from_bytes
from zipfile import ZipFile

import pytest
from support.helpers import PASSWORD
from support.packages import pip
from support.servers import ROOT, Server, free_port

UNIT = (ROOT / "gateway" / "deploy" / "gateway.service").read_text()


def files_below(folder):
    return [
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]


@pytest.fixture(scope="module")
def installed(packages, tmp_path_factory):
    """A folder with the files that pip puts into site-packages."""
    _, wheel = packages
    target = tmp_path_factory.mktemp("target")
    pip(sys.executable, "--no-deps", "--target", target, wheel)
    return target


def test_the_sdist_holds_what_the_wheel_is_built_from_and_no_more(packages):
    sdist, _ = packages
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    package = {str(path.relative_to(ROOT)) for path in files_below(ROOT / "gateway")}
    beside = {name for name in names - package if not name.startswith("gateway.egg-info/")}
    assert package <= names
    assert beside == {
        *("MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "wsgi.py"),
    }


def test_the_wheel_holds_the_package_and_no_more(packages):
    _, wheel = packages
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {str(path.relative_to(ROOT)) for path in files_below(ROOT / "gateway")}
    assert names == {"wsgi.py", *package}


def test_only_extras_need_pytest(packages):
    archive = ZipFile(packages[1])
    (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    needed = message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    assert 'pytest>=8; extra == "test"' in needed
    assert [line for line in needed if line.startswith("pytest") and "extra ==" not in line] == []


def test_commands_of_the_unit_start_the_service(installed, tmp_path):
    """Run the commands of the unit with other paths for program, data and socket."""
    start = dict(re.findall(r"^(ExecStart\w*)=(.+)$", UNIT, re.MULTILINE))
    data = tmp_path / "data"
    data.mkdir()
    environment = {
        "PYTHONPATH": str(installed),
        "GATEWAY_INSTANCE_PATH": str(data),
        "GATEWAY_MAIL_SUPPRESS_SEND": "1",
    }
    folder = str(os.path.dirname(sys.executable))

    def command(line):
        return [part.replace("/opt/gateway/bin", folder) for part in line.split()]

    migrate = command(start["ExecStartPre"])
    subprocess.run(migrate, cwd="/", env={**os.environ, **environment}, check=True)
    assert {path.name for path in data.iterdir()} == {"gateway.db", "secret_key"}
    assert data.stat().st_mode & 0o777 == 0o700
    server = Server(command(start["ExecStart"]), "/", free_port(), **environment)
    try:
        server.wait_for("serving on")
        assert server.post("/auth-code", {"user_name": "lory", "email": "lory@126.com"})[1] == 0
        code = server.wait_for(r"code is (\d{6})\b")
        account = {"user_name": "lory", "email": "lory@126.com", "password": PASSWORD}
        assert server.post("/register", {**account, "reg_code": code})[1] == 0
    finally:
        server.stop()


def test_unit_and_nginx_sample_use_the_same_socket():
    (socket,) = re.findall(r"GATEWAY_BIND=unix:(\S+)", UNIT)
    assert f"server unix:{socket} " in (ROOT / "gateway" / "deploy" / "nginx-site.conf").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_accepts_the_unit(tmp_path):
    unit = tmp_path / "gateway.service"
    unit.write_text(re.sub(r"/opt/gateway/bin/\w+", "/bin/true", UNIT))
    result = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
