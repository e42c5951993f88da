"""A browser that looks for a page is led to /docs; a program gets the envelope."""

from urllib.parse import urljoin

import pytest
from helpers import PASSWORD, code_of

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("path", "target"),
    [("/", "docs"), ("/docs/", "../docs"), ("/api/v1", "../docs"), ("/api/v1/", "../../docs")],
)
def test_a_browser_is_led_to_the_page(client, path, target):
    reply = client.get(path, headers={"Accept": CHROME})
    assert (reply.status_code, reply.headers["Location"]) == (302, target)
    assert "Accept" in reply.headers["Vary"]
    for prefix in ("https://example.com", "https://example.com/below/a/prefix"):
        assert urljoin(prefix + path, target) == f"{prefix}/docs"


@pytest.mark.parametrize("path", ["/", "/docs/", "/api/v1", "/api/v1/"])
@pytest.mark.parametrize(
    "headers", [{}, {"Accept": "*/*"}, {"Accept": "application/json, text/html;q=0.9"}]
)
def test_a_program_gets_the_envelope(client, path, headers):
    reply = client.get(path, headers=headers)
    assert (reply.status_code, code_of(reply)) == (404, 404)
    assert "Accept" in reply.headers["Vary"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_a_look_is_led_to_the_page(client, method):
    reply = client.open("/", method=method, headers={"Accept": CHROME})
    assert (reply.status_code, code_of(reply)) == (404, 404)


@pytest.mark.parametrize("path", ["/nothing", "/docs/nothing", "/api/v2/"])
def test_no_other_address_leads_to_the_page(client, path):
    reply = client.get(path, headers={"Accept": CHROME})
    assert (reply.status_code, code_of(reply)) == (404, 404)


def test_a_login_still_works_with_every_header_of_a_browser(api, person):
    body = {"user_name": "lory", "password": PASSWORD}
    assert code_of(api("/login", body, headers={"Accept": CHROME})) == 0
