"""The API page: ``/openapi.json``, and ``/docs`` to read and try it in a browser."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, abort, current_app, jsonify, render_template
from flask.helpers import send_from_directory

from gateway.docs import spec

bp = Blueprint("docs", __name__)

# Served from packages: this one's start.js, and Swagger UI's own files.
OURS = Path(__file__).parent
SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
ASSETS = {
    "start.js": OURS,
    "swagger-ui-bundle.js": SWAGGER_UI,
    "swagger-ui.css": SWAGGER_UI,
    "favicon-32x32.png": SWAGGER_UI,
}
HEADERS = {
    # Swagger UI styles its parts one by one, and has its icons in the style sheet.
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


@bp.get("/openapi.json")
def openapi() -> Response:
    """Describe the API in OpenAPI 3.1, made from the routes, schemas and codes themselves."""
    return jsonify(spec.describe(current_app))


@bp.get("/docs")
def page() -> str:
    """Show the API page."""
    return render_template("docs.html", service=current_app.config["SERVICE_NAME"])


@bp.get("/docs/<name>")
def asset(name: str) -> Response:
    """Send a file of the API page."""
    if name not in ASSETS:
        abort(HTTPStatus.NOT_FOUND)
    return send_from_directory(ASSETS[name], name, etag=True)


@bp.after_request
def _protect(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
