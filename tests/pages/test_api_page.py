"""The API page in a browser, and schemathesis, which tries what the description says."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from support.helpers import PASSWORD, basic, code_of

TESTS = Path(__file__).parents[1]
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
    service.token = service.sign_up("lory", "lory@example.com")
    project = {"project_type": 1, "project_name": "guarded"}
    service.of_libin = service.log_in("libin")
    *_, service.project = service.post("/project/create", project, service.of_libin)
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
        [[operations]]
        include-name = "GET /api/v1/project/verify"
        checks.negative_data_rejection.enabled = false  # unknown parameters are ignored
        checks.positive_data_acceptance.enabled = false  # what a pool's name is stands in no schema
        """
    )
    command = [Path(sys.executable).with_name("st"), "--config-file", config, "run"]
    command += [f"{server.url}/openapi.json", "--no-color"]
    command += ["--max-examples", str(scale(25, 1000)), "--generation-database", "none"]
    command += scale(["--seed", "1"], [])
    environment = {
        "SCHEMATHESIS_HOOKS": str(TESTS / "support" / "schemathesis_hooks.py"),
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
    assert "22 selected" in run.stdout
    assert "WARNINGS" not in run.stdout, run.stdout


# The page, in a real browser.


@pytest.fixture
def open_page(server):
    """Return a function that opens the page in Chromium.

    Errors, and files loaded from other servers, fail the test.
    """
    if not CHROMIUM:
        refuse = pytest.fail if os.environ.get("SKIP_NOTHING") else pytest.skip
        refuse("there is no chromium here; Debian's package has one")
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_page(width=1200, height=1000, **settings):
            page = browser.new_page(viewport={"width": width, "height": height}, **settings)
            page.set_default_timeout(30_000)
            page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda r: r.url.startswith(server.url) or complaints.append(r.url))
            page.goto(f"{server.url}/docs")
            expect(page.locator(".opblock").last).to_be_attached()
            return page

        yield open_page
        browser.close()
    assert [c for c in complaints if "status of 401" not in c] == []


@pytest.fixture
def page(open_page):
    return open_page()


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
        ("email", "lory@example.com"),
        ("reg_code", "632804"),
    ]


@pytest.mark.browser
def test_log_in_and_list_projects_on_the_page(page, server):
    expect(page.locator(".info .title")).to_contain_text("gateway")
    assert execute(page, "projects-list_projects")["header"]["code"] == 1001
    login = execute(page, "accounts-login")  # with the example body
    assert login["header"] == {"code": 0, "message": "OK", "total": 1, "count": 1}
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    form = page.locator("form").filter(has_text="token (http, Bearer)")
    form.get_by_label("auth-bearer-value").fill(login["data"]["auth_token"])
    form.get_by_role("button", name="Apply credentials").click()
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


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1200, 800), (390, 844)])
def test_the_first_screen_shows_endpoints(open_page, width, height):
    page = open_page(width, height)
    tops = [block.bounding_box() for block in page.locator(".opblock").all()]
    seen = [box for box in tops if box["y"] + box["height"] <= height]
    assert len(seen) >= 5
    codes = page.locator("#about table").bounding_box()
    assert codes["y"] > max(box["y"] for box in tops)
    assert page.locator("#about td", has_text="1018").count() == 1


@pytest.mark.browser
def test_a_phone_never_scrolls_the_page_sideways(open_page):
    page = open_page(390, 844)
    for block in page.locator(".opblock-summary-control").all():
        block.click()
    expect(page.locator(".samples")).to_have_count(page.locator(".opblock").count())
    page.locator(".models-control").click()
    expect(page.locator(".models")).to_contain_text("Refusal")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(open_page, scheme):
    page = open_page(color_scheme=scheme)
    for operation in ("accounts-login", "projects-list_projects", "nginx-verify_project"):
        page.locator(f"#operations-{operation} .opblock-summary-control").click()
    expect(page.locator(".samples")).to_have_count(3)
    found = Axe().run(page).response["violations"]
    assert [(fault["id"], node["html"]) for fault in found for node in fault["nodes"]] == []


@pytest.mark.browser
def test_the_page_says_how_to_begin_and_leads_back(page, server):
    expect(page.locator(".information-container")).to_contain_text("To try it")
    page.locator(".top .brand").click()
    expect(page).to_have_url(f"{server.url}/#sign-in")


@pytest.mark.browser
def test_verify_without_a_key_is_answered(page):
    """A browser would ask a person for the name and password of HTTP Basic, and wait."""
    block = page.locator("#operations-nginx-verify_project")
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Execute").click()
    shown = block.locator(".live-responses-table .response .highlight-code code").first
    expect(shown).to_contain_text('"code": 1001,')


@pytest.mark.browser
def test_samples_use_what_was_typed_and_authorized(page, server):
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    form = page.locator("form").filter(has_text="token (http, Bearer)")
    form.get_by_label("auth-bearer-value").fill(server.token)
    form.get_by_role("button", name="Apply credentials").click()
    page.locator(".close-modal").click()
    block = page.locator("#operations-projects-create_project")
    block.locator(".opblock-summary").click()
    block.locator("textarea.body-param__text").fill('{"project_type": 3, "project_name": "Mine"}')
    sample = block.locator(".samples pre")
    expect(sample).to_contain_text("Mine")
    expect(sample).to_contain_text(f"Bearer {server.token}")


BRIGHTNESS = """(element) => {
  const [r, g, b] = getComputedStyle(element)[NAME].match(/[\\d.]+/g).map(Number);
  return (r + g + b) / 3;
}"""


def brightness(page, selector, style):
    """Return the brightness of a colour on the page, from 0 to 255."""
    element = page.locator(selector).first
    return element.evaluate(BRIGHTNESS.replace("NAME", f'"{style}"'))


@pytest.mark.browser
def test_the_page_follows_the_colours_of_the_system(open_page):
    page = open_page(color_scheme="dark")
    assert brightness(page, "body", "backgroundColor") < 60
    texts = [".info .title", ".opblock-summary-path", "#about p", "#about td"]
    assert [text for text in texts if brightness(page, text, "color") < 150] == []
    page.locator("#operations-accounts-login .opblock-summary").click()
    assert brightness(page, "#operations-accounts-login .headers td", "color") > 150
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).not_to_have_class("dark-mode")
    assert brightness(page, "body", "backgroundColor") > 200


# The samples on the page do what they say. Each runs where its language is at hand.

LANGUAGES = {
    "shell": ["bash", "sample"],
    "http": None,  # sent as it is
    "javascript": ["node", "sample.mjs"],
    "ruby": ["ruby", "sample"],
    "python": [sys.executable, "sample"],
    "php": ["php", "sample"],
    "java": ["java", "Sample.java"],
    "go": ["go", "run", "sample.go"],
}


def read_samples(page, operation):
    """Return the samples of an operation by their language."""
    block = page.locator(f"#operations-{operation}")
    block.locator(".opblock-summary").click()
    samples = {}
    for name in block.locator(".samples button").all_inner_texts():
        button = block.locator(".samples").get_by_role("button", name=name, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        samples[name] = block.locator(".samples pre").inner_text()
    return samples


def run_sample(language, text, server, folder):
    """Run a sample; return all that it says."""
    command = LANGUAGES[language]
    if command is None:
        head, _, body = text.partition("\n\n")
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            head = head.replace("\n", "\r\n")
            connection.sendall(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
            return b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    (folder / command[-1]).write_text(text)
    return subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "GOCACHE": str(folder / "go"), "NODE_NO_WARNINGS": "1"},
    ).stdout


def is_at_hand(language):
    tools = {"java": "javac"}.get(language) or (LANGUAGES[language] or ["bash"])[0]
    return shutil.which(tools) is not None


@pytest.mark.browser
def test_the_samples_work(page, server, tmp_path):
    login = read_samples(page, "accounts-login")
    assert list(login) == list(LANGUAGES)
    create = read_samples(page, "projects-create_project")
    verify = read_samples(page, "nginx-verify_project")
    _, credentials = basic(*server.project.values()).split()
    languages = [language for language in LANGUAGES if is_at_hand(language)]
    assert {"shell", "http", "python"} <= set(languages)
    for language in languages:
        said = run_sample(language, login[language], server, tmp_path)
        assert '"auth_token":"' in said, f"{language}: {said}"
        sample = create[language].replace("AUTH_TOKEN", server.token)
        said = run_sample(language, sample, server, tmp_path)
        assert '"project_key":"' in said, f"{language}: {said}"
        sample = verify[language].replace("BASE64_OF_KEY_COLON_SECRET", credentials)
        before = count_of_requests(server)
        run_sample(language, sample, server, tmp_path)
        assert count_of_requests(server) == before + 1, language
    *_, data = server.post("/project/list", {"page_size": 100}, server.token)
    assert [project["project_name"] for project in data["list"]] == ["我的ChatGPT项目"] * len(
        languages
    )


def count_of_requests(server):
    *_, data = server.post("/project/list", {}, server.of_libin)
    return data["list"][0]["request_total"]
