"""The console in Chromium, as a person uses it: for its tests, and for the screenshots.

No test may end with an error of the page, a CSP report, or a request that leaves the service.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.helpers import TIMEOUT, TYPED, basic, chromium

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

SETTINGS = {
    "REG_CODE_DIGITS": 6,
    "END_POINTS": '["https://api.example.com/{pool/}rpc", "wss://api.example.com/{pool/}ws"]',
}


class Console:
    """A page of the console; ``complaints`` has every error, CSP report and foreign request.

    :param url: where the console is, with a slash at its end.
    :param language: "en" or "zh", of the browser.
    """

    def __init__(self, browser, url, language="en", width=1280, scheme="light", **settings):
        self.url, self.language, self.complaints = url, language, []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            locale={"en": "en-GB", "zh": "zh-CN"}[language],
            color_scheme=scheme,
            timezone_id="Europe/Berlin",
            permissions=["clipboard-read", "clipboard-write"],
            **settings,
        )
        self.context.set_default_timeout(1000 * TIMEOUT / 3)
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda r: r.url.startswith(url) or self.complaints.append(r.url))
        self.page.goto(url)
        expect(self.page.locator("h1")).to_be_visible()

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

    def submit(self):
        """Send the form in which the last input was filled."""
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

    def register(self, name, email, password, read_code):
        """Create an account with the mailed code and log in.

        :param read_code: returns the code of an address.
        """
        self.open("register")
        self.fill(user_name=name, email=email)
        self.submit()
        expect(self.field("reg_code")).to_be_focused()
        self.fill(reg_code=read_code(email), password=password)
        self.submit()
        self.expect_title(self.words("projects"))

    def log_in(self, name, password):
        self.fill(user_name=name, password=password)
        self.submit()
        self.expect_title(self.words("projects"))

    def create_project(self, name):
        self.button("new_project").click()
        self.fill(project_name=name)
        self.submit()
        self.expect_title(name)

    def copied(self):
        return self.page.evaluate("navigator.clipboard.readText()")

    def storage(self):
        """Return all that the browser keeps for this page."""
        return self.page.evaluate("[{...sessionStorage}, {...localStorage}, document.cookie]")

    def wait_until_it_fits(self):
        """Wait until the page needs no scrolling sideways; the picture of usage is drawn anew."""
        assert self.page.evaluate(FITS)


def check_view(console):
    """Let axe look for what keeps people out, and see that the view fits on both screens."""
    found = Axe().run(console.page).response["violations"]
    faults = [(f["id"], n["html"]) for f in found for n in f["nodes"] if is_bad(f)]
    assert faults == []
    size = console.page.viewport_size
    for width in (320, 1280):
        console.page.set_viewport_size({**size, "width": width})
        console.wait_until_it_fits()
    console.page.set_viewport_size(size)


def is_bad(fault):
    return fault["impact"] in ("serious", "critical")


def token_of(console):
    return console.call("api", "session")["token"]


def count_request(service, project):
    """Ask, as nginx does, whether a request may pass; return the HTTP status."""
    header = basic(project["project_key"], project["project_secret"])
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H"]
    url = f"http://127.0.0.1:{service.port}/api/v1/project/verify"
    return int(subprocess.check_output([*command, f"Authorization: {header}", url]))


def run_command(service, *arguments):
    """Run an operator's command on the service's database."""
    command = [Path(sys.executable).with_name("gateway"), *arguments]
    environment = {**os.environ, **service.environment}
    subprocess.run(command, cwd=service.folder, env=environment, check=True)


def answer(console, path, code, message="A sentence of the service", status=200, **headers):
    """Let the next request to an endpoint be answered with a code."""
    header = {"code": code, "message": message, "total": 0, "count": 0}
    body = json.dumps({"header": header, "data": {}})

    def fulfil(route):
        route.fulfill(status=status, body=body, headers=headers)

    console.page.route(f"**/api/v1/{path}", fulfil, times=1)


def calls_of(console):
    """Return what the button of each tab copies."""
    copied = {}
    for tab in console.page.get_by_role("tab").all():
        tab.click()
        console.copy_button("copy_call", tab.inner_text()).click()
        name = tab.inner_text()
        console.expect_status(console.words("copied"))
        copied[name] = console.copied()
    return copied


# Fixtures; conftest.py names this module.


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def start_console(start_service, browser):
    """Return a function that starts the service and returns a function that opens its console."""
    consoles = []

    def start(**settings):
        service = start_service(workers=1, **{**SETTINGS, **settings})

        def visit(url=f"http://127.0.0.1:{service.port}/", **settings):
            consoles.append(Console(browser, url, **settings))
            return consoles[-1]

        visit.service = service
        visit.url = f"http://127.0.0.1:{service.port}/"
        visit.read_code = lambda email: service.relay.codes[email]
        visit.sign_up = lambda name: service.sign_up(name, password=TYPED)
        return visit

    yield start
    complaints = [complaint for console in consoles for complaint in console.complaints]
    for console in consoles:
        console.context.close()
    assert complaints == []


@pytest.fixture
def visit(start_console):
    """Return a function that opens the console of a service with the usual settings."""
    return start_console()
