"""The console's words: both languages, and refusals beside their fields."""

import hashlib
import re

import pytest
from playwright.sync_api import expect
from support.console_page import answer, check_view, run_command
from support.helpers import TYPED

from gateway.errors import Code

pytestmark = pytest.mark.browser
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the page."""
    return sqlite_uri


# The words of the page


def test_both_languages_say_everything(visit):
    """The same keys, the same values to fill in, and words for every code of the API."""
    console = visit()
    words = console.page.evaluate("WORDS")
    english, chinese = flat(words["en"]), flat(words["zh"])
    assert english.keys() == chinese.keys()
    holes = {key: set(re.findall(r"\{\w+\}", text)) for key, text in english.items()}
    assert holes == {key: set(re.findall(r"\{\w+\}", text)) for key, text in chinese.items()}
    same = {"tag", "other", "other_tag", "key", "secret"}
    assert [key for key, text in chinese.items() if not HAN.search(text) and key not in same] == []
    codes = {str(code.number) for code in Code} - {"0", "1003", "1004"}  # these name fields
    assert codes <= words["en"]["refusal"].keys()
    used = set(re.findall(r"\bt\(\"([a-z_0-9]+)\"", console.page.evaluate(SOURCE)))
    assert used <= english.keys()


SOURCE = "fetch(document.querySelector('script').src).then((reply) => reply.text())"


def flat(words, prefix=""):
    return {
        key: text
        for name, value in words.items()
        for key, text in (
            flat(value, f"{name}.") if isinstance(value, dict) else {prefix + name: value}
        ).items()
    }


def test_the_switch_keeps_what_was_typed_and_is_remembered(visit):
    console = visit(language="zh")
    console.open("register")
    console.fill(user_name="lory", email="lory@example.com")
    console.page.locator("#language").click()
    expect(console.page.locator("h1")).to_have_text("Register")
    expect(console.field("user_name")).to_have_value("lory")
    assert console.page.evaluate("document.activeElement.id") == "language"
    console.page.reload()
    console.page.locator("h1", has_text="Register").wait_for()


def test_md5(visit):
    """The digests of RFC 1321 and of a text that is not ASCII."""
    digests = {
        "": "d41d8cd98f00b204e9800998ecf8427e",
        "message digest": "f96b697d7cb7938d525a2f31aaf161d0",
        "1234567890" * 8: "57edf4a22be3c955ac49da2e2107b67a",
        "x" * 55: "04364420e25c512fd958a70738aa8f72",
        "x" * 56: "668a72d5ba17f08e62dabcafad6db14b",
        "密码": hashlib.md5("密码".encode(), usedforsecurity=False).hexdigest(),
    }
    console = visit()
    assert {text: console.page.evaluate("md5", text) for text in digests} == digests


# Refusals


def expect_problem(console, field, key, **values):
    """Wait until the words of a key are shown beside a field, which has the focus."""
    words = console.words(key, **values)
    assert console.language == "en" or HAN.search(words)
    expect(console.field(field)).to_have_attribute("aria-invalid", "true")
    expect(console.field(field)).to_be_focused()
    assert console.problem(field) == words


@pytest.mark.parametrize("language", ["en", "zh"])
def test_refusals_stand_beside_their_fields(start_console, language):
    visit = start_console()
    visit.service.sign_up("libin")
    console = visit(language=language)

    console.fill(user_name="libin", password="a wrong password")
    console.submit()
    expect_problem(console, "password", "refusal.1002")
    console.fill(user_name="", password="")
    console.submit()
    expect_problem(console, "user_name", "required")

    console.open("register")
    console.fill(user_name="_x", email="nonsense")
    console.submit()
    expect_problem(console, "user_name", "problem.first")
    assert console.problem("email") == console.words("problem.email")  # both at once
    console.fill(user_name="libin", email="lory@example.com")
    console.submit()
    expect_problem(console, "user_name", "refusal.1005")
    console.fill(user_name="lory", email="libin@126.com")
    console.submit()
    expect_problem(console, "email", "refusal.1018")
    assert console.problem("user_name") == ""
    console.fill(email="lory@example.com")
    console.submit()
    expect(console.field("reg_code")).to_be_focused()
    console.fill(reg_code="1", password=TYPED)
    console.submit()
    expect_problem(console, "reg_code", "refusal.1008")
    for password, key in (("short", "short"), ("password1", "common"), ("xxxxxxxxx", "common")):
        console.fill(reg_code=visit.read_code("lory@example.com"), password=password)
        console.submit()
        expect_problem(console, "password", key)
    console.fill(password="LORY@example.com")
    console.submit()
    expect_problem(console, "password", "own")
    console.button("send_again").click()
    general = console.page.get_by_role("alert")
    expect(general).to_contain_text(re.compile(r"\d+ (seconds|秒)"))
    console.fill(password=TYPED)
    console.submit()
    console.expect_title(console.words("projects"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_refusals_about_projects(start_console, language):
    visit = start_console(PROJECTS_PER_USER=1)
    visit.service.sign_up("lory")
    console = visit(language=language)
    console.log_in("lory", "123456")
    console.create_project("one")
    console.open("projects")
    console.button("new_project").click()
    console.fill(project_name="   ")
    console.submit()
    expect_problem(console, "project_name", "required")
    console.fill(project_name="two", project_type="-1")
    console.submit()
    expect_problem(console, "project_type", "problem.range", **{"1": "0", "2": "2147483647"})
    console.fill(project_type="1")
    console.submit()
    expect_problem(console, "project_name", "refusal.1009")
    console.button("cancel").click()

    console.page.get_by_role("link", name="one").click()
    console.expect_title("one")
    console.button("rotate").click()
    console.fill(grace_hours=169)
    console.submit()
    expect_problem(console, "grace_hours", "problem.range", **{"1": "0", "2": "168"})
    console.button("cancel").click()
    console.button("expire").click()
    console.fill(active_until="2020-01-01T00:00")
    console.submit()
    expect_problem(console, "active_until", "in_past")
    console.fill(active_until="2040-01-01T00:00")
    console.submit()
    expect_problem(console, "active_until", "too_late")
    console.button("cancel").click()

    console.open("account")
    console.fill(old_password="a wrong password", new_password="nine green bottles")
    console.button("change_password").click()
    expect_problem(console, "old_password", "refusal.old_password")


def test_what_the_page_does_not_know_is_shown_as_the_service_says_it(visit):
    console = visit(language="zh")
    general = console.page.get_by_role("alert")
    answer(console, "login", 4242, "Something quite new")
    console.fill(user_name="lory", password=TYPED)
    console.submit()
    expect(general).to_have_text("Something quite new")
    answer(console, "login", 1003, "user_name must be blue; password is odd; also", 400)
    console.submit()
    expect(console.field("user_name")).to_have_attribute("aria-invalid", "true")
    assert console.problem("user_name") == "user_name must be blue"
    assert console.problem("password") == "password is odd; also"
    answer(console, "login", 429, status=429, **{"Retry-After": "901"})
    console.submit()
    expect(general).to_have_text(console.words("refusal.429", wait="16 分钟"))
    console.page.route("**/api/v1/login", lambda route: route.abort(), times=1)
    console.submit()
    expect(general).to_have_text(console.words("refusal.network"))
    console.complaints.remove("Failed to load resource: net::ERR_FAILED")
    answer(console, "login", 502, status=502)
    console.submit()
    expect(general).to_have_text(console.words("refusal.502"))


def test_registration_that_is_closed(start_console):
    visit = start_console(REGISTRATION="closed")
    console = visit()
    assert console.page.locator("a[href='#register']").count() == 0
    console.page.goto(f"{visit.url}#register")
    expect(console.page.locator("main")).to_contain_text(console.words("closed"))
    assert console.page.locator("input").count() == 0
    check_view(console)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_registration_by_invitation(start_console, language):
    visit = start_console(REGISTRATION="invited")
    run_command(visit.service, "user", "invite", "lory@example.com")
    console = visit(language=language)
    console.open("register")
    expect(console.page.locator("main")).to_contain_text(console.words("invited"))
    check_view(console)
    console.fill(user_name="lory", email="lory@example.com", reg_code="1", password=TYPED)
    console.submit()
    expect(console.page.get_by_role("alert")).to_have_text(console.words("invited"))
    console.fill(reg_code=visit.read_code("lory@example.com"))
    console.submit()
    console.expect_title(console.words("projects"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_domains_that_are_not_accepted(start_console, language):
    visit = start_console(MAIL_DOMAINS='["example.com", "example.org"]')
    console = visit(language=language)
    console.open("register")
    console.fill(user_name="lory", email="lory@126.com")
    console.submit()
    domains = {"en": "example.com or example.org", "zh": "example.com或example.org"}[language]
    expect_problem(console, "email", "problem.domain", **{"1": domains})
