"""The console's words: both languages, and refusals beside their fields."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.console_page import answer, check_view, run_command
from support.helpers import TYPED
from support.servers import ROOT

pytestmark = pytest.mark.browser
SCRIPTS = list((ROOT / "gateway" / "web" / "console").rglob("*.js"))
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the page."""
    return sqlite_uri


# The words of the page


def test_both_languages_say_everything(visit):
    """The same keys, the same values to fill in, and words for every code of the API."""
    console = visit()
    words = console.call("words", "WORDS")
    english, chinese = flat(words["en"]), flat(words["zh"])
    assert english.keys() == chinese.keys()
    holes = {key: set(re.findall(r"\{\w+\}", text)) - {"{n}"} for key, text in english.items()}
    assert holes == {
        key: set(re.findall(r"\{\w+\}", text)) - {"{n}"} for key, text in chinese.items()
    }
    same = {"tag", "other", "other_tag", "key", "secret"}
    assert [key for key, text in chinese.items() if not HAN.search(text) and key not in same] == []
    used = set(re.findall(r"\bt\(\"([a-z_0-9]+)\"", "".join(map(Path.read_text, SCRIPTS))))
    assert used <= english.keys()


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


def test_one_and_many(visit):
    console = visit()
    assert console.words("requests_n", n=1) == "1 request"
    assert console.words("requests_n", n=1234) == "1,234 requests"


# Refusals


def endpoints(app):
    """Return the paths that a page can ask, with the codes that each may answer."""
    return {
        rule.rule.removeprefix("/api/v1/"): [code.number for code in view.codes]
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and "POST" in (rule.methods or ())
        for view in [app.view_functions[rule.endpoint]]
    }


def test_every_refusal_is_said_in_chinese(visit, app):
    """By its code and its end point, whatever the service's sentence is."""
    console = visit(language="zh")
    common = [1001, 1003, 1004, 429, 501, 404, 405, 413, 415, 500, 502, 503, 504, 4242]
    for path, codes in endpoints(app).items():
        for code in [*codes, *common, "network", "unexpected"]:
            said = console.call("forms", "refusalWords", {"path": path, "code": code, "retry": 901})
            assert HAN.search(said), (path, code)
            assert not re.search("[A-Za-z]{2,} [A-Za-z]{2,}", said), (path, code)


def test_every_bad_field_is_said_in_chinese(visit):
    """By the field's name, with which each part of the message begins."""
    console = visit(language="zh")
    console.open("register")
    console.fill(user_name="lory", email="lory@example.com")
    message = "user_name must be blue; email is odd; a part without a field"
    answer(console, "auth-code", 1003, message, 400)
    console.submit()
    expect_problem(console, "user_name", "problem.user_name")
    assert console.problem("email") == console.words("problem.email")
    answer(console, "auth-code", 1004, "The body did not arrive whole", 400)
    console.submit()
    expect(console.page.get_by_role("alert")).to_contain_text("服务不接受此内容")


def expect_problem(console, field, key, **values):
    """Wait until the words of a key are shown beside a field, which has the focus."""
    words = console.words(key, **values)
    assert console.language == "en" or HAN.search(words)
    expect(console.field(field)).to_have_attribute("aria-invalid", "true")
    expect(console.field(field)).to_be_focused()
    assert console.problem(field) == words


@pytest.mark.parametrize("language", ["en", "zh"])
def test_refusals_stand_beside_their_fields(visit, language):
    visit.sign_up("libin")
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
    expect_problem(console, "user_name", "problem.user_name")
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
    console.fill(reg_code=visit.read_code("lory@example.com"), password="short")
    console.submit()
    expect_problem(console, "password", "short")
    for weak in ("password1", "LORY@example.com"):
        console.fill(password=weak)
        console.submit()
        expect_problem(console, "password", "problem.new-password")
    console.button("send_again").click()
    general = console.page.get_by_role("alert")
    expect(general).to_contain_text(re.compile(r"\d+ (seconds|秒)"))
    console.fill(password=TYPED)
    console.submit()
    console.expect_title(console.words("projects"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_refusals_about_projects(start_console, language):
    visit = start_console(PROJECTS_PER_USER=1)
    visit.sign_up("lory")
    console = visit(language=language)
    console.log_in("lory", TYPED)
    console.create_project("one")
    console.open("projects")
    console.button("new_project").click()
    console.fill(project_name="   ")
    console.submit()
    expect_problem(console, "project_name", "problem.project_name")
    console.fill(project_name="two", project_type="-1")
    console.submit()
    expect_problem(console, "project_type", "whole_number", **{"from": "0", "to": "2147483647"})
    console.fill(project_type="1")
    console.submit()
    expect_problem(console, "project_name", "refusal.project/create 1009")
    console.button("cancel").click()

    console.page.get_by_role("link", name="one").click()
    console.expect_title("one")
    console.button("rotate").click()
    console.fill(grace_hours=169)
    console.submit()
    expect_problem(console, "grace_hours", "whole_number", **{"from": "0", "to": "168"})
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
    expect_problem(console, "old_password", "refusal.platform/change-password 1002")


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
    expect(console.page.get_by_role("alert")).to_have_text(console.words("refusal.register 1000"))
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
    expect_problem(console, "email", "problem.domain", domains=domains)
