"""Pages: ``/openapi.json`` describes the API, ``/docs`` shows it in a browser."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, abort, current_app, jsonify, render_template
from flask.helpers import send_from_directory

from gateway.web import openapi

bp = Blueprint("docs", __name__, template_folder="docs")

# /docs loads these files. start.js is ours; the others are Swagger UI's own.
OURS = Path(__file__).parent / "docs"
SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
ASSETS = {
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


@bp.get("/openapi.json", endpoint="openapi")
def description() -> Response:
    """Describe the API in OpenAPI 3.1."""
    return jsonify(openapi.describe(current_app))


@bp.get("/docs")
def page() -> str:
    """Show the API page."""
    return render_template("page.html", service=current_app.config["SERVICE_NAME"])


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
