"""The guide's alerts: a Prometheus that reads a node fires each when what it watches breaks."""

import json
import re
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from support.helpers import basic, until
from support.servers import GUNICORN, Server, call, free_port
from test_metrics import GUIDE

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="needs prometheus (Debian has it)"
)
SCRAPE = """
global: {scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}
rule_files: [rules.yml]
"""

BROKEN = """
from flask import abort
from wsgi import app

app.add_url_rule("/broken", view_func=lambda: abort(500))
"""


@pytest.fixture
def database_uri(sqlite_uri):
    return sqlite_uri


def yaml_of_the_guide():
    """Return the guide's two blocks, with seconds for minutes and no wait before an alert."""
    section = GUIDE.read_text().partition("\n## Monitoring\n")[2].partition("\n## ")[0]
    scrape, rules = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    rules = re.sub(r"for: \d+m", "for: 0s", rules)
    return scrape, re.sub(r"(?<=\d)m(?=[\])])", "s", rules)


@pytest.fixture
def prometheus(tmp_path):
    """Return a function that starts Prometheus and returns one that tells what fires."""
    started = []

    def start(port):
        scrape, rules = yaml_of_the_guide()
        folder = tmp_path / "prometheus"
        folder.mkdir()
        (folder / "rules.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(
            SCRAPE + scrape.replace("127.0.0.1:9082", f"127.0.0.1:{port}")
        )
        own = free_port()
        arguments = ["--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{own}"]
        server = Server(["prometheus", *arguments, "--storage.tsdb.path=data"], folder, own)
        started.append(server)
        server.wait_for("Server is ready to receive web requests")

        def firing():
            with urlopen(f"http://127.0.0.1:{own}/api/v1/alerts", timeout=10) as reply:
                alerts = json.load(reply)["data"]["alerts"]
            return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

        return firing

    yield start
    for server in started:
        server.stop()


def test_each_alert_fires_when_what_it_watches_breaks(start_service, prometheus, relay, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    service = start_service(workers=2, command=[*GUNICORN[:-1], "broken:app"], METRICS=1)
    body = {"project_type": 1, "project_name": "first"}
    project = service.post("/project/create", body, service.sign_up("lory"))[2]
    credential = basic(project["project_key"], project["project_secret"])
    firing = prometheus(service.port)
    url, ended = f"http://127.0.0.1:{service.port}/api/v1/project/verify", threading.Event()

    def verify_again_and_again():
        while not ended.wait(0.05):
            with suppress(HTTPError):  # the database is locked
                urlopen(Request(url, headers={"Authorization": credential}), timeout=20).close()

    def fires(name):
        until(lambda: name in firing())

    call(service.port, "/readyz")
    assert firing() == set()
    relay.refuse_data = "451 later"
    service.post("/reset-code", {"email": "lory@126.com"})
    fires("GatewayMailsWait")
    assert call(service.port, "/broken").status == 500
    fires("GatewayErrors")
    assert firing() == {"GatewayMailsWait", "GatewayErrors"}
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with ThreadPoolExecutor(4) as pool:
            pool.submit(verify_again_and_again)
            fires("GatewayVerifyIsSlow")
            fires("GatewayDatabaseFails")
            holder.rollback()
            ended.set()
    service.server.kill()
    fires("GatewayDown")
