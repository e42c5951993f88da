"""/metrics: what is counted, of all workers together, and who may read it."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.helpers import basic

import gateway
from gateway.errors import ConfigError
from gateway.testing.mailbox import wait_for_background

GUIDE = Path(gateway.__file__).parent / "deploy" / "README.md"


def numbers_in(text):
    """Return the numbers by name and labels."""
    return dict(re.findall(r"^(gateway_\S+) (\S+)$", text, re.MULTILINE))


@pytest.fixture
def database_uri(sqlite_uri):
    return sqlite_uri


def test_requests_and_mails_are_counted(make_app, sign_up, relay):
    client = make_app(METRICS=True).test_client()
    person = sign_up(client=client)
    project = person.create_project()
    key, secret = project["project_key"], project["project_secret"]
    for given in (secret, secret, "x" * 48):
        client.get("/api/v1/project/verify", headers={"Authorization": basic(key, given)})
    client.open("/no/such/page", method="BREW")
    relay.refuse_data = "451 later"
    client.post("/api/v1/reset-code", json={"email": person.email})
    wait_for_background()
    numbers = numbers_in(client.get("/metrics").get_data(as_text=True))
    count = 'gateway_requests_total{code="%s",method="%s",rule="%s"}'
    assert numbers[count % (204, "GET", "/api/v1/project/verify")] == "2.0"
    assert numbers[count % (1001, "GET", "/api/v1/project/verify")] == "1.0"
    assert numbers[count % (0, "POST", "/api/v1/login")] == "1.0"
    assert numbers[count % (404, "other", "none")] == "1.0"
    assert numbers["gateway_verify_seconds_count"] == "3.0"
    assert numbers["gateway_mails_sent_total"] == "1.0"
    assert numbers["gateway_mails_failed_total"] == "1.0"
    assert numbers["gateway_mails_owed"] == "1.0"
    assert key not in str(numbers)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_no_proxy_publishes_them(make_app, header):
    client = make_app(METRICS=True).test_client()
    assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 404
    assert client.get("/metrics").status_code == 200


def test_alerts_of_the_guide_watch_what_there_is(make_app):
    section = GUIDE.read_text().partition("\n## Monitoring\n")[2].partition("\n## ")[0]
    text = make_app(METRICS=True).test_client().get("/metrics").get_data(as_text=True)
    watched = set(re.findall(r"gateway_[a-z_]+(?=\W)", section))
    assert len(watched) >= 4
    assert [name for name in watched if f"# TYPE {name.removesuffix('_bucket')} " not in text] == []


def test_they_are_off_by_default(client):
    reply = client.get("/metrics")
    assert (reply.status_code, reply.json["header"]["code"]) == (404, 404)


def test_without_the_library_the_service_does_not_start(make_app, monkeypatch):
    monkeypatch.setattr("gateway.settings.checks.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"^METRICS needs prometheus_client: .*metrics"):
        make_app(METRICS=True)


def test_all_workers_count_together(start_service):
    service = start_service(workers=2, METRICS=1)
    for _ in range(20):
        urlopen(f"http://127.0.0.1:{service.port}/healthz").close()
    with urlopen(f"http://127.0.0.1:{service.port}/metrics") as reply:
        numbers = numbers_in(reply.read().decode())
    assert numbers['gateway_requests_total{code="0",method="GET",rule="/healthz"}'] == "20.0"
