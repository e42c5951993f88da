"""Issue tokens, and check the token of a request."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, NamedTuple

from flask import Flask, Response, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    current_user,
    verify_jwt_in_request,
)
from sqlalchemy import bindparam, exists, or_, select

from gateway import clock, crypto, log
from gateway.auth.models import RevokedToken, User
from gateway.config import INT32_MAX
from gateway.db.hot_sql import HotStatement
from gateway.errors import ApiError, Code
from gateway.web.reply import View, failure

LIFETIME = timedelta(hours=12)
MAX_TIME = 10**11  # unix seconds; databases cannot store later moments
_TOKEN = re.compile(r"\s*(?:bearer\s+)?([\w-]+\.[\w-]+\.[\w-]+)\s*", re.ASCII | re.IGNORECASE)

_jti = bindparam("jti", type_=RevokedToken.jti.type)
_FIND_CALLER = HotStatement(
    select(User.id, User.is_admin, User.password_hash, User.token_generation).where(
        User.id == bindparam("id", type_=User.id.type),
        User.is_banned.is_(False),
        or_(
            User.token_generation == bindparam("generation", type_=User.token_generation.type),
            User.kept_jti == _jti,
        ),
        ~exists().where(RevokedToken.jti == _jti),
    )
)


class Caller(NamedTuple):
    """The account of the request's token, as it was when the token was checked."""

    id: int
    is_admin: bool
    password_hash: str
    token_generation: int


jwt = JWTManager()


def init_app(app: Flask) -> None:
    """Set up Flask-JWT-Extended. No operator should change these settings."""
    app.config.update(
        JWT_SECRET_KEY=crypto.derive_key(app.config["SECRET_KEY"], "jwt"),
        JWT_ALGORITHM="HS256",
        JWT_DECODE_ALGORITHMS=["HS256"],
        JWT_TOKEN_LOCATION=["headers"],
        JWT_HEADER_NAME="Authorization",
        JWT_HEADER_TYPE="",  # _strip_bearer removes "Bearer", which clients may leave out
        JWT_COOKIE_CSRF_PROTECT=False,
        JWT_ENCODE_NBF=False,
        JWT_ACCESS_TOKEN_EXPIRES=LIFETIME,
        JWT_DECODE_LEEWAY=clock.LEEWAY,
    )
    jwt.init_app(app)


def issue(user: User, issued_at: datetime) -> str:
    """Return a token with the ``claim_`` fields that clients read, and the registered claims."""
    iat = int(issued_at.timestamp())
    expire = iat + int(LIFETIME.total_seconds())
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
    """Require a valid token; without one, the caller gets 1001 and the view is not called."""

    @wraps(view)
    def with_token(*args: Any, **kwargs: Any) -> Response:
        _strip_bearer()
        verify_jwt_in_request()
        return view(*args, **kwargs)

    with_token.wants_token = True  # type: ignore[attr-defined]
    return with_token  # type: ignore[return-value]


def caller() -> Caller:
    """Return the account of the request's token."""
    caller: Caller = current_user._get_current_object()
    return caller


def _strip_bearer() -> None:
    """Accept ``Bearer <token>`` and the bare token; the library is set to read the bare one."""
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


def _has_our_form(claims: dict[str, Any]) -> bool:
    """Tell whether the claims have the types and forms that ``issue`` writes."""
    times = (claims.get("iat"), claims.get("exp"))
    jti, subject, generation = claims.get("jti"), claims.get("sub"), claims.get("generation")
    return (
        all(type(time) is int and 0 <= time < MAX_TIME for time in times)
        and type(generation) is int
        and 0 <= generation <= INT32_MAX
        and isinstance(jti, str)
        and re.fullmatch(r"[\w-]{1,36}", jti, re.ASCII) is not None
        and isinstance(subject, str)
        and re.fullmatch(r"[1-9]\d{0,9}", subject, re.ASCII) is not None
        and int(subject) <= INT32_MAX
    )


@jwt.user_lookup_loader
def _find_caller(_header: dict[str, Any], claims: dict[str, Any]) -> Caller | None:
    """Return the account of a valid token, or None; one statement decides."""
    if not _has_our_form(claims):  # other values would make the database fail
        return None
    row = _FIND_CALLER.first(
        {"id": int(claims["sub"]), "generation": claims["generation"], "jti": claims["jti"]}
    )
    if row is None:
        return None
    log.note(user=row.id)
    return Caller(*row)
