"""Projects on the console: the list, usage as a picture, ready-made calls."""

import json
import sqlite3
import subprocess
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest
from playwright.sync_api import expect
from support.console_page import (
    Console,
    calls_of,
    check_view,
    count_request,
    run_command,
    token_of,
)
from support.helpers import TYPED, basic

pytestmark = pytest.mark.browser

NEVER = "2100-01-01 00:00:00.000000"  # when a row that a test has written expires


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because these tests are about the page."""
    return sqlite_uri


def create(service, token, names):
    for name in names:
        body = {"project_type": 1, "project_name": name}
        assert service.post("/project/create", body, token)[1] == 0


def test_the_list_shows_the_newest_first_and_finds_a_name_or_a_key(visit):
    """The API lists the oldest first, at most 100 at once."""
    token = visit.sign_up("lory")
    create(visit.service, token, [f"number {n:03}" for n in range(123)])
    first = visit.service.post("/project/list", {"page_size": 1}, token)[2]["list"][0]
    console = visit()
    page, words = console.page, console.words
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/api/v1/")[2]))
    console.log_in("lory", TYPED)
    names = page.locator(".rows .name")
    expect(names).to_have_text([f"number {n:03}" for n in range(122, 102, -1)])
    assert [path for path in asked if path.startswith("project/usage")] == []
    expect(page.locator(".pager")).to_contain_text(words("range", first=1, last=20, total=123))
    page.get_by_role("link", name=words("next")).click()
    expect(names).to_have_text([f"number {n:03}" for n in range(102, 82, -1)])
    page.goto(f"{visit.url}#projects?page=6")
    expect(names).to_have_text(["number 002", "number 001", "number 000"])
    page.goto(f"{visit.url}#projects?page=99")
    expect(names).to_have_count(3)
    check_view(console)
    for text, found in [("NUMBER 11", 10), (first["project_key"][2:], 1), ("number 0", 20)]:
        console.fill(q=text)
        expect(names).to_have_count(found)
    expect(page.locator(".pager")).to_contain_text(words("range", first=1, last=20, total=100))
    console.fill(q="nothing like it")
    expect(page.locator("main")).to_contain_text(words("nothing_found", text="nothing like it"))
    page.reload()  # keeps what is sought
    expect(console.field("q")).to_have_value("nothing like it")


@pytest.mark.parametrize("n", [1, 64, 100, 101, 123])
def test_an_address_names_a_project_wherever_it_stands_in_the_list(visit, n):
    token = visit.sign_up("lory")
    create(visit.service, token, [f"number {n}" for n in range(1, 124)])
    for gone in range(2, 60, 3):
        assert visit.service.post("/project/delete", {"id": gone}, token)[1] == 0
    console = visit()
    console.log_in("lory", TYPED)
    console.page.goto(f"{visit.url}#project?id={n}")
    console.expect_title(f"number {n}")
    console.page.goto(f"{visit.url}#project?id=2")
    console.expect_title(console.words("gone"))


@pytest.mark.parametrize(
    ("name", "shown", "other"),
    [
        ("my  own   shop", "my own shop", "myown shop"),
        ("s\u200bh\u00adop\ufe0f \u2060 one", "shop one", "shop"),
        ("cafe\u0301", "caf\u00e9", "cafe"),
    ],
)
def test_a_name_is_typed_as_it_is_shown(visit, name, shown, other):
    """HTML shows blanks in a row as one, and some characters not at all."""
    token = visit.sign_up("lory")
    body = {"project_type": 1, "project_name": name}
    assert visit.service.post("/project/create", body, token)[1] == 0
    console = visit()
    console.log_in("lory", TYPED)
    console.page.locator(".rows .name").click()
    delete_by_typing(console, shown, other)


def test_a_name_that_nobody_sees_is_confirmed_by_the_key(visit):
    token = visit.sign_up("lory")
    body = {"project_type": 1, "project_name": "\u2800\u3164"}
    assert visit.service.post("/project/create", body, token)[1] == 0
    key = visit.service.post("/project/list", {}, token)[2]["list"][0]["project_key"]
    console = visit()
    console.log_in("lory", TYPED)
    console.page.goto(f"{visit.url}#project?id=1")
    delete_by_typing(console, key, "\u2800")


def delete_by_typing(console, right, wrong):
    """Delete the project that is open; the dialog asks for a name and takes no other."""
    console.button("remove").click()
    label = console.page.locator("dialog label", has_text=right)
    assert label.inner_text() == console.words("type_name", name=right)
    console.fill(confirm=wrong)
    console.submit()
    assert console.problem("confirm") == console.words("names_differ", name=right)
    console.fill(confirm=right)
    console.submit()
    console.expect_title(console.words("projects"))
    expect(console.page.locator(".rows")).to_have_count(0)


def test_the_picture_and_the_table_of_usage(visit, database_uri):
    visit.sign_up("lory")
    console = visit()
    console.log_in("lory", TYPED)
    console.create_project("Shop")
    _, _, data = visit.service.post("/project/list", {}, token_of(console))
    for _ in range(4):
        count_request(visit.service, data["list"][0])
    today = datetime.now(timezone.utc).date()
    with closing(sqlite3.connect(database_uri.removeprefix("sqlite:///"))) as database:
        row = (data["list"][0]["id"], 1, str(today - timedelta(days=2)), 1234, NEVER)
        database.execute("INSERT INTO project_days VALUES (?, ?, ?, ?, ?)", row)
        database.commit()
    console.page.reload()
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
    slider.press("Home")
    assert slider.get_attribute("aria-valuenow") == "0"
    slider.press("ArrowLeft")  # there is no day before
    assert slider.get_attribute("aria-valuenow") == "0"
    slider.press("End")
    assert slider.get_attribute("aria-valuenow") == "29"
    console.page.get_by_text(console.words("as_table")).click()
    counts = console.page.locator("tbody td").all_inner_texts()
    assert counts == ["4", "0", "1,234", *["0"] * 27]
    progress = console.page.locator("progress")
    assert (progress.get_attribute("value"), progress.get_attribute("max")) == ("4", "30")
    check_view(console)


# Ready-made calls


def test_a_newcomer_finds_the_code_and_makes_a_call(start_console):
    """As ``make run`` starts the service: the page says where the code is, and a call works.

    END_POINTS is unset, so the page names none, and no call to one.
    """
    visit = start_console(MAIL_SUPPRESS_SEND=1, END_POINTS="")
    console = visit()
    console.open("register")
    expect(console.page.locator("main")).to_contain_text("the terminal where the service runs")
    read_code = lambda email: visit.service.server.wait_for(r"code is (\d{6})\b")  # noqa: E731
    console.open("sign-in")
    console.register("lory", "lory@example.com", TYPED, read_code)
    console.create_project("Shop")
    expect(console.page.locator("main")).not_to_contain_text("hobbychain")
    expect(console.page.locator("main")).to_contain_text(console.words("no_end_points"))
    calls = calls_of(console)
    assert list(calls) == [console.words("try_here")]
    call = calls[console.words("try_here")]
    assert "204 NO CONTENT" in subprocess.check_output(["bash", "-c", call], text=True)
    console.page.reload()
    used = console.words("used_of", used=1, max=30)
    expect(console.page.locator("main")).to_contain_text(used)


def test_a_page_without_tls_copies_too(visit):
    """There a browser has no ``navigator.clipboard``."""
    visit.sign_up("lory")
    console = visit()
    console.log_in("lory", TYPED)
    console.create_project("Shop")
    key = visit.service.post("/project/list", {}, token_of(console))[2]["list"][0]["project_key"]
    console.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    copy = console.copy_button("copy", console.words("key"))
    copy.click()
    console.expect_status(console.words("copied"))
    expect(copy).to_be_focused()
    console.button("edit").click()
    console.fill(project_name="")
    console.page.keyboard.press("Control+V")
    expect(console.field("project_name")).to_have_value(key)


@pytest.mark.parametrize("has_credential", [False, True])
def test_calls_name_the_real_end_points(start_console, has_credential):
    end = "/{credential}" if has_credential else ""
    points = [
        f"https://api.example.com/{{pool/}}rpc{end}",
        f"wss://api.example.com/{{pool/}}ws{end}",
    ]
    visit = start_console(END_POINTS=json.dumps(points))
    visit.sign_up("lory")
    console = visit()
    console.log_in("lory", TYPED)
    console.create_project("Shop")
    (project,) = visit.service.post("/project/list", {}, token_of(console))[2]["list"]
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
def test_the_console_behind_nginx(team, start_front, browser):
    (service,), _ = team()
    front = start_front(service, changes=None)
    url = f"https://localhost:{front.port}/"
    token = service.sign_up("owner", password=TYPED)
    create(service, token, ["x"])
    project = service.post("/project/list", {}, token)[2]["list"][0]
    header = basic(project["project_key"], project["project_secret"])
    console = Console(browser, url, ignore_https_errors=True)
    console.log_in("owner", TYPED)
    console.page.get_by_role("link", name="x").click()
    console.expect_title("x")
    console.button("rotate").click()
    console.submit()
    console.expect_status(console.words("rotated"))
    assert front.ask("/rpc", header)[0] == 200  # within the hours of grace
    console.page.reload()
    used = console.words("used_of", used=1, max=30)
    expect(console.page.locator("main")).to_contain_text(used)
    console.button("log_out").click()
    console.expect_title(console.words("sign_in"))
    console.context.close()
    assert console.complaints == []


def test_what_is_used_up_says_so_as_soon_as_somebody_looks(start_console):
    visit = start_console(REQUEST_MAX=2)
    token = visit.sign_up("lory")
    create(visit.service, token, ["Shop"])
    (project,) = visit.service.post("/project/list", {}, token)[2]["list"]
    console = visit()
    console.log_in("lory", TYPED)
    main = console.page.locator("main")
    console.page.locator(".rows .name").click()
    console.expect_title("Shop")
    expect(main).to_contain_text(console.words("active"))
    expect(console.page.locator(".chart")).to_have_count(0)  # nothing was used
    for used, words in [(1, "used_of"), (2, "used_up_of")]:
        assert count_request(visit.service, project) == 204
        console.page.wait_for_timeout(1100)  # the page asks no more often
        console.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(main).to_contain_text(console.words(words, used=used, max=2))
    expect(console.page.locator("h1 + .pill")).to_have_text(console.words("day_used_up"))
    assert console.words("usage_sum", n=1) == "1 request in 30 days."
    console.open("projects")
    expect(main).to_contain_text(console.words("used_up_of", used=2, max=2))


def test_an_admin_finds_an_account_limits_bans_and_blocks(visit):
    service = visit.service
    visit.sign_up("boss")
    run_command(service, "user", "promote", "boss")
    token = visit.sign_up("lory")
    create(service, token, ["Shop"])
    (project,) = service.post("/project/list", {}, token)[2]["list"]
    console = visit()
    page, words = console.page, console.words
    console.log_in("boss", TYPED)
    console.open("users")
    console.expect_title(words("users"))
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    console.fill(q="LORY@")
    expect(page.locator(".rows tbody tr")).to_have_count(1)
    expect(console.field("q")).to_have_value("LORY@")
    check_view(console)
    console.button("limit").click()
    console.fill(projects_max=1)
    console.submit()
    console.expect_status(words("edited"))
    assert (
        service.post("/project/create", {"project_type": 1, "project_name": "x"}, token)[1] == 1009
    )
    page.get_by_role("link", name=words("projects_n", n=1)).click()
    console.expect_title(words("projects_of", name="lory"))
    page.locator(".rows .name").click()
    console.expect_title("Shop")
    console.button("set_limits").click()
    console.fill(request_max=2, month_max=3, per_minute=4)
    console.submit()
    console.expect_status(words("edited"))
    for text in (words("used_of", used=0, max=2), words("used_of", used=0, max=3), "4 requests"):
        expect(page.locator("main")).to_contain_text(text)
    console.button("block").click()
    console.expect_status(words("was_blocked", name="Shop"))
    assert count_request(service, project) == 403
    console.button("unblock").click()
    console.expect_status(words("was_unblocked", name="Shop"))
    assert count_request(service, project) == 204
    check_view(console)
    console.open("users")
    console.fill(q="lory")
    expect(page.locator(".rows tbody tr")).to_have_count(1)
    console.button("ban").click()
    console.submit()
    console.expect_status(words("was_banned", name="lory"))
    assert count_request(service, project) == 401
    console.button("unban").click()
    console.expect_status(words("was_unbanned", name="lory"))
    assert count_request(service, project) == 204


def test_a_rotated_secret_says_until_when_it_works(visit):
    token = visit.sign_up("lory")
    create(visit.service, token, ["Shop"])
    console = visit()
    console.log_in("lory", TYPED)
    console.page.locator(".rows .name").click()
    console.button("rotate").click()
    console.fill(grace_hours=5)
    console.submit()
    console.expect_status(console.words("rotated"))
    expect(console.page.locator("main")).to_contain_text("The old secret works until")
