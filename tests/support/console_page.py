"""The pages in Chromium, as a person uses them: for their tests, and for the screenshots.

No test may end with an error of the page, a CSP report, or a request that leaves the service. The
tests of a run share nodes with one database; each person of a test has a name of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.helpers import TIMEOUT, TYPED, basic, chromium
from support.nginx_front import ask_node
from support.services import Service, services

expect.set_options(timeout=1000 * TIMEOUT / 2)

# A browser says this about every reply that is not 200; the page shows such a reply in words.
REFUSED = "Failed to load resource: the server responded with a status of"
REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) =>
    console.error("CSP", event.violatedDirective, event.blockedURI))"""
# True as soon as the page fits, false when it does not within 60 frames.
FITS = """() => new Promise((resolve) => {
    const fits = (element) => element.scrollWidth <= element.clientWidth;
    const boxes = [document.documentElement, ...document.querySelectorAll("dialog")];
    const look = (frames) => boxes.every(fits) ? resolve(true)
        : frames ? requestAnimationFrame(() => look(frames - 1)) : resolve(false);
    look(60);
})"""

CALL = """async ([name, called, values]) => {
    const module = await import(new URL(`console/${name}.js`, document.baseURI).href);
    return typeof module[called] === "function" ? module[called](...values) : module[called];
}"""

DOMAINS = ["126.com", "example.com", "example.org", "xn--bcher-kva.example"]
SETTINGS = {
    "REG_CODE_DIGITS": 6,
    "MAIL_DOMAINS": json.dumps(DOMAINS),
    "END_POINTS": '["https://api.example.com/{pool/}rpc", "wss://api.example.com/{pool/}ws"]',
}


_numbers = itertools.count(1)


def new_name():
    """Return a name that nobody else has in this run."""
    return f"lory{next(_numbers)}"


@dataclass
class Person:
    """An account, made through the API; its password is TYPED."""

    service: Service
    name: str
    token: str

    @classmethod
    def new(cls, service):
        name = new_name()
        return cls(service, name, service.sign_up(name, password=TYPED))

    @classmethod
    def of(cls, console):
        """Return the person who is logged in on a console."""
        session = console.call("api", "session")
        return cls(console.service, session["name"], session["token"])

    @property
    def email(self):
        return f"{self.name}@126.com"

    def post(self, path, body=None):
        _, code, data = self.service.post(path, body, self.token)
        assert code == 0, (path, code)
        return data

    def create(self, *names):
        """Create projects; return the oldest one."""
        for name in names:
            self.post("/project/create", {"project_type": 1, "project_name": name})
        return self.projects()[0]

    def projects(self, page_no=0):
        return self.post("/project/list", {"page_no": page_no, "page_size": 100})["list"]

    def call(self, project):
        """Ask, as nginx does, whether a request of a project may pass; return the HTTP status."""
        return ask_node(self.service.port, basic(project["project_key"], project["project_secret"]))


class Console:
    """A page; ``complaints`` has every error, CSP report and foreign request.

    :param url: where the console is, with a slash at its end.
    :param at: the path of a page, and what is there as soon as it is drawn.
    :param language: "en" or "zh", of the browser.
    """

    def __init__(
        self, browser, url, at=("", "h1"), language="en", width=1280, scheme="light", **settings
    ):
        self.url, self.language, self.complaints = url, language, []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            locale={"en": "en-GB", "zh": "zh-CN"}[language],
            color_scheme=scheme,
            timezone_id="Europe/Berlin",
            permissions=["clipboard-read", "clipboard-write"],
            **settings,
        )
        self.context.set_default_timeout(1000 * TIMEOUT / 2)
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda r: r.url.startswith(url) or self.complaints.append(r.url))
        self.page.goto(f"{url}{at[0]}")
        expect(self.page.locator(at[1]).last).to_be_visible()

    def _note(self, message):
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            self.complaints.append(message.text)

    def words(self, key, **values):
        """Return the page's words for a key, in the page's language."""
        return self.call("words", "t", key, values)

    def call(self, module, function, *values):
        """Call a function that a module of the page exports; return what it returns."""
        return self.page.evaluate(CALL, [module, function, values])

    def field(self, name):
        """Return the input with the API's name of a field; that of a dialog if one is open."""
        return self.page.locator(f"{self._within()} input[name={name}]:visible")

    def problem(self, name):
        """Return the words that are shown beside a field."""
        describers = self.field(name).get_attribute("aria-describedby").split()
        return self.page.locator(f"[id='{describers[0]}']").inner_text()

    def button(self, key, **values):
        """Return the button with the words of a key; that of a dialog if one is open."""
        within = self.page.locator(self._within())
        return within.get_by_role("button", name=self.words(key, **values), exact=True).first

    def send(self, key, **fields):
        """Fill in the form that a button opens, and send it."""
        self.button(key).click()
        self.submit(**fields)

    def expect_no_button(self, key):
        expect(self.button(key)).to_have_count(0)

    def copy_button(self, key, what):
        """Return the button that copies something."""
        name = f"{self.words(key)}: {what}"
        return self.page.get_by_role("button", name=name, exact=True)

    def _within(self):
        return "dialog[open]" if self.page.locator("dialog[open]").count() else "body"

    def open(self, view):
        """Open another view by the link with its words, and wait until the present one is gone."""
        present = self.page.locator("main > :first-child").element_handle()
        self.page.locator(f"a[href='#{view}']").first.click()
        present.wait_for_element_state("hidden")

    def fill(self, **fields):
        for name, value in fields.items():
            self.field(name).fill(str(value))

    def submit(self, **fields):
        """Fill in and send the first form; that of a dialog if one is open."""
        self.fill(**fields)
        self.page.locator(f"{self._within()} button[type=submit]:visible").first.click()

    def expect_title(self, title):
        """Wait until a view with this heading is open and has the focus."""
        heading = self.page.locator("h1")
        expect(heading).to_have_text(title)
        expect(heading).to_be_focused()

    def expect_heading(self, title):
        expect(self.page.locator("h1")).to_have_text(title)

    def expect_status(self, words):
        """Wait until the page says something to everybody, also to screen readers."""
        expect(self.page.get_by_role("status").filter(has_text=words).first).to_be_visible()

    def ask_code(self, view="", **fields):
        """Fill in what a form asks for before it sends a code, in a view or in the present one."""
        if view:
            self.open(view)
        self.submit(**fields)
        expect(self.field("reg_code")).to_be_focused()

    def register(self, name, email, read_code):
        """Create an account with the mailed code and log in.

        :param read_code: returns the code of an address.
        """
        self.ask_code("register", user_name=name, email=email)
        self.submit(reg_code=read_code(email), password=TYPED)
        self.expect_title(self.words("projects"))

    def read_code(self, email):
        return self.service.relay.codes[email]

    def enter(self, person):
        """Log in without the form."""
        self.call("api", "logIn", person.name, TYPED)
        self.page.evaluate("location.hash = '#projects'")
        self.expect_title(self.words("projects"))

    def log_out(self):
        self.button("log_out").click()
        self.expect_title(self.words("sign_in"))

    def open_project(self, project, user=0):
        self.page.goto(f"{self.url}#project?id={project['id']}&user={user}")
        self.expect_title(self.call("elements", "seen", project["project_name"]))

    def log_in(self, name, password):
        self.submit(user_name=name, password=password)
        self.expect_title(self.words("projects"))

    def create_project(self, name):
        self.send("new_project", project_name=name)
        self.expect_title(name)

    def copied(self):
        return self.page.evaluate("navigator.clipboard.readText()")

    def storage(self):
        """Return all that the browser keeps for this page."""
        return self.page.evaluate("[{...sessionStorage}, {...localStorage}, document.cookie]")


def check_view(console):
    """Let axe look for what keeps people out, and see that the view fits on both screens."""
    found = Axe().run(console.page).response["violations"]
    assert [(f["id"], n["html"]) for f in found for n in f["nodes"]] == []
    size = console.page.viewport_size
    for width in (320, 1280):
        console.page.set_viewport_size({**size, "width": width})
        assert console.page.evaluate(FITS)  # the picture of usage is drawn anew
    console.page.set_viewport_size(size)


def run_command(service, *arguments, text=""):
    """Run an operator's command on the service's database; ``text`` is what it reads."""
    command = [Path(sys.executable).with_name("gateway"), *arguments]
    environment = {**os.environ, **service.environment}
    subprocess.run(command, cwd=service.folder, env=environment, check=True, input=text, text=True)


def answer(console, path, code, message="A sentence of the service", status=200):
    """Let the next request to an endpoint be answered with a code."""
    header = {"code": code, "message": message, "total": 0, "count": 0}
    body = json.dumps({"header": header, "data": {}})
    console.page.route(
        f"**/api/v1/{path}", lambda route: route.fulfill(status=status, body=body), times=1
    )


# Fixtures; the conftest.py of the pages' tests imports them.


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def start_node(sqlite_databases, relay_server, tmp_path_factory):
    """Return a function that starts a node with the settings of a test, once in a run.

    All nodes share a database. One kind is enough, because these tests are about pages.
    """
    folder = tmp_path_factory.mktemp("nodes")
    database = shutil.copy(sqlite_databases.template, folder / "gateway.db")
    with services(f"sqlite:///{database}", relay_server, folder) as start:
        yield cache(lambda **settings: start(workers=1, **{**SETTINGS, **settings}))


@pytest.fixture(scope="session")
def admin(start_node):
    service, name = start_node(), new_name()
    create = ("user", "create", name, f"{name}@126.com", "--admin", "--password-stdin")
    run_command(service, *create, text=TYPED)
    return Person(service, name, service.log_in(name, TYPED))


@pytest.fixture
def person(start_node, relay):
    return Person.new(start_node())


@pytest.fixture
def visit(browser, start_node, relay):
    """Return a function that opens the console of a node, for a person who is logged in or none."""
    consoles = []

    def visit(person=None, node=None, url=None, **settings):
        service = node or start_node()
        console = Console(browser, url or f"http://127.0.0.1:{service.port}/", **settings)
        console.service = service
        consoles.append(console)
        if person:
            console.enter(person)
        return console

    yield visit
    complaints = [complaint for console in consoles for complaint in console.complaints]
    for console in consoles:
        console.context.close()
    assert complaints == []
    assert not [c for c in consoles if "Traceback" in c.service.server.output]


@pytest.fixture
def console(visit, person):
    """A console where a person is logged in."""
    return visit(person)
