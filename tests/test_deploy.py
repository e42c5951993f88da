"""The systemd unit, and the package as pip installs it."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import PASSWORD
from servers import ROOT, Server, free_port

UNIT = (ROOT / "gateway" / "deploy" / "gateway.service").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the files that ``pip install .`` puts into site-packages."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "wsgi.py"):
        shutil.copy2(ROOT / name, source / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gateway", source / "gateway", ignore=ignored)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        target,
        source,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def test_every_file_of_the_package_is_installed(installed):
    def files(folder):
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed / "gateway") == files(ROOT / "gateway")
    assert (installed / "wsgi.py").is_file()


def test_commands_of_the_unit_start_the_service(installed, tmp_path):
    """Run the commands of the unit with other paths for program, data and socket."""
    start = dict(re.findall(r"^(ExecStart\w*)=(.+)$", UNIT, re.MULTILINE))
    data = tmp_path / "data"
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
    assert f"server unix:{socket} " in (ROOT / "gateway" / "deploy" / "nginx.conf").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_accepts_the_unit(tmp_path):
    unit = tmp_path / "gateway.service"
    unit.write_text(re.sub(r"/opt/gateway/bin/\w+", "/bin/true", UNIT))
    result = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
