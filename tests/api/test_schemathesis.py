"""Schemathesis tries what the description says, in a process of its own, on a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import PASSWORD
from support.servers import ROOT


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because this is about the description."""
    return sqlite_uri


@pytest.mark.soak
def test_schemathesis_finds_nothing(start_service, scale, tmp_path):
    """``make test`` always sends the same requests, ``make soak`` sends new ones each time."""
    service = start_service(workers=2)
    service.sign_up("libin")
    token = service.sign_up("lory", "lory@example.com")
    project = {"project_type": 1, "project_name": "guarded"}
    *_, project = service.post("/project/create", project, service.log_in("libin"))
    url = f"http://127.0.0.1:{service.port}"
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        f"""
        [auth.openapi.token]
        bearer = "{token}"
        [auth.openapi.project_basic]
        username = "{project["project_key"]}"
        password = "{project["project_secret"]}"
        [[operations]]
        include-name = "GET /api/v1/project/verify"
        checks.negative_data_rejection.enabled = false  # unknown parameters are ignored
        checks.positive_data_acceptance.enabled = false  # what a pool's name is stands in no schema
        """
    )
    command = [Path(sys.executable).with_name("st"), "--config-file", config, "run"]
    command += [f"{url}/openapi.json", "--no-color", "--generation-database", "none"]
    command += ["--max-examples", str(scale(25, 1000)), *scale(["--seed", "1"], [])]
    environment = {
        "SCHEMATHESIS_HOOKS": str(ROOT / "tests" / "support" / "schemathesis_hooks.py"),
        "SERVER": url,
        "PASSWORD": PASSWORD,
        "TOKEN": token,
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "22 selected" in run.stdout
    assert "WARNINGS" not in run.stdout, run.stdout
