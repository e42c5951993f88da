"""The console in Chromium, as a person uses it: for its tests, and for the screenshots."""

from __future__ import annotations

from contextlib import contextmanager

from helpers import TIMEOUT, chromium
from playwright.sync_api import expect

# A browser says this about every reply that is not 200; the page shows such a reply in words.
REFUSED = "Failed to load resource: the server responded with a status of"
REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) =>
    console.error("CSP", event.violatedDirective, event.blockedURI))"""


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
        return self.page.evaluate("([key, values]) => t(key, values)", [key, values])

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

    def _within(self):
        return "dialog" if self.page.locator("dialog").count() else "body"

    def open(self, view):
        """Open a view by the link with its words."""
        self.page.locator(f"a[href='#{view}']").first.click()

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

    def fits(self):
        """Tell whether the page needs no scrolling sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@contextmanager
def console_in_chromium(url, **settings):
    """Open the console in a browser of its own."""
    with chromium() as browser:
        yield Console(browser, url, **settings)
