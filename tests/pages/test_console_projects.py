"""Projects on the console: the list, usage as a picture, ready-made calls, what admins do."""

import json
import sqlite3
import subprocess
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest
from playwright.sync_api import expect
from support.console_page import Person, check_view, new_name
from support.helpers import basic

pytestmark = pytest.mark.browser

NEVER = "2100-01-01 00:00:00.000000"  # when a row that a test has written expires
END_POINTS = [
    "https://api.example.com/{pool/}rpc/{credential}",
    "wss://api.example.com/{pool/}ws/{credential}",
]


def test_the_list_shows_the_newest_first_and_finds_a_project(console, person):
    """The API lists the oldest first, at most 100 at once."""
    person.create(*[f"number {n:03}" for n in range(143)])
    projects = person.projects() + person.projects(page_no=1)
    gone = projects[2:60:3]  # so that places in the list say nothing about ids
    for project in gone:
        person.post("/project/delete", {"id": project["id"]})
    page, words = console.page, console.words
    names = page.locator(".rows .name")
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/api/v1/")[2]))
    page.reload()
    expect(names).to_have_text([f"number {n:03}" for n in range(142, 122, -1)])
    assert asked.count("project/list") == 2  # the first page says how many there are
    assert "project/usage" not in asked
    expect(page.locator(".pager")).to_contain_text(words("range", first=1, last=20, total=123))
    page.get_by_role("link", name=words("next")).click()
    expect(names).to_have_text([f"number {n:03}" for n in range(122, 102, -1)])
    for number in (6, 99):
        page.goto(f"{console.url}#projects?page={number}")
        expect(names).to_have_text(["number 003", "number 001", "number 000"])
    check_view(console)
    key = projects[0]["project_key"][2:]
    for text, found in [("NUMBER 11", 10), (key, 1), ("number 0", 20)]:
        console.fill(q=text)
        expect(names).to_have_count(found)
    expect(page.locator(".pager")).to_contain_text(words("range", first=1, last=20, total=80))
    console.fill(q="nothing like it")
    expect(page.locator("main")).to_contain_text(words("nothing_found", text="nothing like it"))
    page.reload()  # keeps what is sought
    expect(console.field("q")).to_have_value("nothing like it")
    for n in (0, 64, 99, 100, 142):  # an address names a project wherever it stands
        console.open_project(projects[n])
    page.goto(f"{console.url}#project?id={gone[0]['id']}")
    console.expect_title(words("gone"))


@pytest.mark.parametrize(
    ("name", "shown", "other"),
    [
        ("my  own   shop", "my own shop", "myown shop"),
        ("s\u200bh\u00adop\ufe0f \u2060 one", "shop one", "shop"),
        ("cafe\u0301", "caf\u00e9", "cafe"),
        ("\u2800\u3164", None, "\u2800"),  # nobody sees it, so the key is typed
    ],
)
def test_a_name_is_typed_as_it_is_shown(console, person, name, shown, other):
    """HTML shows blanks in a row as one, and some characters not at all."""
    project = person.create(name)
    right = shown or project["project_key"]
    console.page.goto(f"{console.url}#project?id={project['id']}")
    console.button("remove").click()
    label = console.page.locator("dialog label", has_text=right)
    assert label.inner_text() == console.words("type_name", name=right)
    console.submit(confirm=other)
    assert console.problem("confirm") == console.words("names_differ", name=right)
    console.submit(confirm=right)
    console.expect_title(console.words("projects"))
    expect(console.page.locator(".rows")).to_have_count(0)


def test_the_picture_and_the_table_of_usage(console, person):
    project = person.create("Shop")
    for _ in range(4):
        person.call(project)
    today = datetime.now(timezone.utc).date()
    with closing(sqlite3.connect(person.service.folder / "gateway.db")) as database:
        owner = console.call("api", "session")["id"]
        row = (project["id"], owner, str(today - timedelta(days=2)), 1234, NEVER)
        database.execute("INSERT INTO project_days VALUES (?, ?, ?, ?, ?)", row)
        database.commit()
    console.open_project(project)
    console.page.locator(".bar").first.wait_for()
    heights = [float(bar.get_attribute("height")) for bar in console.page.locator(".bar").all()]
    assert len(heights) == 30
    assert heights[:27] == [2] * 27
    assert heights[27] > 50 * heights[29] > 0
    expect(console.page.locator("main")).to_contain_text(console.words("usage_sum", n=1238))
    slider = console.page.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext").endswith(": 4 requests")
    slider.press("ArrowLeft")
    slider.press("ArrowLeft")
    expect(console.page.locator(".readout")).to_contain_text(": 1,234 requests")
    assert slider.get_attribute("aria-valuetext") == console.page.locator(".readout").inner_text()
    for key, day in [("Home", "0"), ("ArrowLeft", "0"), ("End", "29")]:  # no day is before
        slider.press(key)
        assert slider.get_attribute("aria-valuenow") == day
    console.page.get_by_text(console.words("as_table")).click()
    counts = console.page.locator("tbody td").all_inner_texts()
    assert counts == ["4", "0", "1,234", *["0"] * 27]
    progress = console.page.locator("progress")
    assert (progress.get_attribute("value"), progress.get_attribute("max")) == ("4", "30")
    check_view(console)


def look_again(console):
    """Let the page notice again and again that somebody looks; it asks at most once a second."""
    console.page.evaluate(
        "setInterval(() => document.dispatchEvent(new Event('visibilitychange')), 200)"
    )


def test_what_is_used_up_says_so_as_soon_as_somebody_looks(console, person, admin):
    project, main = person.create("Shop"), console.page.locator("main")
    admin.post("/project/edit", {"id": project["id"], "request_max": 2})
    console.open_project(project)
    expect(main).to_contain_text(console.words("active"))
    expect(console.page.locator(".chart")).to_have_count(0)  # nothing was used
    look_again(console)
    for used, words in [(1, "used_of"), (2, "used_up_of")]:
        assert person.call(project) == 204
        expect(main).to_contain_text(console.words(words, used=used, max=2))
    expect(console.page.locator("h1 + .pill")).to_have_text(console.words("day_used_up"))
    console.open("projects")
    expect(main).to_contain_text(console.words("used_up_of", used=2, max=2))


def test_who_comes_back_finds_the_page_as_it_was(console, person):
    """The page is drawn anew; the table stays open, and the focus stays on its day."""
    project, page = person.create("Shop"), console.page
    person.call(project)
    console.open_project(project)
    page.get_by_text(console.words("as_table")).click()
    slider = page.get_by_role("slider")
    slider.press("Home")
    look_again(console)
    assert person.call(project) == 204
    expect(page.locator("tbody td").first).to_have_text("2")
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-valuenow", "0")


# Ready-made calls


def calls_of(console):
    """Return what the button of each tab copies."""
    copied = {}
    for tab in console.page.get_by_role("tab").all():
        name = tab.inner_text()
        tab.click()
        console.copy_button("copy_call", name).click()
        console.expect_status(console.words("copied"))
        copied[name] = console.copied()
    return copied


def test_a_newcomer_finds_the_code_and_makes_a_call(visit, start_node):
    """As ``make run`` starts the service: the page says where the code is, and a call works.

    END_POINTS is unset, so the page names none, and no call to one.
    """
    node, name = start_node(MAIL_SUPPRESS_SEND=1, END_POINTS=""), new_name()
    console = visit(node=node)
    main = console.page.locator("main")
    console.open("register")
    expect(main).to_contain_text("the terminal where the service runs")
    console.open("sign-in")
    read_code = lambda _: node.server.wait_for(r"code is (\d{6})\b")  # noqa: E731
    console.register(name, f"{name}@example.com", read_code)
    console.create_project("Shop")
    expect(main).not_to_contain_text("hobbychain")
    expect(main).to_contain_text(console.words("no_end_points"))
    ((tab, call),) = calls_of(console).items()
    assert tab == console.words("try_here")
    assert "204 NO CONTENT" in subprocess.check_output(["bash", "-c", call], text=True)
    console.page.reload()
    expect(main).to_contain_text(console.words("used_of", used=1, max=30))


def test_a_page_without_tls_copies_too(console, person):
    """There a browser has no ``navigator.clipboard``."""
    project = person.create("Shop")
    console.open_project(project)
    console.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    copy = console.copy_button("copy", console.words("key"))
    copy.click()
    console.expect_status(console.words("copied"))
    expect(copy).to_be_focused()
    console.button("edit").click()
    console.fill(project_name="")
    console.page.keyboard.press("Control+V")
    expect(console.field("project_name")).to_have_value(project["project_key"])


@pytest.mark.parametrize("has_credential", [False, True])
def test_calls_name_the_real_end_points(visit, start_node, person, has_credential):
    node = start_node(END_POINTS=json.dumps(END_POINTS)) if has_credential else None
    person.create("Shop")
    console = visit(person, node)
    (project,) = Person.of(console).projects()
    console.open_project(project)
    assert project["project_secret"] not in console.page.locator("body").inner_text()
    credential = f"{project['project_key']}.{project['project_secret']}"
    calls = calls_of(console)
    assert list(calls) == ["curl", "Python", "JavaScript"]
    header = f"-H 'Authorization: Bearer {credential}'"
    assert project["end_points"][0] in calls["curl"]
    assert (header in calls["curl"]) is not has_credential  # two credentials would be refused
    assert 'base_url="https://api.example.com/rpc/v1"' in calls["Python"]
    assert f'api_key="{credential}"' in calls["Python"]
    compile(calls["Python"], "call", "exec")
    assert f'"wss://api.example.com/ws/{credential}"' in calls["JavaScript"]


@pytest.mark.nginx
def test_the_console_behind_nginx(visit, start_node, person, start_front):
    front = start_front(start_node())
    project = person.create("Shop")
    console = visit(person, url=f"https://localhost:{front.port}/", ignore_https_errors=True)
    console.open_project(project)
    console.button("rotate").click()
    console.submit()
    console.expect_status(console.words("rotated"))
    header = basic(project["project_key"], project["project_secret"])
    assert front.ask("/rpc", header)[0] == 200  # within the hours of grace
    console.page.reload()
    used = console.words("used_of", used=1, max=30)
    expect(console.page.locator("main")).to_contain_text(used)
    console.log_out()


# Admins


def test_an_admin_limits_and_blocks_a_project(visit, person, admin):
    project = person.create("Shop")
    console, owners = visit(admin), visit(person)
    main, words = console.page.locator("main"), console.words
    console.open_project(project, user=owners.call("api", "session")["id"])
    console.send("set_limits", request_max=2, month_max=3, per_minute=4)
    console.expect_status(words("edited"))
    for text in (words("used_of", used=0, max=2), words("used_of", used=0, max=3), "4 requests"):
        expect(main).to_contain_text(text)
    console.expect_no_button("unblock")
    console.button("block").click()
    console.expect_status(words("was_blocked", name="Shop"))
    assert person.call(project) == 403
    check_view(console)
    owners.open_project(project)
    for each in (console, owners):
        expect(each.page.locator("h1 + .pill")).to_have_text(words("blocked"))
        each.expect_no_button("pause")
    expect(owners.page.locator("main")).to_contain_text(words("blocked_text"))
    console.expect_no_button("block")
    console.button("unblock").click()
    console.expect_status(words("was_unblocked", name="Shop"))
    expect(console.page.locator("h1 + .pill")).to_have_text(words("active"))
    assert person.call(project) == 204


def test_an_admin_finds_an_account_limits_and_bans_it(visit, person, admin):
    project = person.create("Shop")
    console = visit(admin)
    page, words = console.page, console.words
    console.open("account")  # it was not typed in this session
    expect(page.locator(".facts")).to_contain_text(admin.email)
    console.open("users")
    console.expect_title(words("users"))
    rows = page.locator(".rows tbody tr")
    console.fill(q=f"{person.name.upper()}@")
    expect(rows).to_have_count(1)
    expect(console.field("q")).to_have_value(f"{person.name.upper()}@")
    check_view(console)
    console.send("limit", projects_max=1)
    console.expect_status(words("edited"))
    another = {"project_type": 1, "project_name": "x"}
    assert person.service.post("/project/create", another, person.token)[1] == 1009
    page.get_by_role("link", name=words("projects_n", n=1)).click()
    console.expect_title(words("projects_of", name=person.name))
    page.locator(".rows .name").click()
    console.expect_title("Shop")
    console.open("users")
    console.fill(q=person.email)
    expect(rows).to_have_count(1)
    console.button("ban").click()
    console.submit()
    console.expect_status(words("was_banned", name=person.name))
    assert person.call(project) == 401
    console.button("unban").click()
    console.expect_status(words("was_unbanned", name=person.name))
    assert person.call(project) == 204
