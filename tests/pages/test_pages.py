"""The pages and their files without a browser: headers, what they hold, PAGES."""

import html
import re

import pytest
from support.helpers import assert_failure
from support.servers import ROOT

FOLDER = ROOT / "gateway" / "web" / "console"
SCRIPTS = {path: path.read_text() for path in FOLDER.rglob("*.js")}
STYLE = (FOLDER / "page.css").read_text()
CONSOLE_FILES = ("main.js", "views/project.js", "page.css", "icon.svg")
DOCS_FILES = ("start.js", "samples.js", "page.css", "swagger-ui.css")
CONSOLE = ["/", *(f"/console/{name}" for name in CONSOLE_FILES)]
PAGES = [*CONSOLE, "/docs", *(f"/docs/{name}" for name in DOCS_FILES)]
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
OWN_FILES = {
    ("default-src", "'none'"),
    ("script-src", "'self'"),
    ("connect-src", "'self'"),
    ("base-uri", "'none'"),
    ("form-action", "'none'"),
    ("frame-ancestors", "'none'"),
}
STRICT = OWN_FILES | {
    ("style-src", "'self'"),
    ("img-src", "'self'"),
    ("require-trusted-types-for", "'script'"),
    ("trusted-types", "'none'"),
}
OF_DOCS = OWN_FILES | {("style-src", "'self' 'unsafe-inline'"), ("img-src", "'self' data:")}


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because no page asks it."""
    return sqlite_uri


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json"])
def test_headers(client, path):
    """A browser loads nothing from elsewhere; it asks again, and gets nothing new."""
    with client.get(path) as reply:
        assert reply.status_code == 200
    assert set(reply.headers) >= {
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cache-Control", "no-cache"),
    }
    policy = reply.headers["Content-Security-Policy"].split(";")
    found = {tuple(part.strip().split(" ", 1)) for part in policy}
    assert found == (STRICT if path in CONSOLE else OF_DOCS)
    if path != "/docs":
        again = client.get(path, headers={"If-None-Match": reply.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("accept", [CHROME, "*/*", "application/json"])
def test_everybody_gets_the_page(client, accept):
    reply = client.get("/", headers={"Accept": accept})
    assert (reply.status_code, reply.mimetype) == (200, "text/html")


@pytest.mark.parametrize("folder", ["console", "docs"])
@pytest.mark.parametrize("name", ["page.html", "no.js", "..%2fpages.py", "__init__.py", "LICENSE"])
def test_no_other_file_is_served(client, folder, name):
    assert_failure(client.get(f"/{folder}/{name}"), 404, 404)


def test_nothing_stands_in_the_page_that_belongs_in_a_file(client):
    page = client.get("/").text
    assert re.findall(r"<(?:script|style)[^>]*>[^<]|<[^>]*\s(?:on\w+|style)\s*=", page) == []


def test_every_address_is_relative(client):
    """So the console works below any prefix, and loads nothing from elsewhere."""
    loaded = re.findall(r'(?:src|href)="([^"]+)"', client.get("/").text)
    assert sorted(loaded) == ["console/icon.svg", "console/main.js", "console/page.css", "docs"]
    addresses = {a for text in SCRIPTS.values() for a in re.findall(r"https?://[^\s\"'`]+", text)}
    assert addresses == {"http://www.w3.org/2000/svg", "http://${domain}"}
    assert re.findall(r"url\(|@import", STYLE) == []
    assert "http" not in client.get("/docs").text


def test_the_scripts_turn_no_text_into_html_or_code():
    dangers = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|\.style\b"
    assert re.findall(dangers, "".join(SCRIPTS.values())) == []


TOO_NEW = (
    r"\.to(?:Reversed|Sorted|Spliced)\(|\.with\(|\.findLast|groupBy|withResolvers|fromAsync"
    r"|AbortSignal\.(?:timeout|any)|structuredClone|URL\.canParse|\.isWellFormed|\.at\(-"
    r"|startViewTransition|popover|\binert\b|scheduler\.|\(\?<[=!]|/[gimsuy]*v[gimsuy]*\.|static \{"
    r"|:has\(|@container|@layer|\bdvh\b|color-mix|text-wrap|@starting-style|&:|&\."
    r"|subgrid|light-dark|field-sizing|\d(?:svh|lvh|dvh)\b"
)


def test_browsers_of_2022_understand_the_console():
    """Chrome 100, Firefox 100, Safari 15.4: what is newer never ran there."""
    found = {path: re.findall(TOO_NEW, text) for path, text in [*SCRIPTS.items(), ("css", STYLE)]}
    assert {path: words for path, words in found.items() if words} == {}


def test_a_password_manager_finds_where_a_password_is_changed(client):
    reply = client.get("/.well-known/change-password")
    assert (reply.status_code, reply.location) == (302, "../#account")


def test_the_pictures_of_the_readme_are_small():
    """``make screenshots`` takes them; they are no part of the package."""
    pictures = re.findall(r"!\[.+\]\((.+\.png)\)", (ROOT / "README.md").read_text())
    assert len(pictures) == 2
    assert [picture for picture in pictures if (ROOT / picture).stat().st_size > 150_000] == []
    assert list((ROOT / "gateway").rglob("*.png")) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, {"mails": "sent", "digits": "10", "registration": "open", "end-points": ""}),
        ({"MAIL_SUPPRESS_SEND": True}, {"mails": "log"}),
        ({"MAIL_SERVER": None}, {"mails": "none"}),
        # Those of the reference are the default; a call to them would send them a secret.
        ({"END_POINTS": ["https://x/rpc"]}, {"end-points": "1"}),
        ({"REGISTRATION": "closed"}, {"registration": "closed"}),
        ({"MAIL_DOMAINS": ["example.com", "example.org"]}, {"domains": "example.com example.org"}),
        (
            {"REG_CODE_DIGITS": 5, "TIMEZONE": "Asia/Shanghai"},
            {"digits": "5", "zone": "Asia/Shanghai"},
        ),
        ({"SERVICE_NAME": 'A "<b>" & C'}, {"service": 'A "<b>" & C'}),
    ],
)
def test_the_page_says_what_its_script_cannot_ask(make_app, settings, said):
    page = make_app(**settings).test_client().get("/").text
    found = dict(re.findall(r'data-([a-z-]+)="(.*?)"', page))
    assert f"<title>{found['service']}</title>" in page
    assert {name: html.unescape(text) for name, text in found.items()}.items() >= said.items()


@pytest.mark.parametrize("path", [*PAGES, "/docs/", "/api/v1", "/api/v1/"])
def test_without_pages_there_are_none(make_app, path):
    client = make_app(PAGES="0").test_client()
    for method in ("GET", "HEAD", "POST"):
        reply = client.open(path, method=method, headers={"Accept": CHROME})
        assert reply.status_code == 404
    assert_failure(client.get(path, headers={"Accept": CHROME}), 404, 404)


def test_without_pages_programs_still_read_the_description(make_app):
    assert make_app(PAGES="0").test_client().get("/openapi.json").json["openapi"] == "3.1.0"
