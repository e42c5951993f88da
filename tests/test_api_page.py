"""The API page in a browser, and schemathesis, which tries what the description says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from helpers import PASSWORD, code_of
from playwright.sync_api import expect, sync_playwright

TESTS = Path(__file__).parent
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the page."""
    return sqlite_uri


def test_security_headers_of_the_page(client):
    for path in (
        "/docs",
        "/docs/start.js",
        "/docs/samples.js",
        "/docs/page.css",
        "/docs/swagger-ui.css",
        "/openapi.json",
    ):
        with client.get(path) as reply:
            assert reply.status_code == 200
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert "http" not in re.sub(
        r'lang="en"', "", client.get("/docs").text
    )  # nothing from elsewhere


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "index.html", "__init__.py", "..%2fconfig.py", "swagger-ui.js", "LICENSE"],
)
def test_page_serves_no_other_file(client, name):
    reply = client.get(f"/docs/{name}")
    assert (reply.status_code, code_of(reply)) == (404, 404)


# Schemathesis, in a process of its own, against a real server.


@pytest.fixture
def server(start_service):
    """A server with two users: lory, with the password of the reference, and libin."""
    service = start_service(workers=2)
    service.url = f"http://127.0.0.1:{service.port}"
    service.sign_up("libin")
    service.token = service.sign_up("lory", "civet148@126.com")
    project = {"project_type": 1, "project_name": "guarded"}
    *_, service.project = service.post("/project/create", project, service.log_in("libin"))
    return service


@pytest.mark.soak
def test_schemathesis_finds_nothing(server, scale, tmp_path):
    """``make test`` always sends the same requests, ``make soak`` sends new ones each time."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        f"""
        [auth.openapi.token]
        bearer = "{server.token}"
        [auth.openapi.project_basic]
        username = "{server.project["project_key"]}"
        password = "{server.project["project_secret"]}"
        """
    )
    command = [Path(sys.executable).with_name("st"), "--config-file", config, "run"]
    command += [f"{server.url}/openapi.json", "--checks", "all", "--no-color"]
    command += ["--max-examples", str(scale(25, 1000)), "--generation-database", "none"]
    command += scale(["--seed", "1"], [])
    environment = {
        "SCHEMATHESIS_HOOKS": str(TESTS / "schemathesis_hooks.py"),
        "SERVER": server.url,
        "PASSWORD": PASSWORD,
        "TOKEN": server.token,
        "PYTHONPATH": str(TESTS.parent),
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
    assert "Tested: 14" in run.stdout
    assert "WARNINGS" not in run.stdout, run.stdout


# The page, in a real browser.


@pytest.fixture
def page(server):
    """The page in Chromium; errors, and files loaded from other servers, fail the test."""
    if not CHROMIUM:
        refuse = pytest.fail if os.environ.get("SKIP_NOTHING") else pytest.skip
        refuse("there is no chromium here; Debian's package has one")
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(30_000)
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: r.url.startswith(server.url) or complaints.append(r.url))
        page.goto(f"{server.url}/docs")
        yield page
        browser.close()
    assert [c for c in complaints if "status of 401" not in c] == []


def execute(page, operation, body=None):
    """Fill in and send a request on the page; return the reply that the page shows."""
    block = page.locator(f"#operations-{operation}")
    if "is-open" not in block.get_attribute("class"):
        block.locator(".opblock-summary").click()
    if body is not None:
        block.locator("textarea.body-param__text").fill(json.dumps(body))
    with page.expect_response(lambda reply: reply.request.method == "POST") as sent:
        block.get_by_role("button", name="Execute").click()
    reply = sent.value.json()
    shown = block.locator(".live-responses-table .response .highlight-code code").first
    expect(shown).to_contain_text(f'"code": {reply["header"]["code"]},')
    return reply


@pytest.mark.browser
def test_page_fills_in_the_example_body(page):
    block = page.locator("#operations-accounts-register")
    block.locator(".opblock-summary").click()
    body = json.loads(block.locator("textarea.body-param__text").input_value())
    assert list(body.items()) == [
        ("user_name", "lory"),
        ("password", "e10adc3949ba59abbe56e057f20f883e"),
        ("email", "civet148@126.com"),
        ("reg_code", "6328"),
    ]


@pytest.mark.browser
def test_log_in_and_list_projects_on_the_page(page, server):
    expect(page.locator(".info .title")).to_contain_text("gateway")
    assert execute(page, "projects-list_projects")["header"]["code"] == 1001
    login = execute(page, "accounts-login")  # with the example body
    assert login["header"] == {"code": 0, "message": "OK", "total": 1, "count": 1}
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    page.get_by_label("auth-bearer-value").fill(login["data"]["auth_token"])
    page.get_by_role("button", name="Apply credentials").first.click()
    page.locator(".close-modal").click()
    made = execute(page, "projects-create_project")
    listed = execute(
        page, "projects-list_projects"
    )  # the user_id of the example belongs to this user
    (project,) = listed["data"]["list"]
    assert project["project_name"] == "我的ChatGPT项目"
    assert project["project_secret"] == made["data"]["project_secret"]
    assert execute(page, "projects-list_projects", {"page_no": 7})["header"]["total"] == 1


@pytest.mark.browser
def test_page_shows_every_endpoint(page, server):
    paths = json.load(urlopen(f"{server.url}/openapi.json"))["paths"]
    expect(page.locator(".opblock")).to_have_count(len(paths))
    shown = [
        text.replace("\u200b", "")
        for text in page.locator(".opblock-summary-path").all_inner_texts()
    ]
    assert sorted(shown) == sorted(paths)
