"""The console in a real browser: an account and a project from the first to the last day."""

import json
import re
from datetime import datetime, timezone
from hashlib import md5

import pytest
from playwright.sync_api import expect
from support.console_page import answer, check_view, count_request, run_command, token_of
from support.helpers import TYPED

pytestmark = pytest.mark.browser
NOON_IN_BERLIN = datetime(2037, 1, 31, 11, tzinfo=timezone.utc)
# The calls, which are the same in every language.
CALLS = r"(?s)curl -i.*?verify|from openai.*?content\)|const socket.*?data\);"


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the page."""
    return sqlite_uri


def check_language(console):
    """A Chinese page holds no English sentence: no three English words in a row."""
    if console.language == "zh":
        text = console.page.locator("main").inner_text()
        text = re.sub(
            r"(?s)curl -i.*?verify|from openai.*?content\)|const socket.*?data\);", "", text
        )
        assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}", text) == []


class Life:
    """A person's days with the console; each view is looked at when it is open."""

    def __init__(self, console, visit):
        self.console, self.words = console, console.words
        self.service, self.read_code = visit.service, visit.read_code

    def look(self):
        check_view(self.console)
        check_language(self.console)

    def project(self):
        _, _, data = self.service.post("/project/list", {}, token_of(self.console))
        return data["list"][0]

    def register(self):
        console = self.console
        self.look()
        console.open("forgot")
        self.look()
        console.open("sign-in")
        console.open("register")
        self.look()
        console.fill(user_name="lory", email="lory@example.com")
        console.submit()
        expect(console.field("reg_code")).to_be_focused()
        self.look()
        in_chinese = "验证码" in self.service.relay.mails[-1]["Subject"]
        assert in_chinese is (console.language == "zh")
        console.fill(reg_code=self.read_code("lory@example.com"), password=TYPED)
        console.submit()
        console.expect_title(self.words("projects"))
        console.expect_status(self.words("welcome", name="lory"))
        self.look()

    def create_and_edit(self):
        console = self.console
        console.button("new_project").click()
        self.look()
        console.fill(project_name="Shop")
        console.submit()
        console.expect_title("Shop")
        self.look()
        for _ in range(3):
            count_request(self.service, self.project())
        console.button("edit").click()
        self.look()
        console.fill(project_name="Shop 2", project_type=7)
        console.submit()
        console.expect_heading("Shop 2")
        expect(console.page.locator("progress")).to_have_attribute("value", "3")
        assert (self.project()["project_name"], self.project()["project_type"]) == ("Shop 2", 7)

    def pause_and_resume(self):
        console = self.console
        console.button("pause").click()
        console.expect_status(self.words("was_paused", name="Shop 2"))
        assert count_request(self.service, self.project()) == 403
        self.look()
        for key in ("undo", "pause", "resume"):
            console.button(key).click()
            done = self.words("was_paused" if key == "pause" else "was_resumed", name="Shop 2")
            console.expect_status(done)
        assert count_request(self.service, self.project()) == 204

    def expire(self):
        console = self.console
        self.set_expiry("expire_text")
        assert self.active_until() == int(NOON_IN_BERLIN.timestamp())
        assert not self.has_button("resume")  # it was never paused
        console.button("unexpire").click()
        console.expect_status(self.words("has_no_expiry", name="Shop 2"))
        assert self.active_until() == 0
        assert not self.has_button("unexpire")
        self.set_expiry("expire_text")
        console.button("pause").click()
        console.expect_status(self.words("was_paused_early", name="Shop 2"))
        assert count_request(self.service, self.project()) == 403
        assert not self.has_button("unexpire")
        self.set_expiry("expire_paused")
        assert count_request(self.service, self.project()) == 204

    def set_expiry(self, text):
        """Let the project expire; the dialog says the words of a key."""
        console = self.console
        console.button("expire").click()
        expect(console.page.locator("dialog p").first).to_have_text(self.words(text))
        self.look()
        console.fill(active_until="2037-01-31T12:00")
        console.submit()
        expect(console.page.locator("h1 + .pill")).to_contain_text("2037")

    def has_button(self, key):
        buttons = self.console.page.get_by_role("button", name=self.words(key), exact=True)
        return buttons.count() > 0

    def active_until(self):
        body = {"id": self.project()["id"]}
        _, _, usage = self.service.post("/project/usage", body, token_of(self.console))
        return usage["active_until"]

    def rotate_and_delete(self):
        console, old = self.console, self.project()
        console.button("rotate").click()
        self.look()
        console.fill(grace_hours=1)
        console.submit()
        console.expect_status(self.words("rotated"))
        assert count_request(self.service, old) == 204  # the old secret has an hour left
        new = self.project()["project_secret"]
        assert new != old["project_secret"]
        expect(console.page.locator("main")).to_contain_text(new)
        console.button("remove").click()
        console.fill(confirm="Shop")
        console.submit()
        assert console.problem("confirm") == self.words("names_differ", name="Shop 2")
        self.look()
        console.fill(confirm="Shop 2")
        console.submit()
        console.expect_title(self.words("projects"))
        console.expect_status(self.words("deleted", name="Shop 2"))
        assert count_request(self.service, old) == 401

    def change_password(self):
        console = self.console
        console.open("account")
        console.expect_title(self.words("account"))
        self.look()
        console.fill(old_password=TYPED, new_password="eight green bottles")
        console.button("change_password").click()
        console.expect_status(self.words("password_changed"))
        console.button("log_out").click()
        console.expect_title(self.words("sign_in"))
        self.look()
        console.log_in("lory@example.com", "eight green bottles")

    def change_address(self):
        console = self.console
        console.open("account")
        console.fill(email="lory@example.org")
        console.button("send_code").click()
        expect(console.field("reg_code")).to_be_focused()
        self.look()
        code = self.read_code("lory@example.org")
        console.fill(reg_code=code, password="a wrong password")
        console.button("change_email").click()
        expect(console.field("password")).to_be_focused()
        assert console.problem("password") == self.words("refusal.platform/change-email 1002")
        console.fill(password="eight green bottles")
        console.button("change_email").click()
        console.expect_status(self.words("email_changed"))
        console.button("log_out").click()
        console.log_in("lory@example.org", "eight green bottles")

    def leave(self):
        console, token = self.console, token_of(self.console)
        console.open("account")
        console.button("leave_button").click()
        self.look()
        console.fill(confirm="libin", password="eight green bottles")
        console.submit()
        assert console.problem("confirm") == self.words("names_differ", name="lory")
        console.fill(confirm="lory", password="a wrong password")
        console.submit()
        expect(console.field("password")).to_be_focused()
        assert console.problem("password") == self.words("refusal.platform/change-email 1002")
        console.fill(password="eight green bottles")
        console.submit()
        console.expect_title(self.words("sign_in"))
        console.expect_status(self.words("left_us"))
        assert console.storage()[0] == {}
        assert self.service.post("/project/list", {}, token)[1] == 1001


@pytest.mark.parametrize(
    ("language", "tag", "width", "scheme"),
    [("en", "en", 1280, "dark"), ("zh", "zh-Hans", 360, "light")],
)
def test_the_whole_life(visit, language, tag, width, scheme):
    console = visit(language=language, width=width, scheme=scheme)
    assert console.page.locator("html").get_attribute("lang") == tag
    life = Life(console, visit)
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


def test_by_keyboard_alone(visit):
    console = visit()
    keyboard, words, page = console.page.keyboard, console.words, console.page

    def go_to(key, press="Enter", **values):
        press_until_focused(console, words(key, **values))
        keyboard.press(press)

    def type_into(key, text):
        if focused_name(console) != words(key):
            press_until_focused(console, words(key))
        keyboard.type(text)

    go_to("register")
    console.expect_title(words("register"))
    type_into("user_name", "lory")
    type_into("email", "lory@example.com")
    keyboard.press("Enter")
    expect(console.field("reg_code")).to_be_focused()
    type_into("reg_code", visit.read_code("lory@example.com"))
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

    (project,) = visit.service.post("/project/list", {}, token_of(console))[2]["list"]
    assert project["project_secret"] not in page.locator("body").inner_text()
    read_and_copy(console, project["project_secret"], go_to)
    count_request(visit.service, project)
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


def test_the_token_is_gone_at_log_out(visit):
    visit.sign_up("lory")
    console = visit()
    console.log_in("lory", TYPED)
    token = token_of(console)
    assert token in json.dumps(console.storage())
    console.button("log_out").click()
    console.expect_title(console.words("sign_in"))
    console.expect_status(console.words("logged_out"))
    assert token not in json.dumps(console.storage())
    assert visit.service.post("/project/list", {}, token)[1] == 1001
    console.page.go_back()
    expect(console.page.locator("h1")).to_have_text(console.words("sign_in"))


def test_the_token_leaves_the_browser_although_the_service_fails(visit):
    visit.sign_up("lory")
    console = visit()
    console.log_in("lory", TYPED)
    answer(console, "platform/logout", 501, status=503)
    console.button("log_out").click()
    console.expect_title(console.words("sign_in"))
    assert "token" not in json.dumps(console.storage())


def test_a_session_that_has_ended_leads_back_to_sign_in(visit):
    """Also out of a dialog; after the next log-in the person is where they were."""
    service = visit.service
    visit.sign_up("lory")
    console = visit()
    console.log_in("lory", TYPED)
    console.create_project("Shop")
    service.post("/platform/logout", {}, token_of(console))
    console.button("rotate").click()
    console.submit()
    console.expect_title(console.words("sign_in"))
    console.expect_status(console.words("session_ended"))
    assert console.page.locator("dialog").count() == 0
    assert "token" not in json.dumps(console.storage())
    console.fill(user_name="lory", password=TYPED)
    console.submit()
    console.expect_title("Shop")


def test_a_forgotten_password(visit):
    visit.sign_up("lory")
    console = visit()
    console.open("forgot")
    console.fill(email="lory@126.com")
    number = len(visit.service.relay.mails)
    console.submit()
    expect(console.field("reg_code")).to_be_focused()
    assert visit.service.relay.wait_for_mails(number + 1)
    console.fill(reg_code=visit.read_code("lory@126.com"), password=TYPED)
    console.submit()
    console.expect_title(console.words("projects"))
    console.expect_status(console.words("password_set"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_last_admin_cannot_leave(visit, language):
    visit.sign_up("lory")
    run_command(visit.service, "user", "promote", "lory")
    console = visit(language=language)
    console.log_in("lory", TYPED)
    console.open("account")
    console.button("leave_button").click()
    console.fill(confirm="lory", password=TYPED)
    console.submit()
    alert = console.page.locator("dialog").get_by_role("alert")
    expect(alert).to_have_text(console.words("refusal.platform/delete-account 1000"))


def test_accounts_of_other_clients(visit):
    """Clients send the MD5 digest of what a person types; the page sends what was typed."""
    visit.service.sign_up("lory", password=md5(b"seven bottles").hexdigest())
    console = visit()
    console.log_in("lory@126.com", "seven bottles")
    console.open("account")
    console.fill(old_password="seven bottles", new_password="eight bottles")
    console.button("change_password").click()
    console.expect_status(console.words("password_changed"))
    assert visit.service.log_in("lory", md5(b"eight bottles").hexdigest())


def test_strangers_keep_nobody_out_of_a_browser_that_is_known(visit):
    """The cookie of a right log-in tells the service that it knows the browser, also at a reset."""
    service = visit.service
    for name in ("lory", "libin"):  # two accounts in one browser
        visit.sign_up(name)
    console = visit()
    for name in ("lory", "libin"):
        console.log_in(name, TYPED)
        console.button("log_out").click()
        console.expect_title(console.words("sign_in"))
    cookies = console.page.context.cookies(f"{visit.url}api/v1/")
    assert {c["name"] for c in cookies} == {"gateway_device_1", "gateway_device_2"}
    assert {(c["httpOnly"], c["sameSite"], c["path"]) for c in cookies} == {
        (True, "Strict", "/api/v1")
    }
    assert console.storage()[2] == ""  # no script reads it
    for n in range(105):  # from the network of the owner, too
        service.post("/login", {"user_name": "lory", "password": f"guess {n}"})
    for _ in range(6):
        service.post("/reset-code", {"email": "lory@126.com"})
    assert service.post("/login", {"user_name": "lory", "password": TYPED})[1] == 429
    console.log_in("lory", TYPED)
    console.button("log_out").click()
    console.open("forgot")
    number = len(service.relay.mails)
    console.fill(email="lory@126.com")
    console.submit()
    expect(console.field("reg_code")).to_be_focused()
    assert service.relay.wait_for_mails(number + 1)
    console.fill(reg_code=visit.read_code("lory@126.com"), password="eight green bottles")
    console.submit()
    console.expect_title(console.words("projects"))
