"""Who the caller is: tokens are issued and judged here, for every blueprint."""

from __future__ import annotations

import re
from datetime import datetime
from functools import wraps
from typing import Any, NamedTuple

from flask import Response, current_app, request
from flask_jwt_extended import create_access_token, current_user, verify_jwt_in_request
from sqlalchemy import bindparam, exists, or_, select

from gateway import log
from gateway.auth.models import RevokedToken, User
from gateway.config import INT32_MAX
from gateway.envelope import View, failure
from gateway.errors import ApiError, Code
from gateway.extensions import jwt
from gateway.statement import Statement

END_OF_TIME = 10**11  # unix seconds; later ones are no dates to the database
_TOKEN = re.compile(r"\s*(?:bearer\s+)?([\w-]+\.[\w-]+\.[\w-]+)\s*", re.ASCII | re.IGNORECASE)

_jti = bindparam("jti", type_=RevokedToken.jti.type)
_CALLER = Statement(
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
    """The account whose token came with a request, as it was when the token was judged."""

    id: int
    is_admin: bool
    password_hash: str
    token_generation: int


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


def caller() -> Caller:
    """Return the account whose token came with the request."""
    caller: Caller = current_user._get_current_object()
    return caller


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


def _is_of_ours(claims: dict[str, Any]) -> bool:
    """Tell whether the claims have the types and forms that ``issue`` gives them."""
    times = (claims.get("iat"), claims.get("exp"))
    jti, subject, generation = claims.get("jti"), claims.get("sub"), claims.get("generation")
    return (
        all(type(time) is int and 0 <= time < END_OF_TIME for time in times)
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
    """Return the account of a token that is good: one statement decides."""
    if not _is_of_ours(claims):  # the database cannot look up just anything
        return None
    row = _CALLER.first(
        {"id": int(claims["sub"]), "generation": claims["generation"], "jti": claims["jti"]}
    )
    if row is None:
        return None
    log.note(user=row.id)
    return Caller(*row)
