"""The console's words: both languages, and refusals beside their fields."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.console_page import DOMAINS, answer, check_view, new_name, run_command
from support.helpers import TYPED
from support.servers import ROOT

pytestmark = pytest.mark.browser
SCRIPTS = list((ROOT / "gateway" / "web" / "console").rglob("*.js"))
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because the application only tells its codes."""
    return sqlite_uri


# The words of the page


def test_both_languages_say_everything(visit):
    """The same keys, the same values to fill in, and words for every code of the API."""
    console = visit()
    words = console.call("words", "WORDS")
    english, chinese = flat(words["en"]), flat(words["zh"])
    assert english.keys() == chinese.keys()
    assert {key: holes(text) for key, text in english.items()} == {
        key: holes(text) for key, text in chinese.items()
    }
    same = {"tag", "other", "other_tag", "key", "secret"}
    assert [key for key, text in chinese.items() if not HAN.search(text) and key not in same] == []
    used = set(re.findall(r"\bt\(\"([a-z_0-9]+)\"", "".join(map(Path.read_text, SCRIPTS))))
    assert used <= english.keys()
    assert console.words("requests_n", n=1) == "1 request"
    assert console.words("requests_n", n=1234) == "1,234 requests"


def flat(words, prefix=""):
    return {
        key: text
        for name, value in words.items()
        for key, text in (
            flat(value, f"{name}.") if isinstance(value, dict) else {prefix + name: value}
        ).items()
    }


def holes(text):
    return set(re.findall(r"\{\w+\}", text)) - {"{n}"}


def test_the_switch_keeps_what_was_typed_and_is_remembered(visit):
    console = visit(language="zh")
    console.open("register")
    console.fill(user_name="lory", email="lory@example.com")
    console.page.locator("#language").click()
    console.expect_heading("Register")
    expect(console.field("user_name")).to_have_value("lory")
    expect(console.page.locator("#language")).to_be_focused()
    console.page.reload()
    console.expect_heading("Register")


# Refusals

SAY_ALL = """async (refusals) => {
    const {refusalWords} = await import(new URL("console/forms.js", document.baseURI).href);
    return refusals.map(([path, code]) => refusalWords({path, code, retry: 901}));
}"""


def test_every_refusal_is_said_in_chinese(visit, app):
    """By its code and its end point, whatever the service's sentence is."""
    common = [1001, 1003, 1004, 429, 501, 404, 405, 413, 415, 500, 502, 503, 504, 4242]
    refusals = [
        (rule.rule.removeprefix("/api/v1/"), code)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and "POST" in (rule.methods or ())
        for code in [
            *(code.number for code in app.view_functions[rule.endpoint].codes),
            *common,
            "network",
            "unexpected",
        ]
    ]
    said = visit(language="zh").page.evaluate(SAY_ALL, refusals)
    found = dict(zip(refusals, said, strict=True))
    assert len(found) > 300
    assert {what: s for what, s in found.items() if not HAN.search(s)} == {}
    assert {what: s for what, s in found.items() if re.search("[A-Za-z]{2,} [A-Za-z]{2,}", s)} == {}


def expect_problem(console, field, key, **values):
    """Wait until the words of a key are shown beside a field, which has the focus."""
    words = console.words(key, **values)
    assert HAN.search(words)
    expect(console.field(field)).to_have_attribute("aria-invalid", "true")
    expect(console.field(field)).to_be_focused()
    assert console.problem(field) == words


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


def test_refusals_stand_beside_their_fields(visit, person):
    console, name = visit(language="zh"), new_name()
    email = f"{name}@example.com"

    def refused(field, key, domains="", **fields):
        console.submit(**fields)
        expect_problem(console, field, key, domains=domains)

    refused("password", "refusal.1002", user_name=person.name, password="a wrong password")
    refused("user_name", "required", user_name="", password="")
    console.open("register")
    refused("email", "problem.domain", user_name=name, email="a@b.c", domains="或".join(DOMAINS))
    refused("user_name", "problem.user_name", user_name="_x", email="a b@126.com")
    assert console.problem("email") == console.words("problem.email")  # both at once
    refused("user_name", "refusal.1005", user_name=person.name, email=email)
    refused("email", "refusal.1018", user_name=name, email=person.email)
    assert console.problem("user_name") == ""
    console.ask_code(email=email)
    refused("reg_code", "refusal.1008", reg_code="1", password=TYPED)
    refused("password", "short", reg_code=console.read_code(email), password="short")
    for weak in ("password1", email.upper()):
        refused("password", "problem.new-password", password=weak)
    console.button("send_again").click()
    expect(console.page.get_by_role("alert")).to_contain_text(re.compile(r"\d+ 秒"))
    console.submit(password=TYPED)
    console.expect_title(console.words("projects"))


def test_refusals_about_projects(visit, person, admin):
    person.create("one")
    console = visit(person, language="zh")
    mine = console.call("api", "session")["id"]
    admin.post("/admin/user-edit", {"id": mine, "projects_max": 1})

    def refused(field, key, value, **values):
        console.submit(**{field: value})
        expect_problem(console, field, key, **values)

    console.button("new_project").click()
    refused("project_name", "problem.project_name", "   ")
    console.fill(project_name="two")
    refused("project_type", "whole_number", "-1", **{"from": "0", "to": "2147483647"})
    console.fill(project_type="1")
    refused("project_name", "refusal.project/create 1009", "two")
    console.button("cancel").click()

    console.page.locator(".rows .name").click()
    console.expect_title("one")
    console.button("rotate").click()
    refused("grace_hours", "whole_number", "169", **{"from": "0", "to": "168"})
    console.button("cancel").click()
    console.button("expire").click()
    refused("active_until", "in_past", "2020-01-01T00:00")
    refused("active_until", "too_late", "2040-01-01T00:00")
    console.button("cancel").click()

    console.open("account")
    console.fill(old_password="a wrong password", new_password="nine green bottles")
    console.button("change_password").click()
    expect_problem(console, "old_password", "refusal.platform/change-password 1002")


def test_registration_that_is_closed(visit, start_node):
    console = visit(node=start_node(REGISTRATION="closed"))
    assert console.page.locator("a[href='#register']").count() == 0
    console.page.goto(f"{console.url}#register")
    expect(console.page.locator("main")).to_contain_text(console.words("closed"))
    assert console.page.locator("input").count() == 0
    check_view(console)


def test_registration_by_invitation(visit, start_node):
    node, name = start_node(REGISTRATION="invited"), new_name()
    email = f"{name}@example.com"
    run_command(node, "user", "invite", email)
    console = visit(node=node, language="zh")
    console.open("register")
    expect(console.page.locator("main")).to_contain_text(console.words("invited"))
    check_view(console)
    console.submit(user_name=name, email=email, reg_code="1", password=TYPED)
    expect(console.page.get_by_role("alert")).to_have_text(console.words("refusal.register 1000"))
    console.submit(reg_code=console.read_code(email))
    console.expect_title(console.words("projects"))
