"""Pages: ``/openapi.json`` describes the API, ``/docs`` shows it in a browser.

A browser that opens ``/`` or another address where a person looks for a page is led to ``/docs``.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import flask_swagger_ui
from flask import Blueprint, abort, current_app, redirect, render_template, request
from flask.helpers import send_from_directory
from werkzeug.exceptions import NotFound
from werkzeug.http import generate_etag
from werkzeug.wrappers import Response

from gateway.web import openapi
from gateway.web.reply import http_failure

bp = Blueprint("docs", __name__, template_folder="docs")

# /docs loads these files. Some are ours; the others are Swagger UI's own.
OURS = Path(__file__).parent / "docs"
SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
ASSETS = {
    "page.css": OURS,
    "samples.js": OURS,
    "start.js": OURS,
    "swagger-ui-bundle.js": SWAGGER_UI,
    "swagger-ui.css": SWAGGER_UI,
    "favicon-32x32.png": SWAGGER_UI,
}
HEADERS = {
    # Swagger UI sets style attributes, and its style sheet holds icons as data: URLs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


# Where a person looks for a page. The path of each leads to /docs by a relative address, so that
# it works below any prefix.
ENTRANCES = {"/": "docs", "/docs/": "../docs", "/api/v1": "../docs", "/api/v1/": "../../docs"}


class Description(NamedTuple):
    """The description as it is sent."""

    content: bytes
    etag: str


@bp.get("/openapi.json", endpoint="openapi")
def description() -> Response:
    """Describe the API in OpenAPI 3.1."""
    made = _description()
    response = current_app.response_class(made.content, mimetype="application/json")
    response.set_etag(made.etag)
    return response.make_conditional(request)


def _description() -> Description:
    """Return the description, which is made once in a process, at its first request."""
    made: Description | None = current_app.extensions.get("gateway-description")
    if made is None:
        content = current_app.json.dumps(openapi.describe(current_app)).encode()
        made = Description(content, generate_etag(content))
        current_app.extensions["gateway-description"] = made
    return made


@bp.get("/docs")
def page() -> str:
    """Show the API page."""
    return render_template("page.html", service=current_app.config["SERVICE_NAME"])


@bp.app_errorhandler(NotFound)
def lead_to_page(error: NotFound) -> Response:
    """Lead a browser that looks for a page to /docs; answer anyone else in the envelope."""
    if request.path not in ENTRANCES:
        return http_failure(error)
    response = redirect(ENTRANCES[request.path]) if _wants_page() else http_failure(error)
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


def _wants_page() -> bool:
    """Tell whether the client is a browser: it prefers a page to JSON, and a program does not."""
    kinds = ["application/json", "text/html"]
    wanted = request.accept_mimetypes.best_match(kinds)
    return request.method in ("GET", "HEAD") and wanted == "text/html"


@bp.get("/docs/<name>")
def asset(name: str) -> Response:
    """Send a file of the API page."""
    if name not in ASSETS:
        abort(HTTPStatus.NOT_FOUND)
    return send_from_directory(ASSETS[name], name, etag=True)


@bp.after_request
def _set_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
