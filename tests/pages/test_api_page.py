"""The API page in a browser: what it shows, how it is tried, and samples that do what they say."""

import json
import os
import shutil
import socket
import sys
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.console_page import Person, run_command
from support.helpers import PASSWORD, basic, run_program

pytestmark = pytest.mark.browser
OPERATIONS = ("accounts-login", "projects-list_projects", "nginx-verify_project")


@pytest.fixture(scope="session")
def lory(start_node):
    """The account of the examples."""
    service = start_node()
    create = ("user", "create", "lory", "lory@example.com", "--password-stdin")
    run_command(service, *create, text=PASSWORD)
    return Person(service, "lory", service.log_in("lory"))


@pytest.fixture
def docs(visit):
    """Return a function that opens the page."""
    return lambda **settings: visit(at=("docs", ".opblock"), **settings).page


@pytest.fixture
def page(docs):
    return docs()


def opened(page, operation):
    """Return the block of an operation, which is open then."""
    block = page.locator(f"#operations-{operation}")
    if "is-open" not in block.get_attribute("class"):
        block.locator(".opblock-summary").click()
    return block


def execute(page, operation, body=None):
    """Fill in and send a request on the page; return the reply that the page shows."""
    block = opened(page, operation)
    if body is not None:
        block.locator("textarea.body-param__text").fill(json.dumps(body))
    with page.expect_response("**/api/v1/**") as sent:
        block.get_by_role("button", name="Execute").click()
    reply = sent.value.json()
    shown = block.locator(".live-responses-table .response .highlight-code code").first
    expect(shown).to_contain_text(f'"code": {reply["header"]["code"]},')
    return reply


def check_first_screen(page):
    tops = [block.bounding_box() for block in page.locator(".opblock").all()]
    assert len([box for box in tops if box["y"] + box["height"] <= 800]) >= 5
    codes = page.locator("#about table").bounding_box()
    assert codes["y"] > max(box["y"] for box in tops)
    assert page.locator("#about td", has_text="1018").count() == 1


def test_it_shows_every_endpoint_and_how_to_begin_and_leads_back(page):
    check_first_screen(page)
    base = page.url.removesuffix("docs")
    paths = json.load(urlopen(f"{base}openapi.json"))["paths"]
    shown = page.locator(".opblock-summary-path").all_inner_texts()
    assert sorted(path.replace("\u200b", "") for path in shown) == sorted(paths)
    expect(page.locator(".info .title")).to_contain_text("gateway")
    expect(page.locator(".information-container")).to_contain_text("To try it")
    page.locator(".top .brand").click()
    expect(page).to_have_url(f"{base}#sign-in")


def test_a_phone_never_scrolls_the_page_sideways(docs):
    page = docs(width=390)
    check_first_screen(page)
    for operation in (*OPERATIONS, "projects-edit_project", "projects-project_usage"):
        opened(page, operation)
    expect(page.locator(".samples")).to_have_count(len(OPERATIONS) + 2)
    page.locator(".models-control").click()
    expect(page.locator(".models")).to_contain_text("Refusal")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


BRIGHTNESS = """() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g)
    .reduce((sum, value) => sum + Number(value), 0) / 3"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(docs, scheme):
    """Not even in the colours of the system."""
    page = docs(scheme=scheme)
    for operation in OPERATIONS:
        opened(page, operation)
    expect(page.locator(".samples")).to_have_count(len(OPERATIONS))
    found = Axe().run(page).response["violations"]
    assert [(fault["id"], node["html"]) for fault in found for node in fault["nodes"]] == []
    assert (page.evaluate(BRIGHTNESS) < 60) is (scheme == "dark")
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).not_to_have_class("dark-mode")
    assert page.evaluate(BRIGHTNESS) > 200


def test_log_in_and_list_projects_on_the_page(page, lory):
    register = opened(page, "accounts-register").locator("textarea.body-param__text")
    assert list(json.loads(register.input_value()).items()) == [
        ("user_name", "lory"),
        ("password", PASSWORD),
        ("email", "lory@example.com"),
        ("reg_code", "632804"),
    ]
    # A browser would ask a person for the name and password of HTTP Basic, and wait.
    for operation in ("nginx-verify_project", "projects-project_quota", "projects-list_projects"):
        assert execute(page, operation)["header"]["code"] == 1001
    login = execute(page, "accounts-login")  # with the example body
    assert login["header"] == {"code": 0, "message": "OK", "total": 1, "count": 1}
    token = login["data"]["auth_token"]
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    form = page.locator("form").filter(has_text="token (http, Bearer)")
    form.get_by_label("auth-bearer-value").fill(token)
    form.get_by_role("button", name="Apply credentials").click()
    page.locator(".close-modal").click()
    made = execute(page, "projects-create_project")["data"]
    listed = execute(page, "projects-list_projects")["data"]["list"]  # the example means the caller
    assert made["project_secret"] in [project["project_secret"] for project in listed]
    assert execute(page, "projects-list_projects", {"page_no": 7})["data"]["list"] == []
    sample = page.locator("#operations-projects-list_projects .samples pre")
    expect(sample).to_contain_text('"page_no": 7')  # what was typed, and authorized
    expect(sample).to_contain_text(f"Bearer {token}")


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
    block, samples = opened(page, operation), {}
    for name in block.locator(".samples button").all_inner_texts():
        button = block.locator(".samples").get_by_role("button", name=name, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        samples[name] = block.locator(".samples pre").inner_text()
    return samples


def run_sample(language, text, port, folder):
    """Run a sample; return all that it says."""
    command = LANGUAGES[language]
    if command is None:
        head, _, body = text.partition("\n\n")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            head = head.replace("\n", "\r\n")
            connection.sendall(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
            return b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    (folder / command[-1]).write_text(text)
    env = {**os.environ, "GOCACHE": str(folder / "go"), "NODE_NO_WARNINGS": "1"}
    return run_program(command, folder, 120, env=env).stdout


def is_at_hand(language):
    tool = {"java": "javac"}.get(language) or (LANGUAGES[language] or ["bash"])[0]
    return shutil.which(tool) is not None


def test_the_samples_work(page, person, tmp_path):
    project = person.create("counted")
    _, credentials = basic(project["project_key"], project["project_secret"]).split()
    create = read_samples(page, "projects-create_project")
    verify = read_samples(page, "nginx-verify_project")
    assert list(create) == list(LANGUAGES)
    languages = [language for language in LANGUAGES if is_at_hand(language)]
    assert {"shell", "http", "python"} <= set(languages)
    for number, language in enumerate(languages, start=1):
        sample = create[language].replace("AUTH_TOKEN", person.token)
        said = run_sample(language, sample, person.service.port, tmp_path)
        assert '"project_key":"' in said, f"{language}: {said}"
        sample = verify[language].replace("BASE64_OF_KEY_COLON_SECRET", credentials)
        run_sample(language, sample, person.service.port, tmp_path)
        counted, *made = person.projects()
        assert counted["request_total"] == number, language
        assert [each["project_name"] for each in made] == ["我的ChatGPT项目"] * number
