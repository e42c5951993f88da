"""The console when something fails: answers that nobody expects, lost replies, blocked storage."""

import json

import pytest
from playwright.sync_api import expect
from support.console_page import answer, token_of
from support.helpers import TYPED

pytestmark = pytest.mark.browser
# Firefox and Chromium throw this when cookies are blocked.
BLOCK_STORAGE = """for (const area of ["sessionStorage", "localStorage"])
    Object.defineProperty(window, area, {get() { throw new DOMException("SecurityError"); }});"""


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the page."""
    return sqlite_uri


@pytest.fixture
def console(visit):
    """A console where lory is logged in."""
    visit.sign_up("lory")
    console = visit()
    console.log_in("lory", TYPED)
    console.service, console.start = visit.service, visit.url
    return console


def fulfil(console, path, **answer):
    """Let requests to an endpoint be answered with this until ``forget`` is called."""
    console.page.route(f"**/api/v1/{path}", lambda route: route.fulfill(**answer))


def lose_reply(console, path):
    """Let the next request do what it asks, and lose its answer."""

    def lose(route):
        route.fetch()
        route.abort()

    console.page.route(f"**/api/v1/{path}", lose, times=1)
    return lambda: console.complaints.remove("Failed to load resource: net::ERR_FAILED")


def projects_of(console):
    return console.service.post("/project/list", {}, token_of(console))[2]["list"]


# An answer that nobody expects is never a blank page


@pytest.mark.parametrize(
    "given",
    [
        {"status": 403, "body": "<h1>Forbidden</h1>", "content_type": "text/html"},
        {"status": 504, "body": json.dumps({"message": "Endpoint request timed out"})},
        {"status": 200, "body": "null"},
        {"status": 200, "body": json.dumps({"header": {"code": "0"}, "data": {}})},
        {"status": 200, "body": json.dumps({"header": {"code": 0}, "data": 5})},
        {"status": 200, "body": json.dumps({"header": {"code": 0}, "data": {}})},  # without a list
    ],
)
def test_what_is_no_answer_of_the_api_is_said_and_can_be_tried_again(console, given):
    create_one(console)
    fulfil(console, "project/list", **given)
    console.open("projects")
    console.expect_title(console.words("failed"))
    expect(console.page.get_by_role("alert")).not_to_be_empty()
    console.page.unroute_all()
    console.button("again").click()
    console.expect_title(console.words("projects"))


def create_one(console):
    console.create_project("Shop")


def test_no_answer_within_15_seconds_is_said(console):
    console.page.clock.install()
    console.page.route("**/api/v1/project/list", lambda route: None)
    console.open("account")
    console.page.locator("a[href='#projects']").last.click()
    expect(console.page.locator("main")).to_contain_text(console.words("loading"))
    console.page.clock.run_for(15_000)
    expect(console.page.get_by_role("alert")).to_have_text(console.words("refusal.network"))
    console.page.unroute_all(behavior="ignoreErrors")
    console.button("again").click()
    console.expect_title(console.words("projects"))


@pytest.mark.parametrize("hash", ["#constructor", "#toString?id=1", "#", "#project", "#__proto__"])
def test_an_address_that_names_no_view(console, hash):
    console.page.goto(f"{console.start}{hash}")
    expected = "gone" if hash == "#project" else "projects"
    console.expect_heading(console.words(expected))


def test_cookies_and_storage_that_are_blocked(visit):
    visit.sign_up("lory")
    console = visit()
    console.page.add_init_script(BLOCK_STORAGE)
    console.page.reload()
    console.log_in("lory", TYPED)
    create_one(console)
    console.button("log_out").click()
    console.expect_title(console.words("sign_in"))


@pytest.mark.parametrize("kept", ["user=5", '{"token": 1}', '{"token": "x"}', "[]", "null", "7"])
def test_what_somebody_else_keeps_for_this_host(visit, kept):
    """Another service below another prefix shares the browser's storage."""
    console = visit()
    console.page.evaluate(
        "kept => ['session', 'gateway.session'].forEach((k) => sessionStorage.setItem(k, kept))",
        kept,
    )
    console.page.reload()
    console.expect_title(console.words("sign_in"))


# What was done is never reported as failed, and nothing is sent twice


def test_a_lost_reply_to_create(console):
    console.button("new_project").click()
    console.fill(project_name="Shop")
    forgive = lose_reply(console, "project/create")
    console.submit()
    console.expect_status(console.words("lost.project/create"))
    expect(console.page.locator("dialog")).to_have_count(0)
    expect(console.page.locator(".rows .name")).to_have_text(["Shop"])
    assert len(projects_of(console)) == 1
    forgive()


def test_a_creation_whose_list_cannot_be_read(console):
    console.button("new_project").click()
    console.fill(project_name="Shop")
    fulfil(console, "project/list", status=503, body="{}")
    console.submit()
    console.expect_title(console.words("failed"))
    console.expect_status(console.words("created", name="Shop"))
    console.page.unroute_all()
    console.button("again").click()
    console.expect_title("Shop")
    console.page.reload()
    console.expect_title("Shop")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_registration_that_was_done(visit, is_lost):
    console = visit()
    console.open("register")
    console.fill(user_name="lory", email="lory@example.com")
    console.submit()
    expect(console.field("reg_code")).to_be_focused()
    console.fill(reg_code=visit.read_code("lory@example.com"), password=TYPED)
    if is_lost:
        forgive = lose_reply(console, "register")
    else:
        answer(console, "login", 501, status=503)
    console.submit()
    console.expect_title(console.words("sign_in"))
    console.expect_status(console.words("lost.register" if is_lost else "registered"))
    console.log_in("lory", TYPED)
    if is_lost:
        forgive()


@pytest.mark.parametrize(
    ("path", "new"),
    [("platform/change-password", "nine green bottles"), ("project/delete", None)],
)
def test_a_lost_reply_is_said_and_the_page_shows_what_is_true(console, path, new):
    if new:
        console.open("account")
        console.fill(old_password=TYPED, new_password=new)
        forgive = lose_reply(console, path)
        console.button("change_password").click()
    else:
        create_one(console)
        console.button("remove").click()
        console.fill(confirm="Shop")
        forgive = lose_reply(console, path)
        console.submit()
    console.expect_status(console.words(f"lost.{path}"))
    forgive()
    if new:
        console.button("log_out").click()
        console.log_in("lory", new)
    else:
        console.expect_heading(console.words("gone"))


def test_a_cancelled_dialog_does_nothing_later(console):
    held = []

    def hold(route):
        held.append(route)

    console.page.route("**/api/v1/project/create", hold)
    console.button("new_project").click()
    console.fill(project_name="Shop")
    with console.page.expect_request("**/project/create"):
        console.submit()
    console.button("cancel").click()
    console.expect_status(console.words("cancelled"))
    held[0].continue_()
    with console.page.expect_response("**/project/list"):
        console.open("account")
        console.page.locator("a[href='#projects']").last.click()
    console.expect_title(console.words("projects"))


def test_a_log_out_that_the_service_does_not_hear(console):
    token = token_of(console)
    console.page.context.set_offline(True)
    console.button("log_out").click()
    console.expect_title(console.words("sign_in"))
    expect(console.page.get_by_role("status").first).to_contain_text("could not be told")
    assert token not in json.dumps(console.storage())
    console.page.context.set_offline(False)
    assert console.service.post("/project/list", {}, token)[1] == 0  # as the page says
    console.complaints[:] = [c for c in console.complaints if "ERR_INTERNET" not in c]


# State survives


@pytest.mark.parametrize("view", ["register", "forgot"])
def test_a_reload_keeps_the_step(visit, view):
    """A phone drops the page while its owner reads the mail."""
    visit.sign_up("lory")
    console = visit()
    console.open(view)
    mine = "lory@126.com" if view == "forgot" else "libin@example.com"
    console.fill(email=mine, **({"user_name": "libin"} if view == "register" else {}))
    console.submit()
    expect(console.field("reg_code")).to_be_focused()
    assert "password" not in json.dumps(console.storage())
    console.page.reload()
    expect(console.page.locator(".given")).to_contain_text(mine)
    visit.service.relay.wait_for_mails(2)
    console.fill(reg_code=visit.read_code(mine), password=TYPED)
    console.submit()
    console.expect_title(console.words("projects"))


def test_a_code_that_came_in_another_tab(visit):
    console = visit()
    visit.service.code_for("lory", "lory@example.com")
    console.open("register")
    console.fill(user_name="lory", email="lory@example.com")
    console.button("have_code").click()
    console.fill(reg_code=visit.read_code("lory@example.com"), password=TYPED)
    console.submit()
    console.expect_title(console.words("projects"))
    console.open("account")
    expect(console.page.locator(".facts")).to_contain_text("lory@example.com")


# What a browser shows is what the service has


def test_an_address_is_typed_at_sign_in_as_at_registration(visit):
    """A field of type "email" hands over another text than a person types."""
    console = visit()
    console.open("register")
    console.fill(user_name="lory", email="lory@b\u00fccher.example")
    console.submit()
    expect(console.field("reg_code")).to_be_focused()
    code = visit.read_code("lory@xn--bcher-kva.example")
    console.fill(reg_code=code, password=TYPED)
    console.submit()
    console.expect_title(console.words("projects"))
    console.button("log_out").click()
    console.expect_title(console.words("sign_in"))
    console.log_in("lory@b\u00fccher.example", TYPED)


@pytest.mark.parametrize("name", ["\U0001f40c" * 128, "\u200bShop\u200b", "a  b"])
def test_a_name_reaches_the_service_as_it_was_typed(console, name):
    """128 characters are 256 units of UTF-16."""
    console.button("new_project").click()
    console.fill(project_name=name)
    console.submit()
    console.expect_status(console.words("created", name=name).replace("  ", " "))
    assert projects_of(console)[0]["project_name"] == name
