"""The console's page and files without a browser: headers, what they hold, PAGES."""

import re
from html.parser import HTMLParser

import pytest
from support.helpers import assert_failure
from support.servers import ROOT

FOLDER = ROOT / "gateway" / "web" / "console"
SCRIPTS = {path: path.read_text() for path in FOLDER.rglob("*.js")}
PAGE_AND_FILES = [
    "/",
    "/console/main.js",
    "/console/views/project.js",
    "/console/page.css",
    "/console/icon.svg",
]
PAGES = [*PAGE_AND_FILES, "/docs", "/docs/start.js"]
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.fixture
def database_uri(sqlite_uri):
    """One kind of database is enough, because no page asks it."""
    return sqlite_uri


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text in scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.inside, self.inline = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside in ("script", "style"):
            self.inline += data


def told(client):
    """Return what the page tells its script."""
    tags = Tags(client.get("/").text).tags
    return next(attributes for tag, attributes in tags if tag == "body")


@pytest.mark.parametrize("path", PAGE_AND_FILES)
def test_security_headers(client, path):
    reply = client.get(path)
    assert reply.status_code == 200
    policy = dict(
        part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("path", PAGE_AND_FILES)
def test_a_browser_asks_again_and_gets_nothing_new(client, path):
    reply = client.get(path)
    assert reply.headers["Cache-Control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": reply.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("accept", [CHROME, "*/*", "application/json"])
def test_everybody_gets_the_page(client, accept):
    reply = client.get("/", headers={"Accept": accept})
    assert (reply.status_code, reply.mimetype) == (200, "text/html")


@pytest.mark.parametrize("name", ["page.html", "nothing.js", "..%2fpages.py", "__init__.py"])
def test_no_other_file_is_served(client, name):
    assert_failure(client.get(f"/console/{name}"), 404, 404)


def test_nothing_stands_in_the_page_that_belongs_in_a_file(client):
    page = Tags(client.get("/").text)
    names = {name for _, attributes in page.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    assert page.inline == ""


def test_every_address_is_relative(client):
    """So the console works below any prefix, and loads nothing from elsewhere."""
    page = Tags(client.get("/").text)
    loaded = [a.get("src") or a.get("href") for _, a in page.tags if a.get("src") or a.get("href")]
    assert sorted(loaded) == ["console/icon.svg", "console/main.js", "console/page.css", "docs"]
    addresses = {a for text in SCRIPTS.values() for a in re.findall(r"https?://[^\s\"'`]+", text)}
    assert addresses == {"http://www.w3.org/2000/svg", "http://${domain}"}
    assert re.findall(r"url\(|@import", (FOLDER / "page.css").read_text()) == []


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
    sources = {**SCRIPTS, "page.css": (FOLDER / "page.css").read_text()}
    found = {path: re.findall(TOO_NEW, text) for path, text in sources.items()}
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
    ("settings", "mails"),
    [
        ({}, "sent"),
        ({"MAIL_SUPPRESS_SEND": True}, "log"),
        ({"MAIL_SERVER": None}, "none"),
    ],
)
def test_the_page_says_where_mails_go(make_app, settings, mails):
    assert told(make_app(**settings).test_client())["data-mails"] == mails


def test_the_page_says_what_its_script_cannot_ask(make_app):
    settings = {"REG_CODE_DIGITS": 5, "TIMEZONE": "Asia/Shanghai", "SERVICE_NAME": 'A "<b>" & C'}
    client = make_app(
        **settings, REGISTRATION="closed", MAIL_DOMAINS=["example.com", "example.org"]
    ).test_client()
    attributes = told(client)
    assert attributes["data-digits"] == "5"
    assert attributes["data-zone"] == "Asia/Shanghai"
    assert attributes["data-registration"] == "closed"
    assert attributes["data-domains"] == "example.com example.org"
    assert attributes["data-service"] == 'A "<b>" & C'
    assert "<title>A &#34;&lt;b&gt;&#34; &amp; C</title>" in client.get("/").text


@pytest.mark.parametrize(("settings", "said"), [({}, ""), ({"END_POINTS": ["https://x/rpc"]}, "1")])
def test_the_page_names_no_end_point_of_somebody_else(make_app, settings, said):
    """Those of the reference are the default; a call to them would send them a secret."""
    assert told(make_app(**settings).test_client())["data-end-points"] == said


@pytest.mark.parametrize("path", [*PAGES, "/docs/", "/api/v1", "/api/v1/"])
def test_without_pages_there_are_none(make_app, path):
    client = make_app(PAGES="0").test_client()
    for method in ("GET", "HEAD", "POST"):
        reply = client.open(path, method=method, headers={"Accept": CHROME})
        assert reply.status_code == 404
    assert_failure(client.get(path, headers={"Accept": CHROME}), 404, 404)


def test_without_pages_programs_still_read_the_description(make_app):
    assert make_app(PAGES="0").test_client().get("/openapi.json").json["openapi"] == "3.1.0"


@pytest.mark.parametrize("path", PAGES)
def test_with_pages_they_are_there(client, path):
    assert client.get(path).status_code == 200
