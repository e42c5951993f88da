"""The guide's own commands, pasted: a new machine, an upgrade, the pages of ``man``."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import ROOT

BIN = Path(sys.prefix) / "bin"
DEPLOY = ROOT / "gateway" / "deploy"
# What these commands do to a machine, below a folder of the test. Each says that it was called.
TOOLS = {
    "sudo": '[ "$1" != -u ] || shift 2; exec "$@"',
    "install": 'shift 2; exec /usr/bin/install "$@"',  # without -o gateway
    "systemctl": 'echo "systemctl $*" >> "$ROOT/calls"',
    "pip": 'echo "pip $*" >> "$ROOT/calls"',
    "python": f'exec {BIN}/python "$@"',
}


@pytest.fixture
def paste(tmp_path):
    """Return a function that runs the one block of the guide that holds some words.

    Below ``paste.root`` lie the folders that the commands name. ``paste.gateway`` runs a command.
    """
    root, tools = tmp_path / "root", tmp_path / "tools"
    for folder in (
        "var/lib/gateway",
        "etc/systemd/system",
        "usr/local/share",
        "checkout",
        "../tools",
    ):
        (root / folder).mkdir(parents=True)
    for name, lines in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{BIN}:{os.environ['PATH']}",
        "ROOT": str(root),
        "GATEWAY_INSTANCE_PATH": str(root / "var/lib/gateway"),
    }

    def run(block):
        done = subprocess.run(
            ["bash", "-ec", block],
            cwd=root / "checkout", env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def paste(words):
        blocks = re.findall(r"```bash\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
        (block,) = [block for block in blocks if words in block]
        block = block.replace("/opt/gateway/bin", str(tools))
        return run(re.sub(r"(?<![\w.])(?=/(?:var|etc|usr)/)", str(root), block))

    paste.root = root
    paste.gateway = run
    return paste


def test_a_new_machine(paste):
    old = paste.root / "old"
    old.mkdir()
    (old / "config.py").write_text("MAIL_SUPPRESS_SEND = True\n")
    on_old = f"cd {ROOT}; export GATEWAY_INSTANCE_PATH={old};"
    paste.gateway(f"{on_old} gateway db upgrade")
    create = "gateway user create lory lory@example.com --password-stdin"
    paste.gateway(f"{on_old} echo 'violet harbour 77' | {create}")
    paste.gateway(f"{on_old} gateway backup {paste.root}/checkout/2026-01-31.db")
    for name in ("config.py", "secret_key"):
        shutil.copy(old / name, paste.root / "checkout")
    assert "FAULT" not in paste("install -o gateway -m 600 2026-01-31.db /var/lib/gateway/g")
    assert "lory@example.com" in paste.gateway("gateway user show lory")
    assert (paste.root / "var/lib/gateway/gateway.db").stat().st_mode & 0o777 == 0o600


def test_an_upgrade(paste):
    """Two nodes under load are restarted in turn in proxies/test_nginx.py."""
    work = paste.root / "checkout"
    shutil.copytree(DEPLOY, work / "gateway" / "deploy")
    (work / "build").mkdir()
    paste("daemon-reload\nsudo systemctl restart gateway\n")
    assert not (work / "build").exists()
    unit = paste.root / "etc/systemd/system/gateway.service"
    assert unit.read_text() == (DEPLOY / "gateway.service").read_text()
    assert (paste.root / "calls").read_text().splitlines() == [
        "pip install --upgrade --constraint constraints.txt .[postgres,metrics]",
        "systemctl daemon-reload",
        "systemctl restart gateway",
    ]


def test_the_pages_of_man(paste):
    paste("click_man")
    pages = paste.root / "usr/local/share/man/man1"
    names = {page.stem for page in pages.iterdir()}
    assert names >= {"gateway", "gateway-user-show", "gateway-db-upgrade", "gateway-usage"}
    assert "most requests" in (pages / "gateway-usage.1").read_text()
