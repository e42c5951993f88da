"""The console in a real browser: accounts and projects from the first to the last day.

No test may end with an error of the page, a CSP report, or a request that leaves the service.
"""

import json
import re
import subprocess
import sys
from datetime import datetime, timezone

import pytest
from axe_playwright_python.sync_playwright import Axe
from console_page import Console
from helpers import PASSWORD, basic, chromium
from playwright.sync_api import expect
from servers import call

from gateway.errors import Code

pytestmark = pytest.mark.browser
TYPED = "seven green bottles"
NOON_IN_BERLIN = datetime(2037, 1, 31, 11, tzinfo=timezone.utc)
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the page."""
    return sqlite_uri


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def start(start_service, browser):
    """Return a function that starts the service and returns a function that opens its console."""
    consoles = []

    def start(**settings):
        service = start_service(workers=1, **{"REG_CODE_DIGITS": 6, **settings})

        def visit(url=f"http://127.0.0.1:{service.port}/", **settings):
            consoles.append(Console(browser, url, **settings))
            return consoles[-1]

        visit.service = service
        visit.read_code = lambda email: service.relay.codes[email]
        return visit

    yield start
    complaints = [complaint for console in consoles for complaint in console.complaints]
    for console in consoles:
        console.context.close()
    assert complaints == []


@pytest.fixture
def visit(start):
    return start()


def check_view(console):
    """Let axe look for what keeps people out, and see that the view fits on the screen."""
    found = Axe().run(console.page).response["violations"]
    faults = [(f["id"], n["html"]) for f in found for n in f["nodes"] if is_bad(f)]
    assert faults == []
    assert console.fits()


def is_bad(fault):
    return fault["impact"] in ("serious", "critical")


def check_language(console):
    """A Chinese page holds no English sentence: no three English words in a row."""
    if console.language == "zh":
        text = console.page.locator("main").inner_text()
        text = re.sub(r"(?s)curl -i.*?verify|from openai.*?content\)|const socket.*?data\);", "", text)
        assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}", text) == []


@pytest.mark.parametrize(
    ("language", "width", "scheme"),
    [
        ("en", 1280, "light"),
        ("zh", 1280, "dark"),
        ("en", 360, "dark"),
        ("zh", 360, "light"),
    ],
)
def test_the_whole_life(visit, language, width, scheme):
    console = visit(language=language, width=width, scheme=scheme)

    def look():
        check_view(console)
        check_language(console)

    page, words = console.page, console.words
    look()
    assert page.locator("html").get_attribute("lang") == {"en": "en", "zh": "zh-Hans"}[language]
    console.open("forgot")
    look()
    console.open("sign-in")
    console.open("register")
    look()
    console.fill(user_name="lory", email="lory@example.com")
    console.submit()
    expect(console.field("reg_code")).to_be_focused()
    look()
    console.fill(reg_code=visit.read_code("lory@example.com"), password=TYPED)
    console.submit()
    console.expect_title(words("projects"))
    console.expect_status(words("welcome", name="lory"))
    look()

    console.button("new_project").click()
    look()
    console.fill(project_name="Shop")
    console.submit()
    console.expect_title("Shop")
    look()
    _, _, data = visit.service.post("/project/list", {}, token_of(console))
    (project,) = data["list"]
    for _ in range(3):
        count_request(visit.service, project)

    console.button("edit").click()
    look()
    console.fill(project_name="Shop 2", project_type=7)
    console.submit()
    console.expect_title("Shop 2")
    assert words("used_today", used="3", max="30") in page.locator("main").inner_text()

    console.button("pause").click()
    console.expect_status(words("was_paused", name="Shop 2"))
    assert count_request(visit.service, project) == 403
    look()
    console.button("resume").click()
    console.expect_status(words("was_resumed", name="Shop 2"))
    assert count_request(visit.service, project) == 204

    console.button("expire").click()
    look()
    console.fill(active_until="2037-01-31T12:00")
    console.submit()
    expect(page.locator("h1 + .pill")).to_contain_text("2037")
    usage = visit.service.post("/project/usage", {"id": project["id"]}, token_of(console))[2]
    assert usage["active_until"] == int(NOON_IN_BERLIN.timestamp())

    console.button("rotate").click()
    look()
    console.fill(grace_hours=1)
    console.submit()
    console.expect_status(words("rotated"))
    assert count_request(visit.service, project) == 204  # the old secret has an hour left
    _, _, data = visit.service.post("/project/list", {}, token_of(console))
    assert data["list"][0]["project_secret"] != project["project_secret"]
    assert data["list"][0]["project_secret"] in page.locator("main").inner_text()
    look()

    console.button("remove").click()
    console.fill(confirm="Shop")
    console.submit()
    assert console.problem("confirm") == words("names_differ", name="Shop 2")
    look()
    console.fill(confirm="Shop 2")
    console.submit()
    console.expect_title(words("projects"))
    console.expect_status(words("deleted", name="Shop 2"))
    assert count_request(visit.service, project) == 401

    console.open("account")
    console.expect_title(words("account"))
    look()
    console.fill(old_password=TYPED, new_password="eight green bottles")
    console.button("change_password").click()
    console.expect_status(words("password_changed"))
    console.button("log_out").click()
    console.expect_title(words("sign_in"))
    look()
    console.log_in("lory@example.com", "eight green bottles")
    look()


def token_of(console):
    return console.page.evaluate("session().token")


def count_request(service, project):
    """Ask, as nginx does, whether a request may pass; return the HTTP status."""
    header = basic(project["project_key"], project["project_secret"])
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H"]
    url = f"http://127.0.0.1:{service.port}/api/v1/project/verify"
    return int(subprocess.check_output([*command, f"Authorization: {header}", url]))
