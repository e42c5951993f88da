"""The console in a real browser: an account and a project from the first to the last day."""

import json
import re
from datetime import datetime, timezone
from hashlib import md5

import pytest
from playwright.sync_api import expect
from support.console_page import Person, answer, check_view, new_name
from support.helpers import TYPED

pytestmark = pytest.mark.browser
NOON_IN_BERLIN = datetime(2037, 1, 31, 11, tzinfo=timezone.utc)
NEW = "eight green bottles"
# The calls, which are the same in every language.
CALLS = r"(?s)curl -i.*?verify|from openai.*?content\)|const socket.*?data\);"


def check_language(console):
    """A Chinese page holds no English sentence: no three English words in a row."""
    if console.language == "zh":
        text = re.sub(CALLS, "", console.page.locator("main").inner_text())
        assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}", text) == []


class Life:
    """A person's days with the console; each view is looked at when it is open."""

    def __init__(self, console):
        self.console, self.words, self.name = console, console.words, new_name()

    def look(self):
        check_view(self.console)
        check_language(self.console)

    def project(self):
        return self.person.projects()[0]

    def call(self):
        return self.person.call(self.project())

    def register(self):
        console, email = self.console, f"{self.name}@example.com"
        self.look()
        console.open("forgot")
        self.look()
        console.open("sign-in")
        console.open("register")
        self.look()
        console.ask_code(user_name=self.name, email=email)
        self.look()
        in_chinese = "验证码" in console.service.relay.mails[-1]["Subject"]
        assert in_chinese is (console.language == "zh")
        console.submit(reg_code=console.read_code(email), password=TYPED)
        console.expect_title(self.words("projects"))
        console.expect_status(self.words("welcome", name=self.name))
        self.look()
        self.person = Person.of(console)

    def create_and_edit(self):
        console = self.console
        console.button("new_project").click()
        self.look()
        console.submit(project_name="Shop")
        console.expect_title("Shop")
        self.look()
        for _ in range(3):
            self.call()
        console.button("edit").click()
        self.look()
        console.submit(project_name="Shop 2", project_type=7)
        console.expect_heading("Shop 2")
        expect(console.page.locator("progress")).to_have_attribute("value", "3")
        assert (self.project()["project_name"], self.project()["project_type"]) == ("Shop 2", 7)

    def pause_and_resume(self):
        console = self.console
        console.button("pause").click()
        console.expect_status(self.words("was_paused", name="Shop 2"))
        assert self.call() == 403
        self.look()
        for key in ("undo", "pause", "resume"):
            console.button(key).click()
            done = self.words("was_paused" if key == "pause" else "was_resumed", name="Shop 2")
            console.expect_status(done)
        assert self.call() == 204

    def expire(self):
        console = self.console
        self.set_expiry("expire_text", self.look)
        assert self.active_until() == int(NOON_IN_BERLIN.timestamp())
        console.expect_no_button("resume")  # it was never paused
        console.button("unexpire").click()
        console.expect_status(self.words("has_no_expiry", name="Shop 2"))
        assert self.active_until() == 0
        console.expect_no_button("unexpire")
        self.set_expiry("expire_text")
        console.button("pause").click()
        console.expect_status(self.words("was_paused_early", name="Shop 2"))
        assert self.call() == 403
        console.expect_no_button("unexpire")
        self.set_expiry("expire_paused")
        assert self.call() == 204

    def set_expiry(self, text, look=lambda: None):
        """Let the project expire; the dialog says the words of a key."""
        console = self.console
        console.button("expire").click()
        expect(console.page.locator("dialog p").first).to_have_text(self.words(text))
        look()
        console.submit(active_until="2037-01-31T12:00")
        expect(console.page.locator("h1 + .pill")).to_contain_text("2037")

    def active_until(self):
        return self.person.post("/project/usage", {"id": self.project()["id"]})["active_until"]

    def rotate_and_delete(self):
        console, old = self.console, self.project()
        console.button("rotate").click()
        self.look()
        console.submit(grace_hours=1)
        console.expect_status(self.words("rotated"))
        until_when = self.words("old_secret", time="|").split("|")[0]
        expect(console.page.locator("main")).to_contain_text(until_when)
        assert self.person.call(old) == 204  # the old secret has an hour left
        new = self.project()["project_secret"]
        assert new != old["project_secret"]
        expect(console.page.locator("main")).to_contain_text(new)
        console.send("remove", confirm="Shop")
        assert console.problem("confirm") == self.words("names_differ", name="Shop 2")
        self.look()
        console.submit(confirm="Shop 2")
        console.expect_title(self.words("projects"))
        console.expect_status(self.words("deleted", name="Shop 2"))
        assert self.person.call(old) == 401

    def change_password(self):
        console = self.console
        console.open("account")
        console.expect_title(self.words("account"))
        expect(console.page.locator(".facts")).to_contain_text(f"{self.name}@example.com")
        self.look()
        console.fill(old_password=TYPED, new_password=NEW)
        console.button("change_password").click()
        console.expect_status(self.words("password_changed"))
        console.log_out()
        self.look()
        console.log_in(self.name, NEW)

    def change_address(self):
        console, email = self.console, f"{self.name}@example.org"
        console.open("account")
        expect(console.page.locator(".facts")).to_contain_text(self.words("email_unknown"))
        console.fill(email=email)
        console.button("send_code").click()
        expect(console.field("reg_code")).to_be_focused()
        self.look()
        console.fill(reg_code=console.read_code(email), password="a wrong password")
        console.button("change_email").click()
        self.expect_wrong_password()
        console.fill(password=NEW)
        console.button("change_email").click()
        console.expect_status(self.words("email_changed"))
        console.log_out()
        console.log_in(email, NEW)
        console.page.reload()
        console.open("account")
        expect(console.page.locator(".facts")).to_contain_text(email)

    def expect_wrong_password(self):
        expect(self.console.field("password")).to_be_focused()
        wrong = self.words("refusal.platform/change-email 1002")
        assert self.console.problem("password") == wrong

    def leave(self):
        console, token = self.console, Person.of(self.console).token
        console.button("leave_button").click()
        self.look()
        console.submit(confirm="libin", password=NEW)
        assert console.problem("confirm") == self.words("names_differ", name=self.name)
        console.submit(confirm=self.name, password="a wrong password")
        self.expect_wrong_password()
        answer(console, "platform/delete-account", 1000)
        console.submit(password=NEW)
        last_admin = self.words("refusal.platform/delete-account 1000")
        expect(console.page.locator("dialog").get_by_role("alert")).to_have_text(last_admin)
        console.submit()
        console.expect_title(self.words("sign_in"))
        console.expect_status(self.words("left_us"))
        assert console.storage()[0] == {}
        assert console.service.post("/project/list", {}, token)[1] == 1001


@pytest.mark.parametrize(
    ("language", "tag", "width", "scheme"),
    [("en", "en", 1280, "dark"), ("zh", "zh-Hans", 360, "light")],
)
def test_the_whole_life(visit, language, tag, width, scheme):
    console = visit(language=language, width=width, scheme=scheme)
    assert console.page.locator("html").get_attribute("lang") == tag
    life = Life(console)
    life.register()
    life.create_and_edit()
    life.pause_and_resume()
    life.expire()
    life.rotate_and_delete()
    life.change_password()
    life.change_address()
    life.leave()


# By keyboard alone


def press_until_focused(console, name, key="Tab", most=40):
    """Press a key until the element with this name has the focus."""
    for _ in range(most):
        console.page.keyboard.press(key)
        if focused_name(console) == name:
            assert console.page.evaluate(FOCUS_IS_SEEN), f"nobody sees the focus of {name}"
            return
    raise AssertionError(f"the keyboard does not reach {name}")


def focused_name(console):
    return console.page.evaluate(
        """() => {
            const e = document.activeElement;
            return e.getAttribute("aria-label") ?? e.labels?.[0]?.textContent ?? e.textContent;
        }"""
    )


FOCUS_IS_SEEN = """() => {
    const after = getComputedStyle(document.activeElement, "::after");
    const own = getComputedStyle(document.activeElement);
    return [own, after].some((s) => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2);
}"""


def test_by_keyboard_alone(visit, person):
    console = visit()
    keyboard, words, page = console.page.keyboard, console.words, console.page

    def go_to(key, press="Enter"):
        press_until_focused(console, words(key))
        keyboard.press(press)

    def type_into(key, text):
        if focused_name(console) != words(key):
            press_until_focused(console, words(key))
        keyboard.type(text)

    go_to("register")
    console.expect_title(words("register"))
    go_to("sign_in")
    console.expect_title(words("sign_in"))
    type_into("name_or_email", person.name)
    type_into("password", TYPED)
    keyboard.press("Enter")
    console.expect_title(words("projects"))

    go_to("new_project")
    expect(console.field("project_name")).to_be_focused()
    keyboard.press("Escape")  # the focus goes back to where it was
    assert focused_name(console) == words("new_project")
    keyboard.press("Enter")
    type_into("project_name", "Shop")
    keyboard.press("Enter")
    console.expect_title("Shop")

    (project,) = person.projects()
    assert project["project_secret"] not in page.locator("body").inner_text()
    read_and_copy(console, project["project_secret"], go_to)
    person.call(project)
    page.reload()  # only what was used has a picture
    press_until_focused(console, words("chart"))
    before = page.get_by_role("slider").get_attribute("aria-valuetext")
    keyboard.press("ArrowLeft")
    assert page.get_by_role("slider").get_attribute("aria-valuetext") != before
    console.page.keyboard.press("Control+Home")
    press_until_focused(console, words("remove"), key="Shift+Tab", most=60)
    keyboard.press("Enter")
    keyboard.type("Shop")
    keyboard.press("Enter")
    console.expect_title(words("projects"))
    press_until_focused(console, words("log_out"), key="Shift+Tab")
    keyboard.press("Enter")
    console.expect_title(words("sign_in"))


def read_and_copy(console, secret, go_to):
    """Show the secret, copy it and a call."""
    keyboard, words, page = console.page.keyboard, console.words, console.page
    go_to("show_secret", press="Space")
    assert focused_name(console) == words("hide_secret")
    assert secret in page.locator("body").inner_text()
    press_until_focused(console, f"{words('copy')}: {words('secret')}")
    keyboard.press("Enter")
    console.expect_status(words("copied"))
    assert console.copied() == secret
    press_until_focused(console, "curl")
    keyboard.press("ArrowRight")
    assert focused_name(console) == "Python"
    press_until_focused(console, f"{words('copy_call')}: Python")
    keyboard.press("Enter")
    assert "from openai import OpenAI" in console.copied()


# Sessions


def test_the_token_is_gone_at_log_out(console):
    token = Person.of(console).token
    assert token in json.dumps(console.storage())
    console.log_out()
    console.expect_status(console.words("logged_out"))
    assert token not in json.dumps(console.storage())
    assert console.service.post("/project/list", {}, token)[1] == 1001
    console.page.go_back()
    expect(console.page.locator("h1")).to_have_text(console.words("sign_in"))


def test_a_session_that_has_ended_leads_back_to_sign_in(console, person):
    """Also out of a dialog; after the next log-in the person is where they were."""
    console.open_project(person.create("Shop"))
    Person.of(console).post("/platform/logout")
    console.button("rotate").click()
    console.submit()
    console.expect_title(console.words("sign_in"))
    console.expect_status(console.words("session_ended"))
    assert console.page.locator("dialog").count() == 0
    assert "token" not in json.dumps(console.storage())
    console.submit(user_name=person.name, password=TYPED)
    console.expect_title("Shop")


def test_accounts_of_other_clients(visit):
    """Clients send the MD5 digest of what a person types; the page sends what was typed."""
    console, name = visit(), new_name()
    console.service.sign_up(name, password=md5(TYPED.encode()).hexdigest())
    console.log_in(f"{name}@126.com", TYPED)
    console.open("account")
    console.fill(old_password=TYPED, new_password=NEW)
    console.button("change_password").click()
    console.expect_status(console.words("password_changed"))
    assert console.service.log_in(name, md5(NEW.encode()).hexdigest())


def test_strangers_keep_nobody_out_of_a_browser_that_is_known(visit, person):
    """The cookie of a right log-in tells the service that it knows the browser, also at a reset."""
    network = "10.20.30.40"
    people = person, Person.new(person.service)  # two accounts in one browser
    console = visit(extra_http_headers={"X-Forwarded-For": network})
    for each in people:
        console.log_in(each.name, TYPED)
        console.log_out()
    cookies = console.context.cookies(f"{console.url}api/v1/")
    assert len({c["name"] for c in cookies}) == len(people)
    assert {(c["name"][:15], c["httpOnly"], c["sameSite"], c["path"]) for c in cookies} == {
        ("gateway_device_", True, "Strict", "/api/v1")
    }
    assert console.storage()[2] == ""  # no script reads it
    service = person.service
    number = len(service.relay.mails)
    for n in range(6):  # from the network of the owner, too
        service.post("/login", {"user_name": person.name, "password": f"guess {n}"}, ip=network)
        service.post("/reset-code", {"email": person.email}, ip=network)
    assert service.relay.wait_for_mails(number + 1)  # one in a minute
    right = {"user_name": person.name, "password": TYPED}
    assert service.post("/login", right, ip=network)[1] == 429
    console.log_in(person.name, TYPED)
    console.log_out()
    console.ask_code("forgot", email=person.email)
    assert service.relay.wait_for_mails(number + 2)
    console.submit(reg_code=console.read_code(person.email), password=NEW)
    console.expect_title(console.words("projects"))
