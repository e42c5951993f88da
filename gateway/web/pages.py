"""Pages for people, and the description for tools.

    /               the console: accounts, projects and their usage
    /docs           the API, to read and to try
    /openapi.json   the API in OpenAPI 3.1; programs read it, so it stays when PAGES is 0

A browser that opens another address where a person looks for the API is led to ``/docs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Flask, abort, current_app, redirect, render_template, request
from flask.helpers import send_from_directory
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from gateway.web import openapi
from gateway.web.reply import http_failure

description = Blueprint("description", __name__)
docs = Blueprint("docs", __name__, template_folder=".")
console = Blueprint("console", __name__, template_folder=".")

# The files that a page loads, and their folders. Most of /docs are Swagger UI's own.
HERE = Path(__file__).parent
SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
CONSOLE_ASSETS = {
    path.relative_to(HERE / "console").as_posix(): HERE / "console"
    for path in (HERE / "console").rglob("*.*")
    if path.suffix in (".css", ".js", ".svg")
}
DOCS_ASSETS = {
    **dict.fromkeys(("page.css", "samples.js", "start.js"), HERE / "docs"),
    **dict.fromkeys(("swagger-ui-bundle.js", "swagger-ui.css"), SWAGGER_UI),
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# Only our own files, and no text that becomes a script or a part of the page.
_OWN_FILES = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
STRICT_POLICY = (
    f"{_OWN_FILES}; style-src 'self'; img-src 'self';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
# Swagger UI sets style attributes, and its style sheet holds icons as data: URLs.
DOCS_POLICY = f"{_OWN_FILES}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"

# Where else a person looks for the API. The path of each leads to /docs by a relative address, so
# that it works below any prefix.
ENTRANCES = {"/docs/": "../docs", "/api/v1": "../docs", "/api/v1/": "../../docs"}


def init_app(app: Flask) -> None:
    """Serve the description, and the pages unless ``PAGES`` is 0."""
    app.register_blueprint(description)
    if app.config["PAGES"]:
        app.register_blueprint(docs)
        app.register_blueprint(console)


@description.get("/openapi.json")
def openapi_json() -> Response:
    """Describe the API in OpenAPI 3.1. The description is made once in a process."""
    made = current_app.extensions.get("gateway-description")
    if made is None:
        made = current_app.json.dumps(openapi.describe(current_app)).encode()
        current_app.extensions["gateway-description"] = made
    return _conditional(current_app.response_class(made, mimetype="application/json"))


def _conditional(response: Response) -> Response:
    """Send nothing to a client that has the same already."""
    response.add_etag()
    return response.make_conditional(request)


@console.get("/")
def console_page() -> Response:
    """Show the console. The page tells its script what the script cannot ask the API."""
    return _conditional(current_app.make_response(render_template("console/page.html")))


@console.get("/console/<path:name>")
def console_asset(name: str) -> Response:
    """Send a file of the console."""
    return _asset(CONSOLE_ASSETS, name)


@console.get("/.well-known/change-password")
def change_password() -> Response:
    """Lead a password manager to the place where a password is changed."""
    return redirect("../#account")


@docs.get("/docs")
def docs_page() -> str:
    """Show the API page."""
    return render_template("docs/page.html")


@docs.get("/docs/<name>")
def docs_asset(name: str) -> Response:
    """Send a file of the API page."""
    return _asset(DOCS_ASSETS, name)


def _asset(assets: Mapping[str, Path], name: str) -> Response:
    if name not in assets:
        abort(HTTPStatus.NOT_FOUND)
    return send_from_directory(assets[name], name, etag=True)


@docs.app_errorhandler(NotFound)
def lead_to_docs(error: NotFound) -> Response:
    """Lead a browser that looks for a page to /docs; answer anyone else in the envelope."""
    if request.path not in ENTRANCES:
        return http_failure(error)
    response = redirect(ENTRANCES[request.path]) if _wants_page() else http_failure(error)
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


def _wants_page() -> bool:
    """Tell whether the client is a browser: it prefers a page to JSON, and a program does not."""
    wanted = request.accept_mimetypes.best_match(["application/json", "text/html"])
    return request.method in ("GET", "HEAD") and wanted == "text/html"


@console.after_request
@docs.after_request
@description.after_request
def _set_headers(response: Response) -> Response:
    policy = STRICT_POLICY if request.blueprint == console.name else DOCS_POLICY
    response.headers.update(HEADERS | {"Content-Security-Policy": policy})
    return response
