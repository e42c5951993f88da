"""Who the caller is: tokens are issued and judged here, for every blueprint."""

from __future__ import annotations

import re
from datetime import datetime
from functools import wraps
from typing import Any

from flask import Response, current_app, request
from flask_jwt_extended import create_access_token, current_user, verify_jwt_in_request

from gateway import log
from gateway.auth.models import RevokedToken, User
from gateway.config import INT32_MAX
from gateway.envelope import View, failure
from gateway.errors import ApiError, Code
from gateway.extensions import db, jwt

END_OF_TIME = 10**11  # unix seconds; later ones are no dates to the database
_TOKEN = re.compile(r"\s*(?:bearer\s+)?([\w-]+\.[\w-]+\.[\w-]+)\s*", re.ASCII | re.IGNORECASE)


def issue(user: User, issued_at: datetime) -> str:
    """Return a token with the reference's claims and the registered ones (README, Endpoints)."""
    iat = int(issued_at.timestamp())
    expire = iat + int(current_app.config["JWT_ACCESS_TOKEN_EXPIRES"].total_seconds())
    claims = {
        "claim_alias": user.user_name,
        "claim_expire": expire,
        "claim_iat": iat,
        "claim_id": user.id,
        "claim_is_admin": user.is_admin,
        "claim_phone_number": "",
        "claim_username": user.user_name,
        "generation": user.token_generation,
        "iat": iat,
        "exp": expire,
    }
    return str(create_access_token(str(user.id), additional_claims=claims))


def signed_in(view: View) -> View:
    """Let only callers with a good token reach the view; anybody else gets 1001."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        _take_token()
        verify_jwt_in_request()
        return view(*args, **kwargs)

    guarded.wants_token = True  # type: ignore[attr-defined]
    return guarded  # type: ignore[return-value]


def caller() -> User:
    """Return the account whose token came with the request."""
    user: User = current_user._get_current_object()
    return user


def _take_token() -> None:
    """Accept both ``Bearer <token>`` and the bare token; the library is set to the latter."""
    given = _TOKEN.fullmatch(request.headers.get("Authorization", ""))
    request.environ["HTTP_AUTHORIZATION"] = given[1] if given else ""


def _refuse(*_details: Any) -> Response:
    return failure(ApiError(Code.UNAUTHENTICATED))


for _loader in (
    jwt.expired_token_loader,
    jwt.invalid_token_loader,
    jwt.needs_fresh_token_loader,
    jwt.revoked_token_loader,
    jwt.token_verification_failed_loader,
    jwt.unauthorized_loader,
    jwt.user_lookup_error_loader,
):
    _loader(_refuse)


@jwt.token_in_blocklist_loader
def _is_revoked(_header: dict[str, Any], claims: dict[str, Any]) -> bool:
    # The library asks this first, and the database cannot look up just any id.
    return not _is_of_ours(claims) or db.session.get(RevokedToken, claims["jti"]) is not None


def _is_of_ours(claims: dict[str, Any]) -> bool:
    """Tell whether the claims have the types and forms that ``issue`` gives them."""
    times = (claims.get("iat"), claims.get("exp"))
    jti, subject = claims.get("jti"), claims.get("sub")
    return (
        all(type(time) is int and 0 <= time < END_OF_TIME for time in times)
        and type(claims.get("generation")) is int
        and isinstance(jti, str)
        and re.fullmatch(r"[\w-]{1,36}", jti, re.ASCII) is not None
        and isinstance(subject, str)
        and re.fullmatch(r"[1-9]\d{0,9}", subject, re.ASCII) is not None
        and int(subject) <= INT32_MAX
    )


@jwt.user_lookup_loader
def _find_caller(_header: dict[str, Any], claims: dict[str, Any]) -> User | None:
    user = db.session.get(User, int(claims["sub"]))
    if user is None or user.is_banned or not user.accepts(claims["jti"], claims["generation"]):
        return None
    log.note(user=user.id)
    return user
