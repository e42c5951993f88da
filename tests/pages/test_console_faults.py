"""The console when something fails: answers that nobody expects, lost replies, blocked storage."""

import json

import pytest
from playwright.sync_api import expect
from support.console_page import Person, answer, new_name
from support.helpers import TYPED

pytestmark = pytest.mark.browser
# Firefox and Chromium throw this when cookies are blocked.
BLOCK_STORAGE = """for (const area of ["sessionStorage", "localStorage"])
    Object.defineProperty(window, area, {get() { throw new DOMException("SecurityError"); }});"""


def fulfil(console, path, **answer):
    """Let requests to an endpoint be answered with this until the page has no routes any more."""
    console.page.route(f"**/api/v1/{path}", lambda route: route.fulfill(**answer))


def lose_reply(console, path):
    """Let the next request do what it asks, and lose its answer; return what forgives the error."""

    def lose(route):
        route.fetch()
        route.abort()

    console.page.route(f"**/api/v1/{path}", lose, times=1)
    return lambda: console.complaints.remove("Failed to load resource: net::ERR_FAILED")


def try_again(console, title):
    """See that the page says what failed; let it try again."""
    console.expect_title(console.words("failed"))
    expect(console.page.get_by_role("alert")).not_to_be_empty()
    console.page.unroute_all(behavior="ignoreErrors")
    console.button("again").click()
    console.expect_title(title)


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
    console.open("account")
    fulfil(console, "project/list", **given)
    console.open("projects")
    try_again(console, console.words("projects"))


def test_no_answer_within_15_seconds_is_said(console):
    console.page.clock.install()
    console.page.route("**/api/v1/project/list", lambda route: None)
    console.open("account")
    console.page.locator("a[href='#projects']").last.click()
    expect(console.page.locator("main")).to_contain_text(console.words("loading"))
    console.page.clock.run_for(15_000)
    expect(console.page.get_by_role("alert")).to_have_text(console.words("refusal.network"))
    try_again(console, console.words("projects"))


def test_an_address_that_names_no_view(console):
    for address in ("#constructor", "#toString?id=1", "#", "#__proto__"):
        console.page.goto(f"{console.url}{address}")
        console.expect_heading(console.words("projects"))
        console.open("account")
    console.page.goto(f"{console.url}#project")
    console.expect_heading(console.words("gone"))


def test_cookies_and_storage_that_are_blocked(visit, person):
    console = visit()
    console.page.add_init_script(BLOCK_STORAGE)
    console.page.reload()
    console.log_in(person.name, TYPED)
    console.create_project("Shop")
    console.log_out()


def test_what_somebody_else_keeps_for_this_host(visit):
    """Another service below another prefix shares the browser's storage."""
    console = visit()
    for kept in ("user=5", '{"token": 1}', '{"token": "x"}', "[]", "null", "7"):
        console.page.evaluate(
            "kept => ['session', 'gateway.session'].forEach((k) => sessionStorage[k] = kept)", kept
        )
        console.page.reload()
        console.expect_title(console.words("sign_in"))


# What was done is never reported as failed, and nothing is sent twice


def test_a_lost_reply_to_create(console, person):
    forgive = lose_reply(console, "project/create")
    console.send("new_project", project_name="Shop")
    console.expect_status(console.words("lost.project/create"))
    expect(console.page.locator("dialog")).to_have_count(0)
    expect(console.page.locator(".rows .name")).to_have_text(["Shop"])
    assert len(person.projects()) == 1
    forgive()


def test_a_creation_whose_list_cannot_be_read(console):
    fulfil(console, "project/list", status=503, body="{}")
    console.send("new_project", project_name="Shop")
    console.expect_title(console.words("failed"))
    console.expect_status(console.words("created", name="Shop"))
    try_again(console, "Shop")
    console.page.reload()
    console.expect_title("Shop")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_registration_that_was_done(visit, is_lost):
    console, name = visit(), new_name()
    email = f"{name}@example.com"
    console.ask_code("register", user_name=name, email=email)
    console.fill(reg_code=console.read_code(email), password=TYPED)
    if is_lost:
        forgive = lose_reply(console, "register")
    else:
        answer(console, "login", 501, status=503)
    console.submit()
    console.expect_title(console.words("sign_in"))
    console.expect_status(console.words("lost.register" if is_lost else "registered"))
    console.log_in(name, TYPED)
    if is_lost:
        forgive()


def test_a_lost_reply_to_a_change_of_the_password(console, person):
    console.open("account")
    console.fill(old_password=TYPED, new_password="nine green bottles")
    forgive = lose_reply(console, "platform/change-password")
    console.button("change_password").click()
    console.expect_status(console.words("lost.platform/change-password"))
    forgive()
    console.log_out()
    console.log_in(person.name, "nine green bottles")


def test_a_lost_reply_to_a_deletion(console, person):
    console.open_project(person.create("Shop"))
    forgive = lose_reply(console, "project/delete")
    console.send("remove", confirm="Shop")
    console.expect_status(console.words("lost.project/delete"))
    forgive()
    console.expect_heading(console.words("gone"))


def test_a_cancelled_dialog_does_nothing_later(console):
    held = []

    def hold(route):
        held.append(route)

    console.page.route("**/api/v1/project/create", hold)
    with console.page.expect_request("**/project/create"):
        console.send("new_project", project_name="Shop")
    console.button("cancel").click()
    console.expect_status(console.words("cancelled"))
    with console.page.expect_response("**/project/create"):
        held[0].continue_()
    console.open("account")
    console.open("projects")
    console.expect_title(console.words("projects"))


@pytest.mark.parametrize("is_offline", [False, True])
def test_a_log_out_that_the_service_does_not_hear(console, is_offline):
    token = Person.of(console).token
    if is_offline:
        console.context.set_offline(True)
    else:
        answer(console, "platform/logout", 501, status=503)
    console.log_out()
    expect(console.page.get_by_role("status").first).to_contain_text("could not be told")
    assert token not in json.dumps(console.storage())
    assert console.service.post("/project/list", {}, token)[1] == 0  # as the page says
    console.complaints[:] = [c for c in console.complaints if "ERR_INTERNET" not in c]


# State survives


@pytest.mark.parametrize("view", ["register", "forgot"])
def test_a_reload_keeps_the_step(visit, person, view):
    """A phone drops the page while its owner reads the mail."""
    console, name = visit(), new_name()
    if view == "register":
        email, done = f"{name}@example.com", console.words("welcome", name=name)
        console.ask_code(view, user_name=name, email=email)
    else:
        email, done = person.email, console.words("password_set")
        number = len(console.service.relay.mails)
        console.ask_code(view, email=email)
        assert console.service.relay.wait_for_mails(number + 1)
    assert "password" not in json.dumps(console.storage())
    console.page.reload()
    expect(console.page.locator(".given")).to_contain_text(email)
    console.submit(reg_code=console.read_code(email), password=TYPED)
    console.expect_title(console.words("projects"))
    console.expect_status(done)


def test_a_code_that_came_in_another_tab(visit):
    console, name = visit(), new_name()
    email = f"{name}@example.com"
    console.service.code_for(name, email)
    console.open("register")
    console.fill(user_name=name, email=email)
    console.send("have_code", reg_code=console.read_code(email), password=TYPED)
    console.expect_title(console.words("projects"))


# What a browser shows is what the service has


def test_an_address_is_typed_at_sign_in_as_at_registration(visit):
    """A field of type "email" hands over another text than a person types."""
    console, name = visit(), new_name()
    typed = f"{name}@b\u00fccher.example"
    console.register(name, typed, lambda _: console.read_code(f"{name}@xn--bcher-kva.example"))
    console.log_out()
    console.log_in(typed, TYPED)


def test_a_name_reaches_the_service_as_it_was_typed(console, person):
    """128 characters are 256 units of UTF-16."""
    for name in ("\U0001f40c" * 128, "\u200bShop\u200b", "a  b"):
        console.send("new_project", project_name=name)
        console.expect_status(console.words("created", name=name).replace("  ", " "))
        assert person.projects()[-1]["project_name"] == name
        console.open("projects")
